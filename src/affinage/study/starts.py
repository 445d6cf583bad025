"""Adapters that begin from other adapters of the same study: of the same method, split and start index, trained before.

What they begin from is an ordinary run of the plan: of another method of the study with the same name and settings that begins afresh. So the
comparison that shows what the start is worth stands in the same tables. Such runs come last on their split, are named by the runs that they begin
from, and have seen what those have seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from affinage.config import MethodConfig, StudyConfig
from affinage.records import UserError
from affinage.registry import suggest
from affinage.store import UNTRAINED, read_state, run_path

if TYPE_CHECKING:
    from affinage.methods import Adapter
    from affinage.store import RunState
    from affinage.study.plan import PlannedRun
    from affinage.study.work import Session

__all__ = ["ALL", "begin", "begun", "begun_labels", "waits"]

ALL = "all-cultures"
"""The start, and the control whose adapter it is."""


def begun_labels(config: StudyConfig) -> frozenset[str]:
    """Labels of the methods whose adapters begin from others; controls are not trained with them."""
    return frozenset(method.label or method.name for method in config.methods if method.start != "fresh")


def begun(config: StudyConfig, runs: Sequence[PlannedRun]) -> tuple[PlannedRun, ...]:
    """A plan's runs with what they begin from, on each split after those.

    `similar` chooses for each culture, so it has no start of its own after zero steps.

    Args:
        config: the study.
        runs: planned as if all began afresh.

    Raises:
        UserError: what a method shall begin from is not in the plan; all faults together.
    """
    methods = {method.label or method.name: method for method in config.methods if method.start != "fresh"}
    if not methods:
        return tuple(runs)
    ready: list[PlannedRun] = []
    faults: dict[str, UserError] = {}
    for run in runs:
        method = methods.get(run.label)
        if method is None:
            ready.append(run)
        elif not (method.start == "similar" and run.trained_culture == UNTRAINED):
            try:
                ready.append(_after(run, method, _sources(run, method, config, runs)))
            except UserError as error:
                faults[run.label] = error
    if faults:
        raise UserError.join(faults.values())
    order = {split: place for place, split in enumerate(dict.fromkeys(run.split.name for run in runs))}
    return tuple(sorted(ready, key=lambda run: (order[run.split.name], bool(run.sources))))


def _sources(run: PlannedRun, method: MethodConfig, config: StudyConfig, runs: Sequence[PlannedRun]) -> tuple[tuple[str, str], ...]:
    """(Name, path) of the runs that a run begins from, or chooses from."""
    where = f"methods.{run.label}.start"
    if run.taught:
        raise UserError(where, f"{method.start!r} for a method that trains its cultures together", "'fresh'", "Leave `start` out.")
    pool = _pool(run, method, config, runs)
    kind, _, names = method.start.partition(":")
    if kind == "similar":
        wanted = [name for name in pool if name not in {UNTRAINED, ALL} and pool[name].made is None]
    else:
        wanted = [ALL] if kind == ALL else names.split("+") if kind == "tailor" else [names]
    if len(set(wanted)) < len(wanted):
        raise UserError(where, repr(method.start), "two different names", f"Name another adapter, or begin from one: `start: culture:{wanted[0]}`.")
    missing = [name for name in wanted if name not in pool]
    if missing:
        todo = f"Add the control: `controls: [{{name: {ALL}}}]`." if missing == [ALL] else suggest(missing[0], [n for n in pool if n != UNTRAINED])
        raise UserError(where, f"{method.start!r}, and no adapter of {', '.join(missing)} on split {run.split.name}", "one in the study", todo)
    return tuple((name, pool[name].path) for name in wanted)


def _pool(run: PlannedRun, method: MethodConfig, config: StudyConfig, runs: Sequence[PlannedRun]) -> dict[str, PlannedRun]:
    """Culture, or control's set -> run of the method that begins afresh, on the same split from the same start."""
    assert run.method is not None
    fresh = {each.label or each.name for each in config.methods if each.start == "fresh" and each.name == method.name}
    settings = _half(run.method.settings.model_dump(mode="json"), method)
    for label in dict.fromkeys(each.label for each in runs if each.label in fresh):
        own = [each for each in runs if each.label == label and each.split is run.split and each.start == run.start and each.method is not None]
        if own and own[0].method is not None and own[0].method.settings.model_dump(mode="json") == settings:
            return {each.trained_culture: each for each in own}
    found = f"{method.start!r}, and no other {method.name} in the study that begins afresh with {json.dumps(settings)}"
    raise UserError(f"methods.{run.label}.start", found, "one to begin from", "Add it under a label of its own, with these settings.")


