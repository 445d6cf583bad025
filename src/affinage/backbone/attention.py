"""The one attention function under every architecture, and the tree that it reads: attention by strips.

A *strip* is the nodes that one sequence adds to the tree. Its queries see that sequence's whole path from the root, so attention over the tree is
a batch of small dense attentions, padded inside this module alone; everything else in the model stays flat, [1, N, ...].

Letters: N nodes, S strips, Q queries and T keys per strip, K key/value heads, G query heads per key head, D head width, P prefix slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from affinage.backbone.gather import Gather
from affinage.backbone.kernels import STRIPS, Call, Kernel, Window, few_sizes, refuse
from affinage.backbone.states import States
from affinage.backbone.strips import attend_by_strips
from affinage.backbone.terms import Additive
from affinage.pack import Ints, Packed, Strip, strips
from affinage.records import UserError

__all__ = ["KEYWORD", "LONGEST_STRIP", "Group", "Prefix", "Tree", "Window", "attend", "dense_attend", "hand_on", "plant"]

KEYWORD = "affinage_tree"
"""Keyword argument of the model call under which the tree travels; never module state, which a recomputation would read at the wrong time."""

LONGEST_STRIP = 32
"""Queries per strip at most: longer ones waste products above the diagonal, shorter ones read the keys more often."""

INERT = frozenset(
    {"is_causal", "position_ids", "cache_position", "use_cache", "output_attentions", "output_hidden_states", "output_router_logits"}
    | {"past_key_values", "position_embeddings", "return_dict", "logits_to_keep"}
)
"""Keywords of the model call that reach attention without a meaning for it."""

FORGETFUL = frozenset({"NemotronDecoderLayer", "StableLmDecoderLayer"})
"""Decoder layers that keep the model call's keyword arguments from their attention."""


@dataclass(frozen=True, slots=True)
class Prefix:
    """Keys and values that an adapter puts before the text, for every adapter of a cohort.

    Both are [L, R, P, K, D]: keys as a cache would hold them (already rotated where the model rotates).
    """

    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True)
class Group:
    """Strips of similar length on the backbone's device."""

    adapter: Tensor
    """[S] adapter of each strip."""
    query_position: Tensor
    """[S, Q] positions, prefix slots counted."""
    key_position: Tensor
    """[S, P + T] positions; -1 for padding."""
    biases: dict[Window | None, Tensor] = field(default_factory=dict)
    """Made when a layer first asks for its window; [S, 1, 1, Q, P + T]."""

    def bias(self, window: Window | None) -> Tensor:
        """0 where a query sees a key, -inf elsewhere; [S, 1, 1, Q, P + T], float32."""
        if window not in self.biases:
            query, key = self.query_position[:, :, None], self.key_position[:, None, :]
            visible = (key <= query) & (key >= 0)
            if window is not None and window.kind == "sliding":
                visible &= query - key < window.size
            elif window is not None:
                visible &= query // window.size == key // window.size
            bias = torch.zeros(visible.shape, device=visible.device).masked_fill_(~visible, float("-inf"))
            self.biases[window] = bias[:, None, None]
        return self.biases[window]


@dataclass(frozen=True, slots=True)
class Tree:
    """What the attention function needs of a pack."""

    groups: tuple[Group, ...]
    queries: Gather
    """[sum of S * Q] nodes, group after group."""
    windows: tuple[Window | None, ...]
    """Per layer, where the configuration tells a window that the model does not hand to attention."""
    prefix: Prefix | None = None
    gates: Tensor | None = None
    """[N, P] how far each node opens each prefix slot, put there for one layer's call (`model._gate_hook`)."""
    additive: Additive | None = None
    context: States | None = None
    """What stands before the pack's sequences and is no part of it (`pack.after_contexts`)."""
    calls: list[tuple[int, Tensor, Tensor]] | None = None
    """Where asked for: (layer, keys [N, K, D], values [N, K, Dv]) of each call, in the order of the calls."""
    packed: Packed | None = None
    """What it was made from, for kernels that do not go by strips."""
    kernel: Kernel = STRIPS
    """How attention is computed."""
    cut: tuple[tuple[Strip, ...], Ints] = ((), np.empty(0, np.int64))
    """The strips as `pack.strips` cut them, and where each node's result stands when those are laid end to end."""
    masks: dict[Any, Any] = field(default_factory=dict)
    """Where kernels keep what they make once per tree."""
    copies: dict[torch.device, Tree] = field(default_factory=dict)
    """The same tree on further devices, made when a layer there first asks (`on`)."""

    def on(self, device: torch.device) -> Tree:
        """The tree on the device of the layer that asks; copied once per device, gates excepted, which belong to one layer's call."""
        if device == self.queries.index.device:
            return self
        if device not in self.copies:
            self.copies[device] = replace(
                self,
                groups=tuple(Group(g.adapter.to(device), g.query_position.to(device), g.key_position.to(device)) for g in self.groups),
                queries=self.queries.on(device),
                prefix=None if self.prefix is None else Prefix(self.prefix.keys.to(device), self.prefix.values.to(device)),
                additive=None if self.additive is None else Additive(self.additive.maps.to(device), self.additive.sizes),
                masks={},
                copies={},  # its own: in ours it would stand in itself, and wait for the garbage collector
            )
        return replace(self.copies[device], gates=None if self.gates is None else self.gates.to(device))


