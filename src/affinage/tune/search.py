"""The search: the same budget for every method on every split, one trial after the other.

What a method's search has done is in the folders of its trials, so the same command continues after any crash. Several processes may work on one
search: each takes the first method and split that nobody works on. Within one of these trials follow each other, because the next one's values
depend on what the earlier ones showed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

from affinage.config import MethodConfig, StudyConfig
from affinage.methods.spaces import Space
from affinage.records import Split, UserError
from affinage.registry import suggest
from affinage.store import (
    STALE_AFTER,
    Checkout,
    CheckpointError,
    StudyFolder,
    checkout,
    cores,
    open_study,
    provenance,
    read_json,
    write_atomically,
    write_json,
)
from affinage.study import Engine, Plan, plan
from affinage.study.engine import engine as real_engine
from affinage.study.presets import is_file, split_key
from affinage.study.sides import check_cultures
from affinage.tune.making import Watcher, Work
from affinage.tune.outcome import Outcome, Searched, write_found
from affinage.tune.page import page
from affinage.tune.settings import SearchConfig, at_a_time
from affinage.tune.sides import validation_split

__all__ = ["tune"]

FORMAT = 1
"""Version of `search/search.json`."""


def tune(
    config: StudyConfig,
    out: Path,
    search: SearchConfig,
    *,
    watch: Watcher = lambda event: None,
    engine: Engine | None = None,
    spaces: Callable[[str], Space] | None = None,
    standing: Checkout | None = None,
    stale_after: float = STALE_AFTER,
    poll: float = 5.0,
) -> Outcome:
    """Searches the settings of a study's methods, or what is missing of it, and writes presets, tables and a page.

    Args:
        config: the study; its methods and splits are searched, its test sides are never looked at.
        out: the search's folder, new or begun.
        search: budget and validation side.
        watch: is told of every trial.
        engine: what computes; this package's own by default.
        spaces: a method's name -> what may be changed of it; what the method declares by default.
        standing: the checkout that the package runs from; found out by default.
        stale_after: seconds without a heartbeat after which another process's claim is dead.
        poll: seconds between two looks at what other processes work on.

    Raises:
        UserError: the folder holds another search, or data, model, methods or names of the space cannot be used.
        CheckpointError: a trial was begun by what trains otherwise (another version), or its checkpoint is damaged. Nothing is recorded.
    """
    engine, standing = engine or real_engine(), standing or checkout()
    methods = _searched(config, search, spaces or _declared)
    bare = config.model_copy(update={"controls": (), "prompting": (), "starts": 1})
    folder = StudyFolder(out / "search")
    made = plan(bare, folder.path, engine=engine, standing=standing)
    sides = _sides(made, search)
    check_cultures(made.dataset, sides.values(), made.cultures, made.config)
    open_study(folder, made.config, write=True)
    together = at_a_time(config, made.cultures)
    _begin(folder.path / "search.json", made, search, sides, together)
    work = Work(made, config, out, search, methods, sides, engine, together, watch, stale_after)
    failures: dict[tuple[str, str], str] = {}
    left = list(work.totals)
    while left:
        elsewhere = []
        for split, label in left:
            try:
                if not work.make(split, label):
                    elsewhere.append((split, label))
            except CheckpointError:
                raise  # it says nothing of the method, and each of the others may have one
            except UserError as error:
                failures[split, label] = str(error)
        left = elsewhere
        if left:
            time.sleep(poll)
    workers = provenance(str(work.device), made.config.model.threads or cores(), standing)
    found = tuple(work.searched(split, label) for split, label in work.totals)
    failures |= {(e.split, e.label): _none_complete(e) for e in found if e.best is None and (e.split, e.label) not in failures}
    untouched = {split: work.untouched(split) for split in sides}
    worker = {**workers.as_dict(), "optuna": metadata.version("optuna")}
    outcome = Outcome(out, config, made, search, found, sides, untouched, failures, worker)
    write_found(outcome, engine)
    write_atomically(out / "search.md", page(outcome).encode())
    return outcome


def _declared(name: str) -> Space:
    """What a method of this package declares."""
    from affinage.methods import registry  # noqa: PLC0415  (imports torch)

    return registry.get(name).space


def _searched(config: StudyConfig, search: SearchConfig, spaces: Callable[[str], Space]) -> dict[str, tuple[MethodConfig, Space]]:
    """Label -> a method of the study and what is searched of it.

    Raises:
        UserError: nothing to search, a preset that is a search's result, names of `only` that no method has; all together.
    """
    found: dict[str, tuple[MethodConfig, Space]] = {}
    faults, known = [], set()
    for method in config.methods:
        label = method.label or method.name
        if method.name == "none":
            continue
        if method.tuned is not None or is_file(method.preset):
            todo = "Name a preset of the method, from which the search begins."
            faults.append(UserError(f"methods.{label}.preset", "the result of another search", "a preset of the method", todo))
            continue
        if method.start != "fresh":
            todo = "Search the method that begins afresh, and give both its preset."
            faults.append(UserError(f"methods.{label}.start", repr(method.start), "'fresh'", todo))
            continue
        space = spaces(method.name)
        known |= set(space)
        chosen = {name: values for name, values in space.items() if not search.only or name in search.only}
        if chosen:
            found[label] = (method, chosen)
        else:
            faults.append(UserError(f"methods.{label}", "nothing to search", f"one of {', '.join(space) or 'none'}", "Leave the method out."))
    faults += [UserError("--only", repr(name), "a name of a method's space", suggest(name, known)) for name in search.only if name not in known]
    if not found and not faults:
        faults.append(UserError("methods", "no method that trains", "at least one", "Add a method to the study."))
    if faults:
        raise UserError.join(faults)
    return found


def _sides(made: Plan, search: SearchConfig) -> dict[str, Split]:
    """Split's name, as presets have it -> what trials train on and are chosen by."""
    config = made.config
    development = config.splits.side == "development"
    # The development side is the same for every split: one search on it stands for all of them.
    splits = made.record.splits[:1] if development else made.record.splits
    cut = partial(validation_split, made.dataset, share=search.share, seed=config.seed, development=development)
    return {split_key(split): cut(split) for split in splits}


