"""Whose options the tested questions have, and ids that hold no text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import polars as pl

from affinage.records import DUMMY_CULTURE, UNKNOWN_CULTURE
from affinage.report.evidence import LETTER_BIAS, Evidence
from affinage.report.language import say
from affinage.report.words import shown
from affinage.stats import codes, numbered

__all__ = ["Owners", "owner_name", "without_text"]

_QUESTION = ("split", "culture", "mcq_id")


@dataclass(frozen=True)
class Owners:
    """Whose options the tested questions have."""

    evidence: Evidence

    @property
    def missing(self) -> str:
        """Why it is not known whose they are; empty where it is."""
        questions = self.evidence.study.questions
        if questions["option_cultures"].null_count():
            return say(
                "Whose option was chosen is not told here: the study's question table was written before it kept the options' cultures. Run "
                "`affinage study run` on the study again: it adds them, trains nothing and keeps every run."
            )
        if not self.names:
            return say("Whose option was chosen is not told here: the source does not say whose culture's answer an option is.")
        return ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Methods whose choices are looked at: those that train something."""
        return tuple(label for label in self.evidence.labels if label != LETTER_BIAS and self.evidence.trained(label))

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Cultures that have an option, the studied ones first; invented options last. Options of unknown origin are in none."""
        questions = self.evidence.study.questions.filter(pl.col("culture").is_in(self.evidence.cultures))
        there = set(questions["option_cultures"].explode().unique().drop_nulls()) - {UNKNOWN_CULTURE}
        studied = [culture for culture in self.evidence.cultures if culture in there]
        others = sorted(there - {*studied, DUMMY_CULTURE})
        return (*studied, *others, *([DUMMY_CULTURE] if DUMMY_CULTURE in there else []))

    @cached_property
    def _codes(self) -> tuple[pl.DataFrame, npt.NDArray[np.int32]]:
        """Questions, and per question and option the place of its culture in `names`."""
        asked = self.evidence.study.questions.select(*_QUESTION, "option_cultures").unique(_QUESTION, keep="first", maintain_order=True)
        distinct, first = numbered(asked.select(pl.col("option_cultures").list.join("\x1f")), ("option_cultures",))
        # A question that no row has may have a name that the rows' enumeration lacks: it becomes null and matches nothing.
        named = [pl.col(name).cast(self.evidence.rows.schema[name], strict=False) for name in _QUESTION]
        return asked.select(named).with_row_index("asked"), codes(asked["option_cultures"][first], self.names)[distinct]

    def of(self, rows: pl.DataFrame) -> npt.NDArray[np.int32]:
        """The codes of the rows' options; shape [rows, options]."""
        asked, found = self._codes
        number, first = numbered(rows, _QUESTION)
        place = rows[first].select(_QUESTION).join(asked, on=_QUESTION, how="left", maintain_order="left")["asked"]
        return np.asarray(found[place.to_numpy()[number]])


def owner_name(culture: str) -> str:
    """Whose answer an option is, as a report writes it."""
    return {DUMMY_CULTURE: say("nobody (invented)"), UNKNOWN_CULTURE: say("not told")}.get(culture, shown(culture))


def without_text(column: str) -> pl.Expr:
    """Ids, null where a blank tells that the source names a thing by its text: a report holds none of the data's."""
    return pl.when(~pl.col(column).cast(pl.String).str.contains(r"\s")).then(column).alias(column)