def plant(
    packed: Packed,
    windows: Sequence[Window | None],
    device: torch.device,
    prefix: Prefix | None = None,
    *,
    additive: Additive | None = None,
    context: States | None = None,
    calls: list[tuple[int, Tensor, Tensor]] | None = None,
    kernel: Kernel = STRIPS,
) -> Tree:
    """The tree of a pack on a device.

    Args:
        packed: the batch.
        windows: per layer the window that only the configuration tells, or None.
        device: of the backbone.
        prefix: keys and values before the text; its slots push the text's positions back.
        additive: term added to each head's result.
        context: what the paths lead through that is no node of the pack; not beside a prefix.
        calls: a list that gathers each layer's keys and values.
        kernel: how attention is computed.

    Raises:
        UserError: a context, which this kernel cannot read.
    """
    if context is not None and kernel.compute is not attend_by_strips:
        raise refuse(kernel.name, "a context that is no part of the pack", "Set `model.attention` to strips, or `model.context` to gradient.")
    cut, back = strips(packed, LONGEST_STRIP)
    if kernel.few_sizes:
        cut, back = few_sizes(cut, back)
    slots = 0 if prefix is None else prefix.keys.shape[2]
    groups = []
    for strip in cut:
        start, count = torch.from_numpy(strip.start), torch.from_numpy(strip.count)
        query = torch.arange(strip.queries.shape[1])
        position = start[:, None] + torch.where(query < count[:, None], query, 0)
        key = torch.arange(strip.keys.shape[1]).expand(len(start), -1)
        key = torch.where(key < (start + count)[:, None], key + slots, -1)
        if slots:
            key = torch.cat([torch.arange(slots).expand(len(start), -1), key], dim=1)
        groups.append(Group(torch.from_numpy(strip.adapter).to(device), (position + slots).to(device), key.to(device)))
    queries = torch.cat([torch.from_numpy(strip.queries).flatten() for strip in cut])
    return Tree(
        tuple(groups),
        queries=Gather.of(queries, packed.nodes).on(device),
        windows=tuple(windows),
        prefix=prefix,
        additive=additive,
        context=context,
        calls=calls,
        packed=packed,
        kernel=kernel,
        cut=(cut, back),
    )


def hand_on(model: nn.Module) -> None:
    """Lets the tree reach attention in models whose decoder layers drop keyword arguments.

    Those layers hand on their mask, and the tree is what a mask is for: before each call of such a layer the tree takes the mask's place among
    its arguments. It is still an argument of that one call, and gradient checkpointing, which keeps a layer's arguments, computes with it again.
    """
    for module in model.modules():
        if type(module).__name__ in FORGETFUL:
            module.register_forward_pre_hook(_tree_for_mask, with_kwargs=True)


