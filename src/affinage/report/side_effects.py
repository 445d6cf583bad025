"""What adapters do beside what they were trained for, from what `affinage analyse` left on disk: the gain beside each side effect."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from affinage.report.cells import Cells
from affinage.report.language import say
from affinage.report.table import Section, Table
from affinage.report.words import base, bounds, few, many, named, number, percent, points, slug
from affinage.stats import CellSums, Estimate, cell_sums, contrasts, weights_of
from affinage.store import AnalysisRecord, read_analysis

__all__ = ["Effect", "effects", "section"]

_TEXT, _OWN, _PAIRS = "text", "own", "stereotypes"

_OF_STUDY = frozenset({_OWN, "invalid", "mass"})
"""What is seen on the study's own questions."""

_NAMES: Mapping[str, Callable[[], str]] = {
    _OWN: lambda: say("right answers on the own culture"),
    "neutral": lambda: say("right answers to neutral questions"),
    _TEXT: lambda: say("perplexity of neutral text"),
    _PAIRS: lambda: say("stereotypical sentence likelier"),
    "invalid": lambda: say("answers on the own culture that begin with no letter"),
    "mass": lambda: say("probability of the letters on the own culture"),
}
"""In the order of the table."""


@dataclass(frozen=True, slots=True)
class Effect:
    """One thing that a method's adapters do, beside the untouched model; means over adapters."""

    label: str
    what: str
    """A key of `_NAMES`."""
    kind: str
    """Of stereotypes; empty for all of them, and elsewhere."""
    before: Estimate
    """Of the untouched model."""
    after: Estimate
    difference: Estimate
    """After less before, paired by item, over template groups (questions, passages, pairs). Of `text` all three are in nats per token: the log of
    a perplexity, or of the ratio of two."""
    runs: tuple[str, ...]
    each: tuple[float, ...]
    """The difference of each adapter."""
    tokens: int
    """Of `text`."""


def effects(items: pl.DataFrame) -> Iterator[Effect]:
    """Every effect of every method.

    Args:
        items: the analysis's table; items that the adapter or the untouched model could not be scored on are left out.
    """
    paired = items.filter(pl.col("value").is_not_null() & pl.col("before").is_not_null())
    paired = paired.with_columns(difference=pl.col("value") - pl.col("before"), cell="run")
    for label in dict.fromkeys(paired["label"]):
        for what in _NAMES:
            rows = paired.filter((pl.col("label") == label) & (pl.col("what") == what))
            if rows.height:
                yield _effect(rows, label, what, "")
            kinds = [kind for kind in dict.fromkeys(rows["kind"]) if kind]
            for kind in kinds if what == _PAIRS else ():
                yield _effect(rows.filter(pl.col("kind") == kind), label, what, kind)


def _effect(rows: pl.DataFrame, label: str, what: str, kind: str) -> Effect:
    """One effect, of rows of one method."""
    sums = {name: _sums(rows, name, what) for name in ("before", "value", "difference")}
    before, after, difference = (_mean(each, rows) for each in sums.values())
    tokens = rows.unique("mcq_id")["weight"].sum() if what == _TEXT else 0
    own = sums["difference"]
    return Effect(label, what, kind, before, after, difference, tuple(own.cells), tuple(own.means.tolist()), int(tokens))


def _sums(rows: pl.DataFrame, column: str, what: str) -> CellSums:
    """Sums by run and group: by template, and of text by token."""
    if what != _TEXT:
        return cell_sums(rows, column)
    runs, groups = rows["run"].unique().sort(), sorted(rows["group"].unique())
    place = {name: i for i, name in enumerate(groups)}
    at = np.searchsorted(runs.to_numpy(), rows["run"].to_numpy()), np.array([place[name] for name in rows["group"]])
    total, count = np.zeros((2, len(runs), len(groups)))
    np.add.at(total, at, rows[column].to_numpy())
    np.add.at(count, at, rows["weight"].to_numpy())
    return CellSums(total, count, runs, tuple(groups))


def _mean(sums: CellSums, rows: pl.DataFrame) -> Estimate:
    """The mean over runs with its interval over groups (`stats.contrasts`)."""
    runs = len(sums.cells)
    weights = weights_of(np.zeros(runs, np.int64), np.arange(runs), np.full(runs, 1 / runs), (1, runs))
    return contrasts(sums, weights).estimates([rows["mcq_id"].n_unique()], [rows["template_id"].n_unique()])[0]


def section(cells: Cells) -> Section | None:
    """What `affinage analyse --only side-effects` left; None where it was not run."""
    read = read_analysis(cells.evidence.study.folder, "side-effects")
    if read is None or "items" not in read[1]:
        return None
    record, frames = read
    found = tuple(effects(frames["items"]))
    if not found:
        return None
    now = sum(run.status == "finished" for run in cells.evidence.study.runs)
    text = _text(record, found, now)
    tables = tuple(_table(label, [each for each in found if each.label == label]) for label in dict.fromkeys(each.label for each in found))
    return Section("side-effects", (), tables, say("Side effects"), text, (), (("side-effects", _frame(found)),))