def _none_complete(found: Searched) -> str:
    """Why there is nothing to choose from."""
    counts = ", ".join(f"{found.count(state)} {state}" for state in ("pruned", "failed", "out of time") if found.count(state))
    reason = next((f"; the last failure: {trial.reason}" for trial in reversed(found.trials) if trial.reason), "")
    return f"no trial was complete ({counts or 'none was begun'}){reason}. Give a larger budget, or mend the cause."


def _begin(path: Path, made: Plan, search: SearchConfig, sides: Mapping[str, Split], together: int) -> None:
    """Puts on disk what a search must find again when it goes on; its budget may be raised.

    `cohort` stands there where trials are trained in parts; in searches that began before they could be it does not.

    Raises:
        UserError: the folder holds another search.
    """
    splits = {name: {"train": sorted(side.train_templates), "validation": sorted(side.test_templates)} for name, side in sides.items()}
    search_values = search.model_dump(mode="json", exclude={"trials", "seconds"})
    counted = "trials" if search.trials is not None else "seconds"
    now = {"format": FORMAT, "search": {**search_values, "counted": counted}, "data": dict(made.record.data), "model": dict(made.record.model)}
    now["splits"] = splits
    if together < len(made.cultures):
        now["cohort"] = together
    if path.exists():
        before = read_json(path)
        differing = [name for name in {**now, **before} if before.get(name) != now.get(name)]
        if differing:
            todo = "Give another --out for another search, or take the values back to continue this one."
            raise UserError(str(path), f"a search that was begun with another {', '.join(differing)}", "the same", todo)
        return
    write_json(path, now)
