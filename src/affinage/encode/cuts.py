"""A rendered question's texts, cut where their encoding falls apart, and put together again as ids of a context and of its continuations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from affinage.records import Encoded, Rendered

__all__ = ["Cut", "Ids", "Known", "any_of", "cut_at", "joined"]

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """A rendered question's texts, cut where encoding is known to be independent of what stands on the other side."""

    context: str
    tail: str
    """End of the context, from its last special token; the whole context where it has none."""
    answers: tuple[str, ...]
    lead: str
    """Beginning of the ending, up to its first special token."""
    rest: str
    """The ending from its first special token."""

    def texts(self) -> Iterator[str]:
        """Everything that has to be encoded."""
        yield from (self.context, self.tail, self.rest)
        for answer in self.answers:
            yield self.tail + answer
            yield self.tail + answer + self.lead

    def moved(self) -> Cut:
        """The same with the context's last character, a blank, moved to the answers."""
        return replace(self, context=self.context[:-1], tail=self.tail[:-1], answers=tuple(f" {answer}" for answer in self.answers))


@dataclass(frozen=True, slots=True)
class Known:
    """What the tokenizer has said so far."""

    ids: dict[str, Ids] = field(default_factory=dict)
    """Text -> its ids."""
    wanted: dict[str, set[int]] = field(default_factory=dict)
    """Context -> characters whose tokens are asked for."""
    tokens: dict[tuple[str, int | None], int | None] = field(default_factory=dict)
    """(Context, character) -> index of the token that holds it; a context whose last blank has moved away begins with the same tokens."""


def cut_at(cutting: re.Pattern[str], rendered: Rendered) -> Cut:
    """Cuts a question's context and ending at special tokens.

    Args:
        cutting: finds those at which encoding falls apart.
        rendered: the question.
    """
    start = 0
    for found in cutting.finditer(rendered.context):
        start = found.start()
    first = cutting.search(rendered.ending)
    end = first.start() if first else len(rendered.ending)
    return Cut(rendered.context, rendered.context[start:], rendered.answers, rendered.ending[:end], rendered.ending[end:])


def joined(rendered: Rendered, cut: Cut, known: Known) -> Encoded | str:
    """Context ids and continuation ids, or the reason why the text does not fall apart at a token's edge.

    Args:
        rendered: a question.
        cut: its texts.
        known: the ids of all of them, and the tokens of the characters that are asked for.
    """
    ids = known.ids
    tail, rest = ids[cut.tail], ids[cut.rest]
    continuations, scored = [], []
    for answer in cut.answers:
        alone, ended = ids[cut.tail + answer], ids[cut.tail + answer + cut.lead]
        if alone[: len(tail)] != tail:
            return f"the prompt's end {cut.tail[-20:]!r} and the answer {answer!r} share a token"
        if ended[: len(alone)] != alone:
            return f"the answer {answer!r} and its ending {(cut.lead + cut.rest)!r} share a token"
        if len(alone) == len(tail):
            return f"the answer {answer!r} has no token of its own"
        continuations.append((*ended[len(tail) :], *rest))
        scored.append(len(alone) - len(tail))
    question, options = (known.tokens.get((rendered.context, place)) for place in (rendered.question, rendered.options))
    return Encoded(rendered, ids[cut.context], tuple(continuations), tuple(scored), None, question, options)


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds any of the texts, the longest first; nothing where there are none."""
    return re.compile("|".join(re.escape(text) for text in sorted(texts, key=len, reverse=True)) or r"(?!)")
