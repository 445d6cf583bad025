"""What lies between and around a study's adapters.

Accuracy along the way from one culture's adapter to another's and beyond, in the middle of several, under noise, and with virtual tokens taken away.
The adapters are those of each method's first split and start. Every place is tested on the study's own test questions of that split; credit is kept
per question, so a difference between two places is one over the same questions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import numpy as np
import polars as pl

from affinage.analysis.base import Analysis, Progress, analyses
from affinage.analysis.cohort import evaluate_together
from affinage.analysis.paths import Place, angle, average, displacement, noisy, place_of, require_alike, spherical, straight, tokens_of, with_tokens
from affinage.analysis.subject import Subject
from affinage.methods import Adapter
from affinage.records import UserError
from affinage.registry import suggest
from affinage.stats import with_credit
from affinage.store import RunRecord, score_frame

__all__ = ["ANSWERS", "DRAWS", "QUESTIONS", "SHARES", "WAYS", "Point", "answers_of", "chosen_pairs", "run", "way"]

QUESTIONS = 200
"""Questions per culture where `--limit` says nothing: tens of places are tested on each."""

SHARES = (0.25, 0.5, 1.0, 2.0)
"""Lengths of the noise as shares of an adapter's displacement from its start."""

DRAWS = 3
"""Directions of the noise."""

ANSWERS: dict[str, pl.DataType] = {
    "label": pl.String(),
    "split": pl.String(),
    "start": pl.Int64(),
    "path": pl.String(),
    "one": pl.String(),
    "other": pl.String(),
    "at": pl.Float64(),
    "draw": pl.Int64(),
    "culture": pl.String(),
    "mcq_id": pl.String(),
    "template_id": pl.String(),
    "group": pl.String(),
    "choice": pl.Float64(),
}
"""Columns of the table `answers`, one row per place and question.

`path` is the kind of place: `straight` and `spherical`, on the way from the adapter of the culture `one` (`at` 0) to that of `other` (`at` 1); `mean`
of all adapters (`one` and `other` empty); `noise` of length `at`, a share of the displacement, in the direction `draw`; `without`, the adapter of
`one` without its virtual token number `at`; `first`, with its first `at` tokens alone. `culture` is the tested one, `choice` the credit
(`stats.with_credit`), null where the question could not be scored."""

WAYS: dict[str, pl.DataType] = {
    "label": pl.String(),
    "split": pl.String(),
    "start": pl.Int64(),
    "one": pl.String(),
    "other": pl.String(),
    "degrees": pl.Float64(),
    "length_one": pl.Float64(),
    "length_other": pl.Float64(),
}
"""Columns of the table `ways`, one row per pair: the angle between the adapters' displacements from their start, and the displacements' lengths."""

_REFUSED = {"label": pl.String(), "reason": pl.String()}


@dataclass(frozen=True, slots=True)
class Point:
    """A place that is to be tested."""

    path: str
    at: float
    make: Callable[[], Adapter]
    draw: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Method:
    """One method's adapters of its first split and start."""

    label: str
    split: str
    start: int
    runs: Mapping[str, RunRecord]
    """Culture -> run."""
    places: Mapping[str, Place]
    """Culture -> where its adapter is."""
    origin: Place | None
    """What they began from; None where they did not begin from one untrained tensor."""


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """Places that are tested together."""

    what: str
    one: str
    other: str
    cultures: tuple[str, ...]
    """Whose adapters they lie between or around, and on whose questions they are tested."""
    points: Callable[[], list[Point]]
    steps: int = 0
    """Of a way."""


def run(subject: Subject, progress: Progress) -> dict[str, pl.DataFrame]:
    """Goes every way of a study.

    Args:
        subject: the study.
        progress: keeps each way.

    Returns:
        `answers` (`ANSWERS`), `ways` (`WAYS`), and `refused`: methods whose adapters cannot be added up, with the reason.

    Raises:
        UserError: a pair that is none of the study's; files, data or model as `Subject` says.
    """
    pairs = chosen_pairs(subject.settings.pairs, subject.cultures)
    answers, ways, refused = [pl.DataFrame(schema=ANSWERS)], [pl.DataFrame(schema=WAYS)], []
    for label in subject.labels:
        try:
            method = _method(subject, label)
            own = [pair for pair in pairs if all(culture in method.places for culture in pair)]
            rows = [_way_row(method, *pair) for pair in own]
        except UserError as reason:
            refused.append({"label": label, "reason": str(reason)})
            continue
        ways.append(pl.DataFrame(rows, schema=WAYS))
        answers += list(_answers(subject, progress, method, own))
    return {"answers": pl.concat(answers), "ways": pl.concat(ways), "refused": pl.DataFrame(refused, schema=_REFUSED)}


