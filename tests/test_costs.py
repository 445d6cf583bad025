"""What a study will take: the hand estimate of the reference study, the choice of packs, the counts, and what is said of it."""

from __future__ import annotations

import platform
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from affinage.audit.precision import paired_gain
from affinage.backbone import Backbone
from affinage.cli import app
from affinage.cli.estimated import compared, machine_of, said, said_gain
from affinage.config import MethodConfig, ModelConfig, StudyConfig, TrainingConfig, validated
from affinage.methods import resolve
from affinage.pack import pack
from affinage.records import BackboneShape, Split, UserError
from affinage.scoring import option_branches
from affinage.store import StudyFolder, append_log, read_log
from affinage.study import Estimate, plan, run, sides
from affinage.study.cohorts import fitting
from affinage.study.costs import (
    Adapter,
    Counts,
    Machine,
    Rates,
    Step,
    bytes_of,
    given_rates,
    sample,
    seconds_of,
    step_seconds,
    weight_bytes,
)
from affinage.study.costs.estimate import effective_groups, estimate, known_machine
from affinage.study.costs.formulas import optimiser_seconds
from affinage.study.costs.measure import measure
from affinage.study.costs.sample import adapter_of, first_batches, training_step
from affinage.study.engine import engine as real_engine
from affinage.train import Batch, batches, step_packs
from study_fakes import CLEAN, Fake, study, write_questions
from test_train import start
from tiny import LETTERS, TEXT, encode, questions
from tiny import write_questions as write_made_questions

LAYER = [("self_attn.q_proj", 4096, 4096), ("self_attn.k_proj", 4096, 4096), ("self_attn.v_proj", 4096, 4096), ("self_attn.o_proj", 4096, 4096)]
LAYER += [("mlp.gate_proj", 4096, 11008), ("mlp.up_proj", 4096, 11008), ("mlp.down_proj", 11008, 4096)]
OLMO = BackboneShape(
    layers=32,
    width=4096,
    kv_heads=32,
    head_width=128,
    vocabulary=50_304,
    linears=tuple((f"model.layers.{layer}.{name}", inputs, outputs) for layer in range(32) for name, inputs, outputs in LAYER),
    parameters=6_888_095_744,
)
MEASURED = Rates(weight=1e-10, product=1e-11, batched=1e-11, traffic=7e-11, call=3e-6)


def _pack(nodes: int, predicted: int = 48, seen: int = 110) -> Counts:
    """A pack of letters: strips pad its pairs and keys a little."""
    return Counts(nodes, predicted, pairs=nodes * seen, queries=nodes, keys=4 * nodes, groups=4, branches=16)


def _said(nodes: float) -> tuple[float, float, float]:
    """Milliseconds a step, minutes an adapter, hours for 72 of them, of a batch of so many nodes on one H200 at half of 790 TFLOP/s."""
    step = step_seconds(Step((_pack(round(nodes)),), 16), OLMO, given_rates(790 / 2), width=2, adapter=Adapter(65_536, 16), members=1)
    steps = 30 * 16_200 / 16
    return 1e3 * step, steps * step / 60, 72 * steps * step / 3600


def test_the_hand_estimate_of_the_reference_study() -> None:
    """Six cultures, six runs, two methods: 79 ms a step, 40 minutes an adapter, 47 hours plain, 24 with four questions per template.

    79 ms are 1,205 nodes if nothing but the linear modules' products counts. With a short header a batch of plain shuffling has 1.35 times
    fewer nodes than tokens, with four questions per template 2.7 times fewer: 1,205 nodes are 102 tokens a question, and the second is half the
    first. Attention and the output layer at the answers, which the hand estimate leaves out, add less than 2 %.
    """
    plain = 0.079 * 395e12 / (4 * 32 * sum(inputs * outputs for _, inputs, outputs in LAYER))
    assert plain == pytest.approx(1205, abs=1)
    assert plain * 1.35 / 16 == pytest.approx(102, abs=0.5)
    step, adapter, study_hours = _said(plain)
    assert step == pytest.approx(79, rel=0.02)
    assert adapter == pytest.approx(40, rel=0.02)
    assert study_hours == pytest.approx(47, rel=0.04)
    assert _said(plain * 1.35 / 2.7)[2] == pytest.approx(24, rel=0.02)


