"""What `affinage analyse` found between and around adapters: the ways from one culture's adapter to another's, and their barriers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import polars as pl

from affinage.report.around import Around, around, around_frame, around_table
from affinage.report.cells import Cells
from affinage.report.interpolation_figures import around_figure, ways_figure
from affinage.report.language import say
from affinage.report.places import Places, read_places
from affinage.report.table import Picture, Section, Table
from affinage.report.words import bounds, many, named, number, percent, points, shown, slug
from affinage.stats import Estimate
from affinage.store import read_analysis

__all__ = ["Barrier", "barriers", "section"]


@dataclass(frozen=True, slots=True)
class Barrier:
    """The largest shortfall of a way below the straight line between its ends' accuracies."""

    label: str
    path: str
    one: str
    other: str
    culture: str
    ends: tuple[Estimate, Estimate]
    halfway: Estimate | None
    """None where the way has no place halfway."""
    at: float
    shortfall: Estimate
    """Its interval holds for every place of the way at once."""


def barriers(found: Places) -> tuple[Barrier, ...]:
    """The barrier of every way on each of its two cultures.

    The shortfall at t is (1 - t) A(0) + t A(1) - A(t), A the accuracy on the same questions; the barrier is the largest between the ends (Entezari et
    al. 2022, arXiv 2110.06296, with accuracy in the place of the loss; Frankle et al. 2020 take the mean of the ends instead of the line). Since the
    largest is looked for among m places, each has the level 1 - 0.05 / m (Bonferroni): its interval holds wherever it stands.
    """
    ways: dict[tuple[str, str, str, str, str], dict[float, int]] = defaultdict(dict)
    places = found.points.filter(pl.col("path").is_in(["straight", "spherical"]))
    for label, path, one, other, culture, at, cell in places.select("label", "path", "one", "other", "culture", "at", "cell").iter_rows():
        ways[label, path, one, other, culture][at] = cell
    made = []
    for (label, path, one, other, culture), own in ways.items():
        marks = sorted(at for at in own if 0 < at < 1)
        ends = [cell for at, cell in sorted(ways[label, "straight", one, other, culture].items()) if at in {0, 1}]
        if not marks or len(ends) < 2:
            continue
        level = 1 - 0.05 / len(marks)
        falls = found.estimates([{ends[0]: 1 - at, ends[1]: at, own[at]: -1.0} for at in marks], level)
        worst = max(range(len(marks)), key=lambda place, falls=falls: falls[place].value)  # type: ignore[misc]
        first, last = found.estimates([{end: 1.0} for end in ends])
        halfway = found.estimates([{own[0.5]: 1.0}])[0] if 0.5 in own else None
        made.append(Barrier(label, path, one, other, culture, (first, last), halfway, marks[worst], falls[worst]))
    return tuple(made)


def section(cells: Cells) -> Section | None:
    """What `affinage analyse --only interpolation` left; None where it was not run."""
    read = read_analysis(cells.evidence.study.folder, "interpolation")
    if read is None or "answers" not in read[1]:
        return None
    frames = read[1]
    found = read_places(frames["answers"])
    walls = barriers(found)
    places = {label: each for label in dict.fromkeys(found.points["label"]) if (each := around(found, label))}
    tables = [*([_ways_table(found, walls)] if walls else []), *([around_table(places)] if places else [])]
    pictures = [*(_ways_picture(found, label) for label in dict.fromkeys(wall.label for wall in walls)), *_around_pictures(places)]
    csv = (("interpolation-ways", _ways_frame(found)), ("interpolation-around", around_frame(places)))
    return Section("interpolation", (), tuple(tables), say("Between and around the adapters"), _text(found, frames), tuple(pictures), csv)


def _text(found: Places, frames: Mapping[str, pl.DataFrame]) -> str:
    """What was summed up, and what was left out."""
    where = say("; ").join(
        say("{method}: split {split}, start {start}", method=named(label), split=split, start=start)
        for label, split, start in found.points.select("label", "split", "start").unique(maintain_order=True).iter_rows()
    )
    said = [
        say(
            "Places between adapters of one start and split, tested on the same questions as the adapters themselves ({where}). Of low-rank updates "
            "the products are added up, of everything else the trained tensors.",
            where=where,
        )
    ]
    ways = frames.get("ways", pl.DataFrame(schema={"degrees": pl.Float64()})).filter(pl.col("degrees").is_not_null())
    for (label,), own in ways.group_by("label", maintain_order=True):
        low, high = (number(float(str(value)), ".0f") for value in (own["degrees"].min(), own["degrees"].max()))
        said.append(
            say("{method}: the adapters left their start at angles of {low} to {high} degrees.", method=named(str(label)), low=low, high=high)
        )
    if "refused" in frames:
        out = ", ".join(named(label) for label in frames["refused"]["label"])
        said.append(say("Left out, since their adapters cannot be added up: {methods}.", methods=out))
    return " ".join(said)


