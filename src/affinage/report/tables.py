"""The study's tables as text: own culture, split sizes, untouched model, every pair per method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import polars as pl

from affinage.report.beside import beside_the_study
from affinage.report.cells import Cells
from affinage.report.language import retell, say
from affinage.report.programs import program_name
from affinage.report.table import Table, averaged, cell_text, counted, quantity, row_text, runs_text, spread_text
from affinage.report.words import many, named, nothing_trained, number, percent, points, shown, slug, zero_shot
from affinage.stats import AVERAGES, Average, Reading
from affinage.store import PROMPTED, UNTOUCHED, UNTRAINED

__all__ = ["tables"]


def tables(cells: Cells) -> tuple[Table, ...]:
    """Every table of the reference study's kind: by number, the headline average first; the greedy reading in the appendix."""
    study = list(beside_the_study(cells))
    main = [*_both(_own_culture, cells, "choice"), *study[:1], _split_sizes(cells), *_both(_untouched, cells, "choice")]
    rest = [*_both(_own_culture, cells, "free"), *_both(_untouched, cells, "free")] if "free" in cells.readings else []
    for place, label in enumerate(cells.evidence.labels, start=4):
        pairs = partial(_pairs, label=label, place=place)
        main += _both(pairs, cells, "choice")
        rest += _both(pairs, cells, "free") if "free" in cells.readings else []
    return (*main, *study[1:], *rest)


def _zero_shot() -> str:
    """What the mark on an adapter, or on its number, means."""
    return say("Zero-shot: made for a culture none of whose questions were trained on. ")


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
    rules, behind = [], cells.row(evidence.untouched, reading, average)
    lines = [row_text(say("Untouched model"), behind)]
    for label in evidence.prompted:
        put = cells.row((label, PROMPTED), reading, average)
        behind += put
        lines.append(row_text(named(nothing_trained(label)), put))
        changes = ("" if cell.gain is None else spread_text(cell.gain, points) for cell in put)
        lines.append((say("  {label} − untouched, paired", label=retell("names", label)), *changes, runs_text(put)))
    beside: list[str] = []
    held_out: tuple[str, ...] = ()
    for label in evidence.labels:
        rules.append(len(lines))
        if evidence.expected((label, UNTRAINED)):
            untrained = cells.row((label, UNTRAINED), reading, average)
            lines.append(row_text(say("{label}, untrained", label=named(label)), untrained))
            behind += untrained
        trained = evidence.trained(label)
        own = [cells.cell((label, culture), culture, reading, average) if culture in trained else None for culture in evidence.cultures]
        present = [cell for cell in own if cell is not None]
        behind += present
        out = evidence.held_out(label)
        held_out += out
        texts = (say("not trained") if cell is None else zero_shot(cell_text(cell)) if cell.tested in out else cell_text(cell) for cell in own)
        lines.append((say("{label}, own culture", label=named(label)), *texts, runs_text(present)))
        gains = tuple("" if cell is None or cell.gain is None else spread_text(cell.gain, points) for cell in own)
        lines.append((say("  own − untouched, paired"), *gains, runs_text(present)))
        program = cells.best_program(label, average) if reading == "choice" else None
        if program is not None:
            over = [cells.difference((label, culture), (program, UNTOUCHED), culture, average) for culture in evidence.cultures]
            numbers = ("" if found is None else spread_text(found, points) for found in over)
            lines.append((say("  own − {other}, paired", other=program_name(program)), *numbers, runs_text(present)))
            beside.append(program)
    rules.append(len(lines))
    lines += _program_rows(cells, reading, average)
    if beside:
        text = say(
            "{quantity} Adapters on the culture that they were trained on; beside them mean (deviation) over runs of tuned minus untouched on the "
            "same test side, and of tuned minus the program without a language model that is right most often here. ",
            quantity=quantity(reading, average),
        )
    else:
        text = say(
            "{quantity} Adapters on the culture that they were trained on; beside them mean (deviation) over runs of tuned minus untouched on the "
            "same test side. ",
            quantity=quantity(reading, average),
        )
    title = say("Table 1. Own culture, {average}", average=averaged(average))
    text += (_zero_shot() if held_out else "") + counted(behind)
    return Table("table-1-own-culture", title, text, ("", *map(shown, evidence.cultures), say("runs")), tuple(lines), tuple(rules))


