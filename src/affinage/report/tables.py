"""The study's tables as text: own culture, split sizes, untouched model, every pair per method; the study's own numbers beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import polars as pl

from affinage.report import reference
from affinage.report.cells import Cell, Cells
from affinage.report.evidence import ASSOCIATION, Kind, named, shown, slug
from affinage.stats import AVERAGES, Average, Reading, Spread
from affinage.store import UNTRAINED

__all__ = ["Table", "percent", "points", "tables"]

_AVERAGE = {"template": "by template (headline)", "row": "by row (as in the reference study)"}
_READING = {"choice": "best-scored option", "free": "greedy first token"}
_MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Table:
    """A table as text, ready for any format."""

    key: str
    """File name without ending."""
    title: str
    text: str
    """What it shows, with n, questions and templates."""
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    rules: tuple[int, ...] = ()
    """Rows before which a line is drawn."""
    appendix: bool = False
    """Whether it stands in the report's appendix."""


def percent(fraction: float) -> str:
    """A fraction as percent, one decimal."""
    return f"{100 * fraction:.1f}"


def points(fraction: float) -> str:
    """A difference in points, with its sign and one decimal; what rounds to zero has none."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def tables(cells: Cells) -> tuple[Table, ...]:
    """Every table of the report in its order: by number, the headline average first; the greedy reading in the appendix."""
    study = list(_beside_the_study(cells))
    main = [*_both(_own_culture, cells, "choice"), *study[:1], _split_sizes(cells), *_both(_untouched, cells, "choice")]
    rest = [*_both(_own_culture, cells, "free"), *_both(_untouched, cells, "free")] if "free" in cells.readings else []
    for number, label in enumerate(cells.evidence.labels, start=4):
        pairs = partial(_pairs, label=label, number=number)
        main += _both(pairs, cells, "choice")
        rest += _both(pairs, cells, "free") if "free" in cells.readings else []
    return (*main, *study[1:], *rest)


def _both(build: Callable[[Cells, Reading, Average], Table], cells: Cells, reading: Reading) -> list[Table]:
    """A table by template and by row, under names that tell them apart."""
    built = [(average, build(cells, reading, average)) for average in AVERAGES]
    suffix = {("choice", "template"): "", ("choice", "row"): "-by-row"}
    return [
        replace(table, key=table.key + suffix.get((reading, average), f"-{reading}-by-{average}"), appendix=reading != "choice")
        for average, table in built
    ]


def _own_culture(cells: Cells, reading: Reading, average: Average) -> Table:
    """Table 1."""
    evidence = cells.evidence
    rules, counted = [], _row(cells, evidence.untouched, reading, average)
    lines = [_line("Untouched model", counted)]
    for label in evidence.labels:
        rules.append(len(lines))
        if evidence.expected((label, UNTRAINED)):
            untrained = _row(cells, (label, UNTRAINED), reading, average)
            lines.append(_line(f"{named(label)}, untrained", untrained))
            counted += untrained
        trained = evidence.trained(label)
        own = [cells.cell((label, culture), culture, reading, average) if culture in trained else None for culture in evidence.cultures]
        present = [cell for cell in own if cell is not None]
        counted += present
        lines.append((f"{named(label)}, own culture", *("not trained" if cell is None else _cell(cell) for cell in own), _runs(present)))
        gains = tuple("" if cell is None or cell.gain is None else _spread(cell.gain, points) for cell in own)
        lines.append(("  own − untouched, paired", *gains, _runs(present)))
    rules.append(len(lines))
    lines += _baselines(cells, reading, average)
    text = (
        f"{_what(reading, average)} Adapters on the culture that they were trained on; beside them mean (deviation) over runs of tuned minus "
        f"untouched on the same test side. {_counted(counted)}"
    )
    title = f"Table 1. Own culture, {_AVERAGE[average]}"
    return Table("table-1-own-culture", title, text, ("", *map(shown, evidence.cultures), "runs"), tuple(lines), tuple(rules))


def _split_sizes(cells: Cells) -> Table:
    """Table 2."""
    evidence = cells.evidence
    sizes = {(row["split"], row["culture"]): row for row in evidence.study.plan.sizes}
    lines = []
    for culture in evidence.cultures:
        rows = [sizes.get((split, culture)) for split in evidence.splits]
        lines.append((shown(culture), *("" if row is None else f"{row['train']:,} / {row['test']:,}" for row in rows)))
    lines.append(("range of the test share", *(f"{100 * evidence.study.plan.ranges[split]:.1f} points" for split in evidence.splits)))
    text = (
        "Questions on the training / test side of each split. The range is the largest minus the smallest share of question rows on the "
        "test side over the cultures of the data, before any cap on rows; every template is on the same side for every culture."
    )
    return Table("table-2-split-sizes", "Table 2. Split sizes", text, ("", *evidence.splits), tuple(lines), (len(lines) - 1,))


def _untouched(cells: Cells, reading: Reading, average: Average) -> Table:
    """Table 3."""
    evidence = cells.evidence
    label, trained = evidence.untouched
    chosen = cells.runs.filter(
        (pl.col("label") == label) & (pl.col("trained_culture") == trained) & (pl.col("reading") == reading) & (pl.col("average") == average)
    )
    values = {(row["split"], row["culture"]): row["accuracy"] for row in chosen.iter_rows(named=True)}
    lines = [
        (split, *(percent(values[split, culture]) if (split, culture) in values else _MISSING for culture in evidence.cultures))
        for split in evidence.splits
    ]
    mean = _row(cells, evidence.untouched, reading, average)
    lines.append(("mean (deviation)", *map(_cell, mean)))
    text = (
        f"{_what(reading, average)} The untouched model is deterministic: one value per split, its deviation comes from the "
        f"{len(evidence.splits)} test sides alone. {_counted(mean)}"
    )
    title = f"Table 3. Untouched model, {_AVERAGE[average]}"
    return Table("table-3-untouched", title, text, ("split", *map(shown, evidence.cultures)), tuple(lines), (len(lines) - 1,))


def _pairs(cells: Cells, reading: Reading, average: Average, *, label: str, number: int) -> Table:
    """Table 4 and on: one method's adapters on every culture."""
    evidence = cells.evidence
    above = [("untouched model", _row(cells, evidence.untouched, reading, average))]
    if evidence.expected((label, UNTRAINED)):
        above.append(("untrained", _row(cells, (label, UNTRAINED), reading, average)))
    adapters = [(shown(culture), _row(cells, (label, culture), reading, average)) for culture in evidence.trained(label)]
    counted = [cell for _, row in (*above, *adapters) for cell in row]
    text = f"{_what(reading, average)} Trained on the culture of the row, tested on the culture of the column. {_counted(counted)}"
    header = ("trained on", *map(shown, evidence.cultures), "runs")
    rules = (len(above), len(above) + len(adapters))
    rows = (*(_line(head, row) for head, row in (*above, *adapters)), *_baselines(cells, reading, average))
    return Table(f"table-{number}-{slug(label)}", f"Table {number}. {named(label)}, every pair, {_AVERAGE[average]}", text, header, rows, rules)