def _ways_table(found: Places, walls: Sequence[Barrier]) -> Table:
    """Every way with its barrier."""
    rows, rules = [], []
    for place, wall in enumerate(walls):
        way = say("{method}, {one} to {other}", method=named(wall.label), one=shown(wall.one), other=shown(wall.other))
        if place and (wall.label, wall.one, wall.other) != (walls[place - 1].label, walls[place - 1].one, walls[place - 1].other):
            rules.append(place)
        path = say("straight") if wall.path == "straight" else say("spherical")
        middle = "" if wall.halfway is None else percent(wall.halfway.value)
        ends = [percent(end.value) for end in wall.ends]
        numbers = (points(wall.shortfall.value), number(wall.at, ".2f"), bounds(wall.shortfall, points))
        rows.append((way, shown(wall.culture), path, *ends, middle, *numbers))
    shows = [wall for wall in walls if wall.shortfall.above]
    known = sum(wall.shortfall.low is not None for wall in walls)
    notes = [
        say("{shows} of {rows} show a barrier: the interval of the largest shortfall lies above zero.", shows=len(shows), rows=many(known, "row"))
        if known
        else say("No way has enough template groups for an interval.")
    ]
    most = max((len({*group["at"]}) for _, group in found.points.filter(pl.col("path") == "straight").group_by("label")), default=0)
    text = say(
        "Accuracy in percent by template at both ends and halfway, and the largest shortfall, in points, of a place between the ends below the "
        "straight line between their accuracies, with the place (0: the first culture's adapter, 1: the second's) where it is. The straight way has "
        "{places} tested places, those beyond the ends included; the interval holds for all places between the ends at once, each row by itself. "
        "The spherical way keeps its distance from the start.",
        places=most,
    )
    header = (
        *(say("way"), say("tested on"), say("path"), say("first adapter"), say("second adapter"), say("halfway")),
        *(say("largest shortfall"), say("at"), say("95 % interval")),
    )
    return Table("interpolation-ways", say("Ways between adapters, and barriers"), text, header, tuple(rows), tuple(rules), tuple(notes))


def _ways_picture(found: Places, label: str) -> Picture:
    """The ways of one method."""
    return Picture(
        f"interpolation-ways-{slug(label)}",
        say("Ways between adapters: {method}", method=named(label)),
        say("One panel per pair of cultures; dashed, the spherical way. Bands are 95 % intervals over template groups, of each place by itself."),
        say("Accuracy on both cultures along the ways between their adapters; the numbers are those of the table of ways."),
        partial(ways_figure, found, label),
    )


def _around_pictures(places: Mapping[str, Sequence[Around]]) -> list[Picture]:
    """Noise and virtual tokens, where there is more than the adapters as they are."""
    if all(place.kind in {"trained", "beyond", "mean"} for each in places.values() for place in each):
        return []
    text = say(
        "On the adapter's own culture, mean over cultures. Bands and bars are 95 % intervals; those of single tokens hold for all tokens at once."
    )
    alternative = say(
        "Accuracy under noise, with the first virtual tokens alone, and without one of them; the numbers are those of the table of places."
    )
    return [Picture("interpolation-around", say("Noise, and virtual tokens dropped one by one"), text, alternative, partial(around_figure, places))]


def _ways_frame(found: Places) -> pl.DataFrame:
    """Every place of every way as a line of a CSV file; accuracies are fractions."""
    places = found.points.filter(pl.col("path").is_in(["straight", "spherical", "mean"])).sort("label", "one", "other", "path", "culture", "at")
    estimates = found.estimates([{cell: 1.0} for cell in places["cell"]])
    numbers: dict[str, Sequence[float | None]] = {
        "accuracy": [each.value for each in estimates],
        "low": [each.low for each in estimates],
        "high": [each.high for each in estimates],
        "questions": [each.questions for each in estimates],
        "templates": [each.templates for each in estimates],
        "effective_groups": [each.effective for each in estimates],
    }
    return places.drop("cell", "draw").with_columns(pl.Series(name, values, strict=False) for name, values in numbers.items())
