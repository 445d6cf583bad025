"""What side effects are measured on: questions about no culture, neutral text, and pairs of sentences that differ in a stereotype.

Questions are those of the source `neutral`, or a CSV file with the columns `question`, `answer` (the right option) and `wrong`, `wrong_2`, ... (any
columns whose names begin with `wrong`; empty cells are no options). Text is the shipped file, or a text file whose passages stand between blank
lines. Pairs come from the user alone: a CSV file with the columns `more`, `less` and, optional, `kind`, the layout of CrowS-Pairs (Nangia et al.
2020, "CrowS-Pairs: A challenge dataset for measuring social biases in masked language models"; its columns are sent_more, sent_less and bias_type).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from affinage import seeds
from affinage.analysis.settings import AnalysisSettings
from affinage.config import DataConfig
from affinage.data import choice_sources
from affinage.data.base import NoSettings
from affinage.data.files import Record, read_records, read_text
from affinage.records import MAXIMUM_OPTIONS, MCQ, UNKNOWN_CULTURE, UserError
from affinage.store import canonical_digest

__all__ = ["Material", "StereotypePair", "neutral_passages", "neutral_set", "stereotype_pairs"]

_SHIPPED_TEXT = "neutral.txt"
_NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True)
class StereotypePair:
    """Two sentences that differ in a stereotype."""

    item: str
    """Names the pair: the line of its file."""
    kind: str
    """Whom it is about, as the file says; empty where it does not."""
    more: str
    """The sentence that states the stereotype, or states it more strongly."""
    less: str
    """The other."""


@dataclass(frozen=True, slots=True)
class Material:
    """Everything that is asked and read beside the study's own questions."""

    questions: tuple[MCQ, ...]
    """Each a template of its own, of the culture `neutral`."""
    passages: tuple[str, ...]
    pairs: tuple[StereotypePair, ...]
    """None where the user brings none."""

    @classmethod
    def of(cls, settings: AnalysisSettings) -> Material:
        """The user's files where they are given, else the shipped ones.

        `limit` cuts each of the three to its first ones by a hash of its text, so that a larger limit keeps what a smaller one kept.

        Raises:
            UserError: a file cannot be read, or holds what cannot be used.
        """
        pairs = () if settings.stereotypes is None else stereotype_pairs(settings.stereotypes)
        questions, passages = neutral_set(settings.neutral), neutral_passages(settings.text)
        chosen = _drawn([each.question for each in questions], settings.limit)
        kept = _drawn(passages, settings.limit)
        asked = _drawn([each.more for each in pairs], settings.limit)
        return cls(tuple(questions[i] for i in chosen), tuple(passages[i] for i in kept), tuple(pairs[i] for i in asked))

    @property
    def digest(self) -> str:
        """Of everything in it, for what is kept of it."""
        asked = [[each.mcq_id, each.question, list(each.options), each.answer] for each in self.questions]
        return canonical_digest([asked, list(self.passages), [[each.item, each.kind, each.more, each.less] for each in self.pairs]])


def _drawn(texts: Sequence[str], limit: int | None) -> list[int]:
    """Places of at most `limit` texts, in their order."""
    if limit is None:
        return list(range(len(texts)))
    return sorted(sorted(range(len(texts)), key=lambda i: (seeds.uniform("side effects", texts[i]), i))[:limit])


def neutral_set(path: Path | None) -> tuple[MCQ, ...]:
    """Multiple-choice questions about no culture.

    Args:
        path: the user's CSV file; None for the shipped set.

    Raises:
        UserError: no such file or columns; a question without text, without two different options, or that stands there twice.
    """
    if path is None:
        return tuple(choice_sources.get(_NEUTRAL).read(DataConfig(source=_NEUTRAL), NoSettings()).questions())
    rows = list(read_records(path, ("question", "answer")))
    faults = [UserError(f"{path}:{row.line}", reason, "a question with its right option and at least one other", "Mend the line.")
              for row in rows if (reason := row.fault or _question_fault(row))]  # fmt: skip
    first: dict[str, int] = {}
    for row in rows:
        asked = _text(row, "question")
        if first.setdefault(asked, row.line) != row.line and not row.fault:
            faults.append(UserError(f"{path}:{row.line}", f"the question of line {first[asked]} again", "every question once", "Remove one of them."))
    if faults:
        raise UserError.join(faults)
    if not rows:
        raise UserError(str(path), "no question", "at least one", "Fill it.")
    return tuple(_question(row) for row in rows)


def _options(row: Record) -> list[str]:
    """The right option, then the wrong ones."""
    wrong = [text for name in row.values if name.startswith("wrong") and (text := _text(row, name))]
    return [_text(row, "answer"), *wrong]


def _question_fault(row: Record) -> str:
    """Why a row is no question; empty where it is one."""
    right, *wrong = _options(row)
    if not _text(row, "question") or not right:
        return "an empty question or answer"
    if not wrong:
        return "no wrong option (columns `wrong`, `wrong_2`, ...)"
    if len({right, *wrong}) <= len(wrong):
        return "an option twice"
    return f"{len(wrong) + 1} options; {MAXIMUM_OPTIONS} are the most" if len(wrong) >= MAXIMUM_OPTIONS else ""


def _question(row: Record) -> MCQ:
    """A row as a question; the right option's place is drawn from the line, since some studies list options as the source has them."""
    right, *wrong = _options(row)
    place = seeds.permutation(len(wrong) + 1, "neutral place", row.line)[0]
    options = (*wrong[:place], right, *wrong[place:])
    name = f"{_NEUTRAL}-line-{row.line}"
    return MCQ(name, name, _NEUTRAL, "", _text(row, "question"), options, (UNKNOWN_CULTURE,) * len(options), place)


def _text(row: Record, column: str) -> str:
    """A cell without white space around it; empty where there is none."""
    return str(row.values.get(column) or "").strip()


def neutral_passages(path: Path | None) -> tuple[str, ...]:
    """Passages of neutral text, each on one line.

    Args:
        path: the user's text file, UTF-8, blank lines between passages; None for the shipped one.

    Raises:
        UserError: it cannot be read, holds nothing, or a passage twice.
    """
    shipped = resources.files("affinage.analysis") / "texts" / _SHIPPED_TEXT
    text = shipped.read_text(encoding="utf-8") if path is None else read_text(path)
    passages = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    if not passages:
        raise UserError(str(path), "no text", "passages with blank lines between them", "Fill it.")
    twice = next((each for place, each in enumerate(passages) if each in passages[:place]), None)
    if twice is not None:
        raise UserError(str(path), f"a passage twice: {twice[:60]!r}", "every passage once", "Remove one of them.")
    return tuple(passages)


def stereotype_pairs(path: Path) -> tuple[StereotypePair, ...]:
    """The user's pairs of sentences.

    Args:
        path: CSV file with the columns `more`, `less` and, optional, `kind`.

    Raises:
        UserError: no such file or columns; an empty sentence, or two that are the same.
    """
    rows = list(read_records(path, ("more", "less")))
    faults = []
    for row in rows:
        more, less = _text(row, "more"), _text(row, "less")
        reason = row.fault or ("an empty sentence" if not more or not less else "the same sentence twice" if more == less else "")
        if reason:
            faults.append(UserError(f"{path}:{row.line}", reason, "two sentences that differ", "Mend the line."))
    if faults:
        raise UserError.join(faults)
    if not rows:
        raise UserError(str(path), "no pair", "at least one", "Fill it.")
    return tuple(StereotypePair(f"line-{row.line}", _text(row, "kind"), _text(row, "more"), _text(row, "less")) for row in rows)