def _beside_the_study(cells: Cells) -> Iterator[Table]:
    """The reference study's numbers under ours, by row, for the cultures that both have."""
    evidence = cells.evidence
    ours = [culture for culture in evidence.cultures if reference.known(culture)]
    study = [name for name in map(reference.known, ours) if name is not None]
    if not ours:
        return
    header = ("", *study)
    text = (
        f"Ours: best-scored option, by row. Theirs: {reference.SOURCE} (whether by the best letter or by generated text is not stated). Another "
        "model or other data is another quantity: compare directions, not levels."
    )
    rows = [
        ("ours: untouched", *_plain(cells, evidence.untouched, ours)),
        ("study: untouched", *(_study(reference.UNTOUCHED[name]) for name in study)),
    ]
    rules = []
    both = [(label, evidence.method(label)) for label in evidence.labels if evidence.method(label) in reference.METHODS]
    for label, method in both:
        rules.append(len(rows))
        own = tuple(_plain(cells, (label, culture), [culture])[0] if culture in evidence.trained(label) else "" for culture in ours)
        rows.append((f"ours: {label}, own culture", *own))
        rows.append((f"study: {method}, own culture", *(_study(reference.PAIRS[method][name][name]) for name in study)))
    rules.append(len(rows))
    rows.append(("study: format control", *(_study(reference.FORMAT_CONTROL[name]) for name in study)))
    yield Table("reference-1-own-culture", "Beside the reference study: own culture", text, header, tuple(rows), tuple(rules))
    for label, method in both:
        rows, rules = [], []
        for culture, name in zip(ours, study, strict=True):
            rules.append(len(rows))
            if culture in evidence.trained(label):
                rows.append((f"ours: {name}", *_plain(cells, (label, culture), ours)))
            rows.append((f"study: {name}", *(_study(reference.PAIRS[method][name][tested]) for tested in study)))
        title = f"Beside the reference study: {label}, every pair"
        yield Table(f"reference-{slug(label)}", title, text, ("trained on", *study), tuple(rows), tuple(rules[1:]))


