"""Facts found by the words of a question: BM25, the facts of the question's culture first."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, final

import numpy as np
import simplemma

from affinage.data.place_names import place_names
from affinage.records import Fact

__all__ = ["Index", "words"]

_WORD = re.compile(r"[^\W_]+")
"""Underscores part words: sources spell cultures with them."""


@lru_cache(maxsize=100_000)
def _lemma(word: str) -> str:
    return str(simplemma.lemmatize(word, lang="en")).casefold()


def words(text: str) -> list[str]:
    """The text's words as English lemmas, in lower case."""
    return [_lemma(word) for word in _WORD.findall(text.casefold())]


@final
class Index:
    """Facts by their words: BM25 as Lucene weighs it (Robertson and Zaragoza 2009; k1 1.5, b 0.75), computed by `bm25s`.

    A fact is its culture's where the source says so, or where it says nothing and the text names the culture.

    Args:
        facts: at least one; `culture` in any English form ("Spain", "Spanish"), empty where it is unknown.
        names: culture of the study's source -> its name in text.
    """

    def __init__(self, facts: Sequence[Fact], names: Mapping[str, str]) -> None:
        import bm25s  # noqa: PLC0415  (half a second, and only retrieval needs it)

        self._facts = tuple(facts)
        self._ranks: Any = bm25s.BM25(method="lucene")
        self._ranks.index([words(fact.text) for fact in facts], show_progress=False)
        known = _Names(names)
        about = [known.stated(fact.culture) if fact.culture else known.named(fact.text) for fact in facts]
        self._own = {culture: np.array([culture in cultures for cultures in about]) for culture in names}

    def find(self, text: str, culture: str, count: int, *, others: bool) -> tuple[str, ...]:
        """The facts that share most with a text, at most `count`; one that shares no word is none.

        Args:
            text: what is asked.
            culture: whose facts come first.
            count: how many are wanted.
            others: whether facts of other cultures, and of none, fill up what the culture's own leave free.
        """
        scores = np.asarray(self._ranks.get_scores(words(text)), dtype=np.float64)
        own = self._own[culture]
        order = np.lexsort((np.arange(len(scores)), -scores, ~own))
        found: dict[str, None] = {}
        for place in order.tolist():
            if len(found) == count or not (own[place] or others):
                break
            if scores[place] > 0:
                found.setdefault(" ".join(self._facts[place].text.split()))
        return tuple(found)


@final
class _Names:
    """Every English name of some cultures.

    Args:
        names: culture -> its name in text.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._cultures: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
        for culture, name in names.items():
            known = place_names(culture, name)
            for text in (*known.places, *known.adjectives, *known.people):
                self._cultures[_plain(text)].add(culture)
        self._longest = max(map(len, self._cultures))

    def stated(self, culture: str) -> set[str]:
        """The cultures that a source's spelling stands for: "South_Korea", "Korean"; an African American is not the US."""
        return self._cultures.get(_plain(culture), set())

    def named(self, text: str) -> set[str]:
        """The cultures that a text names; of names that begin alike the longest, so "North Korea" is not "Korea"."""
        there, found, place = _plain(text), set[str](), 0
        while place < len(there):
            lengths = range(min(self._longest, len(there) - place), 0, -1)
            name = next((there[place : place + length] for length in lengths if there[place : place + length] in self._cultures), None)
            found |= self._cultures[name] if name else set()
            place += len(name) if name else 1
        return found


def _plain(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text.casefold()))
