"""The search of a baseline without training within a study: candidates are compared, the best one is tested."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import polars as pl

from affinage.prompting import Candidate, Found, Tried, chosen
from affinage.prompting.search import read_found, write_found
from affinage.records import ItemScore, Score, UserError
from affinage.stats import with_credit
from affinage.store import RunFolder, score_frame
from affinage.study.controlled import stated
from affinage.study.prompted import Prompted

__all__ = ["choose", "taken"]


def choose(prompted: Prompted, there: RunFolder, others: Iterable[RunFolder], score: Callable[[Candidate, str], list[ItemScore]]) -> None:
    """Compares the candidates that are not compared yet; each result is on disk before the next begins.

    Args:
        prompted: the baseline on a split.
        there: its run's folder.
        others: folders of the baseline's runs on other splits; where the search is the same, what stands there is not computed again.
        score: (candidate, what it is called) -> the untouched model's scores on the questions that compare candidates.

    Raises:
        UserError: a file is damaged or cannot be written, or nothing of a culture could be scored.
    """
    begun = [read_found(folder.search) for folder in (there, *others) if folder.search.exists()]
    found = max((same for same in begun if same.key == prompted.key), key=lambda same: len(same.tried), default=_fresh(prompted))
    if found.through:
        write_found(there.search, found)
    for number in range(len(found.tried), len(prompted.candidates)):
        candidate, began = prompted.candidates[number], time.monotonic()
        scores = score(candidate, f"candidate {number + 1} of {len(prompted.candidates)}")
        cultures, unscored = _accuracies(scores, prompted)
        mean = sum(cultures.values()) / len(cultures)
        values = (candidate.wording, candidate.phrasing, candidate.count, candidate.draw, mean, cultures, unscored, time.monotonic() - began)
        found = found.with_tried(Tried(*values))
        write_found(there.search, found)


def taken(prompted: Prompted, there: RunFolder) -> tuple[Candidate, Found]:
    """The candidate that the search chose, and the search.

    Raises:
        UserError: `search.json` is missing or damaged.
    """
    found = read_found(there.search)
    return prompted.candidates[chosen(found.tried)], found


def _fresh(prompted: Prompted) -> Found:
    """A search with nothing tried."""
    terms = prompted.material.terms
    return Found(
        baseline=prompted.baseline.name,
        side=prompted.settings.side,
        key=prompted.key,
        budget=len(prompted.candidates),
        questions=prompted.compared.height,
        seen=prompted.seen,
        terms={} if terms is None else stated(terms),
    )


def _accuracies(scores: list[ItemScore], prompted: Prompted) -> tuple[dict[str, float], int]:
    """Culture -> accuracy by template; and how many questions could not be scored.

    Raises:
        UserError: none of a culture could.
    """
    rule: Score = prompted.ground.prompt.score
    credited = with_credit(score_frame(scores).with_columns(pl.lit("").alias("run")), rule)
    right = credited.filter(pl.col("choice").is_not_null())
    by_template = right.group_by("culture", "template_id").agg(pl.col("choice").mean())
    found = dict(by_template.group_by("culture").agg(pl.col("choice").mean()).iter_rows())
    missing = [culture for culture in prompted.ground.cultures if culture not in found]
    if missing:
        reason = next((score.state for score in scores if score.culture == missing[0]), "none was asked")
        where = f"baseline {prompted.label}"
        raise UserError(where, f"no usable question of {missing[0]} ({reason})", "at least one", "Change its settings or `prompt`.")
    return {culture: float(found[culture]) for culture in prompted.ground.cultures}, credited.height - right.height
