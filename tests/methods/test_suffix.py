"""Virtual tokens behind the context: the context's nodes computed without gradient, or once for a whole training, and nothing else changed by it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import CASES, Case, build, label, moved, sequences
from torch import Tensor

from affinage.backbone import Backbone, Doors, load
from affinage.backbone.kernels import kernel_of
from affinage.backbone.shape import needs_ids
from affinage.cli.estimated import said
from affinage.config import MethodConfig, ModelConfig, PromptConfig, StudyConfig, TrainingConfig
from affinage.methods import Adapter, registry, resolve
from affinage.pack import Branch, after_contexts, contexts, pack
from affinage.records import BackboneShape, Encoded, UserError
from affinage.scoring import token_logprobs
from affinage.store import Checkout, RunFolder, StudyFolder, read_log, read_state
from affinage.store.study import read_config
from affinage.study import plan, run
from affinage.study.costs import Machine, Rates, sample, state_bytes, step_bytes, step_seconds, weight_bytes
from affinage.study.costs.estimate import estimate
from affinage.study.engine import engine as real_engine
from affinage.train import Batch, Contexts, Member, Reads, StepRecord, Way, cohort_losses, context_packs, laid_apart, reading, train_cohort
from affinage.train import contexts as train_contexts
from affinage.train.contexts import way_of
from test_train import StoppedError, tensors_of
from test_train import plan as short
from tiny import LETTERS, PMI, TEXT, encode, questions, write_questions
from trees import BATCH, GROUPED, PASSING, assert_close, backbone_of, random, small

SUFFIX: list[Case] = [
    ("prompt-tuning", {"length": 4, "place": "before_answer"}),
    ("p-tuning", {"root": (), "before_answer": (2, "Answer:", 1), "encoder": "mlp"}),
]
each = pytest.mark.parametrize("case", SUFFIX, ids=label)
WAYS: tuple[Way, ...] = ("gradient", "no-gradient", "kept")
APART: tuple[Way, ...] = ("no-gradient", "kept")
KINDS = [("answer", LETTERS, None), ("choice", TEXT, None), ("choice", PMI, 150)]


def behind(backbone: Backbone, number: int = 0) -> Adapter:
    """A prompt behind the context."""
    return moved(build(SUFFIX[0], backbone), number)


def step(
    reads: Any, cohort: Sequence[Adapter], asked: Sequence[Sequence[Encoded]], kind: tuple[str, PromptConfig, int | None]
) -> tuple[list[float], int, list[Tensor]]:
    """Losses, nodes and gradients of one step."""
    loss, prompt, budget = kind
    for adapter in cohort:
        adapter.zero_grad()
    given = [Batch(adapter, side) for adapter, side in zip(cohort, asked, strict=True)]
    values, nodes = cohort_losses(reads, given, loss, prompt.score, budget)
    return values, nodes, [value.grad.clone() for adapter in cohort for value in adapter.parameters() if value.grad is not None]


def read_as(backbone: Backbone, way: Way, asked: Sequence[Sequence[Encoded]], loss: str, prompt: PromptConfig) -> Any:
    """The backbone read in one of the ways."""
    reads = reading(backbone, way, (one for side in asked for one in side), loss, prompt.score)
    assert isinstance(reads, Contexts) == (way != "gradient")
    return reads


@each
@pytest.mark.parametrize("kind", KINDS, ids=["answer", "choice", "pmi in packs"])
def test_losses_and_gradients_are_those_of_the_whole_tree(case: Case, kind: tuple[str, PromptConfig, int | None], backbone: Backbone) -> None:
    loss, prompt, _ = kind
    cohort = [moved(build(case, backbone), number) for number in range(2)]
    asked = [encode(backbone, questions(place, 7), prompt) for place in ("Atlantis", "Lemuria")]
    values, nodes, expected = step(backbone, cohort, asked, kind)
    assert len(expected) == 2 * len(list(cohort[0].parameters()))
    assert all(float(gradient.abs().max()) > 0 for gradient in expected)
    for way in APART:
        found, counted, gradients = step(read_as(backbone, way, asked, loss, prompt), cohort, asked, kind)
        assert found == pytest.approx(values, rel=1e-5)
        assert counted == nodes
        for mine, theirs in zip(gradients, expected, strict=True):
            assert_close(mine, theirs, 1e-5)


def test_states_that_are_made_in_several_packs_are_those_of_one(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, kind = [encode(backbone, questions("Atlantis", 9), LETTERS)], KINDS[0]
    cohort = [behind(backbone)]
    values, _, expected = step(backbone, cohort, asked, kind)
    monkeypatch.setattr(train_contexts, "_NODES", 150)
    assert len(context_packs(asked[0], "answer", "total")) > 2
    found, _, gradients = step(read_as(backbone, "kept", asked, *kind[:2]), cohort, asked, kind)
    assert found == pytest.approx(values, rel=1e-5)
    assert_close(gradients[0], expected[0], 1e-5)


@pytest.mark.parametrize("name", PASSING)
def test_every_architecture_reads_contexts_from_outside_of_the_pack(name: str) -> None:
    model, config = small(name, **({**PASSING[name], **GROUPED} if name in {"llama", "gemma2", "gpt_oss"} else PASSING[name]))
    if needs_ids(config):
        pytest.skip("virtual tokens are refused")
    backbone = backbone_of(model, config)
    doors = Doors(vectors=random(3, backbone.shape.width, key="suffix"))
    packed = pack([replace(one, ids=(*one.ids[: one.first], -1, -2, -3, *one.ids[one.first :]), first=one.first + 3) for one in BATCH])
    found = []
    ways: tuple[Reads, ...] = backbone, Contexts(backbone)
    for reads in ways:
        with reads.logits(packed, [doors]) as logits:
            values = token_logprobs(logits, packed)
            assert doors.vectors is not None
            found.append((values.detach(), torch.autograd.grad(values.sum(), doors.vectors)[0]))
    assert_close(found[1][0], found[0][0], 1e-5)
    assert_close(found[1][1], found[0][1], 1e-4)


@contextmanager
def passes(backbone: Backbone) -> Iterator[list[tuple[int, bool]]]:
    """Nodes of each pass through the first layer, and whether anything in it wants a gradient."""
    seen: list[tuple[int, bool]] = []

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden = args[0] if args else kwargs["hidden_states"]
        seen.append((hidden.shape[1], hidden.requires_grad))

    handle = backbone.model.model.layers[0].register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def test_each_way_computes_what_it_says(backbone: Backbone) -> None:
    asked, kind = [encode(backbone, questions("Atlantis", 6, rows=2), LETTERS)], KINDS[0]
    cohort = [behind(backbone)]
    with passes(backbone) as seen:
        _, nodes, _ = step(backbone, cohort, asked, kind)
    assert seen == [(nodes, True)]
    with passes(backbone) as seen:
        step(read_as(backbone, "no-gradient", asked, *kind[:2]), cohort, asked, kind)
    (before, learned), (rest, learns) = seen
    assert before + rest == nodes
    assert (learned, learns) == (False, True)
    with passes(backbone) as seen:
        reads = read_as(backbone, "kept", asked, *kind[:2])
        for _ in range(3):
            step(reads, cohort, asked, kind)
    assert seen == [(before, False), *[(rest, True)] * 3]


def test_a_tree_is_taken_apart_into_its_contexts_and_the_rest() -> None:
    suffix = (-1, -2)
    texts: dict[tuple[int, ...], list[tuple[int, ...]]] = {
        (1, 2, 3): [(7, 8), (7, 9, 9)],
        (1, 2, 3, 4): [(7, 8)],
        (1, 5): [(6, 6)],
        (0,): [(3, 3), (4,)],
    }
    branches = [Branch((*context, *suffix, *ids), len(context) + 2, adapter) for adapter in (1, 0) for context in texts for ids in texts[context]]
    packed = pack(branches, 2)
    before, rest = laid_apart(packed)
    assert before.nodes == 6, "1 2 3 4, 5 and 0, whoever reads them"
    assert rest.nodes == packed.nodes - 2 * before.nodes
    ids = np.concatenate([rest.ids, before.ids])
    kept = [tuple(ids[path[path >= 0]].tolist()) for path in rest.path]
    assert kept == [tuple(packed.ids[path[path >= 0]].tolist()) for path in packed.path]
    assert kept == [branch.ids[:-1] for branch in sorted(branches, key=lambda branch: (branch.adapter, branch.ids))]
    assert rest.segments.tolist() == [0, rest.nodes // 2, rest.nodes]
    assert rest.ids[rest.predicting].tolist() == packed.ids[packed.predicting].tolist()
    assert rest.depth[rest.predicting].tolist() == packed.depth[packed.predicting].tolist()
    sees = [[j for j in range(rest.nodes) if j <= i < rest.end[j]] for i in range(rest.nodes)]
    assert all(sees[i][-1] == i and (rest.parent[i] in sees[i] or rest.parent[i] == -1) for i in range(rest.nodes))
    with pytest.raises(ValueError, match="a context and a virtual token after it"):
        contexts(pack([Branch((1, 2, 3), 2)]))
    with pytest.raises(ValueError, match="a context and a virtual token after it"):
        contexts(pack([Branch((-1, 2, 3), 2)]))
    assert contexts(pack([Branch((1, 2, -1, 3), 3), Branch((1, 2, -1, 4, 5), 3), Branch((1, -1, 3), 2)])) == [(1,), (1, 2), (1, 2)]
    assert after_contexts(pack([Branch((1, 2, -1, 3), 3)]), [np.array([5, 9])]).path.tolist() == [[6, 10, 0]]


@pytest.mark.parametrize("case", [*CASES, SUFFIX[1]], ids=label)
def test_what_stands_behind_the_context_leaves_it_alone(case: Case, backbone: Backbone) -> None:
    name, values = case
    method = registry.get(name)
    adapter = moved(build(case, backbone))
    assert adapter.after_context == method.after_context(method.settings.model_validate(values))
    assert adapter.after_context == (values.get("place") == "before_answer" or case == SUFFIX[1])
    if not adapter.after_context:
        return
    (branch,) = sequences(1, backbone.shape.vocabulary)
    found = adapter.place(branch)
    assert found.ids[: branch.first] == branch.ids[: branch.first]
    assert found.ids[branch.first] == -1
    doors = adapter.doors()
    assert replace(doors, vectors=None) == Doors()


def test_adapters_that_touch_the_context_are_read_as_ever(backbone: Backbone) -> None:
    ways = {
        label(case): way_of([moved(build(case, backbone))], "kept", fresh=False)
        for case in [*SUFFIX, ("prompt-tuning", {"length": 2}), ("prefix-tuning", {"length": 2}), ("lora", {"rank": 2})]
    }
    assert list(ways.values()) == ["kept", "kept", "gradient", "gradient", "gradient"]
    assert way_of([behind(backbone), moved(build(("prompt-tuning", {"length": 2}), backbone))], "kept", fresh=False) == "gradient"
    assert way_of([behind(backbone)], "kept", fresh=True) == "no-gradient"
    assert way_of([behind(backbone)], "gradient", fresh=False) == "gradient"
    adapter = behind(backbone)
    packed = pack([adapter.place(branch) for branch in sequences(3, backbone.shape.vocabulary)])
    for case in (("prefix-tuning", {"length": 2}), ("lora", {"rank": 2}), ("prefix-tuning-plus", {})):
        doors = replace(build(case, backbone).doors(), vectors=adapter.doors().vectors)
        with pytest.raises(ValueError, match="change more than what stands behind"), Contexts(backbone).logits(packed, [doors]):
            pass


EPOCHS = {"steps": None, "epochs": 3, "batch_size": 2, "loss": "choice", "rate": 1e-3}
"""9 and 6 steps."""


def trained(
    backbone: Backbone, folder: Path, way: Way, *, stop: int | None = None, asked: Sequence[Sequence[Encoded]] = (), **more: Any
) -> list[Adapter]:
    """A cohort of two, trained as far as it goes."""
    asked = asked or [encode(backbone, questions(place, count), TEXT) for place, count in (("Atlantis", 6), ("Lemuria", 4))]

    def on_step(record: StepRecord) -> None:
        if record.step == stop:
            raise StoppedError

    members = [
        Member(build(SUFFIX[0], backbone), side, place, RunFolder(folder / str(place)), more.pop(f"again{place}", None), on_step)
        for place, side in enumerate(asked)
    ]
    train_cohort(backbone, members, short(**EPOCHS), prompt=TEXT, checkpoint=folder / "checkpoint.safetensors", context=way, **more)
    return [member.adapter for member in members]


@pytest.mark.parametrize("way", APART)
def test_a_training_ends_where_the_ordinary_one_does_and_continues_bit_for_bit(way: Way, backbone: Backbone, tmp_path: Path) -> None:
    ordinary, whole = (trained(backbone, tmp_path / name, name) for name in ("gradient", way))
    for one, other, start in zip(whole, ordinary, [build(SUFFIX[0], backbone)] * 2, strict=True):
        mine, theirs, begun = (tensors_of(adapter)["vectors"] for adapter in (one, other, start))
        assert_close(mine, theirs, 1e-4)
        assert float((theirs - begun).abs().max()) > 1e-3 * float(begun.abs().max())
    for stop in (3, 8):
        folder = tmp_path / str(stop)
        with pytest.raises(StoppedError):
            trained(backbone, folder, way, stop=stop)
        continued = trained(backbone, folder, way)
        assert all(torch.equal(tensors_of(one)["vectors"], tensors_of(other)["vectors"]) for one, other in zip(continued, whole, strict=True))
    nodes = [[line["nodes"] for line in read_log(tmp_path / name / "0" / "train.jsonl")] for name in ("gradient", way)]
    assert nodes[0] == nodes[1]


def test_a_checkpoint_is_continued_in_its_own_way(backbone: Backbone, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        trained(backbone, tmp_path, "kept", stop=2)
    with pytest.raises(UserError, match="a checkpoint of another plan"):
        trained(backbone, tmp_path, "gradient")


def test_kept_states_are_a_function_of_the_questions_and_as_large_as_told(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = encode(backbone, questions("Atlantis", 20, rows=2), PMI)
    one, other = (reading(backbone, "kept", order, "choice", "pmi") for order in (asked, asked[::-1]))
    assert isinstance(one, Contexts)
    assert isinstance(other, Contexts)
    assert one.kept is not None
    assert other.kept is not None
    assert all(torch.equal(*pair) for pair in zip(one.kept.keys + one.kept.values, other.kept.keys + other.kept.values, strict=True))
    packs = context_packs(asked, "choice", "pmi")
    held = sum(tensor.untyped_storage().nbytes() for tensor in one.kept.keys + one.kept.values)
    assert held == state_bytes(sum(packed.nodes for _, packed in packs), backbone.shape, width=4)
    assert set(one.rows) == {ids for each in asked for ids in (each.context_ids, each.empty.context_ids if each.empty else ())}

    def states(self: Backbone, packed: Any) -> Any:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(Backbone, "states", states)
    with pytest.raises(UserError, match=r"model\.context: found 'kept', and keys and values .* can't allocate memory; .*no-gradient"):
        reading(backbone, "kept", asked, "choice", "pmi")


def test_questions_that_are_encoded_anew_are_not_kept(backbone: Backbone, tmp_path: Path) -> None:
    asked = [encode(backbone, questions("Atlantis", 6), TEXT)]
    with passes(backbone) as seen:
        trained(backbone, tmp_path, "kept", asked=asked, again0=lambda epoch: asked[0])
    assert len(seen) == 2 * 9, "two passes a step"


def test_other_kernels_refuse_and_buckets_agree(backbone: Backbone) -> None:
    asked, kind = [encode(backbone, questions("Atlantis", 5), TEXT)], KINDS[1]
    cohort = [behind(backbone)]
    expected = step(backbone, cohort, asked, kind)
    found = step(Contexts(replace(backbone, kernel=kernel_of("buckets"))), cohort, asked, kind)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    assert_close(found[2][0], expected[2][0], 1e-5)
    with pytest.raises(UserError, match=r"model\.attention: sdpa: found a context that is no part of the pack.*model\.context` to gradient"):
        step(Contexts(replace(backbone, kernel=kernel_of("sdpa"))), cohort, asked, kind)


def test_layers_that_are_computed_again_read_the_same_contexts(backbone: Backbone, tiny_folder: Path) -> None:
    saving = load(ModelConfig(id=str(tiny_folder), dtype="float32", device="cpu", threads=1, gradient_checkpointing=True))
    asked, kind = [encode(backbone, questions("Atlantis", 5), TEXT)], KINDS[1]
    cohort = [behind(backbone)]
    expected = step(backbone, cohort, asked, kind)
    for way in APART:
        found = step(read_as(saving, way, asked, *kind[:2]), cohort, asked, kind)
        assert found[0] == pytest.approx(expected[0], rel=1e-5)
        assert_close(found[2][0], expected[2][0], 1e-5)


# What a study settles, and what it is told to take.

RATES = Rates(weight=1e-11, product=1e-10, batched=1e-10, traffic=1e-11, call=1e-7)
CLEAN = Checkout(None, dirty=False)


def study(folder: Path, tiny_folder: Path, *, model: dict[str, Any] | None = None, **changes: Any) -> StudyConfig:
    """A study of a prompt behind the question and of LoRA."""
    path = folder / "questions.parquet"
    if not path.exists():
        write_questions(path, [each for place in ("Atlantis", "Lemuria") for each in questions(place, 12, rows=3)])
    values = {
        "model": {"id": str(tiny_folder), "dtype": "float32", "device": "cpu", "threads": 1, "cohort": 2, "nodes_per_pack": 4096, **(model or {})},
        "data": {"source": "table", "path": str(path)},
        "splits": {"kind": "folds", "folds": 2, "count": 1, "development": False},
        "methods": [{"name": "prompt-tuning", "settings": {"length": 4, "place": "before_answer"}}, {"name": "lora"}],
        "training": {"batch_size": 8},
        "starts": 1,
        **changes,
    }
    return StudyConfig.model_validate(values)


def settled(config: StudyConfig, free: float = 1e12, rates: Rates = RATES) -> Any:
    return plan(config, machine=Machine("cpu", int(free), rates), standing=CLEAN)


def test_a_study_settles_the_way_by_time_and_memory(tmp_path: Path, tiny_folder: Path) -> None:
    made = settled(study(tmp_path, tiny_folder))
    assert made.config.model.context == "kept"
    told = estimate(made, lambda run: "planned", real_engine(), Machine("cpu", 1 << 40, RATES))
    assert "computed once per training, their keys and values kept (`model.context`)" in said(told)
    small_one = settled(study(tmp_path, tiny_folder), free=weight_bytes(made.shape, made.config.model) + 1e5)
    assert small_one.config.model.context == "no-gradient"
    assert [run.path for run in small_one.runs] == [run.path for run in made.runs], "a run is the same run in whatever way it is computed"
    once = settled(study(tmp_path, tiny_folder, training={"batch_size": 8, "steps": 1}))
    assert once.config.model.context == "no-gradient", "one step does not pay for all questions"
    fresh = study(tmp_path, tiny_folder, training={"batch_size": 8, "orders": "fresh"})
    assert settled(fresh).config.model.context == "no-gradient"
    assert settled(study(tmp_path, tiny_folder, model={"attention": "sdpa"})).config.model.context == "gradient"
    assert settled(study(tmp_path, tiny_folder, methods=[{"name": "lora"}])).config.model.context is None
    asked = study(tmp_path, tiny_folder, model={"context": "gradient"})
    assert settled(asked).config.model.context == "gradient"
    slower = estimate(settled(asked), lambda run: "planned", real_engine(), Machine("cpu", 1 << 40, RATES))
    assert slower.training["prompt-tuning"] > 1.5 * told.training["prompt-tuning"]
    assert slower.training["lora"] == told.training["lora"]


def test_the_settled_way_stands_in_the_study_and_in_its_runs(tmp_path: Path, tiny_folder: Path) -> None:
    methods = [{"name": "prompt-tuning", "settings": {"length": 2, "place": "before_answer"}}]
    config = study(tmp_path, tiny_folder, methods=methods, training={"batch_size": 4, "steps": 40}, limit=6)
    out = StudyFolder(tmp_path / "out")
    assert run(config, out.path, standing=CLEAN, poll=0.02).complete
    way = read_config(out).model.context
    assert way in APART
    states = [read_state(out.run(each.path)) for each in plan(config, out.path, standing=CLEAN).runs]
    assert [state.plan.get("context") for state in states if state is not None] == [None, None, way, way]
    assert run(config, out.path, standing=CLEAN).complete
    other = study(tmp_path, tiny_folder, model={"context": "gradient"}, methods=methods, training={"batch_size": 4, "steps": 40}, limit=6)
    with pytest.raises(UserError, match=rf"model\.context: '{way}' there, 'gradient' now"):
        run(other, out.path, standing=CLEAN)


def test_a_way_that_nothing_can_go_is_refused(tmp_path: Path, tiny_folder: Path) -> None:
    with pytest.raises(UserError, match=r"model\.context: found 'kept'; expected a method whose virtual tokens all stand behind the question"):
        settled(study(tmp_path, tiny_folder, model={"context": "kept"}, methods=[{"name": "lora"}]))
    with pytest.raises(UserError, match=r"'no-gradient' with `model\.attention: flex`; expected one of auto, strips, buckets"):
        settled(study(tmp_path, tiny_folder, model={"context": "no-gradient", "attention": "flex"}))


def test_a_sampled_step_counts_what_each_way_computes(backbone: Backbone) -> None:
    mcqs = questions("Atlantis", 10, rows=3)
    training = TrainingConfig(loss="choice", batch_size=8)
    method = resolve(MethodConfig(name="prompt-tuning", settings=SUFFIX[0][1]), training)
    about = sample.adapter_of(method, backbone.shape)
    assert about.after_context
    p_tuning = resolve(MethodConfig(name="p-tuning", settings=SUFFIX[1][1]), training)
    assert (sample.adapter_of(p_tuning, backbone.shape).virtual, sample.adapter_of(p_tuning, backbone.shape).after_context) == (3, True)
    sides = sample.first_batches(mcqs, backbone.tokens, training, TEXT, members=1, seed=0)
    laid = {way: sample.training_step(sides, "choice", "total", about, nodes_per_pack=None, context=way) for way in WAYS}
    for way in WAYS:
        with passes(backbone) as seen:
            step(read_as(backbone, way, sides, "choice", TEXT), [behind(backbone)], sides, KINDS[1])
        assert [pack.nodes for pack in laid[way].packs] == [nodes for nodes, learns in seen if learns]
        if way == "no-gradient":
            assert [pack.nodes for pack in laid[way].read] == [nodes for nodes, learns in seen if not learns]
    seconds = [step_seconds(laid[way], backbone.shape, RATES, width=4, adapter=about, members=1) for way in WAYS]
    assert seconds[0] > seconds[1] > seconds[2] > 0
    needed = [step_bytes(laid[way], backbone.shape, width=4, training=True, adapter=about) for way in WAYS]
    assert needed[0] > needed[1] > needed[2]
    read = sample.reading_step(mcqs, backbone.tokens, "choice", TEXT, seed=0)
    assert read.questions == 30
    assert sum(pack.nodes for pack in read.read) == sum(packed.nodes for _, packed in context_packs(encode(backbone, mcqs, TEXT), "choice", "total"))


def test_the_bytes_of_a_node_s_states() -> None:
    """By hand: 2 * 30 layers * 3 heads * 64 wide in bfloat16, and 2 * 32 * 32 * 128."""
    smollm2 = BackboneShape(layers=30, width=576, kv_heads=3, head_width=64, vocabulary=49_152)
    olmo = BackboneShape(layers=32, width=4096, kv_heads=32, head_width=128, vocabulary=50_304)
    assert state_bytes(1, smollm2, width=2) == 23_040
    assert state_bytes(1, olmo, width=2) == 524_288


# Prompt-tuning's second place.


def test_a_prompt_before_the_answer_is_no_prompt_at_the_root(backbone: Backbone) -> None:
    method = registry.get("prompt-tuning")
    root, suffix = (method.settings.model_validate({"length": 2, **more}) for more in ({}, {"place": "before_answer"}))
    assert "place" not in root.model_dump(), "runs of before it was known keep their names"
    assert suffix.model_dump(mode="json")["place"] == "before_answer"
    assert method.settings.model_validate(suffix.model_dump()) == suffix
    one, other = (method.build(settings, backbone, ("a", 0)) for settings in (root, suffix))
    assert one.place(Branch((11, 12, 13, 14), 2)) == Branch((-1, -2, 11, 12, 13, 14), 4)
    assert other.place(Branch((11, 12, 13, 14), 2)) == Branch((11, 12, -1, -2, 13, 14), 4, answer=4)
    assert other.place(Branch((11, 12, 13, 14), 3, answer=2)) == Branch((11, 12, -1, -2, 13, 14), 5, answer=4)
    assert torch.equal(one.final_tensors()["vectors"], other.final_tensors()["vectors"])
    back = method.restore(suffix, backbone.shape, other.final_tensors())
    assert back.after_context
    assert (method.in_peft(root), method.in_peft(suffix)) == (True, False)
    with pytest.raises(UserError, match="method prompt-tuning: place: found 'before_answer', which PEFT's format cannot hold"):
        method.to_peft(suffix, backbone.shape, other.final_tensors())