def test_time_follows_nodes_training_and_the_size_of_the_model() -> None:
    def seconds(pack: Counts, shape: BackboneShape = OLMO, *, training: bool = True, rates: Rates = MEASURED) -> float:
        return seconds_of(pack, shape, rates, width=2, training=training)

    assert seconds(_pack(2000)) == pytest.approx(2 * seconds(_pack(1000)), rel=0.1)
    assert seconds(_pack(1000)) > 1.9 * seconds(_pack(1000), training=False)
    assert seconds(_pack(1000, predicted=1000)) > seconds(_pack(1000))
    assert seconds(_pack(1000, seen=1000)) > 1.05 * seconds(_pack(1000))
    half = replace(OLMO, layers=16, linears=OLMO.linears[: len(OLMO.linears) // 2])
    assert seconds(_pack(1000), half) == pytest.approx(seconds(_pack(1000)) / 2, rel=0.1)
    # On CUDA calls are made while earlier work is computed.
    slow = replace(MEASURED, call=1e-3)
    assert seconds(_pack(10), rates=slow) > seconds(_pack(10), rates=replace(slow, overlapped=True)) > 0
    assert optimiser_seconds(68_436_224, MEASURED) > 100 * optimiser_seconds(65_536, MEASURED)
    assert optimiser_seconds(65_536, given_rates(395)) == 0


def test_memory_follows_nodes_adapters_and_checkpointing() -> None:
    def gigabytes(pack: Counts, **more: Any) -> float:
        return bytes_of(pack, OLMO, **{"width": 2, "training": True, "adapter": Adapter(65_536), **more}) / 1e9

    whole = gigabytes(_pack(1200))
    assert 4.3e-3 * 1200 < whole < 3 * 4.3e-3 * 1200, "first estimate: 4.3 MB per node for OLMo, attention's gathered keys left out"
    assert gigabytes(_pack(2400)) == pytest.approx(2 * whole, rel=0.05)
    assert gigabytes(_pack(1200), recomputed=True) < whole / 4
    assert gigabytes(_pack(1200), training=False) < whole / 10
    assert gigabytes(_pack(1200), adapter=Adapter(65_536, updates=True)) > whole
    prefix = Adapter(68_436_224)
    assert gigabytes(_pack(1200), adapter=prefix, members=6) - gigabytes(_pack(1200), adapter=prefix, members=5) == pytest.approx(1.1, abs=0.01)


def test_saved_tensors_are_what_the_formula_says(backbone: Backbone) -> None:
    """On the tiny model, its own step: the tensors that autograd keeps, each storage once."""
    adapter = start(backbone, "prompt-tuning", length=3)
    asked = encode(backbone, questions("Atlantis", 12), TEXT)
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    from affinage.train import cohort_losses  # noqa: PLC0415

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cohort_losses(backbone, [Batch(adapter, asked)], "choice", "total")
    frozen = {parameter.untyped_storage().data_ptr() for parameter in backbone.model.parameters()}
    saved = sum(size for pointer, size in storages.items() if pointer not in frozen)
    mcqs = [each.rendered.mcq for each in asked]
    training = TrainingConfig(loss="choice", batch_size=12)
    sides = first_batches(mcqs, backbone.tokens, training, TEXT, members=1, seed=0)
    made = training_step(sides, "choice", "total", Adapter(virtual=3), nodes_per_pack=None)
    told = bytes_of(made.packs[0], backbone.shape, width=4, training=True, adapter=Adapter())
    assert 0.7 * saved < told < 1.8 * saved


def _choose(rates: Rates, *, free: float = 1e12, most: int = 6, **model: Any) -> tuple[int, int]:
    """Members and budget for steps that share half of what each culture's questions say."""

    def step(members: int, budget: int | None) -> Step:
        nodes = 1000
        if budget is None or budget >= members * nodes:
            return Step((_pack(members * nodes),), 16 * members)
        parts = max(2, -(-members * nodes // budget))
        return Step(tuple(_pack(round(1.3 * members * nodes / parts)) for _ in range(parts)), 16 * members)

    chosen = fitting(OLMO, ModelConfig(**model), step, Machine("cpu", int(free), rates), adapter=Adapter(65_536), most=most)
    return chosen.members, chosen.nodes_per_pack


def test_packs_are_chosen_by_time_among_those_that_fit() -> None:
    assert _choose(replace(MEASURED, weight=1e-8)) == (6, 7500), "what a pack costs once is shared by six adapters"
    assert _choose(given_rates(395)) == (1, 1250), "nothing is paid once: the least memory that is as fast"
    weights = 2 * OLMO.parameters
    tight = weights + 1.1 * bytes_of(_pack(3000), OLMO, width=2, training=True, adapter=Adapter(65_536), members=3) / 0.6
    assert _choose(replace(MEASURED, weight=1e-8), free=tight) == (3, 3750)
    one = weights + 1.1 * bytes_of(_pack(650), OLMO, width=2, training=True, adapter=Adapter(65_536)) / 0.6
    members, budget = _choose(replace(MEASURED, weight=1e-8), free=one)
    assert members == 1
    assert budget < 1000, "a step of one adapter is cut where it does not fit whole"
    assert _choose(MEASURED, free=0)[0] == 1, "the smallest is tried even where nothing fits: a step that fails is cut"
    assert _choose(replace(MEASURED, weight=1e-8), cohort=2) == (2, 2500)
    assert _choose(MEASURED, cohort=2, nodes_per_pack=77) == (2, 77)
    assert _choose(replace(MEASURED, weight=1e-6), most=20)[0] == 16


@pytest.mark.parametrize("budget", [None, 300, 90])
@pytest.mark.parametrize("loss", ["answer", "choice"])
def test_a_sampled_step_is_the_step_that_will_be_made(budget: int | None, loss: str, backbone: Backbone) -> None:
    mcqs = questions("Atlantis", 10, rows=3)
    training = TrainingConfig(loss=loss, batch_size=8, questions_per_template=2)
    adapter = start(backbone, "prompt-tuning", length=3)
    shape = adapter_of(resolve(MethodConfig(name="prompt-tuning", settings={"length": 3}), training), backbone.shape)
    assert (shape.virtual, shape.trained, shape.updates) == (3, 3 * backbone.shape.width, False)
    sides = first_batches(mcqs, backbone.tokens, training, TEXT, members=2, seed=0)
    made = training_step(sides, loss, "total", shape, nodes_per_pack=budget)
    encoded = encode(backbone, mcqs, TEXT)
    given = [Batch(start(backbone, "prompt-tuning", length=3), next(batches(encoded, training, seed, 0))) for seed in (0, 1)]
    assert sum(pack.nodes for pack in made.packs) == sum(nodes for _, nodes in step_packs(given, loss, "total", budget))
    assert len(made.packs) == len(step_packs(given, loss, "total", budget))
    assert made.questions == 16
    assert adapter.parameter_count() == shape.trained


def test_methods_that_update_modules_are_known_by_their_targets(backbone: Backbone) -> None:
    known = {
        name: adapter_of(resolve(MethodConfig(name=name), TrainingConfig()), backbone.shape) for name in ("lora", "prompt-tuning", "prefix-tuning")
    }
    assert {name: adapter.updates for name, adapter in known.items()} == {"lora": True, "prompt-tuning": False, "prefix-tuning": False}
    assert known["lora"].trained == sum(16 * (inputs + outputs) for _, inputs, outputs in backbone.shape.linears)


def test_trained_weights_cost_a_third_product_and_their_sums(backbone: Backbone) -> None:
    about = adapter_of(resolve(MethodConfig(name="full"), TrainingConfig()), backbone.shape)
    assert (about.weights, about.trained) == (True, backbone.shape.parameters)
    rates = Rates(weight=1e-10, product=1e-11, batched=0.0, traffic=0.0, call=0.0)
    given = {"width": 2, "members": 1}
    frozen, trained = (step_seconds(Step((_pack(1000),), 16), OLMO, rates, adapter=Adapter(weights=weights), **given) for weights in (False, True))
    assert trained == pytest.approx(1.5 * frozen)
    kept, more = (bytes_of(_pack(1000), OLMO, width=2, training=True, adapter=Adapter(updates=True, weights=weights)) for weights in (False, True))
    assert more - kept == pytest.approx(2 * 2 * OLMO.parameters)


def test_a_sampled_test_shares_what_evaluation_shares(backbone: Backbone) -> None:
    mcqs = questions("Atlantis", 10, rows=3)
    together = sample.testing_step(mcqs[::-1], backbone.tokens, TEXT, Adapter(), nodes_per_pack=10_000, seed=0, asked="one")
    apart = sample.testing_step(mcqs, backbone.tokens, TEXT, Adapter(), nodes_per_pack=1, seed=0, asked="one")
    assert together.questions == apart.questions == 30
    assert len(together.packs) == 1
    assert len(apart.packs) == 30
    assert together.packs[0].nodes < sum(pack.nodes for pack in apart.packs)


def test_a_machine_is_measured_in_its_threads(backbone: Backbone) -> None:
    before = torch.get_num_threads()
    rates = measure(backbone.shape, ModelConfig(id="x", dtype="float32", device="cpu", threads=1))
    assert torch.get_num_threads() == before
    assert rates.product > 0
    assert rates.weight >= 0
    assert 1e-13 < rates.batched < 1e-7
    assert 1e-12 < rates.traffic < 1e-6
    assert 1e-8 < rates.call < 1e-2
    assert rates.source == "measured on cpu, 1 thread, float32"


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    return write_questions(tmp_path / "questions.parquet")


def _estimate(asked: Path, status: Callable[[Any], str] = lambda run: "planned", **changes: Any) -> Estimate:
    engine = Fake().engine()
    made = plan(study(asked, **changes), engine=engine, standing=CLEAN)
    return estimate(made, status, engine, Machine("cpu", 1 << 34, given_rates(1e-9)))


def test_an_estimate_counts_what_is_left(asked: Path) -> None:
    whole = _estimate(asked)
    assert set(whole.training) == {"prompt-tuning", "lora"}
    assert whole.seconds == sum(whole.training.values()) + whole.testing + whole.loading
    assert _estimate(asked, lambda run: "finished").seconds == 0
    trained = _estimate(asked, lambda run: "trained")
    assert (trained.training, trained.testing) == ({}, whole.testing)
    longer = _estimate(asked, training={"steps": 50})
    assert longer.training["lora"] == pytest.approx(10 * whole.training["lora"], rel=0.1)
    assert longer.testing == whole.testing
    assert _estimate(asked, starts=4).training["lora"] == pytest.approx(2 * whole.training["lora"])
    together = _estimate(asked, model={"id": "fake", "dtype": "float32", "threads": 1, "cohort": 2, "nodes_per_pack": 1000})
    assert together.memory > whole.memory


def test_a_measured_machine_is_written_down_and_not_measured_again(asked: Path, tmp_path: Path) -> None:
    out, measured, told = tmp_path / "out", list[int](), list[Estimate]()

    def counted(*_: Any) -> Rates:
        measured.append(1)
        return MEASURED

    engine = replace(Fake().engine(), measure=counted)
    assert run(study(asked), out, engine=engine, standing=CLEAN, poll=0.02, on_estimate=told.append).complete
    lines = read_log(StudyFolder(out).costs)
    assert [sorted(line)[:2] for line in lines] == [["estimated", "here"], ["failed", "runs"]]
    assert lines[0]["estimated"] == told[0].seconds
    assert lines[1]["taken"] > 0
    made = plan(study(asked), out, engine=engine, standing=CLEAN)
    assert known_machine(made, StudyFolder(out), engine).rates == MEASURED
    assert len(measured) == 1
    assert run(study(asked), out, engine=engine, standing=CLEAN, on_estimate=told.append).complete
    assert len(told) == 1, "nothing was left to estimate"


def test_another_machine_s_rates_are_not_taken_for_this_one_s(asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    folder, engine = StudyFolder(out), replace(Fake().engine(), measure=lambda *_: MEASURED)
    assert run(study(asked), out, engine=engine, standing=CLEAN, poll=0.02).complete
    made = plan(study(asked), out, engine=engine, standing=CLEAN)
    other = replace(engine, measure=lambda *_: given_rates(1.0))
    folder.costs.write_bytes(folder.costs.read_bytes() + b'{"here"')
    append_log(folder.costs, {"taken": 1.0})
    assert known_machine(made, folder, other).rates == MEASURED, "a line that a crash cut short costs nothing"
    assert known_machine(made, folder, replace(other, device_name=lambda device: "another GPU")).rates == given_rates(1.0)
    monkeypatch.setattr(platform, "node", lambda: "elsewhere")
    assert known_machine(made, folder, other).rates == given_rates(1.0)


def test_quantised_weights_weigh_less() -> None:
    inside = sum(inputs * outputs for _, inputs, outputs in OLMO.linears)
    whole, eight, four = (weight_bytes(OLMO, ModelConfig(quantisation=kind)) for kind in ("none", "8bit", "4bit"))
    assert whole == 2 * OLMO.parameters
    assert (whole - eight, whole - four) == (inside, 1.5 * inside)


def test_further_wordings_and_a_joint_training_are_counted(asked: Path) -> None:
    whole, questions = _estimate(asked), 2 * 12
    further = _estimate(asked, evaluation={"instructions": ["Choose."]})
    runs = 2 * (1 + 2 * 2 * (1 + 2))
    per_question = (whole.testing - 0.5 * runs) / (runs * questions)
    # Of each fold the untouched model with both cultures, and each of two methods' two starts with each adapter's own.
    assert further.testing - whole.testing == pytest.approx(per_question * 2 * (questions + 2 * 2 * questions))

    told: list[int] = []
    fake = Fake()

    def resolve(method: MethodConfig, training: TrainingConfig) -> Any:
        made = fake.resolve(method, training)
        made.taught = ("Spain",)  # Iran is held out
        made.settings = SimpleNamespace(model_dump=lambda mode: {}, model_dump_json=lambda: "{}")
        return made

    def total_steps(training: TrainingConfig, count: int) -> int:
        told.append(count)
        return 5

    engine = replace(fake.engine(), resolve=resolve, total_steps=total_steps)
    made = plan(study(asked, methods=[{"name": "lora"}]), engine=engine, standing=CLEAN)
    joint = estimate(made, lambda run: "planned", engine, Machine("cpu", 1 << 34, given_rates(1e-9)))
    assert set(told) == {10, 14}, "of each fold one culture's questions: one is taught, in a run that serves two"
    alone = _estimate(asked, methods=[{"name": "lora"}])
    assert joint.training["lora"] == pytest.approx(alone.training["lora"] / 2, rel=0.01)


def test_the_examples_of_a_baseline_are_counted(tiny_folder: Path, tmp_path: Path) -> None:
    """Every question in a pack of its own, so that nothing is shared: each with its examples takes what its own nodes take."""
    path, engine, rates = write_made_questions(tmp_path / "q.parquet", questions("Atlantis", 24)), real_engine(), given_rates(1e-3)

    def estimated(*shots: int, far: str = "trained") -> tuple[Estimate, float]:
        """The estimate, and seconds of the tests from the encoded questions, the mean over numbers of examples."""
        settings = {"shots": shots, "draws": 1, "wordings": ["About {culture}."], "phrasings": ["name"], "side": "validation"}
        values = {
            "model": {"id": str(tiny_folder), "dtype": "float32", "threads": 1, "cohort": 1, "nodes_per_pack": 999},
            "data": {"source": "table", "path": str(path)},
            "prompt": {"style": "text"},
            "splits": {"kind": "folds", "folds": 2, "count": 1, "development": False},
            "methods": [{"name": "none"}],
            "prompting": [{"name": "few-shot", "settings": settings}],
            "evaluation": {"nodes_per_pack": 1},
        }
        made = plan(validated(StudyConfig, values, "test"), engine=engine, standing=CLEAN)
        own = next(run.prompted for run in made.runs if run.prompted is not None)
        assert len(own.candidates) == len(shots)
        tested = made.dataset.questions(sides.tested_frame(made.dataset, made.record.splits[0], "Atlantis", made.config))
        seconds = 0.0
        for candidate in own.candidates:
            encoded, _ = made.tokens.encode_all(tested, candidate.prompt, seed=0, aid=partial(own.material.aid, candidate))
            for each in encoded:
                laid_out = sample.count(pack(list(option_branches(each, "total"))))
                seconds += seconds_of(laid_out, made.shape, rates, width=4, training=False) / len(shots)
        status = lambda run: far if run.prompted is not None else "finished"  # noqa: E731
        return estimate(made, status, engine, Machine("cpu", 1 << 34, rates)), seconds

    few, many, both = estimated(1), estimated(6), estimated(1, 6)
    run_itself = 0.5
    for found, seconds in (few, many, both):
        assert found.testing == pytest.approx(run_itself + seconds)
    assert many[1] > 2 * few[1], "the examples are most of the text"
    assert few[0].memory < many[0].memory == both[0].memory
    searched = estimated(1, 6, far="planned")[0].testing - both[0].testing
    assert searched > 0, "both candidates, on the validation side"


def test_a_test_in_every_order_takes_as_many_times_longer(backbone: Backbone) -> None:
    mcqs = questions("Atlantis", 4)
    one, each = (
        sample.testing_step(mcqs, backbone.tokens, LETTERS, Adapter(), nodes_per_pack=1, seed=0, asked=asked) for asked in ("one", "rotations")
    )
    assert one.questions == each.questions == 4
    assert len(each.packs) == len(mcqs[0].options) * len(one.packs)


def test_groups_of_templates_count_by_their_share() -> None:
    from affinage import data  # noqa: PLC0415

    def groups(dataset: Any) -> dict[str, str]:
        return {"a": "1", "b": "1", "c": "2", "d": "3", "e": "4"}

    splits = [Split("x", frozenset(), frozenset("abc")), Split("y", frozenset(), frozenset("de"))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "template_groups", groups)
        alone = effective_groups(SimpleNamespace(), splits[1:])  # type: ignore[arg-type]
        both = effective_groups(SimpleNamespace(), splits)  # type: ignore[arg-type]
    assert alone == 2
    shares = (2 / 3, 1 / 3, 1 / 2, 1 / 2)
    assert both == pytest.approx(4 / sum(share**2 for share in shares))


def test_what_is_said_of_an_estimate() -> None:
    found = Estimate({"lora": 600.0, "prompt-tuning": 300.0}, 120.0, 5.0, 2_040_000_000, Machine("cpu", 1, MEASURED), 49.0)
    text = said(replace(found, machine=Machine("cpu", 1, replace(MEASURED, source="measured on cpu, 2 threads, bfloat16"))))
    assert "one process: 17 min 05 s (training 15 min 00 s (lora 10 min 00 s, prompt-tuning 5 min 00 s), testing 2 min 00 s, loading 5 s)" in text
    assert "about 2.0 GB on the machine. Rates measured on cpu, 2 threads, bfloat16." in text
    assert "given by hand, every product at that speed" in said(replace(found, machine=Machine("cuda", 1, given_rates(395))))
    assert f"{100 * paired_gain(0.5 / 7):.0f} points or fewer (2.8 standard errors" in said_gain(49.0)
    assert "20 points" in said_gain(49.0)
    assert "more than the 1.0 GB that are free: end what else uses them" in said(replace(found, machine=Machine("cpu", 10**9, MEASURED)))
    assert compared(found, 1060.2) == "estimated 17 min 05 s, took 17 min 40 s"


def test_half_a_machine_is_refused() -> None:
    assert machine_of(None, None) is None
    described = machine_of(395, 139)
    assert described is not None
    assert (described.kind, described.free) == ("cuda", 139_000_000_000)
    for given in ((395, None), (None, 139), (0, 139), (395, -1)):
        with pytest.raises(UserError, match=r"--rate, --memory: found .*expected both, above zero"):
            machine_of(*given)


def test_a_plan_is_estimated_for_another_machine_and_a_run_beside_what_it_took(tiny_folder: Path, tmp_path: Path) -> None:
    data = write_made_questions(tmp_path / "q.parquet", [*questions("Atlantis", 12), *questions("Lemuria", 12)])
    file, out = tmp_path / "small.yaml", tmp_path / "out"
    file.write_text(
        f"model: {{id: {tiny_folder}, dtype: float32, threads: 1}}\ndata: {{source: table, path: {data}}}\nprompt: {{style: text}}\n"
        "splits: {kind: folds, folds: 2, count: 1, development: false}\nmethods: [{name: lora, settings: {rank: 2}}]\n"
        "training: {loss: choice, steps: 2, batch_size: 4}\nstarts: 1\n"
    )
    given = CliRunner().invoke(app, ["study", "plan", str(file), "--out", str(out), "--rate", "1e-6", "--memory", "8"])
    assert given.exit_code == 0, given.output
    assert "Estimate for what is left, one process:" in given.stdout
    assert "Rates given by hand" in given.stdout
    assert "Smallest gain that it can show: " in given.stdout
    assert not out.exists(), "planning writes nothing"
    half = CliRunner().invoke(app, ["study", "plan", str(file), "--rate", "395"])
    assert (half.exit_code, half.stderr.partition(":")[0]) == (2, "--rate, --memory")

    ran = CliRunner().invoke(app, ["study", "run", str(file), "--out", str(out)])
    assert ran.exit_code == 0, ran.output
    assert "Rates measured on cpu, 1 thread, float32." in ran.stdout
    assert re.search(r"finished in \S+; 4 of them now, in .* \(estimated .*, took .*\)\.", ran.stdout)
    done = CliRunner().invoke(app, ["study", "plan", str(out)])
    assert "4 runs, 4 finished, 0 to run" in done.stdout
    assert "Estimate" not in done.stdout
