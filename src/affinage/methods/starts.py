"""Where soft prompts begin: random values, or tokens of the vocabulary or of a text.

Initialisation moves soft prompts more than the choice of method does, so each start is a value with a name, drawn from a stream that does not
know the culture: run k of every culture begins with the same tensor.
"""

from __future__ import annotations

from typing import Literal

from affinage.backbone import Backbone
from affinage.methods.base import Key
from affinage.records import UserError
from affinage.seeds import generator

__all__ = ["COMMON", "Start", "start_ids"]

Start = Literal["random", "vocabulary", "text"]

COMMON = 5000
"""A vocabulary start samples among the first so many ids, which byte-pair vocabularies give to their most common pieces (Lester et al. 2021)."""


def start_ids(start: Start, text: str | None, length: int, backbone: Backbone, key: Key) -> tuple[int, ...]:
    """The `length` token ids that a start is made of.

    Args:
        start: `vocabulary` samples without replacement; `text` repeats the text's tokens until there are enough, then cuts.
        text: the text.
        length: P.
        backbone: whose tokens.
        key: stream of the sample.

    Raises:
        UserError: there is no text, it has no tokens, or more tokens are wanted than can be sampled.
    """
    if start == "text":
        ids = backbone.tokens.ids((text,))[0] if text else ()
        if not ids:
            raise UserError("method settings: text", repr(text), "a text with at least one token, for the start `text`", "Set `settings.text`.")
        return tuple((ids * length)[:length])
    pool = min(COMMON, backbone.shape.vocabulary)
    if length > pool:
        raise UserError("method settings: length", str(length), f"at most {pool}, for the start `vocabulary`", "Use the start `random`.")
    return tuple(int(i) for i in generator("vocabulary start", *key).choice(pool, length, replace=False))
