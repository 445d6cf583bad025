"""A report's language: the English sentence stands in the code, where it is said; its translations stand in `languages/<code>/*.yaml`.

A sentence is looked up by its English text, places and all, so the code reads as before and a sentence that was changed without its translation
is found by a test. Names from the data (cultures, topics, labels) are never translated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import resources
from typing import Literal, get_args

import yaml

__all__ = ["LANGUAGES", "Language", "catalogue", "current", "say", "speaking"]

Language = Literal["en", "fr"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

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
    return known[english].format(**values)


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
        if not file.name.endswith(".yaml"):
            continue
        for english, written in (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).items():
            other = _set(written) if language == "fr" else written
            if found.setdefault(english, other) != other:
                raise ValueError(f"{file.name}: a second translation of {english!r}")
    return found


_BEFORE, _INSIDE = re.compile("[ \u00a0\u202f]([;!?%])"), re.compile("[ \u00a0\u202f]([:»])|(«)[ \u00a0\u202f]")


def _set(french: str) -> str:
    """A French sentence with spaces that do not break before its high punctuation and inside its quotation marks, however it was typed."""
    narrow = _BEFORE.sub("\u202f\\1", french)
    return _INSIDE.sub(lambda found: f"{found[2]}\u00a0" if found[2] else f"\u00a0{found[1]}", narrow)
