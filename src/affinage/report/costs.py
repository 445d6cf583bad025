"""What each method costs: seconds of training, trained parameters, bytes on disk."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from safetensors import SafetensorError, safe_open

from affinage.records import UserError
from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.table import Section, Table
from affinage.report.training import read_training
from affinage.report.words import named, number
from affinage.store import RunFolder, RunRecord
from affinage.store.files import read_json

__all__ = ["parameters", "section", "training_seconds"]


@dataclass(frozen=True, slots=True)
class _Cost:
    """Of one run."""

    label: str
    run: str
    seconds: float | None
    """Its share of its cohort's training; None where no log is left."""
    steps: int
    parameters: int | None
    """Numbers in its adapter's file; None where it has none."""
    size: int | None
    """Bytes of its adapter's folder."""
    questions: int | None
    """Training questions of its culture."""


def section(cells: Cells) -> Section | None:
    """The table of costs; None where nothing was trained."""
    evidence = cells.evidence
    found = {label: [_cost(evidence, run) for run in evidence.runs if run.label == label and _trained(evidence, run)] for label in evidence.labels}
    rows = tuple(_row(label, costs) for label, costs in found.items() if costs)
    if not rows:
        return None
    text = say(
        "Means over the adapters of the studied cultures. Seconds of training as the log has them, on the machines that the provenance names, a step "
        "of adapters that are trained together divided equally among them; testing is not in them. Parameters are the numbers that the adapter's "
        "file keeps; bytes are those of its folder, the list of seen templates included."
    )
    header = (
        "",
        say("adapters"),
        say("parameters"),
        say("bytes on disk"),
        say("steps"),
        say("seconds per adapter"),
        say("seconds per step"),
        say("hours, all adapters"),
    )
    frame = pl.DataFrame([cost for costs in found.values() for cost in costs], infer_schema_length=None)
    return Section("cost", (), (Table("cost", say("What an adapter costs"), text, header, rows),), say("Cost"), frames=(("cost", frame),))


def _trained(evidence: Evidence, run: RunRecord) -> bool:
    return run.trained_culture in evidence.cultures


def parameters(evidence: Evidence, label: str) -> int | None:
    """Numbers in the files of a method's adapters, the mean over them rounded; None where none has a file.

    Raises:
        UserError: a file is damaged.
    """
    chosen = [run for run in evidence.runs if run.label == label and _trained(evidence, run)]
    found = [count for run in chosen if (count := _numbers(evidence.study.folder.run(run.run))) is not None]
    return round(statistics.fmean(found)) if found else None


def training_seconds(evidence: Evidence, run: RunRecord) -> float | None:
    """A run's share of the seconds that its training took; None where no log is left.

    Raises:
        UserError: its log is damaged.
    """
    return _cost(evidence, run).seconds


def _cost(evidence: Evidence, run: RunRecord) -> _Cost:
    """What one run cost."""
    folder = evidence.study.folder.run(run.run)
    log = read_training(evidence, run)
    together = read_json(folder.state).get("plan", {}).get("cohort")
    share = max(1, len(together)) if isinstance(together, list) else 1
    seconds = float(log["seconds"].sum()) / share if log.height and log["seconds"].null_count() == 0 else None
    files = [file for file in folder.adapter.rglob("*") if file.is_file()] if folder.adapter.is_dir() else []
    return _Cost(
        label=run.label,
        run=run.run,
        seconds=seconds,
        steps=log.height,
        parameters=_numbers(folder),
        size=sum(file.stat().st_size for file in files) if files else None,
        questions=run.counts["questions"] if run.counts else None,
    )


def _numbers(folder: RunFolder) -> int | None:
    """How many numbers an adapter's file holds, read off its header; None where there is no such file."""
    path = folder.adapter / "adapter_model.safetensors"
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return int(sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys()))  # noqa: SIM118  (it is no mapping)
    except (SafetensorError, OSError) as error:
        todo = "Remove the run's folder and run the study again."
        raise UserError(str(path), f"a file that cannot be read ({error})", "an adapter as affinage writes it", todo) from None


def _row(label: str, costs: Sequence[_Cost]) -> tuple[str, ...]:
    """A method's line."""
    seconds = [cost.seconds for cost in costs if cost.seconds is not None]
    steps = sum(cost.steps for cost in costs if cost.seconds is not None)
    return (
        named(label),
        number(len(costs)),
        _mean([cost.parameters for cost in costs]),
        _mean([cost.size for cost in costs]),
        _mean([cost.steps or None for cost in costs]),
        number(statistics.fmean(seconds), ",.1f") if seconds else "",
        number(sum(seconds) / steps, ".3f") if seconds and steps else "",
        number(sum(seconds) / 3600, ",.2f") if seconds else "",
    )


def _mean(values: Sequence[int | None]) -> str:
    """A mean of whole numbers; empty where nothing is known."""
    known = list(_known(values))
    return number(round(statistics.fmean(known))) if known else ""


def _known(values: Sequence[int | None]) -> Iterator[int]:
    """Those that are there."""
    return (value for value in values if value is not None)
