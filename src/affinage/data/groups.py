"""Near-duplicate templates joined to groups: the unit of splitting and of clustering.

"What is the usual age for men to marry?" and the same about women share their answers; on two sides of a split, the second would
be a question half seen in training.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from affinage.data.base import Dataset
from affinage.data.cultures import CULTURE

__all__ = ["NEAR", "content_words", "group_of_questions", "near_duplicates", "template_groups"]

NEAR = 0.6
"""Overlap of content words from which two templates count as one group."""

_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a an and are as at be been by did do does for from how if in is it its many most much of on or people that the their there these
        they this those to was were what when where which who whom whose why with""",
    )
)
_BRACKETS = re.compile(r"\([^)]*\)")
_WORD = re.compile(r"[^\W_]+")


def content_words(question: str) -> frozenset[str]:
    """A question's words without the culture, function words and what stands in brackets (the form of the answer: "(HH:MM)").

    Args:
        question: an open question, the culture as `{culture}`.
    """
    return frozenset(_WORD.findall(_BRACKETS.sub(" ", question.replace(CULTURE, " ")).lower())) - _FUNCTION_WORDS


def near_duplicates(questions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Pairs of templates whose content words overlap by 0.6 or more, the smaller id first, sorted.

    The overlap is Jaccard's: shared words over all words of the two. Over the 500 questions of BLEnD's annotations this finds about as
    many pairs as its users report (36); an overlap by the shorter question finds ten times as many, most of them unlike.

    Args:
        questions: template id -> open question.
    """
    words = {template: content_words(question) for template, question in questions.items()}
    return [
        (one, other)
        for one, other in itertools.combinations(sorted(words), 2)
        if len(words[one] & words[other]) >= NEAR * len(words[one] | words[other]) > 0
    ]


def group_of_questions(questions: Mapping[str, str]) -> dict[str, str]:
    """Template id -> the smallest id of its group; a template without a near-duplicate is its own group.

    Args:
        questions: template id -> open question.
    """
    group = {template: template for template in questions}

    def root(template: str) -> str:
        while group[template] != template:
            template = group[template]
        return template

    for one, other in near_duplicates(questions):
        low, high = sorted((root(one), root(other)))
        group[high] = low
    return {template: root(template) for template in sorted(group)}


def template_groups(dataset: Dataset) -> dict[str, str]:
    """Template id -> group id, over every template of the whole source, also those that a selection cut off.

    So neither a choice of cultures nor a cap changes a group. A template that is added later changes another one's group only by
    being a near-duplicate of it.
    """
    return group_of_questions(dataset.open_questions)
