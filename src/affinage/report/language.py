"""A report's language: the English sentence stands in the code, where it is said; its translations stand in `languages/<code>/*.yaml`.

A sentence is looked up by its English text, places and all, so the code reads as before and a sentence that was changed without its translation
is found by a test. Names from the data (cultures, topics, labels) are never translated. What a study's files hold in English because another part of
the package wrote it there (names of controls, reasons, settings, terms) is told again with `retell`; its translations stand in `stored.yaml`.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources
from typing import Literal, get_args

import yaml

__all__ = ["LANGUAGES", "Language", "Stored", "catalogue", "current", "retell", "say", "speaking", "stored"]

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

Stored = Literal["names", "reasons", "settings", "terms"]
"""What a study's files hold in English: names of controls and baselines; why runs are provisional or questions were left out; names and values of
settings and of what made a run; what the data sets of this package state about their terms."""

_language: ContextVar[Language] = ContextVar("language", default="en")


def say(english: str, /, **values: object) -> str:
    """A sentence in the report's language with its places filled in.

    Args:
        english: the sentence, a literal (a test reads it off the code) with places as `str.format` has them.
        values: by name of a place.

    Raises:
        LookupError: it has no translation into the report's language.
    """
    language = _language.get()
    if language == "en":
        return english.format(**values)
    known = catalogue(language)
    if english not in known:
        raise LookupError(f"no translation into {language!r}: {english!r}")
    return _agreeing(known[english].format(**values))


def retell(kind: Stored, text: str) -> str:
    """A text of a study's files in the report's language.

    Args:
        kind: what it is.
        text: in English, as it is stored; one that no translation is known of (another data set's terms, a label of the user's) stays as it is.
    """
    for pattern, written in stored(_language.get(), kind):
        if found := pattern.fullmatch(text):
            return _agreeing(written.format(**found.groupdict()))
    return text


def current() -> Language:
    """The language that `say` speaks now."""
    return _language.get()


@contextmanager
def speaking(language: Language) -> Iterator[None]:
    """Everything written inside is in this language."""
    token = _language.set(language)
    try:
        yield
    finally:
        _language.reset(token)


@cache
def catalogue(language: Language) -> Mapping[str, str]:
    """English sentence -> its translation, from every file of the language; empty for English.

    Raises:
        ValueError: a sentence is translated twice, differently.
    """
    if language == "en":
        return {}
    found: dict[str, str] = {}
    folder = resources.files("affinage.report") / "languages" / language
    for file in sorted(folder.iterdir(), key=lambda each: each.name):
        if not file.name.endswith(".yaml") or file.name == _STORED:
            continue
        for english, written in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
            other = _set(written) if language == "fr" else written
            if found.setdefault(english, other) != other:
                raise ValueError(f"{file.name}: a second translation of {english!r}")
    return found


_STORED = "stored.yaml"


@cache
def stored(language: Language, kind: Stored) -> tuple[tuple[re.Pattern[str], str], ...]:
    """Every known stored text of one kind: its English as a pattern with a group for each of its places, and its translation; none for English."""
    if language == "en":
        return ()
    file = resources.files("affinage.report") / "languages" / language / _STORED
    known: Mapping[str, str] = yaml.safe_load(file.read_text(encoding="utf-8"))[kind]
    return tuple((_pattern(english), _set(other) if language == "fr" else other) for english, other in known.items())


def _pattern(english: str) -> re.Pattern[str]:
    """What the texts look like that a sentence gives; a place takes one character or more."""
    parts = (re.escape(before) + (f"(?P<{name}>.+)" if name else "") for before, name, _, _ in string.Formatter().parse(english))
    return re.compile("".join(parts), re.DOTALL)


_BEFORE, _INSIDE = re.compile("[ \u00a0\u202f]([;!?%])"), re.compile("[ \u00a0\u202f]([:»])|(«)[ \u00a0\u202f]")


def _set(french: str) -> str:
    """A French sentence with spaces that do not break before its high punctuation and inside its quotation marks, however it was typed."""
    narrow = _BEFORE.sub("\u202f\\1", french)
    return _INSIDE.sub(lambda found: f"{found[2]}\u00a0" if found[2] else f"\u00a0{found[1]}", narrow)


_POINTS = re.compile("(?<![\\d,\u202f])([01](?:,\\d+)?[ \u00a0\u202f]point)s\\b")


def _agreeing(text: str) -> str:
    """A finished French sentence whose points are counted as French counts: the plural begins at two, so 1,9 is still one `point`."""
    return _POINTS.sub(r"\1", text) if _language.get() == "fr" else text
