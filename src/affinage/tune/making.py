"""One process at work on a search: makes what is missing of a method's trials on a split, one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, final

from affinage.config import MethodConfig, StudyConfig
from affinage.methods.spaces import Space
from affinage.records import Split, UserError
from affinage.store import Claim, ClaimLostError, claim, read_json, sweep, write_json
from affinage.study import Engine, Plan
from affinage.study.work import load
from affinage.tune.optimiser import begin
from affinage.tune.outcome import Searched, first_values, with_values
from affinage.tune.settings import SearchConfig
from affinage.tune.training import Ground, Training
from affinage.tune.trials import Score, Trial, TrialFolder, read_trials, search_folder, write_trial

if TYPE_CHECKING:
    from affinage.backbone import Backbone
    from affinage.encode import Tokens

__all__ = ["SearchEvent", "Watcher", "Work"]

GIVE_UP = 5
"""So many failures in a process, and nothing else, end a method's search: what is wrong is not the values."""


@dataclass(frozen=True, slots=True)
class SearchEvent:
    """Something happened to a trial."""

    split: str
    label: str
    trial: Trial
    whole: int
    """Steps of a whole training."""
    spent: float
    """Of the budget, this trial not counted: steps, or seconds."""
    allowed: float
    """The budget: steps, or seconds."""


Watcher = Callable[[SearchEvent], None]
"""Is told of every trial."""


