"""The products of a step: recorded whole, counted from the tree by hand, done again in the same layouts; and what the shares come to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from benches import METHODS, Near, made
from torch import Tensor

from affinage.backbone import model as backbones
from affinage.backbone.attention import Window
from affinage.bench import products
from affinage.bench.material import Material, training_work
from affinage.bench.needed import needed, visible_pairs
from affinage.bench.products import Operand, Replay, operations, peak_rate, recorded
from affinage.bench.results import Result, as_dict, markdown
from affinage.bench.share import Share
from affinage.bench.sides.ours import OurTraining
from affinage.bench.training import train
from affinage.bench.wire import SideError
from affinage.bench.work import write_work
from affinage.pack import Branch, Packed, pack
from affinage.records import Encoded
from affinage.scoring import answer_branch

LAYERS, HEADS, WIDTH = 2, 4, 16


@pytest.fixture(scope="module")
def material(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return made(tiny_folder, tmp_path_factory.mktemp("questions"))


@pytest.fixture(autouse=True)
def _whole_last_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed counts the last layer at every node, whoever leaves a part of it out (`backbone.last`)."""
    monkeypatch.setattr(backbones, "feed_forward", lambda layers: None)


@pytest.fixture
def small_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products, "_SQUARES", {"cpu": (32, 64)})


def side(material: Material, method: str, folder: Path) -> OurTraining:
    return OurTraining(training_work(material, method, 3, 2, folder / "start"))


@pytest.mark.parametrize("method", METHODS)
def test_what_is_recorded_is_what_the_tree_needs_and_the_mask_s_waste(method: str, material: Material, tmp_path: Path) -> None:
    ours = side(material, method, tmp_path)
    calls = recorded(lambda: ours.step(0))
    count = needed(ours._backbone, ours._adapter, ours._batches[0])
    assert all(call.multiplications is not None for call in calls)
    assert sum(call.multiplications or 0 for call in calls if not call.batched) == count.linear + count.output + count.adapter
    attention = sum(call.multiplications or 0 for call in calls if call.batched)
    assert count.attention < attention < 4 * count.attention
    assert count.total == count.linear + count.attention + count.output + count.adapter


def test_linear_layers_and_attention_by_hand(material: Material, tmp_path: Path) -> None:
    weights = 2 * (64 * 64 + 64 * 32) + 3 * 64 * 96  # queries and output, keys and values, the feed-forward part
    counts = {}
    for method in METHODS:
        ours = side(material, method, tmp_path / method)
        batch = ours._batches[0]
        nodes, packed = ours.step(0).tokens, pack([ours._adapter.place(branch) for branch in _answers(batch)])
        assert packed.nodes == nodes
        counts[method] = needed(ours._backbone, ours._adapter, batch), packed
    count, packed = counts["prompt-tuning"]
    pairs = int(packed.depth.sum()) + packed.nodes
    assert count.linear == 2 * LAYERS * packed.nodes * weights
    assert count.attention == 6 * LAYERS * pairs * HEADS * WIDTH
    assert count.adapter == 0
    count, packed = counts["prefix-tuning"]
    unreached = 64 * (64 + 32 + 32)  # the first layer's queries, keys and values read nothing that is trained
    assert count.linear == packed.nodes * (2 * LAYERS * weights - unreached)
    pairs, slots = int(packed.depth.sum()) + packed.nodes, 4 * packed.nodes
    assert count.attention == HEADS * WIDTH * ((2 * (pairs + slots) + 3 * slots) + 6 * (pairs + slots))
    count, packed = counts["lora"]
    assert count.adapter == packed.nodes * 16 * (LAYERS * 3 * (2 * (64 + 64) + 2 * (64 + 32) + 3 * (64 + 96)) - 3 * 64)


def _answers(batch: Sequence[Encoded]) -> list[Branch]:
    return [answer_branch(each) for each in batch]


def tree() -> Packed:
    return pack([Branch((1, 2, 3, 4, 5, 6), 3), Branch((1, 2, 3, 9, 8, 7, 6), 3), Branch((1, 5, 5), 1)])


