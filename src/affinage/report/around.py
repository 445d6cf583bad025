"""What becomes of an adapter that is moved: beyond its end, into the middle of all, by noise, or without virtual tokens."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from affinage.report.language import say
from affinage.report.places import Places
from affinage.report.table import Table
from affinage.report.words import base, bounds, named, number, percent, points
from affinage.stats import Estimate

__all__ = ["Around", "around", "around_frame", "around_table"]


@dataclass(frozen=True, slots=True)
class Around:
    """Places of one kind around every adapter of a method, pooled over the cultures, each on the adapter's own culture."""

    kind: str
    """`trained`: as they are; `beyond` their end by the share `at` of the way from another culture's adapter; the `mean` of all; `noise` of the
    length `at`; with the `first` `at` virtual tokens alone; `without` one, mean over the tokens; `token`: without that of the number `at`."""
    at: float
    accuracy: Estimate
    difference: Estimate | None
    """From the adapters as they are; None for themselves."""


def around(found: Places, label: str) -> tuple[Around, ...]:
    """Places around the adapters of a method, from those as they were trained.

    Intervals are of each place by itself, but for single tokens: one is picked out among all, so theirs hold for all at once (Bonferroni).
    """
    own, places = _cells(found, label)
    if not own:
        return ()
    made = [Around("trained", 0.0, found.estimates([_even({culture: [cell] for culture, cell in own.items()})])[0], None)]
    for kind in _KINDS:
        # A place that some culture lacks would compare other cultures with those of the next place.
        chosen = sorted((at, cells) for (each, at), cells in places.items() if each == kind and cells.keys() <= own.keys())
        levels = [_even(cells) for _, cells in chosen]
        falls = [{**level, **{own[culture]: -1.0 / len(cells) for culture in cells}} for level, (_, cells) in zip(levels, chosen, strict=True)]
        level = 1 - 0.05 / max(1, len(chosen)) if kind == "token" else 0.95
        pairs = zip(chosen, found.estimates(levels, level), found.estimates(falls, level), strict=True)
        made += [Around(kind, at, accuracy, difference) for (at, _), accuracy, difference in pairs]
    return tuple(made)


_KINDS = ("beyond", "mean", "noise", "first", "without", "token")


def _cells(found: Places, label: str) -> tuple[dict[str, int], dict[tuple[str, float], dict[str, list[int]]]]:
    """Culture -> cell of its adapter as it is, and (kind, at) -> culture -> cells, each on the adapter's own culture."""
    own: dict[str, int] = {}
    places: dict[tuple[str, float], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    columns = found.points.filter(pl.col("label") == label).select("cell", "path", "other", "at", "culture")
    for cell, path, other, at, culture in columns.iter_rows():
        if path == "noise" and not at:
            own[culture] = cell
        elif path == "straight":
            beyond = at - 1 if culture == other else -at
            if beyond > 0:
                places["beyond", beyond][culture].append(cell)
        elif path == "without":
            places["without", 0.0][culture].append(cell)
            places["token", at][culture].append(cell)
        elif path in {"mean", "noise", "first"}:
            places[path, at][culture].append(cell)
    return own, places


def _even(cells: Mapping[str, Sequence[int]]) -> dict[int, float]:
    """Each culture alike, and each of its cells."""
    return {cell: 1.0 / len(cells) / len(own) for own in cells.values() for cell in own}


def around_table(found: Mapping[str, Sequence[Around]]) -> Table:
    """A line per place of each method; single tokens are in the figure alone."""
    rows: list[tuple[str, ...]] = []
    rules = []
    for label, places in found.items():
        rules.append(len(rows))
        for place in places:
            if place.kind == "token":
                continue
            difference = ("", "") if place.difference is None else (points(place.difference.value), bounds(place.difference, points))
            head = f"{named(label)}, {_said(place)}"
            rows.append((head, percent(place.accuracy.value), bounds(place.accuracy, percent), *difference, base(place.accuracy)))
    text = say(
        "Accuracy in percent by template on the adapter's own culture, mean over the cultures, and the difference in points from the adapters as "
        "they were trained, on the same questions. Intervals are of each line by itself. Noise is a random step so many times as long as the way "
        "that training went from the start, mean over directions; beyond its end means on along the straight way from another culture's adapter."
    )
    header = (say("place"), say("accuracy"), say("95 % interval"), say("difference"), say("95 % interval"), say("rests on"))
    notes = tuple(note for label, places in found.items() for note in _token_note(label, [place for place in places if place.kind == "token"]))
    return Table("interpolation-around", say("Around the adapters"), text, header, tuple(rows), tuple(rules[1:]), notes)


def _said(place: Around) -> str:
    """The name of a place."""
    share = number(place.at, ".2f")
    count = f"{place.at + (place.kind == 'token'):.0f}"
    return {
        "trained": lambda: say("as trained"),
        "beyond": lambda: say("beyond its end by {share} of the way", share=share),
        "mean": lambda: say("mean of all cultures' adapters"),
        "noise": lambda: say("noise of {share} of its way", share=share),
        "first": lambda: say("first virtual tokens alone: {count}", count=count),
        "without": lambda: say("without one virtual token, mean over the tokens"),
        "token": lambda: say("without virtual token {count}", count=count),
    }[place.kind]()


def _token_note(label: str, tokens: Sequence[Around]) -> Iterable[str]:
    """Which single tokens matter."""
    known = [(place, place.difference) for place in tokens if place.difference is not None and place.difference.low is not None]
    if not known:
        return
    lost = ", ".join(number(place.at + 1, ".0f") for place, difference in known if difference.below)
    if lost:
        yield say("{method}: accuracy is lower without one of these virtual tokens (counted from 1): {tokens}.", method=named(label), tokens=lost)
    else:
        yield say("{method}: no single virtual token is shown to be needed, in simultaneous intervals.", method=named(label))


def around_frame(found: Mapping[str, Sequence[Around]]) -> pl.DataFrame:
    """Every place as a line of a CSV file; accuracies are fractions."""
    return pl.DataFrame([_row(label, place) for label, places in found.items() for place in places])


def _row(label: str, place: Around) -> dict[str, object]:
    difference = place.difference
    return {
        "label": label,
        "place": place.kind,
        "at": place.at,
        "accuracy": place.accuracy.value,
        "low": place.accuracy.low,
        "high": place.accuracy.high,
        "difference": None if difference is None else difference.value,
        "difference_low": None if difference is None else difference.low,
        "difference_high": None if difference is None else difference.high,
        "level": place.accuracy.level,
        "questions": place.accuracy.questions,
        "templates": place.accuracy.templates,
        "effective_groups": place.accuracy.effective,
    }