@final
@dataclass
class Work:
    """One process at work on a search."""

    made: Plan
    config: StudyConfig
    out: Path
    search: SearchConfig
    methods: Mapping[str, tuple[MethodConfig, Space]]
    sides: Mapping[str, Split]
    engine: Engine
    together: int
    """Adapters of a trial that are trained in lockstep, at most."""
    watch: Watcher
    stale_after: float
    _grounds: dict[str, Ground] = field(default_factory=dict)
    _failed: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(Split's name, label) -> trials that failed in this process; what made those of an earlier one fail may be mended."""

    @cached_property
    def backbone(self) -> Backbone:
        """The frozen model, loaded when something is to be computed."""
        return load(self.made, self.engine)

    @cached_property
    def tokens(self) -> Tokens:
        """Its tokenizer: how long a training is can be said without the weights."""
        return self.engine.tokens(self.made.config.model)

    @property
    def device(self) -> str:
        """Where the model computes, in words; as it was asked for where nothing had to be computed."""
        return str(self.backbone.device) if "backbone" in self.__dict__ else self.made.config.model.device

    def ground(self, split: str) -> Ground:
        """A split, ready to train on."""
        if split not in self._grounds:
            self._grounds[split] = Ground(self.made, self.engine, self.tokens, lambda: self.backbone, self.sides[split])
        return self._grounds[split]

    def make(self, split: str, label: str) -> bool:
        """Makes what is missing of a method's search on a split.

        Returns:
            Whether it is done; False where another process works on it.

        Raises:
            UserError: every trial failed.
            CheckpointError: as `Training.run`.
        """
        folder = search_folder(self.out, split, label)
        if self._next(split, label) is None:
            return True
        try:
            with claim(folder, self.stale_after) as held:
                if held is None:
                    return False
                self._tidy(folder)
                for trial in self._trials(split, label):
                    self._run(split, label, trial, held)
        except ClaimLostError:
            return False
        return True

    @staticmethod
    def _tidy(folder: Path) -> None:
        """Removes what a kill left behind: half-written files, and checkpoints of trials that were over."""
        sweep(folder)
        for trial in read_trials(folder):
            own = folder / f"{trial.number:03d}"
            sweep(own)
            if trial.state != "running":
                TrialFolder(own).forget()

    def searched(self, split: str, label: str) -> Searched:
        """How a method's search on a split stands."""
        method, space = self.methods[label]
        return Searched(split, label, method, space, read_trials(search_folder(self.out, split, label)), self._whole(split, label))

    def untouched(self, split: str) -> Score:
        """The untouched model on a split's validation side, measured once."""
        path = search_folder(self.out, split, "untouched.json")
        if path.exists():
            return Score(**read_json(path))
        ground = self.ground(split)
        score = Score.of(ground.accuracy([ground.scores(culture, None) for culture in self.made.cultures]))
        write_json(path, asdict(score))
        return score

    @cached_property
    def totals(self) -> dict[tuple[str, str], dict[str, int]]:
        """(Split's name, label) -> culture -> steps of its training.

        Raises:
            UserError: a training of no steps, or a side without a usable question.
        """
        return {(split, label): self._totals(split, label) for split in self.sides for label in self.methods}

    def _totals(self, split: str, label: str) -> dict[str, int]:
        """One entry of `totals`."""
        training = self.engine.resolve(self.methods[label][0], self.config.training).training
        ground = self.ground(split)
        totals = {culture: self.engine.total_steps(training, len(ground.lessons(culture).encoded)) for culture in self.made.cultures}
        if not all(totals.values()):
            raise UserError(f"methods.{label}.training", "a training of no steps", "at least one step", "Set `training.steps` or `training.epochs`.")
        return totals

    def _whole(self, split: str, label: str) -> int:
        """Steps of a whole training; the longest culture's where they differ."""
        return max(self.totals[split, label].values())

    def _trials(self, split: str, label: str) -> Iterator[Trial]:
        """The trials that are to be made, as long as the budget allows one."""
        while (trial := self._next(split, label)) is not None:
            yield trial

    def _next(self, split: str, label: str) -> Trial | None:
        """The trial that a kill interrupted, else the next one, without values yet; None where the budget is used up.

        Raises:
            UserError: the trials failed, all of them, and this process has seen enough of it.
        """
        trials = read_trials(search_folder(self.out, split, label))
        interrupted = next((trial for trial in trials if trial.state == "running"), None)
        if interrupted is not None:
            return interrupted
        if self._failed[split, label] >= GIVE_UP and all(trial.state == "failed" for trial in trials):
            found = f"{len(trials)} failed trials and no other; the last: {trials[-1].reason}"
            todo = "Mend the cause and run the same command again: it tries further values."
            raise UserError(f"search of {label}, split {split}", found, "some that train", todo)
        spent, allowed, whole = self._budget(split, label, trials)
        taken = {trial.number for trial in trials}  # with a gap where a damaged trial's folder was removed
        return Trial(min(set(range(len(trials) + 1)) - taken), {}) if spent + whole <= allowed else None

    def _budget(self, split: str, label: str, trials: tuple[Trial, ...]) -> tuple[float, float, float]:
        """What is spent, what is allowed, and what must be left for another trial: in steps, or in seconds."""
        whole = self._whole(split, label)
        if self.search.seconds is not None:
            return sum(trial.seconds for trial in trials), self.search.seconds, 1e-9
        assert self.search.trials is not None
        # A trial that fails at once still costs the steps up to a first measurement, so that failures come to an end.
        least = self.search.interval(whole)
        return sum(max(trial.steps, least) for trial in trials), self.search.trials * whole, whole

    def _run(self, split: str, label: str, trial: Trial, held: Claim) -> None:
        """Makes one trial."""
        method, space = self.methods[label]
        past = tuple(each for each in read_trials(search_folder(self.out, split, label)) if each.number != trial.number)
        given = trial.values or (first_values(self.engine.resolve(method, self.config.training), space) if trial.number == 0 else None)
        key = (self.made.config.seed, split, label, trial.number)
        live = begin(space, past, key=key, sampler=self.search.sampler, prune=self.search.prune, values=given)
        folder = TrialFolder(search_folder(self.out, split, label) / f"{trial.number:03d}")
        if not trial.values:
            trial = write_trial(folder, Trial(trial.number, dict(live.values)))
        spent, allowed, _ = self._budget(split, label, past)
        whole = self._whole(split, label)

        def tell(now: Trial) -> None:
            self.watch(SearchEvent(split, label, now, whole, spent, allowed))

        tell(trial)
        training = Training(
            ground=self.ground(split),
            method=self.engine.resolve(with_values(method, trial.values), self.config.training),
            folder=folder,
            trial=trial,
            live=live,
            every=self.search.interval(whole),
            totals=self.totals[split, label],
            together=self.together,
            held=held,
            seconds_left=None if self.search.seconds is None else allowed - spent,
            watch=tell,
        )
        over = training.run()
        self._failed[split, label] += over.state == "failed"
        tell(over)
