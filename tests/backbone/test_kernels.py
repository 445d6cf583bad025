"""Every kernel against the dense definition, on trees with all that attention may meet: equal in value and gradient, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.attention.flex_attention as torch_flex
from test_attention import CPU, Layer, random, reference
from torch import Tensor

from affinage.backbone import load
from affinage.backbone.attention import Prefix, Tree, attend, plant
from affinage.backbone.doors import Doors
from affinage.backbone.flex import BLOCK, MOST_KERNELS, lengths
from affinage.backbone.kernels import Window, kernel_of, rounded
from affinage.config import ModelConfig
from affinage.pack import Branch, Packed, pack
from affinage.records import UserError
from affinage.seeds import generator
from trees import BATCH, assert_close, backbone_of, doors_of, on_a_tree, placed, small

KERNELS = ("strips", "buckets", "sdpa", "flex")
REFUSED = {
    ("sdpa", "softcap"): "a soft cap on the scores",
    ("sdpa", "gates"): "gates on the prefix slots",
    ("flex", "gates"): "gates on the prefix slots",
}

FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "one head": {"heads": (1, 1)},
    "sliding": {"window": Window("sliding", 3)},
    "wide window": {"window": Window("sliding", 40)},
    "chunked": {"window": Window("chunked", 5)},
    "softcap": {"softcap": 1.0},
    "sinks": {"sinks": True},
    "prefix": {"slots": 4},
    "gates": {"slots": 4, "gated": True},
    "cohort": {"adapters": 2},
    "values of another width": {"widths": (8, 4)},
    "all": {"window": Window("sliding", 6), "sinks": True, "slots": 3, "adapters": 2, "heads": (2, 3), "softcap": 1.0},
    "all without a cap": {"window": Window("sliding", 6), "sinks": True, "slots": 3, "adapters": 2, "heads": (2, 3)},
}


@pytest.fixture
def backward_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FlexAttention's own definition has a backward pass everywhere; only its check of the device, and ours, stand before it on a CPU."""
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr("affinage.backbone.flex._has_backward", lambda device: True)
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def case(
    kernel: str,
    *,
    heads: tuple[int, int] = (2, 2),
    widths: tuple[int, int] = (8, 8),
    window: Window | None = None,
    slots: int = 0,
    softcap: float | None = None,
    sinks: bool = False,
    gated: bool = False,
    adapters: int = 1,
) -> tuple[Packed, Tree, list[Tensor], dict[str, Any]]:
    """A pack, its tree, [query, key, value and every other tensor], and the further arguments of the call."""
    packed = pack([replace(branch, adapter=r) for r in range(adapters) for branch in BATCH[r:]], adapters)
    kv_heads, repeat = heads
    inputs = [
        random(1, kv_heads * repeat, packed.nodes, widths[0], key="query"),
        random(1, kv_heads, packed.nodes, widths[0], key="key"),
        random(1, kv_heads, packed.nodes, widths[1], key="value"),
    ]
    prefix = None
    if slots:
        prefix = Prefix(*(random(2, adapters, slots, kv_heads, width, key=f"prefix {i}") for i, width in enumerate(widths)))
        inputs += [prefix.keys, prefix.values]
    tree = plant(packed, (None, window), CPU, prefix, kernel=kernel_of(kernel))
    if gated:
        tree = replace(tree, gates=random(packed.nodes, slots, key="gates"))
        inputs.append(tree.gates)  # type: ignore[arg-type]
    sink = random(kv_heads * repeat, key="sink").detach() if sinks else None  # the frozen model's
    return packed, tree, inputs, {"softcap": softcap, "s_aux": sink}


