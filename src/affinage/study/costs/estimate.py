"""What is left of a study in hours and gigabytes, for one process; and how few template groups it can tell a gain from."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, final

from affinage import data
from affinage.data import Dataset
from affinage.records import Split
from affinage.stats import kish
from affinage.store import StudyFolder, append_log, read_log
from affinage.study.calibrate import calibration_frame
from affinage.study.cohorts import cohorts
from affinage.study.contexts import kept_bytes, reading_seconds, stands_after_context
from affinage.study.costs.formulas import Adapter, Machine, Rates, Step, seconds_of, step_bytes, step_seconds, weight_bytes
from affinage.study.progress import counts
from affinage.study.settle import this_machine
from affinage.study.sides import tested_frame, trained_frame

if TYPE_CHECKING:
    from affinage.config import PromptConfig
    from affinage.prompting import Candidate
    from affinage.study.engine import Engine
    from affinage.study.plan import Plan, PlannedRun

__all__ = ["Estimate", "effective_groups", "estimate", "known_machine", "note_estimate", "note_taken"]

_PER_QUESTION = 2.5e-4
"""Seconds in which a question becomes token ids, once per run that learns from it (measured: 0.10 to 0.26 ms)."""

_PER_RUN = 0.5
"""Seconds of a run's files, its adapter's start, and reading it back."""

_LOADING, _BYTES_PER_SECOND = 4.0, 1e9
"""Seconds of imports and of the probe (SmolLM2: 4 to 5 s in all), and what a disk gives."""

_PROCESS = 0.55e9
"""Bytes of the process beside the weights: Python, PyTorch, transformers (SmolLM2 loaded: 0.82 GB, 0.27 GB of them weights)."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is left of a study, for one process."""

    training: Mapping[str, float]
    """Label of a method -> seconds of its adapters' trainings that are still to be made."""
    testing: float
    """Seconds of all tests that are still to be made."""
    loading: float
    """Seconds before the first run."""
    memory: int
    """Largest bytes on the device at one time, the model's weights and, on a CPU, the process counted."""
    machine: Machine
    groups: float
    """Template groups that count (`effective_groups`)."""
    context: str | None = None
    """`model.context`, where virtual tokens of what is still to be trained stand behind it."""

    @property
    def seconds(self) -> float:
        """All of it."""
        return sum(self.training.values()) + self.testing + self.loading


