"""Attention by strips against its definition, a dense mask, on random trees; and what the function refuses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from affinage.backbone import sdpa
from affinage.backbone.attention import LONGEST_STRIP, Prefix, Tree, Window, attend, dense_attend, plant
from affinage.backbone.terms import Additive
from affinage.pack import Branch, Packed, pack
from affinage.records import UserError
from affinage.seeds import generator

CPU = torch.device("cpu")
sequence = st.lists(st.integers(0, 2), min_size=2, max_size=9) | st.lists(st.integers(0, 1), min_size=LONGEST_STRIP, max_size=2 * LONGEST_STRIP + 3)
windows = st.sampled_from([None, Window("sliding", 1), Window("sliding", 3), Window("sliding", 40), Window("chunked", 2), Window("chunked", 5)])


class Layer(nn.Module):
    """An attention layer as far as the function reads it."""

    layer_idx = 1


def random(*shape: int, key: str) -> Tensor:
    return torch.from_numpy(generator("attention", key).normal(size=shape)).float().requires_grad_()


def position_visible(query: Tensor, key: Tensor, window: Window | None) -> Tensor:
    """Whether a query position may see a key position by causality and the window."""
    if window is None:
        return key <= query
    if window.kind == "sliding":
        return (key <= query) & (query - key < window.size)
    return (key <= query) & (query // window.size == key // window.size)


def reference(packed: Packed, rows: tuple[Tensor, Tensor, Tensor], window: Window | None, tree: Tree, **others: Any) -> Tensor:
    """Adapter by adapter with a dense mask over its slots and nodes; [1, N, G * K, Dv]."""
    query, key, value = rows
    prefix, gates, kv_heads = tree.prefix, None, key.shape[1]
    slots = 0 if prefix is None else prefix.keys.shape[2]
    results = []
    for r, (start, stop) in enumerate(zip(packed.segments[:-1], packed.segments[1:], strict=True)):
        nodes = torch.arange(int(start), int(stop))
        depth = torch.from_numpy(packed.depth)[nodes] + slots
        ancestor = (nodes[None, :] <= nodes[:, None]) & (nodes[:, None] < torch.from_numpy(packed.end)[nodes][None, :])
        visible = torch.cat([torch.ones(len(nodes), slots, dtype=torch.bool), ancestor], 1)
        visible &= position_visible(depth[:, None], torch.cat([torch.arange(slots), depth])[None, :], window)
        k, v = key[:, :, nodes], value[:, :, nodes]
        if prefix is not None:
            k = torch.cat([prefix.keys[1, r].transpose(0, 1)[None], k], 2)
            v = torch.cat([prefix.values[1, r].transpose(0, 1)[None], v], 2)
        if tree.gates is not None:
            gates = torch.cat([tree.gates[nodes], torch.ones(len(nodes), len(nodes))], 1)
        result = dense_attend(query[:, :, nodes], k, v, visible, scaling=0.3, gates=gates, **others)
        if tree.additive is not None:
            features = torch.where(query > 0, query + 1, query.exp())[0, :, nodes].view(kv_heads, -1, len(nodes), query.shape[-1])
            result = result + torch.einsum("kgnd,kde->nkge", features, tree.additive.maps[1, r]).flatten(1, 2)
        results.append(result)
    return torch.cat(results, 1)


@settings(max_examples=80, deadline=None)
@given(
    batch=st.lists(sequence, min_size=1, max_size=8),
    adapters=st.integers(1, 3),
    heads=st.sampled_from([(1, 1), (2, 1), (1, 4), (2, 3)]),
    widths=st.sampled_from([(4, 4), (6, 2), (2, 5)]),
    window=windows,
    slots=st.sampled_from([0, 0, 1, 4]),
    softcap=st.sampled_from([None, 1.0]),
    sinks=st.booleans(),
    gated=st.booleans(),
    added=st.booleans(),
)
def test_strips_equal_the_dense_mask(
    *,
    batch: list[list[int]],
    adapters: int,
    heads: tuple[int, int],
    widths: tuple[int, int],
    window: Window | None,
    slots: int,
    softcap: float | None,
    sinks: bool,
    gated: bool,
    added: bool,
) -> None:
    adapters = min(adapters, len(batch))
    packed = pack([Branch(tuple(ids), 1, i % adapters) for i, ids in enumerate(batch)], adapters)
    kv_heads, repeat = heads
    width, value_width = widths
    query = random(1, kv_heads * repeat, packed.nodes, width, key="query")
    key, value = random(1, kv_heads, packed.nodes, width, key="key"), random(1, kv_heads, packed.nodes, value_width, key="value")
    sink = random(kv_heads * repeat, key="sink") if sinks else None
    inputs = [query, key, value] if sink is None else [query, key, value, sink]
    prefix = None
    if slots:
        prefix = Prefix(
            random(2, adapters, slots, kv_heads, width, key="prefix keys"), random(2, adapters, slots, kv_heads, value_width, key="prefix values")
        )
        inputs += [prefix.keys, prefix.values]
    additive = None
    if added:
        additive = Additive(random(2, adapters, kv_heads, width, value_width, key="maps"), np.diff(packed.segments).tolist())
        inputs.append(additive.maps)
    tree = plant(packed, (None, window), CPU, prefix, additive=additive)
    if gated and slots:
        gates = random(packed.nodes, slots, key="gates")
        tree = replace(tree, gates=gates)
        inputs.append(gates)
    found, weights = attend(Layer(), query, key, value, scaling=0.3, softcap=softcap, s_aux=sink, affinage_tree=tree)
    expected = reference(packed, (query, key, value), window, tree, softcap=softcap, s_aux=sink)
    assert weights is None
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    direction = random(*expected.shape, key="direction").detach()
    own = torch.autograd.grad((found * direction).sum(), inputs)
    theirs = torch.autograd.grad((expected * direction).sum(), inputs)
    for mine, other in zip(own, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-4)


def small(**changes: Any) -> tuple[Any, ...]:
    """(layer, query, key, value) of a pack of three branches, and its tree as keyword."""
    packed = pack([Branch((1, 2, 3, 4), 1), Branch((1, 2, 5, 6, 7), 1), Branch((1, 8, 9), 1)])
    tree = plant(packed, (None, None), CPU)
    q, k, v = (random(1, count, packed.nodes, 4, key=name) for name, count in (("query", 4), ("key", 2), ("value", 2)))
    return (Layer(), q, k, v), {"affinage_tree": tree, **changes}


def test_a_window_handed_in_is_the_same_as_one_of_the_configuration() -> None:
    arguments, keywords = small()
    tree = keywords["affinage_tree"]
    free = attend(*arguments, **keywords)[0]
    handed = attend(*arguments, affinage_tree=tree, sliding_window=2)[0]
    told = attend(*arguments, affinage_tree=replace(tree, windows=(None, Window("sliding", 2))))[0]
    assert not torch.allclose(free, handed)
    assert torch.equal(handed, told)


def test_scores_are_scaled_by_the_root_of_the_width_unless_told_otherwise() -> None:
    arguments, keywords = small()
    assert torch.equal(attend(*arguments, **keywords)[0], attend(*arguments, scaling=0.5, **keywords)[0])
    assert not torch.allclose(attend(*arguments, **keywords)[0], attend(*arguments, scaling=0.7, **keywords)[0])


def test_the_tree_may_stand_where_the_mask_does() -> None:
    arguments, keywords = small()
    layer, query, key, value = arguments
    assert torch.equal(attend(*arguments, **keywords)[0], attend(layer, query, key, value, keywords["affinage_tree"])[0])


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"attention_mask": torch.zeros(1, 1, 2, 2)}, "attention_mask"),
        ({"dropout": 0.1}, r"dropout=0\.1"),
        ({"position_bias": torch.zeros(1)}, "position_bias"),
        ({"alibi": 1, "cu_seq_lens_q": 2}, "alibi, cu_seq_lens_q"),
        ({"is_sparse": False}, "is_sparse"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    arguments, keywords = small(**changes)
    with pytest.raises(
        UserError, match=rf"attention of Layer: found the arguments {named}; expected only arguments that Affinage's attention understands"
    ):
        attend(*arguments, **keywords)


def test_what_has_no_meaning_or_no_value_is_let_through() -> None:
    arguments, keywords = small()
    free = attend(*arguments, **keywords)[0]
    assert torch.equal(free, attend(*arguments, **keywords, position_ids=torch.arange(3), is_causal=True, position_bias=None, use_cache=False)[0])


def test_a_call_without_a_tree_is_refused() -> None:
    arguments, _ = small()
    with pytest.raises(UserError, match="Layer: found a call without the token tree; expected the tree as a keyword argument"):
        attend(*arguments)


def test_slots_of_another_shape_than_the_layers_keys_are_refused() -> None:
    arguments, keywords = small()
    tree = keywords["affinage_tree"]
    prefix = Prefix(torch.zeros(2, 1, 3, 2, 4), torch.zeros(2, 1, 3, 2, 6))
    with pytest.raises(
        UserError, match="found prefix slots with 2 heads of width 4 and 2 heads of width 6 in layer 1; expected keys with 2 heads of width 4"
    ):
        attend(*arguments, affinage_tree=replace(tree, prefix=prefix))


def test_padding_reads_no_node_of_another_adapter() -> None:
    packed = pack([Branch((1, 2, 3, 4, 5, 6), 1, 0), Branch((1, 2), 1, 1), Branch((1, 3, 4, 5), 1, 1)], 2)
    tree = plant(packed, (None, None), CPU)
    at = 0
    chosen, _ = sdpa._rows(tree, packed.nodes)
    for group in tree.groups:
        keys = chosen.index[at : at + group.key_position.numel()].view(group.key_position.shape)
        at += keys.numel()
        owner = np.searchsorted(packed.segments, keys.numpy(), side="right") - 1
        assert (owner == group.adapter[:, None].numpy()).all()
    assert at == len(chosen.index)


def test_gradients_of_shared_nodes_are_summed_up_in_float32() -> None:
    packed = pack([Branch((1, 2, 3 + i), 1) for i in range(300)])
    tree = plant(packed, (None, None), CPU)
    exact = [random(1, 1, packed.nodes, 4, key=name) for name in ("query", "key", "value")]
    half = [each.detach().bfloat16().requires_grad_() for each in exact]
    own = torch.autograd.grad(attend(Layer(), *half, affinage_tree=tree)[0].sum(), half)
    exact = [each.detach().float().requires_grad_() for each in half]
    theirs = torch.autograd.grad(attend(Layer(), *exact, affinage_tree=tree)[0].sum(), exact)
    # Summed up in bfloat16, 300 gradients of one node would stop growing at 256 of the smallest.
    assert abs(float(own[2][0, 0, 0, 0]) / float(theirs[2][0, 0, 0, 0]) - 1) < 1 / 128
