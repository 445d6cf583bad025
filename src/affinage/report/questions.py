"""The worst and the best questions of each method, with the model's option probabilities before and after; ids and numbers, no texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.language import say
from affinage.report.owners import owner_name, without_text
from affinage.report.table import Section, Table
from affinage.report.words import named, number, percent, points, shown, slug
from affinage.stats import TIE, credited, numbered, option_matrix, option_shares

__all__ = ["section"]

_SHOWN = 8
"""Questions of each kind."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class _Asked:
    """Every question about a method's own cultures, once."""

    about: pl.DataFrame
    """Columns `culture, mcq_id, template_id, template, answer, option_cultures, runs`, one row per question; `template` is null where a source
    names templates by their texts."""
    untouched: Floats
    """Probabilities of the options, mean over the runs' splits; shape [questions, options], NaN where there is no option."""
    own: Floats
    """The same of the own culture's adapters, mean over runs."""

    @property
    def change(self) -> Floats:
        """Of the right option's probability; shape [questions]."""
        rows, answer = np.arange(self.about.height), self.about["answer"].to_numpy()
        return np.asarray(self.own[rows, answer] - self.untouched[rows, answer])

    @property
    def error(self) -> Floats:
        """The largest probability that the adapters give to a wrong option; shape [questions]."""
        wrong = self.own.copy()
        wrong[np.arange(self.about.height), self.about["answer"].to_numpy()] = np.nan
        return np.asarray(np.nanmax(wrong, axis=1))

    def first(self, value: Floats, where: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Of the questions `where` it holds those with the highest values, at most one of each template; ties in the order of their ids."""
        ranked = self.about.select("template_id", "culture", "mcq_id").with_row_index("row").with_columns(pl.Series("value", value).round(9))
        ranked = ranked.filter(pl.Series(where)).sort(-pl.col("value"), "culture", "mcq_id").unique("template_id", keep="first", maintain_order=True)
        return ranked["row"].head(_SHOWN).to_numpy().astype(np.int64)


def section(cells: Cells) -> Section | None:
    """One table per method; None where nothing was trained."""
    evidence = cells.evidence
    tables: list[Table] = []
    frames: list[pl.DataFrame] = []
    for label in evidence.labels:
        asked = None if label == LETTER_BIAS else _asked(evidence, label)
        if asked is None:
            continue
        table, frame = _method(label, asked)
        tables.append(table)
        frames.append(frame)
    if not tables:
        return None
    return Section("questions", (), tuple(tables), say("Worst and best questions"), frames=(("questions", pl.concat(frames)),))


def _asked(evidence: Evidence, label: str) -> _Asked | None:
    """A method's questions; None where none was answered both by its own adapter and by the untouched model."""
    keys = ["split", "culture", "mcq_id"]
    trained = evidence.trained(label)
    own = credited(evidence.own(label), "choice")
    before = evidence.part(lambda name, adapter, tested: (name, adapter) == evidence.untouched and tested in trained)
    before = credited(before, "choice")
    paired = own.join(before.select(keys).with_row_index("before"), on=keys, maintain_order="left")
    if paired.is_empty():
        return None
    untouched, ours = (option_shares(option_matrix(rows["values"])) for rows in (before, paired))
    width = max(untouched.shape[1], ours.shape[1])
    untouched, ours = (np.pad(each, ((0, 0), (0, width - each.shape[1])), constant_values=np.nan) for each in (untouched, ours))
    question, first = numbered(paired, ("culture", "mcq_id"))
    counts = np.bincount(question, minlength=len(first))
    cultures = evidence.study.questions.select("culture", "mcq_id", "option_cultures").unique(["culture", "mcq_id"], keep="first")
    names = pl.col("culture", "mcq_id", "template_id").cast(pl.String)
    about = paired[first].select(names, "answer").with_columns(pl.Series("runs", counts))
    about = about.with_columns(without_text("template_id").alias("template")).join(
        cultures, on=["culture", "mcq_id"], how="left", maintain_order="left"
    )
    return _Asked(about, _means(untouched[paired["before"].to_numpy()], question, counts), _means(ours, question, counts))


def _means(shares: Floats, question: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Floats:
    """Mean over the rows of each question; shape [questions, options]."""
    columns = [np.bincount(question, column, minlength=len(counts)) / counts for column in shares.T]
    return np.stack(columns, axis=1)


def _method(label: str, asked: _Asked) -> tuple[Table, pl.DataFrame]:
    """A method's table, and its content in long form."""
    change, error = asked.change, asked.error
    right = asked.own[np.arange(asked.about.height), asked.about["answer"].to_numpy()]
    blocks = {
        "gained most": (say("up most"), asked.first(change, change > TIE)),
        "lost most": (say("down most"), asked.first(-change, change < -TIE)),
        "surest and wrong": (say("surest and wrong"), asked.first(error, error > right + TIE)),
    }
    rows: list[tuple[str, ...]] = []
    rules: list[int] = []
    parts: list[dict[str, object]] = []
    for name, (title, places) in blocks.items():
        rules += [len(rows)] if rows and len(places) else []
        for rank, place in enumerate(places.tolist(), start=1):
            rows.append(_row(title if rank == 1 else "", asked, place, float(change[place])))
            parts += _long(label, name, rank, asked, place)
    text = say(
        "Probabilities of the options in percent (softmax of what they are compared by; mean over runs), in the source's order and with the culture "
        "whose answer each is, by the untouched model and by the own culture's adapter. Up and down most: by the change of the right option's "
        "probability. Surest and wrong: by the highest probability that the adapter gives to a wrong option. At most one question of a template. "
        "These are the ends of {questions} questions: they show what happens, not how often. `affinage data show` prints a question by its id.",
        questions=number(asked.about.height),
    )
    header = (
        *("", say("question"), say("culture"), say("options of"), say("right option"), say("untouched"), say("own culture")),
        *(say("right option: change"), say("runs")),
    )
    title = say("Worst and best questions: {label}, own culture", label=named(label))
    return Table(f"questions-{slug(label)}", title, text, header, tuple(rows), tuple(rules)), pl.DataFrame(parts, schema=_LONG, orient="row")


_LONG = {
    **dict.fromkeys(("label", "list"), pl.String()),
    "rank": pl.Int64(),
    **dict.fromkeys(("culture", "mcq_id", "template_id"), pl.String()),
    "option": pl.Int64(),
    "option_culture": pl.String(),
    "right": pl.Boolean(),
    **dict.fromkeys(("untouched", "own"), pl.Float64()),
    "runs": pl.Int64(),
}


def _row(head: str, asked: _Asked, place: int, change: float) -> tuple[str, ...]:
    """A question as one line."""
    about = asked.about.row(place, named=True)
    count = int((~np.isnan(asked.own[place])).sum())
    owners = about["option_cultures"] or []
    whose = " / ".join(owner_name(owner) for owner in owners) if any(owners) else ""
    before, after = (" / ".join(percent(value) for value in each[place, :count]) for each in (asked.untouched, asked.own))
    return (
        *(head, about["mcq_id"], shown(about["culture"]), whose, number(about["answer"] + 1)),
        *(before, after, points(change), number(about["runs"])),
    )


def _long(label: str, name: str, rank: int, asked: _Asked, place: int) -> Iterator[dict[str, object]]:
    """A question's options, one each; `option` counts from 1 as the table does."""
    about = asked.about.row(place, named=True)
    for option in range(int((~np.isnan(asked.own[place])).sum())):
        owners = about["option_cultures"]
        yield {
            "label": label,
            "list": name,
            "rank": rank,
            **{column: about[column] for column in ("culture", "mcq_id", "runs")},
            "template_id": about["template"],
            "option": option + 1,
            "option_culture": None if owners is None else owners[option],
            "right": option == about["answer"],
            "untouched": float(asked.untouched[place, option]),
            "own": float(asked.own[place, option]),
        }