def estimate(made: Plan, status: Callable[[PlannedRun], str], engine: Engine, machine: Machine) -> Estimate:
    """What is left of a study.

    Steps and tests are laid out as they will be, from a few real batches of the first split's first culture; the other cultures, splits and
    starts are taken to be alike. A baseline without training asks with the examples and facts that its candidates come with; its tests take what
    they take in the mean, since the chosen one is not known yet, and of its search every split is counted, though splits may share one.
    Checkpoints, logs and other processes on the machine are not counted.

    Args:
        made: the plan.
        status: how far a run is; what is `finished` takes nothing, what is `trained` its tests alone.
        engine: lays batches out.
        machine: what the study runs on.
    """
    sampled = _Sampled(made, engine, machine)
    training: dict[str, float] = {}
    testing, memory = 0.0, 0
    count = counts(made)
    for run in made.runs:
        far, (learned, tested) = status(run), count(run)
        if far == "finished":
            continue
        testing += _PER_RUN + sampled.tested(run, tested, begun=far == "trained") * sampled.test(run)[0]
        memory = max(memory, sampled.test(run)[1])
        if run.trains and run.method is not None and far != "trained":
            # A joint training, which several runs share, is as long as one of its cultures' would be alone.
            steps = engine.total_steps(run.method.training, learned // max(1, len(run.taught)))
            seconds, needed = sampled.step(run)
            encoding = learned * _PER_QUESTION / (len(sampled.cohort(run)) if run.taught else 1)
            once, kept = sampled.kept(run, learned)
            training[run.label] = training.get(run.label, 0.0) + steps * seconds + encoding + once
            memory = max(memory, needed + kept)
    weights = weight_bytes(made.shape, made.config.model)
    beside = _PROCESS if machine.kind == "cpu" else 0.0
    loading = (_LOADING + weights / _BYTES_PER_SECOND) if testing else 0.0
    groups = effective_groups(made.dataset, made.record.splits)
    behind = {run.label for run in made.runs if stands_after_context(run)} & set(training)
    context = made.config.model.context if behind else None
    return Estimate(training, testing, loading, int(weights + beside + memory), machine, groups, context)


@final
@dataclass
class _Sampled:
    """Seconds and bytes of the plan's kinds of steps and tests, each laid out once."""

    made: Plan
    engine: Engine
    machine: Machine
    _steps: dict[tuple[Any, ...], tuple[float, int]] = field(default_factory=dict)
    _tests: dict[str, tuple[float, int]] = field(default_factory=dict)
    _read: dict[tuple[Any, ...], Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model = self.made.config.model
        self.width = 2 if model.dtype == "bfloat16" else 4
        self.together = cohorts(self.made.runs, model.cohort or 1)

    def adapter(self, run: PlannedRun) -> Adapter:
        """What of a run's adapter costs time."""
        return Adapter() if run.method is None else self.engine.adapter_of(run.method, self.made.shape)

    def cohort(self, run: PlannedRun) -> tuple[PlannedRun, ...]:
        """The runs that a run is trained with, itself among them."""
        return self.together.get(run.path, (run,))

    def tested(self, run: PlannedRun, tested: int, *, begun: bool) -> int:
        """Questions that are put to the model for a run beside its training: tests, the search of a baseline, the fit of a few numbers.

        Args:
            run: of the plan.
            tested: questions of its test sets.
            begun: whether only the tests are left.
        """
        if run.calibration is not None:  # its tests are the untouched model's
            config = self.made.config
            trained = trained_frame(self.made.dataset, run.split, run.trained_culture, config)
            return 0 if begun else calibration_frame(trained, run.calibration).height
        searched = 0 if run.prompted is None or begun else len(run.prompted.candidates) * run.prompted.compared.height
        return tested + searched

    def step(self, run: PlannedRun) -> tuple[float, int]:
        """Seconds of a step of a run, its part of its cohort's, and bytes of the cohort's."""
        assert run.method is not None
        members = len(self.cohort(run))
        read = len(run.taught) or members
        adapters = 1 if run.taught else members
        key = (run.label, members, read, run.prompt.model_dump_json(), run.method.training.model_dump_json())
        if key not in self._steps:
            config, shape, adapter = self.made.config, self.made.shape, self.adapter(run)
            first = self.made.record.splits[0], self.made.cultures[0]
            frame = trained_frame(self.made.dataset, *first, config) if run.made is None else run.made.frame
            asked, training = self.made.dataset.questions(frame), run.method.training
            sides = self.engine.first_batches(asked, self.made.tokens, training, run.prompt, members=read, seed=config.seed)
            way: dict[str, Any] = {"nodes_per_pack": config.model.nodes_per_pack, "context": config.model.context or "gradient"}
            laid_out: Step = self.engine.training_step(sides, training.loss, run.prompt.score, adapter, **way)
            known: dict[str, Any] = {"width": self.width, "adapter": adapter, "members": adapters}
            seconds = step_seconds(laid_out, shape, self.machine.rates, **known) / members
            # Under gradient checkpointing a layer is computed once more: as much as its forward pass.
            again = 4 / 3 if config.model.gradient_checkpointing else 1.0
            needed = step_bytes(laid_out, shape, training=True, recomputed=config.model.gradient_checkpointing, **known)
            self._steps[key] = (seconds * again, needed)
        return self._steps[key]

    def kept(self, run: PlannedRun, learned: int) -> tuple[float, int]:
        """Seconds in which the states of a run's contexts are computed once, and bytes of its cohort's; nothing where none are kept."""
        assert run.method is not None
        training, (config, shape) = run.method.training, (self.made.config, self.made.shape)
        if config.model.context != "kept" or not stands_after_context(run) or training.orders == "fresh":
            return 0.0, 0
        key = (training.loss, run.prompt.model_dump_json())
        if key not in self._read:
            frame = trained_frame(self.made.dataset, self.made.record.splits[0], self.made.cultures[0], config)
            asked = self.made.dataset.questions(frame)
            self._read[key] = self.engine.reading_step(asked, self.made.tokens, training.loss, run.prompt, seed=config.seed)
        read, together = self._read[key], learned * len(self.cohort(run))
        seconds = reading_seconds(read, shape, self.machine, width=self.width)
        return seconds * learned, kept_bytes(read, together, shape, width=self.width)

    def test(self, run: PlannedRun) -> tuple[float, int]:
        """Seconds per tested question of a run, and bytes of a pack; of a baseline's candidates the mean, and the most.

        Of candidates with as many examples or facts the first stands for all: wordings differ by a few tokens.
        """
        key = f"{run.label} {run.prompt.model_dump_json()}"
        if key not in self._tests:
            if run.prompted is None:
                self._tests[key] = self._tested(run, run.prompt)
            else:
                alike: dict[int, list[Candidate]] = {}
                for candidate in run.prompted.candidates:
                    alike.setdefault(candidate.count, []).append(candidate)
                put = {count: partial(run.prompted.material.aid, each[0]) for count, each in alike.items()}
                found = {count: self._tested(run, each[0].prompt, aid=put[count]) for count, each in alike.items()}
                seconds = sum(len(alike[count]) * each for count, (each, _) in found.items()) / len(run.prompted.candidates)
                self._tests[key] = (seconds, max(needed for _, needed in found.values()))
        return self._tests[key]

    def _tested(self, run: PlannedRun, prompt: PromptConfig, **put: Any) -> tuple[float, int]:
        """Seconds per question and bytes of a pack where a run's questions are put in one way."""
        config, shape, adapter = self.made.config, self.made.shape, self.adapter(run)
        frame = tested_frame(self.made.dataset, self.made.record.splits[0], self.made.cultures[0], config)
        laid_out: Step = self.engine.testing_step(
            self.made.dataset.questions(frame), self.made.tokens, prompt, adapter,
            nodes_per_pack=config.evaluation.nodes_per_pack, seed=config.seed, asked=config.evaluation.orders, **put,
        )  # fmt: skip
        seconds = sum(seconds_of(pack, shape, self.machine.rates, width=self.width, training=False) for pack in laid_out.packs)
        return seconds / max(1, laid_out.questions), step_bytes(laid_out, shape, width=self.width, training=False, adapter=adapter)


def effective_groups(dataset: Dataset, splits: Sequence[Split]) -> float:
    """Kish's effective number of the template groups on the tested sides: a group's weight is its share of the templates, over all splits.

    Cultures and starts add none: they share the draw of templates.
    """
    groups = data.template_groups(dataset)
    share: dict[str, float] = {}
    for split in splits:
        for template in split.test_templates:
            share[groups[template]] = share.get(groups[template], 0.0) + 1 / len(split.test_templates)
    return kish(list(share.values())) if share else 0.0


def known_machine(made: Plan, folder: StudyFolder, engine: Engine) -> Machine:
    """What a study runs on: as the plan was settled for it a moment ago, as it was written down where that was the same machine, or measured."""
    if made.machine is not None:
        return made.machine
    here, known = _here(made, engine), {each.name for each in fields(Rates)}
    for line in reversed(read_log(folder.costs, strict=False)):
        if line.get("here") == here and set(line.get("rates", ())) == known:
            return Machine(*engine.free_memory(made.config.model), Rates(**line["rates"]))
    return this_machine(made.config, engine, made.shape)


def _here(made: Plan, engine: Engine) -> list[str | int | None]:
    """What rates depend on."""
    model = made.config.model
    return [platform.node(), engine.device_name(model.device), model.dtype, model.threads]


def note_estimate(folder: StudyFolder, made: Plan, found: Estimate, engine: Engine) -> None:
    """Writes down what was estimated, and from which rates."""
    record = {"training": dict(found.training), "testing": found.testing, "loading": found.loading, "memory": found.memory}
    append_log(folder.costs, {"here": _here(made, engine), "rates": asdict(found.machine.rates), "estimated": found.seconds, **record})


def note_taken(folder: StudyFolder, seconds: float, *, runs: int, failed: int) -> None:
    """Writes down what this process took.

    Args:
        folder: the study's.
        seconds: from the estimate to the end.
        runs: that were missing when it began; other processes may have made some of them.
        failed: that are missing still.
    """
    append_log(folder.costs, {"taken": seconds, "runs": runs, "failed": failed})