@pytest.mark.parametrize("slots", [0, 3])
@pytest.mark.parametrize("window", [None, Window("sliding", 3), Window("chunked", 4)], ids=str)
def test_visible_pairs_by_walking_up(window: Window | None, slots: int) -> None:
    packed = tree()
    text = before = 0
    for node in range(packed.nodes):
        position, above = int(packed.depth[node]) + slots, node
        path = []
        while above >= 0:
            path.append(int(packed.depth[above]) + slots)
            above = int(packed.parent[above])
        for kind, places in (("text", path), ("slot", list(range(slots)))):
            for place in places:
                seen = window is None or (
                    position - place < window.size if window.kind == "sliding" else position // window.size == place // window.size
                )
                text += seen and kind == "text"
                before += seen and kind == "slot"
    assert visible_pairs(packed, window, slots) == (text, before)


def test_layouts_are_kept_and_lasting_memory_is_read_where_it_lies() -> None:
    weight = torch.randn(8, 6)
    x = torch.randn(5, 6).requires_grad_()

    def step() -> None:
        hidden = (x * 2.0) @ weight.T
        (hidden.relu().softmax(-1) + 1).sum().backward()  # type: ignore[no-untyped-call]

    calls = recorded(step)
    assert [call.name for call in calls] == ["aten.mm.default"] * 2, "the forward product, and the one that reaches x; nothing element-wise"
    made_here, kept = calls[0].arguments
    assert made_here == Operand((5, 6), (6, 1), torch.float32, torch.device("cpu"))
    assert isinstance(kept, Tensor)
    assert kept.data_ptr() == weight.data_ptr()
    assert (kept.shape, kept.stride()) == ((6, 8), (1, 6))
    assert [call.multiplications for call in calls] == [5 * 6 * 8] * 2
    replay = Replay(calls)
    again = recorded(replay.run)
    assert [call.name for call in again] == [call.name for call in calls]
    shapes = [[(tuple(value.shape), tuple(value.stride())) for value in call.arguments] for call in again]
    assert shapes == [[((5, 6), (6, 1)), ((6, 8), (1, 6))], [((5, 8), (8, 1)), ((8, 6), (6, 1))]]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")  # type: ignore[no-untyped-call]
def test_a_packed_linear_layer_of_another_library_is_seen() -> None:
    packed, x = torch.randn(7, 6).to_mkldnn(), torch.randn(5, 6)
    calls = recorded(lambda: torch.ops.mkldnn._linear_pointwise(x * 1.0, packed, None, "none", [], ""))
    assert operations(calls) == {"mkldnn._linear_pointwise.default": {"calls": 1, "multiplications": 5 * 6 * 7}}
    assert not calls[0].batched
    Replay(calls).run()


def test_what_writes_to_its_operands_does_so_alone_in_memory_of_its_own() -> None:
    x, y, held = torch.randn(4, 5), torch.randn(5, 6), torch.zeros(4, 6)
    calls = recorded(lambda: (held.addmm_(x, y), torch.mm(x, y, out=held)))
    counts = {"calls": 1, "multiplications": 4 * 5 * 6}
    assert operations(calls) == {"aten.addmm_.default": counts, "aten.mm.out": counts}
    before = held.clone()
    Replay(calls).run()
    assert torch.equal(held, before)


@torch.library.custom_op("affinage_tests::twofold", mutates_args=())
def twofold(x: Tensor, y: Tensor) -> Tensor:
    """A product that nobody knows."""
    return x @ y + x @ y


def test_an_unknown_product_is_timed_and_named() -> None:
    calls = recorded(lambda: twofold(torch.randn(3, 4), torch.randn(4, 2)))
    assert operations(calls) == {"affinage_tests.twofold.default": {"calls": 1, "multiplications": None}}
    Replay(calls).run()


@pytest.mark.parametrize("shape", [(3, 4), (0, 4), (2, 3, 4)])
def test_a_replayed_operand_has_the_memory_that_its_strides_span(shape: tuple[int, ...]) -> None:
    value = torch.empty(shape)
    assert Operand(tuple(value.shape), tuple(value.stride()), value.dtype, value.device).span == value.numel()
    wide = torch.empty(3, 10)[:, :4]
    assert Operand(tuple(wide.shape), tuple(wide.stride()), wide.dtype, wide.device).span == 24


