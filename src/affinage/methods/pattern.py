"""Where the virtual tokens and anchor words of P-tuning stand in a sequence: four places, and a pattern at each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from affinage.backbone import Backbone
from affinage.pack import Branch
from affinage.records import BackboneShape, UserError

__all__ = ["PLACES", "Layout", "Part", "Pattern", "expected_shapes", "layout_of", "placed", "virtual_tokens"]

Part = Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1)]
"""A part of a pattern: so many virtual tokens, or words."""

PLACES = ("root", "before_question", "before_options", "before_answer")
"""The places of a pattern in the order of a sequence, and the names of the final tensors."""

Pattern = Mapping[str, tuple[Part, ...]]
"""Place -> what stands there; every place is named."""


def virtual_tokens(pattern: Pattern) -> int:
    """P, virtual tokens of all places."""
    return sum(part for place in PLACES for part in pattern[place] if isinstance(part, int))


def placed(branch: Branch, counts: Sequence[int]) -> Branch:
    """A sequence with so many vectors at each of the places.

    Args:
        branch: the sequence.
        counts: of vectors, anchors included, at each of `PLACES`.

    Raises:
        UserError: vectors before a question or options that nobody marked in the sequence.
    """
    start = branch.first if branch.answer is None else branch.answer
    ids: tuple[int, ...] = ()
    done = number = 0
    for place, count, here in zip(PLACES, counts, (0, branch.question, branch.options, start), strict=True):
        if not count:
            continue
        if here is None:
            found = f"a text without {'a question that can be found' if place == 'before_question' else 'listed options'}"
            todo = "Put questions in another `prompt.style`, or the virtual tokens elsewhere."
            raise UserError(f"method p-tuning: {place}", found, "multiple-choice questions with both", todo)
        ids += branch.ids[done:here] + tuple(range(-1 - number, -1 - number - count, -1))
        done, number = here, number + count
    more = {"first": branch.first + number, "answer": start + number}
    return replace(branch, ids=ids + branch.ids[done:], question=None, options=None, **more)


@dataclass(frozen=True, slots=True)
class Layout:
    """Which vector stands where."""

    anchors: Tensor
    """[A, H] embeddings of the words."""
    order: tuple[int, ...]
    """Row of each placed vector in virtual tokens and anchors laid end to end."""
    counts: tuple[int, ...]
    """How many of them stand at each of the places."""


def layout_of(pattern: Pattern, backbone: Backbone) -> Layout:
    """The pattern with its words as embeddings.

    Args:
        pattern: by place.
        backbone: the frozen model with its tokenizer.
    """
    total = virtual_tokens(pattern)
    anchors = [torch.zeros(0, backbone.shape.width)]
    order: list[int] = []
    counts: list[int] = []
    virtual = 0
    for place in PLACES:
        before = len(order)
        for part in pattern[place]:
            if isinstance(part, int):
                order += range(virtual, virtual + part)
                virtual += part
            else:
                first = total + sum(map(len, anchors))
                anchors.append(backbone.embed(backbone.tokens.ids((part,))[0]))
                order += range(first, first + len(anchors[-1]))
        counts.append(len(order) - before)
    return Layout(torch.cat(anchors), tuple(order), tuple(counts))


def expected_shapes(pattern: Pattern, shape: BackboneShape, tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Shape of each final tensor. How many tokens an anchor has is known to the tokenizer alone, so the tensor may tell: at least one each.

    Args:
        pattern: by place.
        shape: the backbone's.
        tensors: those that are there, by place.
    """
    expected: dict[str, tuple[int, ...]] = {}
    for place in PLACES:
        parts = pattern[place]
        rows = sum(part if isinstance(part, int) else 1 for part in parts)
        if any(isinstance(part, str) for part in parts) and place in tensors:
            rows = max(rows, len(tensors[place]))
        if rows:
            expected[place] = (rows, shape.width)
    return expected