@pytest.mark.usefixtures("backward_on_a_cpu")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch.compile itself, which hides it by a filter
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_equals_the_dense_mask_or_is_refused(kernel: str, features: str) -> None:
    values = FEATURES[features]
    packed, tree, inputs, more = case(kernel, **values)
    query, key, value = inputs[:3]
    unable = [why for (name, what), why in REFUSED.items() if name == kernel and (what == features or (what == "softcap" and values.get("softcap")))]
    if unable:
        with pytest.raises(UserError, match=f"model.attention: {kernel}: found {unable[0]}; expected .* Set `model.attention` to strips"):
            attend(Layer(), query, key, value, scaling=0.3, affinage_tree=tree, **more)
        return
    found = attend(Layer(), query, key, value, scaling=0.3, affinage_tree=tree, **more)[0]
    expected = reference(packed, (query, key, value), values.get("window"), tree, **more)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    direction = random(*expected.shape, key="direction").detach()
    own, theirs = (torch.autograd.grad((result * direction).sum(), inputs) for result in (found, expected))
    for mine, other in zip(own, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("feature", ["sliding", "softcap", "sinks", "prefix", "gates"])
def test_the_features_matter(feature: str) -> None:
    results = []
    for values in ({}, FEATURES[feature]):
        _, tree, inputs, more = case("strips", **values)
        results.append(attend(Layer(), *inputs[:3], scaling=0.3, affinage_tree=tree, **more)[0])
    plain, changed = results
    assert not torch.allclose(plain, changed, atol=1e-2)


@pytest.mark.parametrize("kernel", ["buckets", "sdpa"])
@pytest.mark.parametrize("name", ["llama", "gpt_oss", "gemma3_text", "llama4_text"])
def test_a_model_answers_alike_under_every_kernel(name: str, kernel: str) -> None:
    model, config = small(name)
    plain = backbone_of(model, config)
    other = replace(plain, kernel=kernel_of(kernel))
    kinds = ["updates"] + (["prefix"] if plain.shape.uniform_heads else [])
    doors = doors_of(plain, kinds)
    expected, reference_gradients = on_a_tree(plain, doors)
    found, gradients = on_a_tree(other, doors)
    assert_close(found, expected)
    for mine, theirs in zip(gradients, reference_gradients, strict=True):
        assert_close(mine, theirs, 1e-4)


def test_flex_evaluates_a_model_on_a_cpu_and_refuses_to_train_it() -> None:
    plain = backbone_of(*small("llama"))
    flex = replace(plain, kernel=kernel_of("flex"))
    doors = doors_of(plain, ["vectors", "prefix"])
    packed = pack([placed(branch, doors) for branch in BATCH])
    with torch.no_grad(), plain.logits(packed, [doors]) as expected, flex.logits(packed, [doors]) as found:
        assert_close(found, expected)
    with pytest.raises(UserError, match=r"model\.attention: flex: found training on a CPU, where PyTorch's FlexAttention has no backward pass"):
        on_a_tree(flex, doors)


def batches(count: int) -> Iterator[Packed]:
    """Random batches of 4 to 24 branches of 5 to 90 tokens under a common root."""
    rng = generator("batches of many sizes")
    for _ in range(count):
        root = tuple(rng.integers(1, 9, int(rng.integers(5, 60))).tolist())
        yield pack([Branch((*root, *rng.integers(1, 9, int(rng.integers(5, 90))).tolist()), 1) for _ in range(int(rng.integers(4, 25)))])


def shapes(packed: Packed, kernel: str) -> list[tuple[int, int, int]]:
    """(strips, queries, keys) of each group."""
    tree = plant(packed, (None,), CPU, kernel=kernel_of(kernel))
    return [(*group.query_position.shape, group.key_position.shape[1]) for group in tree.groups]


def test_buckets_meet_few_shapes_over_many_batches() -> None:
    made = {kernel: {shape for packed in batches(50) for shape in shapes(packed, kernel)} for kernel in ("strips", "buckets")}
    assert len(made["strips"]) > 150
    assert len(made["buckets"]) < len(made["strips"]) / 2
    for each in zip(*made["buckets"], strict=True):
        assert all(number == rounded(number) for number in each)
    strips, queries, keys = (len(set(each)) for each in zip(*made["buckets"], strict=True))
    assert (strips <= 12, queries <= 6, keys <= 8) == (True, True, True)


def test_rounding_up_adds_at_most_half() -> None:
    sizes = [rounded(count) for count in range(1, 1000)]
    assert sorted(set(sizes)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024]
    assert all(count <= size <= 2 * count - 1 or size == count for count, size in enumerate(sizes, 1))
    assert {rounded(count, least=128) for count in range(1, 513)} == {128, 192, 256, 384, 512}


def test_flex_meets_few_lengths_which_are_whole_blocks() -> None:
    packed = pack([Branch(tuple(range(1, 131)), 1, r) for r in range(3)], 3)
    found = {lengths(replace(packed, segments=np.array([0, 40, 200, nodes])), slots) for nodes in range(300, 32_769) for slots in (0, 16, 256)}
    assert all(queries % BLOCK == keys % BLOCK == 0 and keys >= queries for queries, keys in found)
    assert len({queries for queries, _ in found}) == 14
    assert len(found) <= MOST_KERNELS // 2


@pytest.mark.parametrize("slots", [0, 5])
def test_no_block_of_flex_holds_two_adapters(slots: int) -> None:
    _, tree, inputs, _ = case("flex", adapters=2, slots=slots)
    with torch.no_grad():
        attend(Layer(), *inputs[:3], affinage_tree=tree)
    (mask,) = tree.masks.values()
    assert mask.to_dense()[0, 0].tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("slots", [0, 5])
@pytest.mark.parametrize("window", [None, Window("sliding", 20)])
def test_the_blocks_of_flex_hold_every_pair_that_is_visible(slots: int, window: Window | None) -> None:
    """Compiled kernels compute the blocks that are listed, and look at no pair in those listed as whole."""
    trunk = tuple(generator("a trunk of several blocks").integers(1, 9, 300).tolist())
    packed = pack([Branch((*trunk[:cut], number, number, *trunk[cut:]), 1, r) for r in range(2) for number, cut in enumerate((300, 290, 150, 10))], 2)
    prefix = Prefix(torch.zeros(2, 2, slots, 1, 4), torch.zeros(2, 2, slots, 1, 4)) if slots else None
    tree = plant(packed, (None, window), CPU, prefix, kernel=kernel_of("flex"))
    rows = torch.zeros(1, 1, packed.nodes, 4)
    attend(Layer(), rows, rows, rows, affinage_tree=tree)
    (mask,) = tree.masks.values()
    queries, keys = lengths(packed, slots)
    i, j = torch.meshgrid(torch.arange(queries), torch.arange(keys), indexing="ij")
    visible = mask.mask_mod(None, None, i, j).view(queries // BLOCK, BLOCK, keys // BLOCK, BLOCK)
    listed = mask.to_dense()[0, 0].bool()
    assert not (visible.any(3).any(1) & ~listed).any()
    whole = torch.zeros_like(listed)
    for row, (count, columns) in enumerate(zip(mask.full_kv_num_blocks[0, 0], mask.full_kv_indices[0, 0], strict=True)):
        whole[row, columns[:count].long()] = True
    assert visible.all(3).all(1)[whole].all()
    if window is None:
        assert torch.equal(visible.any(3).any(1), listed)
        assert torch.equal(visible.all(3).all(1), whole)
        assert whole.any()


@pytest.mark.parametrize("slots", [0, 5])
def test_rows_that_flex_adds_see_a_key(slots: int) -> None:
    packed, tree, inputs, _ = case("flex", adapters=2, slots=slots, window=Window("sliding", 2))
    with torch.no_grad():
        attend(Layer(), *inputs[:3], affinage_tree=tree)
    (mask,) = tree.masks.values()
    queries, keys = lengths(packed, slots)
    i, j = torch.meshgrid(torch.arange(queries), torch.arange(keys), indexing="ij")
    assert mask.mask_mod(None, None, i, j).any(1).all()


def test_rows_that_are_added_let_no_adapters_nan_into_anothers_gradients() -> None:
    packed, tree, inputs, _ = case("buckets", adapters=2, slots=2)
    own = slice(0, int(packed.segments[1]))
    clean = torch.autograd.grad(attend(Layer(), *inputs[:3], affinage_tree=tree)[0][:, own].sum(), inputs[:3])
    with torch.no_grad():
        for each in inputs[:3]:
            each[:, :, int(packed.segments[1]) :] = float("nan")
    result = attend(Layer(), *inputs[:3], affinage_tree=tree)[0]
    assert torch.isfinite(result[:, own]).all()
    spoilt = torch.autograd.grad(result.sum(), inputs[:3])
    assert all(torch.equal(mine[:, :, own], theirs[:, :, own]) for mine, theirs in zip(clean, spoilt, strict=True))
    assert not torch.isfinite(spoilt[0]).all()


@pytest.mark.parametrize(("named", "used"), [("auto", "strips"), *((name, name) for name in KERNELS)])
def test_the_kernel_is_a_value_of_the_model(named: str, used: str, tiny_folder: Any) -> None:
    values: dict[str, Any] = {"attention": named}
    backbone = load(ModelConfig(id=str(tiny_folder), dtype="float32", device="cpu", threads=1, **values))
    assert backbone.kernel.name == used
    assert np.isfinite(on_a_tree_without_gradient(backbone)).all()


def on_a_tree_without_gradient(backbone: Any) -> Any:
    with torch.no_grad(), backbone.logits(pack(BATCH), [Doors()]) as logits:
        return logits.numpy()


def test_a_model_that_the_kernel_cannot_compute_is_refused_with_the_kernels_name() -> None:
    plain = backbone_of(*small("gemma2"))
    with pytest.raises(UserError, match=r"model\.attention: sdpa: found a soft cap on the scores"):
        on_a_tree(replace(plain, kernel=kernel_of("sdpa")), Doors())