def _plain(cells: Cells, kind: Kind, tested: Sequence[str]) -> tuple[str, ...]:
    """Our cells by row in the best-option reading."""
    return tuple(_cell(cells.cell(kind, culture, "choice", "row")) for culture in tested)


def _study(number: reference.Number) -> str:
    """A number as the study prints it."""
    return f"{number[0]:.2f} ({number[1]:.2f})"


def _baselines(cells: Cells, reading: Reading, average: Average) -> list[tuple[str, ...]]:
    """Word-country association and chance, the last rows of a table."""
    evidence = cells.evidence
    association = (ASSOCIATION, evidence.untouched[1])
    lines = [] if reading == "free" else [_line(ASSOCIATION, _row(cells, association, reading, average))]
    chance = [cells.cell(evidence.untouched, culture, "choice", average).chance for culture in evidence.cultures]
    return [*lines, ("chance", *("" if value is None else percent(value) for value in chance), "")]


def _row(cells: Cells, kind: Kind, reading: Reading, average: Average) -> list[Cell]:
    """One kind on every culture."""
    return [cells.cell(kind, culture, reading, average) for culture in cells.evidence.cultures]


def _line(head: str, row: Sequence[Cell]) -> tuple[str, ...]:
    """One row of cells with its number of runs."""
    return (head, *map(_cell, row), _runs(row))


def _cell(cell: Cell) -> str:
    """Mean and deviation; where runs are missing the cell says so itself."""
    if cell.accuracy is None:
        return f"{_MISSING} ({cell.expected})" if cell.expected else ""
    return _spread(cell.accuracy) + (f" [{cell.missing} of {cell.expected} {_MISSING}]" if cell.missing else "")


def _spread(number: Spread, form: Callable[[float], str] = percent) -> str:
    """Mean (deviation)."""
    return form(number.mean) + ("" if number.deviation is None else f" ({percent(number.deviation)})")


def _runs(row: Sequence[Cell]) -> str:
    """Number of runs of a table row, and of how many where some are missing."""
    there = sorted({len(cell.runs) for cell in row})
    text = "–".join(str(count) for count in dict.fromkeys((there[0], there[-1]))) if there else ""
    return f"{text} of {max(cell.expected for cell in row)}" if any(cell.missing for cell in row) else text


def _what(reading: Reading, average: Average) -> str:
    """The quantity in a cell."""
    return f"Accuracy in percent ({_READING[reading]}), {_AVERAGE[average]}, mean (sample deviation n − 1) over runs."


def _counted(chosen: Sequence[Cell]) -> str:
    """Questions, templates, missing runs and unscored rows behind a table."""
    filled = [cell for cell in chosen if cell.runs]
    if not filled:
        return "No run is finished."
    text = f"A cell rests on {_span(cell.questions for cell in filled)} questions of {_span(cell.templates for cell in filled)} templates. "
    missing = sum(cell.missing > 0 for cell in chosen)
    unscored = sum(cell.unscored for cell in filled)
    text += f"In {missing} cells runs are missing: their numbers will change. " if missing else ""
    return text + (f"{unscored:,} rows could not be scored and are in no mean." if unscored else "Every row could be scored.")


def _span(numbers: Iterable[int]) -> str:
    """`1,200`, or `900 to 1,200`."""
    numbers = list(numbers)
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
