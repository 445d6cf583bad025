"""How each method's training went: its loss along the way, from the runs' logs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import matplotlib as mpl
import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.figures import INK, STYLE, line_of
from affinage.report.language import say
from affinage.report.table import Picture, Section, Table
from affinage.report.words import many, named, number, slug, span
from affinage.store import RunRecord, read_log

__all__ = ["read_training", "section"]

_LOG = {"step": pl.Int64, "loss": pl.Float64, "seconds": pl.Float64}
_PARTS = 60
"""A run's log is shown as means over at most so many equal parts."""


def read_training(evidence: Evidence, run: RunRecord) -> pl.DataFrame:
    """A run's log as columns `step, loss, seconds`; empty where it was not trained step by step.

    Args:
        evidence: the study.
        run: one of its runs.

    Raises:
        UserError: a line of the log is damaged.
    """
    path = evidence.study.folder.run(run.run).log
    if not path.exists() or not path.stat().st_size:
        return pl.DataFrame(schema=_LOG)
    try:
        return pl.read_ndjson(path, schema=_LOG)
    except pl.exceptions.PolarsError:
        # The slow reader knows a torn last line from a damaged one, and names the latter.
        return pl.DataFrame([{name: record.get(name) for name in _LOG} for record in read_log(path)], schema=_LOG)


def section(cells: Cells) -> Section | None:
    """Per method the loss at the beginning and at the end, and its curve; None where no log is left."""
    evidence = cells.evidence
    rows: list[tuple[str, ...]] = []
    pictures, frames = [], []
    for place, label in enumerate(evidence.labels):
        parts = _binned(evidence, label)
        if parts is None:
            continue
        frames.append(parts)
        rows.append(_row(label, parts))
        first, last = rows[-1][3], rows[-1][4]
        pictures.append(
            Picture(
                f"training-{slug(label)}",
                say("Training loss: {label}", label=named(label)),
                say("Thin: each run; thick: their mean. Longer runs are averaged in {count} parts.", count=_PARTS),
                say(
                    "Training loss of {label}: {first} at the beginning, {last} at the end, mean over runs",
                    label=named(label),
                    first=first,
                    last=last,
                ),
                partial(_figure, parts, place),
            )
        )
    if not rows:
        return None
    text = say(
        "Loss per question on the training side, mean over the runs' first and last tenth of steps. It falls also where nothing is learned that "
        "holds for new templates: what was learned stands in the tables of accuracy."
    )
    header = ("", say("runs"), say("steps"), say("loss at the beginning"), say("loss at the end"))
    table = Table("training", say("Training loss"), text, header, tuple(rows))
    return Section("training", (), (table,), say("Training"), "", tuple(pictures), (("training", pl.concat(frames)),))


def _binned(evidence: Evidence, label: str) -> pl.DataFrame | None:
    """Columns `label, trained_culture, split, start, run, step, loss, share`, a row per part of a run's log; None without any log.

    Runs on the cultures themselves; those of controls are other trainings.
    """
    found = list(_runs(evidence, label))
    if not found:
        return None
    last = pl.col("step").max()
    parts = []
    for run, log in found:
        shares = log.with_columns(((pl.col("step") - 1) * _PARTS // last).alias("part"), ((pl.col("step") - 0.5) / last).alias("share"))
        means = shares.group_by("part").agg(pl.col("step").max(), pl.col("loss", "share").mean()).sort("part").drop("part")
        origin = {"label": label, "trained_culture": run.trained_culture, "split": run.split, "start": run.start, "run": run.run}
        parts.append(means.select(*(pl.lit(value).alias(name) for name, value in origin.items()), "step", "loss", "share"))
    return pl.concat(parts)


def _runs(evidence: Evidence, label: str) -> Iterator[tuple[RunRecord, pl.DataFrame]]:
    """A method's runs on the studied cultures that have a log."""
    for run in evidence.runs:
        if run.label == label and run.trained_culture in evidence.cultures:
            log = read_training(evidence, run)
            if log.height:
                yield run, log


def _row(label: str, parts: pl.DataFrame) -> tuple[str, ...]:
    """A method's line of the table."""
    by_run = parts.group_by("run").agg(pl.col("step").max())
    ends = [parts.filter(where)["loss"].mean() for where in (pl.col("share") <= 0.1, pl.col("share") > 0.9)]
    if ends[0] is None:
        ends[0] = parts.filter(pl.col("share") == pl.col("share").min())["loss"].mean()
    losses = ("" if end is None else number(float(str(end)), ".3f") for end in ends)
    return (named(label), str(by_run.height), span(by_run["step"].to_list()), *losses)


def _figure(parts: pl.DataFrame, place: int) -> Figure:
    """The curve of one method."""
    colour, _ = line_of(place)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2, 2.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        runs = [frame.sort("step") for _, frame in parts.group_by("run", maintain_order=True)]
        for frame in runs:
            axes.plot(frame["step"].to_numpy(), frame["loss"].to_numpy(), color=colour, linewidth=0.6, alpha=0.35)
        # Runs of one method have the same number of steps unless their cultures have fewer questions: the mean is over equal shares of each.
        mean = parts.with_columns((pl.col("share") * _PARTS).floor().alias("part")).group_by("part").agg(pl.col("step", "loss").mean()).sort("part")
        axes.plot(mean["step"].to_numpy(), mean["loss"].to_numpy(), color=colour, linewidth=2.0)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel(say("training step"), fontsize=9, color=INK)
        axes.set_ylabel(say("loss"), fontsize=9, color=INK)
        axes.tick_params(labelsize=8, labelcolor=INK)
        axes.spines[["top", "right"]].set_visible(False)
        label = str(parts["label"][0])
        figure.suptitle(say("{label}, {runs}", label=named(label), runs=many(len(runs), "run")), fontsize=10, color=INK)
    return figure