def chosen_pairs(asked: Sequence[str], cultures: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Pairs of cultures: those asked for, or all.

    Args:
        asked: `one:other` each.
        cultures: studied ones.

    Raises:
        UserError: not two different cultures of the study.
    """
    if not asked:
        return tuple(combinations(cultures, 2))
    found = []
    for each in asked:
        one, _, other = each.partition(":")
        strange = [name for name in (one, other) if name not in cultures]
        if strange or one == other:
            todo = suggest(strange[0], list(cultures)) if strange else "Name two."
            raise UserError("--pair", repr(each), "two different cultures of the study, one:other", todo)
        found.append((one, other))
    return tuple(dict.fromkeys(found))


def way(one: Place, other: Place, origin: Place | None, steps: int) -> list[Point]:
    """Points of the straight way and half as far beyond each end, and of the spherical one between the ends.

    Args:
        one: where it begins.
        other: where it ends.
        origin: what both began from; None leaves the spherical way out.
        steps: from end to end.
    """
    beyond = steps // 2
    marks = [(number / steps) for number in range(-beyond, steps + beyond + 1)]
    points = [Point("straight", at, partial(straight, one, other, at)) for at in marks]
    if origin is not None:
        points += [Point("spherical", at, partial(spherical, one, other, origin, at)) for at in marks if 0 < at < 1]
    return points


def _around(place: Place, origin: Place | None) -> list[Point]:
    """An adapter as it is (noise of length 0), under noise, and with virtual tokens taken away."""
    points = [Point("noise", 0.0, lambda: place.adapter)]
    if origin is not None:
        points += [Point("noise", share, partial(noisy, place, origin, share, draw), draw) for share in SHARES for draw in range(DRAWS)]
    tokens = range(tokens_of(place))
    points += [Point("without", token, partial(with_tokens, place, [each for each in tokens if each != token])) for token in tokens]
    return points + [Point("first", kept, partial(with_tokens, place, range(kept))) for kept in tokens]


def _method(subject: Subject, label: str) -> _Method:
    """A method's adapters.

    Raises:
        UserError: they cannot be read or added up.
    """
    first = subject.runs(label)[0]
    runs = {run.trained_culture: run for run in subject.runs(label, split=first.split, start=first.start)}
    places = {culture: place_of(subject.adapter(run), subject.card(run)) for culture, run in runs.items()}
    began = subject.start_of(first)
    origin = None if began is None else place_of(subject.adapter(began), subject.card(began))
    return _Method(label, first.split, first.start, runs, places, origin)


def _way_row(method: _Method, one: str, other: str) -> dict[str, object]:
    """The geometry of a way.

    Raises:
        UserError: the adapters did not begin alike, or one has not moved.
    """
    a, b, origin = method.places[one], method.places[other], method.origin
    require_alike([a, b])  # before anything is tested
    named = {"label": method.label, "split": method.split, "start": method.start, "one": one, "other": other}
    if origin is None:
        return {**named, "degrees": None, "length_one": None, "length_other": None}
    lengths = {"length_one": displacement(a, origin), "length_other": displacement(b, origin)}
    return {**named, "degrees": float(np.degrees(angle(a, b, origin))), **lengths}


def _tasks(method: _Method, pairs: Sequence[tuple[str, str]], steps: int) -> Iterator[_Task]:
    """What is to be tested of a method."""
    for one, other in pairs:
        points = partial(way, method.places[one], method.places[other], method.origin, steps)
        yield _Task(f"from {one} to {other}", one, other, (one, other), points, steps)
    for culture, place in method.places.items():
        yield _Task(f"around {culture}", culture, "", (culture,), partial(_around, place, method.origin))
    if len(method.places) > 2:
        middle = Point("mean", 0.0, partial(average, list(method.places.values())))
        yield _Task("the mean of all", "", "", tuple(method.places), lambda: [middle])


def _answers(subject: Subject, progress: Progress, method: _Method, pairs: Sequence[tuple[str, str]]) -> Iterator[pl.DataFrame]:
    """The answers of all places of a method."""
    tasks = list(_tasks(method, pairs, subject.settings.steps))
    progress.expect(len(tasks))
    for task in tasks:
        named = {"label": method.label, "split": method.split, "start": method.start, "one": task.one, "other": task.other}
        key: list[str | int] = [task.what, *(method.runs[culture].run for culture in task.cultures), subject.settings.limit or QUESTIONS, task.steps]
        yield progress.unit(f"{method.label}, {task.what}", key, partial(_asked, subject, named, task))


def _asked(subject: Subject, named: Mapping[str, object], task: _Task) -> pl.DataFrame:
    """The answers of a task's places."""
    return answers_of(subject, named, task.points(), task.cultures)


def answers_of(subject: Subject, named: Mapping[str, object], points: Sequence[Point], cultures: Sequence[str]) -> pl.DataFrame:
    """What each of some places answers, tested together.

    Args:
        subject: the study.
        named: the columns `label`, `split`, `start`, `one` and `other`.
        points: the places.
        cultures: tested ones.

    Returns:
        Columns of `ANSWERS`.

    Raises:
        UserError: a place has seen a tested template, or as `Subject.asked`.
    """
    split = str(named["split"])
    groups = subject.record.questions.filter(pl.col("split") == split).select("culture", "mcq_id", "group")
    tables = [pl.DataFrame(schema=ANSWERS)]
    adapters = [point.make() for point in points]
    for culture in cultures:
        asked = subject.asked(split, culture, QUESTIONS)
        scored = evaluate_together(
            subject.backbone, adapters, asked.encoded, asked.refused, prompt=subject.prompt, nodes_per_pack=subject.nodes_per_pack
        )
        rows = pl.concat(score_frame(own).with_columns(pl.lit(number).alias("run")) for number, own in enumerate(scored))
        where = {"run": range(len(points)), "path": [p.path for p in points], "at": [float(p.at) for p in points], "draw": [p.draw for p in points]}
        credit = with_credit(rows, subject.prompt.score).join(pl.DataFrame(where), on="run", how="left", maintain_order="left")
        named_rows = credit.with_columns(pl.lit(value).alias(name) for name, value in named.items())
        tables.append(named_rows.join(groups, on=["culture", "mcq_id"], how="left", maintain_order="left").select(*ANSWERS).cast(pl.Schema(ANSWERS)))
    return pl.concat(tables)


analyses.add(
    "interpolation",
    Analysis(
        "interpolation",
        f"Accuracy between adapters, under noise, and without virtual tokens; {QUESTIONS} questions per culture, or as --limit says.",
        run,
        reads=("limit", "pairs", "steps"),
    ),
)