def _tree_for_mask(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The layer's arguments with the tree, where there is one, as mask."""
    if kwargs.get(KEYWORD) is None:
        return args, kwargs
    if kwargs.get("attention_mask") is not None or len(args) != 1:
        raise UserError(type(module).__name__, "a mask beside the token tree", "the tree alone", "This model cannot be used.")
    return args, {**kwargs, "attention_mask": kwargs[KEYWORD]}


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | Tree | None = None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    affinage_tree: Tree | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention over the token tree, with the signature of transformers' `AttentionInterface`.

    Args:
        module: the attention layer; its `layer_idx` is read.
        query: [1, G * K, N, D].
        key: [1, K, N, D].
        value: [1, K, N, Dv]; Dv need not be D.
        attention_mask: must be None, or the tree itself (`hand_on`): visibility is the tree's.
        scaling: factor of the scores; default 1 / sqrt(D).
        dropout: must be 0.
        sliding_window: how many ancestors (itself counted) a node sees.
        softcap: scores become softcap * tanh(score / softcap).
        s_aux: [G * K] attention sinks, one logit per query head in every softmax.
        affinage_tree: the tree.
        **others: refused unless None or known to be without meaning here.

    Returns:
        [1, N, G * K, Dv], and None for the weights.

    Raises:
        UserError: the model hands over something that this function does not know; it never computes wrongly.
    """
    if isinstance(attention_mask, Tree):
        affinage_tree, attention_mask = attention_mask, None
    _refuse_unknown(module, attention_mask, dropout, others)
    if affinage_tree is None:
        raise UserError(type(module).__name__, "a call without the token tree", "the tree as a keyword argument", "This model cannot be used.")
    tree = affinage_tree.on(query.device)
    layer = int(module.layer_idx)  # type: ignore[arg-type]
    window = tree.windows[layer] if sliding_window is None else Window("sliding", int(sliding_window))
    flat_key, flat_value = key[0].transpose(0, 1), value[0].transpose(0, 1)
    if tree.calls is not None:
        tree.calls.append((layer, flat_key, flat_value))
    if tree.prefix is not None:
        _check_slots(module, tree.prefix, layer, flat_key, flat_value)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    call = Call(layer, query[0].transpose(0, 1), flat_key, flat_value, scale, window, softcap, s_aux, tree)
    return _with_additive(module, call, tree.kernel.compute(call)[None]), None


def _with_additive(module: nn.Module, call: Call, result: Tensor) -> Tensor:
    """[1, N, G * K, Dv] with the adapters' term added, where there is one."""
    additive = call.tree.additive
    return result if additive is None else result + additive.of(module, call.layer, call.query, call.value)


def _check_slots(module: nn.Module, prefix: Prefix, layer: int, key: Tensor, value: Tensor) -> None:
    """Prefix slots look like the layer's own keys and values, or are refused."""
    own, slots = (key.shape[1:], value.shape[1:]), (prefix.keys[layer].shape[2:], prefix.values[layer].shape[2:])
    if own != slots:
        raise UserError(
            f"attention of {type(module).__name__}",
            f"prefix slots with {' and '.join(f'{heads} heads of width {width}' for heads, width in slots)} in layer {layer}",
            f"keys with {own[0][0]} heads of width {own[0][1]} and values with {own[1][0]} of width {own[1][1]}",
            "Use another method with this model.",
        )


def _refuse_unknown(module: nn.Module, mask: Tensor | None, dropout: float, others: dict[str, Any]) -> None:
    """Everything that would change the result and is not understood is an error."""
    strange = sorted(name for name, value in others.items() if value is not None and name not in INERT)
    if mask is not None:
        strange.append("attention_mask")
    if dropout:
        strange.append(f"dropout={dropout}")
    if strange:
        raise UserError(
            f"attention of {type(module).__name__}",
            f"the arguments {', '.join(strange)}",
            "only arguments that Affinage's attention understands",
            "This architecture is not supported; please report it with its name.",
        )


def dense_attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    visible: Tensor,
    *,
    scaling: float,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    gates: Tensor | None = None,
) -> Tensor:
    """The definition: attention with a dense mask, in float32; the reference that `attend` is tested against.

    Args:
        query: [1, G * K, N, D].
        key: [1, K, N, D].
        value: [1, K, N, Dv].
        visible: [N, N] whether i sees j.
        scaling: factor of the scores.
        softcap: see `attend`.
        s_aux: see `attend`.
        gates: [N, N] factor with which i sees the key and the value of j.

    Returns:
        [1, N, G * K, Dv].
    """
    repeat = query.shape[1] // key.shape[1]
    score = (query.float() @ key.float().repeat_interleave(repeat, 1).transpose(2, 3)) * scaling
    if gates is not None:
        score = score * gates
    if softcap is not None:
        score = torch.tanh(score / softcap) * softcap
    score = score.masked_fill(~visible, float("-inf"))
    if s_aux is not None:
        score = torch.cat([score, s_aux.float().view(1, -1, 1, 1).expand(1, -1, score.shape[2], 1)], -1)
    weight = score.softmax(-1)[..., : visible.shape[1]]
    if gates is not None:
        weight = weight * gates
    return (weight @ value.float().repeat_interleave(repeat, 1)).to(query.dtype).transpose(1, 2)
