"""When two short answers to one question mean the same, so that they cannot both be options of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from affinage.data.files import read_records
from affinage.records import UserError

__all__ = ["Answer", "ClashRule", "Clashes", "clash_rule", "lexical_clash"]

_VALUE = re.compile(r"[+-]?\d+(?:\.\d+)?(?:[:/]\d+)?")
_JUDGED_COLUMNS = ("answer_a", "answer_b")


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a culture to a template, with all its equivalent forms."""

    text: str
    """The form that an option shows, lower case."""
    votes: int
    """How many annotators gave it."""
    forms: frozenset[str] = frozenset()
    """Every form that the annotators put into one cluster, lower case; empty where the source has no clusters."""


def lexical_clash(one: str, other: str) -> bool:
    """Whether two answers clash by their letters: equal values, one inside the other, or a shared word (split on blanks and "/").

    Two numbers, times (8:00) or dates (12/31) clash only when they are equal: 2 and 12 are different answers, though one is inside the other.
    """
    if _VALUE.fullmatch(one) and _VALUE.fullmatch(other):
        return _value(one) == _value(other)
    return one in other or other in one or not _words(one).isdisjoint(_words(other))


def _value(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in re.split("[:/]", text))


def _words(text: str) -> set[str]:
    return set(text.replace("/", " ").split())


@dataclass(frozen=True, slots=True)
class ClashRule:
    """How strict the clash test is."""

    clusters: bool
    """Whether answers also clash that some culture's annotators put into one cluster, directly or through a form that they share."""
    judged: frozenset[tuple[str, str, str]] = frozenset()
    """(template id or "" for any, answer, answer): pairs that somebody judged to mean the same, each in both orders."""


def clash_rule(setting: str) -> ClashRule:
    """The rule that a study names.

    Args:
        setting: `lexical`, `clusters`, or the path of a CSV, TSV, JSON or Parquet file with the columns `answer_a`, `answer_b` and,
            where a pair counts for one template only, `template`; its pairs are added to `clusters`.

    Raises:
        UserError: neither, or the file's rows are malformed.
    """
    if setting in {"lexical", "clusters"}:
        return ClashRule(clusters=setting == "clusters")
    path = Path(setting)
    if not path.is_file():
        raise UserError("data.clash", repr(setting), "'lexical', 'clusters' or a file of judged pairs", "Check the spelling or the path.")
    pairs: set[tuple[str, str, str]] = set()
    for record in read_records(path, _JUDGED_COLUMNS):
        one, other = (str(record.values.get(column) or "").strip().lower() for column in _JUDGED_COLUMNS)
        if record.fault or not one or not other:
            found = record.fault or "an empty answer"
            raise UserError(f"{path}:{record.line}", found, "two answers that mean the same", "Mend or remove the row.")
        template = str(record.values.get("template") or "").strip()
        pairs |= {(template, one, other), (template, other, one)}
    return ClashRule(clusters=True, judged=frozenset(pairs))


class Clashes:
    """The clash test for the answers of one template; each pair is judged once.

    Args:
        rule: how strict the test is.
        template: the template's id, for judged pairs.
        answers: all answers of all cultures to it: their clusters decide which forms mean the same.
    """

    def __init__(self, rule: ClashRule, template: str, answers: Iterable[Answer]) -> None:
        self._rule, self._template = rule, template
        self._known: dict[tuple[str, str], bool] = {}
        self._clusters: dict[str, set[int]] = {}
        if rule.clusters:
            for number, answer in enumerate(answers):
                for form in answer.forms | {answer.text}:
                    self._clusters.setdefault(form, set()).add(number)

    def __call__(self, one: str, other: str) -> bool:
        """Whether the two answers (texts of options) mean the same."""
        pair = (one, other) if one < other else (other, one)
        if pair not in self._known:
            self._known[pair] = self._judge(*pair)
        return self._known[pair]

    def _judge(self, one: str, other: str) -> bool:
        if lexical_clash(one, other) or not self._reach(one).isdisjoint(self._reach(other)):
            return True
        judged = self._rule.judged
        return bool(judged) and ((self._template, one, other) in judged or ("", one, other) in judged)

    def _reach(self, text: str) -> set[int]:
        """Clusters that hold the text."""
        return self._clusters.get(text, set())