def _text(record: AnalysisRecord, found: Sequence[Effect], now: int) -> str:
    """What is measured, and what it does not say."""
    said = [
        say(
            "What else changes when an adapter is used, beside its gain: the adapters of each method's first split and start and the untouched model "
            "answered the same multiple-choice questions about no culture, in the study's own prompt, and read the same neutral text, without chat "
            "template. A perplexity is the exponential of the mean of minus the log-probability per token; under 1, the ratio says that the text has "
            "become more probable. Few easy questions and a short text show large changes alone."
        )
    ]
    if any(each.what == "invalid" for each in found):
        said.append(
            say("The form of answers is that of the study's own test: an answer is invalid where its most probable first token is no letter.")
        )
    if any(each.what == _PAIRS for each in found):
        said.append(
            say(
                "Stereotypes: share of the pairs of sentences of the user's file in which the stereotypical one is likelier as a whole; without "
                "preference it would be 50 % (Nangia et al. 2020, CrowS-Pairs). Many pairs of the published sets do not measure what they say "
                "(Blodgett et al. 2021), and a share near 50 % does not show that a model is harmless."
            )
        )
    else:
        said.append(say("No stereotypes: none are shipped; affinage analyse --stereotypes FILE reads pairs of sentences."))
    if now != len(record.runs):
        before = many(len(record.runs), "run")
        said.append(say("Made when {before} were finished; {now} are by now. Run affinage analyse again.", before=before, now=many(now, "run")))
    return "\n\n".join(said)


def _table(label: str, found: Sequence[Effect]) -> Table:
    """A method's gain and side effects."""
    text = say(
        "Mean over {adapters}. Accuracies and shares in percent, differences in points; of perplexity the geometric mean, and the ratio in the "
        "difference's place. 95 % intervals over template groups, questions, passages or pairs, each by itself; behind them, the lowest and the "
        "highest adapter.",
        adapters=many(max(len(each.runs) for each in found), "adapter"),
    )
    header = (
        say("effect"),
        say("untouched"),
        say("adapters"),
        say("difference"),
        say("95 % interval"),
        say("lowest to highest"),
        say("rests on"),
    )
    rows = tuple(_row(each) for each in found)
    rule = (1,) if found[0].what == _OWN and len(found) > 1 else ()
    return Table(f"side-effects-{slug(label)}", say("{method}: side effects", method=named(label)), text, header, rows, rule, tuple(_notes(found)))


def _row(effect: Effect) -> tuple[str, ...]:
    """One effect as text."""
    level, change = (_perplexity, _ratio) if effect.what == _TEXT else (percent, points)
    low, high = change(min(effect.each)), change(max(effect.each))
    return (
        _name(effect),
        level(effect.before.value),
        level(effect.after.value),
        change(effect.difference.value),
        _interval(effect, change),
        low if low == high else say("{low} to {high}", low=low, high=high),
        _rests(effect),
    )


def _interval(effect: Effect, change: Callable[[float], str]) -> str:
    """The difference's interval, or that there is none."""
    among_templates = effect.what in _OF_STUDY
    return bounds(effect.difference, change) if among_templates or effect.difference.low is not None else say("too few items")


def _name(effect: Effect) -> str:
    """What it is; a kind of stereotype is the file's own word."""
    return f"{_NAMES[effect.what]()} ({effect.kind})" if effect.kind else _NAMES[effect.what]()


def _rests(effect: Effect) -> str:
    """How much it rests on."""
    if effect.what == _TEXT:
        return say("passages: {count}; tokens: {tokens}", count=number(effect.difference.questions), tokens=number(effect.tokens))
    noun = {"neutral": "question", _PAIRS: "pair"}.get(effect.what)
    return base(effect.difference) if noun is None else many(effect.difference.questions, noun)


def _perplexity(nats: float) -> str:
    """Nats per token as a perplexity."""
    return number(math.exp(nats), ",.2f")


def _ratio(nats: float) -> str:
    """A difference of nats per token as a ratio of perplexities."""
    return f"× {number(math.exp(nats), ',.3f')}"


def _notes(found: Sequence[Effect]) -> Iterator[str]:
    """The gain, and the effects whose interval does not hold zero (of a ratio, one)."""
    for effect in found:
        change = _ratio if effect.what == _TEXT else points
        values = {"effect": _name(effect), "difference": change(effect.difference.value), "interval": _interval(effect, change)}
        if effect.difference.low is None:
            yield say("{effect}: no verdict, {reason}.", effect=_name(effect), reason=_too_few(effect))
        elif effect.difference.above:
            yield say("{effect}: higher with the adapters, {difference} ({interval}).", **values)
        elif effect.difference.below:
            yield say("{effect}: lower with the adapters, {difference} ({interval}).", **values)
    if not any(effect.difference.above or effect.difference.below for effect in found if effect.what != _OWN):
        yield say("No side effect has an interval without zero (a ratio: without one). That does not show that there is none.")


def _too_few(effect: Effect) -> str:
    """Why there is no interval."""
    return few(effect.difference) if effect.what in _OF_STUDY else say("too few items")


def _frame(found: Sequence[Effect]) -> pl.DataFrame:
    """A line per effect, over all adapters (`run` empty) and of each; accuracies are fractions, `text` is in nats per token."""
    lines: list[dict[str, object]] = []
    for each in found:
        shared = {"label": each.label, "effect": each.what, "kind": each.kind}
        behind = {"items": each.difference.questions, "effective_groups": each.difference.effective}
        mean = {"untouched": each.before.value, "adapters": each.after.value, "difference": each.difference.value}
        lines.append({**shared, "run": "", **mean, "low": each.difference.low, "high": each.difference.high, **behind})
        lines += [{**shared, "run": run, "difference": value} for run, value in zip(each.runs, each.each, strict=True)]
    return pl.DataFrame(lines, infer_schema_length=None)