def _split_sizes(cells: Cells) -> Table:
    """Table 2."""
    evidence = cells.evidence
    sizes = {(row["split"], row["culture"]): row for row in evidence.study.plan.sizes}
    lines = []
    for culture in evidence.cultures:
        rows = [sizes.get((split, culture)) for split in evidence.splits]
        lines.append((shown(culture), *("" if row is None else f"{number(row['train'])} / {number(row['test'])}" for row in rows)))
    ranges = (say("{number} points", number=percent(evidence.study.plan.ranges[split])) for split in evidence.splits)
    lines.append((say("range of the test share"), *ranges))
    text = say(
        "Questions on the training / test side of each split. The range is the largest minus the smallest share of question rows on the "
        "test side over the cultures of the data, before any cap on rows; every template is on the same side for every culture."
    )
    return Table("table-2-split-sizes", say("Table 2. Split sizes"), text, ("", *evidence.splits), tuple(lines), (len(lines) - 1,))


def _untouched(cells: Cells, reading: Reading, average: Average) -> Table:
    """Table 3."""
    evidence = cells.evidence
    label, trained = evidence.untouched
    chosen = cells.runs.filter(
        (pl.col("label") == label) & (pl.col("trained_culture") == trained) & (pl.col("reading") == reading) & (pl.col("average") == average)
    )
    values = {(row["split"], row["culture"]): row["accuracy"] for row in chosen.iter_rows(named=True)}
    lines = [
        (split, *(percent(values[split, culture]) if (split, culture) in values else say("missing") for culture in evidence.cultures))
        for split in evidence.splits
    ]
    mean = cells.row(evidence.untouched, reading, average)
    lines.append((say("mean (deviation)"), *map(cell_text, mean)))
    text = say(
        "{quantity} The untouched model is deterministic: one value per split, its deviation comes from the {sides} alone. {counted}",
        quantity=quantity(reading, average),
        sides=many(len(evidence.splits), "test side"),
        counted=counted(mean),
    )
    title = say("Table 3. Untouched model, {average}", average=averaged(average))
    return Table("table-3-untouched", title, text, (say("split"), *map(shown, evidence.cultures)), tuple(lines), (len(lines) - 1,))


def _pairs(cells: Cells, reading: Reading, average: Average, *, label: str, place: int) -> Table:
    """Table 4 and on: one method's adapters on every culture."""
    evidence = cells.evidence
    above = [(say("untouched model"), cells.row(evidence.untouched, reading, average))]
    above += [(nothing_trained(each), cells.row((each, PROMPTED), reading, average)) for each in evidence.prompted]
    if evidence.expected((label, UNTRAINED)):
        above.append((say("untrained"), cells.row((label, UNTRAINED), reading, average)))
    out = evidence.held_out(label)
    heads = {culture: zero_shot(shown(culture)) if culture in out else shown(culture) for culture in evidence.trained(label)}
    adapters = [(head, cells.row((label, culture), reading, average)) for culture, head in heads.items()]
    behind = [cell for _, row in (*above, *adapters) for cell in row]
    text = say("{quantity} Trained on the culture of the row, tested on the culture of the column. ", quantity=quantity(reading, average))
    text += (_zero_shot() if out else "") + counted(behind)
    header = (say("trained on"), *map(shown, evidence.cultures), say("runs"))
    rules = (len(above), len(above) + len(adapters))
    rows = (*(row_text(head, row) for head, row in (*above, *adapters)), *_program_rows(cells, reading, average))
    title = say("Table {place}. {label}, every pair, {average}", place=place, label=named(label), average=averaged(average))
    return Table(f"table-{place}-{slug(label)}", title, text, header, rows, rules)


def _program_rows(cells: Cells, reading: Reading, average: Average) -> list[tuple[str, ...]]:
    """Programs without a language model and chance, the last rows of a table; the programs give no letter, so they have no greedy reading."""
    evidence = cells.evidence
    programs = () if reading == "free" else evidence.programs
    lines = [row_text(program_name(program), cells.row((program, UNTOUCHED), reading, average)) for program in programs]
    chance = [cells.cell(evidence.untouched, culture, "choice", average).chance for culture in evidence.cultures]
    return [*lines, (say("chance"), *("" if value is None else percent(value) for value in chance), "")]