def _half(settings: dict[str, Any], method: MethodConfig) -> dict[str, Any]:
    """The settings of what a method begins from: two prompts that are put one after the other have half the length each."""
    if not method.start.startswith("tailor:"):
        return settings
    length = settings.get("length")
    if not isinstance(length, int) or length % 2:
        where = f"methods.{method.label or method.name}.settings.length"
        raise UserError(where, repr(length), "twice the length of the two prompts that it begins from", "Set an even length.")
    return {**settings, "length": length // 2}


def _after(run: PlannedRun, method: MethodConfig, sources: tuple[tuple[str, str], ...]) -> PlannedRun:
    """A run that begins from others, under the path that says so."""
    determinants: Mapping[str, Any] = {**run.determinants, "begins": {"start": method.start, "from": [path for _, path in sources]}}
    path = run_path(run.label, run.trained_culture, run.split.name, f"start{run.start}", determinants)
    return replace(run, path=path, determinants=determinants, begins=method.start, sources=sources)


def waits(session: Session, planned: PlannedRun) -> bool:
    """Whether a run that a run begins from is still to be trained: it comes before this one in every process's order."""
    waited_for = [path for _, path in planned.sources if path not in session.given_up]
    return any(state is None or state.status == "running" for state in _states(session, waited_for))


def _states(session: Session, paths: Iterable[str]) -> Iterator[RunState | None]:
    for path in paths:
        yield read_state(session.folder.run(path))


def begin(session: Session, planned: PlannedRun) -> tuple[Adapter, frozenset[str]]:
    """A run's adapter at its start, and the templates that the start has seen.

    Raises:
        UserError: what it begins from failed, or is of another kind than what the method trains.
    """
    assert planned.method is not None
    fresh = planned.method.build(session.backbone, planned.key(session.made.config.seed))
    if not planned.sources:
        return fresh, frozenset()
    for (name, path), state in zip(planned.sources, _states(session, [path for _, path in planned.sources]), strict=True):
        if state is None or state.status not in {"trained", "finished"}:
            reason = f"failed: {state.reason}" if state is not None and state.status == "failed" else "was not trained yet"
            raise UserError(f"start of {planned.path}", f"{path}, the adapter of {name}, which {reason}", "a trained adapter", "Mend that run first.")
    adapters = {name: session.engine.restore(session.folder.run(path).adapter, session.backbone) for name, path in planned.sources}
    chosen = _chosen(session, planned, adapters)
    if type(chosen) is not type(fresh):
        found = f"{planned.begins!r} for settings that train more than they hand on ({type(fresh).__name__})"
        raise UserError(f"methods.{planned.label}.start", found, "a method that trains what it hands on", "Leave out the projection or the encoder.")
    return chosen, frozenset[str]().union(*(adapter.seen for adapter in adapters.values()))


def _chosen(session: Session, planned: PlannedRun, adapters: Mapping[str, Adapter]) -> Adapter:
    """The adapter that a run begins from."""
    assert planned.method is not None
    found = list(adapters.values())
    if len(found) == 1:
        return found[0]
    from affinage.methods import registry  # noqa: PLC0415  (imports torch)
    from affinage.methods.combining import joined, similarity  # noqa: PLC0415

    if planned.begins == "similar":
        own = adapters[planned.trained_culture]
        return max((each for name, each in adapters.items() if name != planned.trained_culture), key=lambda each: similarity(own, each))
    tensors = joined(found[0], found[1])
    return registry.get(planned.name).restore(planned.method.settings, session.backbone.shape, tensors).to(session.backbone.device)
