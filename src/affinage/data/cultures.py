"""How a culture is named in running text, and how a question is left open for any culture."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import polars as pl

__all__ = ["CULTURE", "leave_open", "most_shared", "open_questions"]

CULTURE = "{culture}"
"""What stands in a template's open question where a culture is named."""


def leave_open(question: str, culture: str, name: str) -> str:
    """The question with every mention of the culture replaced by `{culture}`.

    Args:
        question: a question that names the culture.
        culture: the culture's spelling in the source; a mention without the article ("from US") is found by it.
        name: the culture's name in text.
    """
    spellings = sorted({name, culture, culture.replace("_", " ")}, key=len, reverse=True)
    return re.sub(rf"\b(?:{'|'.join(re.escape(spelling) for spelling in spellings)})\b", CULTURE, question)


def open_questions(frame: pl.DataFrame, names: Mapping[str, str]) -> dict[str, str]:
    """Per template the question with the culture left open: the form that most cultures share, of equals the first in the alphabet.

    Args:
        frame: questions with the columns `template_id`, `culture`, `question`.
        names: culture -> its name in text.
    """
    asked = frame.select("template_id", "culture", "question").unique().iter_rows()
    return most_shared((template, leave_open(question, culture, names[culture])) for template, culture, question in asked)


def most_shared(forms: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Per template the most frequent of its open forms, of equals the first in the alphabet.

    Args:
        forms: (template id, open question) pairs, one per culture.
    """
    counts: dict[str, dict[str, int]] = {}
    for template, form in forms:
        seen = counts.setdefault(template, {})
        seen[form] = seen.get(form, 0) + 1
    return {template: min(seen, key=lambda form: (-seen[form], form)) for template, seen in sorted(counts.items())}