@pytest.mark.usefixtures("small_squares")
def test_a_peak_is_a_rate() -> None:
    assert 0 < peak_rate(torch.float32, "cpu") < 1e15


@pytest.mark.filterwarnings("ignore::FutureWarning")  # what foreign libraries warn of is theirs to mend
@pytest.mark.usefixtures("small_squares")
def test_our_worker_times_products_and_a_peer_s_does_not(material: Material, tmp_path: Path) -> None:
    path = write_work(tmp_path / "work.json", training_work(material, "prompt-tuning", 3, 3, tmp_path / "start"))
    talk = Near()
    talk.ask("open", side="affinage", work=path, options={})
    found = talk.ask("products", indices=[1, 2], rounds=3)
    assert [len(batch[kind]) for batch in found["batches"] for kind in ("step", "alone")] == [3] * 4
    for batch in found["batches"]:
        assert batch["uncounted"] == []
        assert min(batch["alone"]) > 0
        assert batch["performed"]["linear"] == batch["needed"]["linear"] + batch["needed"]["output"]
        assert sum(each["multiplications"] for each in batch["operations"].values()) == sum(batch["performed"].values())
    assert len(found["peak"]) == 6
    peer = Near()
    peer.ask("open", side="peft-loop", work=path, options={})
    with pytest.raises(SideError, match="no peer's"):
        peer.ask("products", indices=[1], rounds=1)


BATCH = {"performed": {"linear": 80, "batched": 40}, "operations": {}, "uncounted": []}
SHARE = Share(
    "lora",
    "4",
    "measured",
    (
        {**BATCH, "step": [2.0, 1.0, 9.0], "alone": [1.0, 1.5, 1.6], "needed": {"total": 100}},
        {**BATCH, "step": [4.0], "alone": [1.0], "needed": {"total": 60}, "uncounted": ["mine.product"]},
    ),
    (90.0, 100.0),
)


def test_shares_by_hand() -> None:
    assert (SHARE.step, SHARE.alone, SHARE.shares) == ((2.0, 4.0), (1.5, 1.0), (0.75, 0.25))
    assert SHARE.use == (0.5, 0.15)
    assert SHARE.performed == 240 / 160
    values = SHARE.as_dict()
    assert (values["share"], values["use_of_peak"], values["performed_over_needed"]) == (0.5, 0.325, 1.5)


def test_the_page_says_what_was_not_counted_and_what_failed() -> None:
    broken = Share("lora", "1", "failed: out of memory")
    result = Result("train", "affinage bench train", {"device": "cpu"}, {}, (), (SHARE, broken))
    page = markdown(result, "here")
    assert "| lora | 4 | 3 (2 to 4) | 1.25 (1 to 1.5) | **0.5 (0.25 to 0.75)** |" in page
    assert "Timed, but of unknown multiplications: mine.product" in page
    assert "| lora | 1 | failed: out of memory |" in page
    assert result.failed
    assert [share["state"] for share in as_dict(result)["shares"]] == ["measured", "failed: out of memory"]
    assert "matrix products" not in markdown(Result("train", "", {"device": "cpu"}, {}, ()), "here")


@pytest.mark.usefixtures("small_squares")
def test_the_bench_looks_at_the_timed_batches_without_any_peer(material: Material) -> None:
    events: list[str] = []
    values = {"methods": ("prompt-tuning",), "peers": (), "per_template": (1, 3), "repetitions": 2, "command": "", "start": Near}
    result = train(material.config, products=1, on_event=events.append, **values)  # type: ignore[arg-type]
    assert [(share.variant, share.state, len(share.batches)) for share in result.shares] == [("1", "measured", 2), ("3", "measured", 2)]
    assert events == [f"prompt-tuning, {together} per template, our matrix products alone" for together in (1, 3)]
    plain, shared = (np.mean([batch["needed"]["total"] for batch in share.batches]) for share in result.shares)
    assert shared < plain
    assert train(material.config, **values).shares == ()  # type: ignore[arg-type]
