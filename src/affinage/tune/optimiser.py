"""Which values to try next, and which trial to give up: by Optuna (Akiba et al. 2019). The only importer of it.

Optuna's study lives in memory and is made again from the trials on disk before each trial, its sampler seeded by the trial's number. So what is tried
is a function of the seed and of the trials before it: a search that was killed goes on as if it had not been, and needs no second store that a kill
could tear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from affinage import seeds
from affinage.methods.spaces import Choice, Space, Span
from affinage.tune.trials import Trial

__all__ = ["Live", "begin"]

RANDOM_FIRST = 5
"""Trials that are drawn at random before the estimator has something to go by."""

NEVER_PRUNED = 4
"""A trial is given up only when so many are complete."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


@final
@dataclass(frozen=True)
class Live:
    """A trial that is going on, as Optuna sees it."""

    values: Mapping[str, Any]
    """Dotted name -> value."""
    _trial: optuna.Trial
    _told: set[int] = field(default_factory=set)

    def tell(self, measured: Mapping[int, float], step: int) -> None:
        """Reports what was measured up to a step."""
        for each in sorted(measured):
            if each <= step and each not in self._told:
                self._trial.report(measured[each], each)
                self._told.add(each)

    @property
    def hopeless(self) -> bool:
        """Whether the others were better at the step that was told last."""
        return bool(self._trial.should_prune())


def begin(
    space: Space, past: Sequence[Trial], *, key: tuple[str | int, ...], sampler: str, prune: bool, values: Mapping[str, Any] | None = None
) -> Live:
    """The next trial.

    Args:
        space: what may be tried.
        past: the trials that are over, in their order.
        key: of the random stream: seed, method, split, trial's number.
        sampler: `tpe` or `random`.
        prune: whether a trial may be given up.
        values: those to try; chosen by the sampler where they are None.
    """
    seed = seeds.seed_of("search", *key) % 2**32
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(n_startup_trials=RANDOM_FIRST, multivariate=False, seed=seed)
        if sampler == "tpe"
        else optuna.samplers.RandomSampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=NEVER_PRUNED) if prune else optuna.pruners.NopPruner(),
    )
    distributions = {name: _distribution(values) for name, values in space.items()}
    for trial in past:
        study.add_trial(_over(trial, space, distributions))
    if values is None:
        drawn = study.ask(distributions)
        return Live({name: _value(space[name], drawn.params[name]) for name in space}, drawn)
    known = _parameters(values, space)
    if known:
        study.enqueue_trial(known)
    return Live(values, study.ask(distributions if known else {}))


def _distribution(values: Span | Choice) -> BaseDistribution:
    """A part of a space in Optuna's words; a choice is drawn by its place, since its values may be anything."""
    if isinstance(values, Choice):
        return CategoricalDistribution(tuple(range(len(values.values))))
    if values.whole:
        return IntDistribution(int(values.low), int(values.high), log=values.log)
    return FloatDistribution(values.low, values.high, log=values.log)


def _value(values: Span | Choice, drawn: Any) -> Any:
    """What was drawn, as a method takes it."""
    if not isinstance(values, Choice):
        return drawn
    chosen = values.values[drawn]
    return list(chosen) if isinstance(chosen, tuple) else chosen


def _parameters(values: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Values in Optuna's words; none of them where one lies outside the space, as a setting from elsewhere may."""
    found: dict[str, Any] = {}
    for name, part in space.items():
        value = values[name]
        if isinstance(part, Choice):
            places = [place for place, known in enumerate(part.values) if (list(known) if isinstance(known, tuple) else known) == value]
            if not places:
                return {}
            found[name] = places[0]
        elif part.low <= value <= part.high:
            found[name] = value
        else:
            return {}
    return found


def _over(trial: Trial, space: Space, distributions: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    """A trial that is over. A failed one is as bad as can be: where the loss is not finite, nothing near is worth a try."""
    states = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.PRUNED, "out of time": TrialState.FAIL}
    known = _parameters(trial.values, space)
    return optuna.trial.create_trial(
        state=states[trial.state],
        value=trial.score.value if trial.state == "complete" and trial.score is not None else None,
        params=known,
        distributions={name: distributions[name] for name in known},
        intermediate_values={} if trial.state == "failed" else dict(trial.measured),
    )
