"""What a search found: the table of all trials, a preset per method, and the study with these presets in it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import yaml

from affinage.config import MethodConfig, StudyConfig
from affinage.methods.spaces import Space
from affinage.records import Split
from affinage.store import write_atomically, write_json
from affinage.store.folder import file_name
from affinage.study import Engine, Plan
from affinage.study.presets import write_preset
from affinage.tune.settings import SearchConfig
from affinage.tune.trials import Score, Trial, TrialState

if TYPE_CHECKING:
    from affinage.methods import ResolvedMethod

__all__ = ["Outcome", "Searched", "first_values", "preset_file", "with_values", "write_found"]


@dataclass(frozen=True, slots=True)
class Searched:
    """A method's search on one split."""

    split: str
    label: str
    method: MethodConfig
    """As the study has it."""
    space: Space
    trials: tuple[Trial, ...]
    whole: int
    """Steps of a whole training."""

    @property
    def best(self) -> Trial | None:
        """The trial with the highest accuracy, of equal ones the first: the values as they stood, unless others are better.

        None where no trial is complete.
        """
        scored = [(trial.score.value, -trial.number, trial) for trial in self.trials if trial.state == "complete" and trial.score is not None]
        return max(scored)[2] if scored else None

    def count(self, state: TrialState) -> int:
        """Trials that ended so."""
        return sum(trial.state == state for trial in self.trials)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A search that is over."""

    out: Path
    config: StudyConfig
    """The study as it was given."""
    made: Plan
    """Of the search's own study: every default filled in."""
    search: SearchConfig
    found: tuple[Searched, ...]
    sides: Mapping[str, Split]
    """Split's name -> what trials were trained on and chosen by."""
    untouched: Mapping[str, Score]
    """Split's name -> the untouched model on its validation side."""
    failures: Mapping[tuple[str, str], str]
    """(split's name, label) -> why its search ended without a result."""
    worker: Mapping[str, Any]
    """What this process is."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Searched methods, in the study's order."""
        return tuple(dict.fromkeys(each.label for each in self.found))

    def chosen(self, label: str) -> dict[str, tuple[Searched, Trial]] | None:
        """Split's name -> a method's search and its best trial; None where one of the splits has none."""
        found = {each.split: (each, each.best) for each in self.found if each.label == label}
        return {split: (each, best) for split, (each, best) in found.items() if best is not None} if all(best for _, best in found.values()) else None


def first_values(resolved: ResolvedMethod, space: Space) -> dict[str, Any]:
    """The values of a space as a study has them: the first trial of every search."""
    tree = {"settings": resolved.settings.model_dump(mode="json"), "training": resolved.training.model_dump(mode="json")}
    return {name: tree[name.partition(".")[0]][name.partition(".")[2]] for name in space}


def with_values(method: MethodConfig, values: Mapping[str, Any]) -> MethodConfig:
    """A method with a trial's values over its own."""
    given: dict[str, dict[str, Any]] = {"settings": dict(method.settings), "training": dict(method.training)}
    for name, value in values.items():
        section, _, field = name.partition(".")
        given[section][field] = value
    return method.model_copy(update=given)


def preset_file(out: Path, label: str) -> Path:
    """Where a method's preset stands."""
    return out / "presets" / f"{file_name(label)}.yaml"


def write_found(outcome: Outcome, engine: Engine) -> None:
    """Writes presets, `tuned.yaml`, and all trials as `trials.csv` and `trials.json`.

    Raises:
        UserError: as `write_atomically`.
    """
    rows = list(_rows(outcome))
    write_json(outcome.out / "trials.json", {"trials": rows})
    flat = [{name: json.dumps(value) if isinstance(value, dict) else value for name, value in row.items()} for row in rows]
    write_atomically(outcome.out / "trials.csv", pl.DataFrame(flat, infer_schema_length=None).write_csv().encode())
    written = {}
    for label in outcome.labels:
        chosen = outcome.chosen(label)
        if chosen is not None:
            method = next(each.method for each, _ in chosen.values())
            entries = {split: _entry(outcome, each, best, engine) for split, (each, best) in chosen.items()}
            write_preset(preset_file(outcome.out, label), method.name, entries, _provenance(outcome, label))
            written[label] = preset_file(outcome.out, label)
    write_atomically(outcome.out / "tuned.yaml", _study(outcome, written).encode())


def _rows(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """One row per trial."""
    for each in outcome.found:
        for trial in each.trials:
            score = trial.score
            yield {
                "split": each.split,
                "method": each.label,
                "trial": trial.number,
                "values": dict(trial.values),
                "state": trial.state,
                "steps": trial.steps,
                "whole": each.whole,
                "seconds": trial.seconds,
                "score": None if score is None else score.value,
                "low": None if score is None else score.low,
                "high": None if score is None else score.high,
                "measured": {str(step): value for step, value in trial.measured.items()},
                "reason": trial.reason,
            }


def _entry(outcome: Outcome, each: Searched, best: Trial, engine: Engine) -> dict[str, Any]:
    """A split's part of a preset: what the search chose, and what else the method had of its own.

    Training values that the study wrote down for all of its methods held in the trials, and stay the study's to say.
    """
    side = outcome.sides[each.split]
    resolved = engine.resolve(with_values(each.method, best.values), outcome.config.training)
    training = resolved.training.model_dump(mode="json", exclude_unset=True)
    own = with_values(each.method, best.values).training
    assert best.score is not None
    return {
        "settings": resolved.settings.model_dump(mode="json"),
        "training": {name: value for name, value in training.items() if name in own or name not in outcome.config.training.model_fields_set},
        "seen": sorted(side.train_templates | side.test_templates),
        "found": {
            "accuracy": asdict(best.score),
            "trial": best.number,
            "trials": {state: each.count(state) for state in ("complete", "pruned", "failed", "out of time")},
            "steps": sum(trial.steps for trial in each.trials),
            "seconds": round(sum(trial.seconds for trial in each.trials), 1),
        },
    }


def _provenance(outcome: Outcome, label: str) -> dict[str, Any]:
    """On what a preset was chosen, among what, and by what."""
    config = outcome.made.config
    space = next(each.space for each in outcome.found if each.label == label)
    return {
        "data": dict(outcome.made.record.data),
        "model": dict(outcome.made.record.model),
        "cultures": list(outcome.made.cultures),
        "prompt": config.prompt.model_dump(mode="json"),
        "training": outcome.config.training.model_dump(mode="json", exclude_unset=True),
        "search": outcome.search.model_dump(mode="json"),
        "space": {
            name: {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(part).items()} for name, part in space.items()
        },
        "seed": config.seed,
        "made by": _plain(outcome.worker),
        "provisional": list(outcome.made.provisional),
    }


def _plain(value: Any) -> Any:
    """A tree that YAML can hold without tags."""
    return json.loads(json.dumps(value))


def _study(outcome: Outcome, written: Mapping[str, Path]) -> str:
    """The study with its presets, to be run as it is; the side that is tested is the test side."""
    values = outcome.config.model_dump(mode="json", exclude_unset=True)
    methods = []
    for method in outcome.config.methods:
        label = method.label or method.name
        if label in written:
            methods.append({"name": method.name, "label": label, "preset": str(written[label].resolve())})
        else:
            methods.append(method.model_dump(mode="json", exclude_unset=True))
    values["methods"] = methods
    if "splits" in values:
        values["splits"].pop("side", None)
    return f"# The study with what `affinage tune` chose.\n{yaml.safe_dump(values, sort_keys=False, allow_unicode=True)}"
