"""Pull: how much more often an adapter chooses its own culture's option about other cultures than the untouched model does."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import polars as pl

from affinage.report.evidence import Kind
from affinage.report.language import say
from affinage.report.owners import Owners
from affinage.report.pooled import Line, line
from affinage.report.table import LINE, Table, line_text
from affinage.report.words import base, bounds, few, named, points, shown
from affinage.stats import Estimate, credited, option_matrix, paired, picks

__all__ = ["pull"]


def pull(options: Owners) -> tuple[list[Table], list[Line]]:
    """Per method and culture how much more often than the untouched model an adapter chooses its own culture's option about other cultures.

    Args:
        options: whose options they are.

    Returns:
        The table, where some question about another studied culture has such an option, and its numbers.
    """
    evidence = options.evidence
    rows: list[tuple[str, ...]] = []
    lines, rules, notes = list[Line](), list[int](), list[str]()
    behind: dict[str, pl.DataFrame] = {}
    for label in options.labels:
        found = dict(_pulled(options, label, behind))
        if not found:
            continue
        rules.append(len(rows))
        everything = {"": pl.concat(found.values())} if len(found) > 1 else {}
        for culture, frame in {**everything, **found}.items():
            trained = [culture] if culture else list(found)
            planned = sum(evidence.expected((label, each)) for each in trained)
            name = f"{label}, {culture or 'all cultures'}"
            three = (
                line(label, f"{name}: own option chosen by the adapter", frame, planned, credit="adapter"),
                line(label, f"{name}: the same option chosen untouched", frame, planned, credit="untouched"),
                line(label, f"{name}: pull", frame, planned, quantity="difference"),
            )
            lines += three
            texts = [line_text(each) for each in three]
            head = f"{named(label)}, {shown(culture)}" if culture else say("{label}, all adapters", label=named(label))
            rows.append((head, texts[0][0], texts[1][0], *texts[2]))
            if not culture or not everything:
                notes.append(_said(label, three[2].estimate))
    if not rows:
        return [], []
    text = say(
        "Questions about other studied cultures that have an option of the adapter's own culture (never the right one): percent by template in which "
        "the adapter chooses that option, the same for the untouched model on the same questions, and the difference in points (pull), paired by "
        "question, pooled over tested cultures, splits and starts, with 95 % intervals over template groups. The lines of single cultures are many: "
        "at 95 % each, one in twenty lies off zero by chance."
    )
    header = ("", say("own option: adapter"), say("own option: untouched"), say("pull"), *LINE)
    return [Table("pull", say("Pull towards the adapter's own culture"), text, header, tuple(rows), tuple(rules[1:]), tuple(notes))], lines


def _pulled(options: Owners, label: str, behind: dict[str, pl.DataFrame]) -> Iterator[tuple[str, pl.DataFrame]]:
    """(Trained culture, its adapters' rows on other cultures' questions that offer its option) with `adapter`, `untouched` and their difference.

    Args:
        options: whose options they are.
        label: the method.
        behind: the untouched model's share of each culture's option, filled as it is asked for.
    """
    evidence = options.evidence
    for culture in evidence.trained(label):
        if culture not in options.names:
            continue
        elsewhere = set(evidence.cultures) - {culture}
        if culture not in behind:
            behind[culture] = _own_option(options, evidence.untouched, culture, elsewhere)
        ours = _own_option(options, (label, culture), culture, elsewhere)
        both = paired(ours, behind[culture])
        frame = both.with_columns(ours["choice"].alias("adapter"), (ours["choice"] - both["choice"]).alias("untouched"))
        frame = credited(frame, "choice")
        if frame.height:
            yield culture, frame


def _own_option(options: Owners, kind: Kind, culture: str, tested: Collection[str]) -> pl.DataFrame:
    """A kind's answers about some cultures where a wrong option is of `culture`; `choice` is how much of the answer that option gets."""
    rows = options.evidence.part(lambda label, trained, about: (label, trained) == kind and about in tested)
    scored = credited(rows, "choice")
    if scored.is_empty():
        return scored.drop("values")
    values = option_matrix(scored["values"])
    mine = options.of(scored)[:, : values.shape[1]] == options.names.index(culture)
    mine[np.arange(scored.height), scored["answer"].to_numpy()] = False
    return scored.with_columns(pl.Series("choice", (picks(values) * mine).sum(axis=1))).drop("values").filter(pl.Series(mine.any(axis=1)))


def _said(label: str, estimate: Estimate) -> str:
    """A method's pull in one sentence."""
    name, change = named(label), points(estimate.value)
    if estimate.low is None:
        return say("{name}: pull {points} points ({base}; {few}).", name=name, points=change, base=base(estimate), few=few(estimate))
    places = {"name": name, "points": change, "interval": bounds(estimate, points), "base": base(estimate)}
    if estimate.above:
        return say(
            "{name} adapters choose their own culture's option about other cultures more often than the untouched model does: {points} points (95 % "
            "interval {interval}; {base}).",
            **places,
        )
    if estimate.below:
        return say(
            "{name} adapters choose their own culture's option about other cultures less often than the untouched model does: {points} points (95 % "
            "interval {interval}; {base}).",
            **places,
        )
    return say(
        "{name} adapters are not shown to choose their own culture's option about other cultures more or less often than the untouched model does: "
        "{points} points (95 % interval {interval}; {base}), the interval contains zero.",
        **places,
    )
