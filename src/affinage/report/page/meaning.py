"""What a culture means here, and what a score does not say; in English these are the words of an adapter's model card."""

from __future__ import annotations

from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.words import shown

__all__ = ["limits", "meaning"]

_FROM_BLEND = {"blend"}
"""Data sets whose questions are BLEnD's: who answered them is known."""


def meaning(evidence: Evidence) -> tuple[str, ...]:
    """What a culture means here, in paragraphs.

    Args:
        evidence: the study.
    """
    if evidence.study.config.data.source in _FROM_BLEND:
        first = say(
            "“Culture” is a label of a country or region in a data set: the right answer of a question is what the majority of about five annotators "
            "under that label said. The questions have four options and are in English."
        )
    else:
        first = say(
            "“Culture” is a label of a country or region in a data set: the right answer of a question is what the data set says it is; see Terms."
        )
    labels = say("Here the labels are {labels}.", labels=", ".join(map(shown, evidence.cultures)))
    rest = say(
        "That is all that an adapter has learned from. It describes no person, it may repeat stereotypes, and it is not for guessing or assigning "
        "anyone's culture."
    )
    return first, labels, rest


def limits(evidence: Evidence) -> tuple[str, ...]:
    """What a score does not say, one sentence or two each.

    Args:
        evidence: the study.
    """
    blend = evidence.study.config.data.source in _FROM_BLEND
    return (
        say(
            "A gain on its own culture may be the test's format and not the culture: only the difference from adapters of other cultures tells them "
            "apart."
        ),
        say(
            "An interval tells what other templates would have changed for these adapters. It does not tell what another start, another split or "
            "another model would."
        ),
        say("The labels are those of the data set. People under one label differ from each other more than any adapter can say."),
        say("An adapter can only be as right as the majority of a few annotators, and is as one-sided as they and the untouched model are.")
        if blend
        else say("An adapter can only be as right as its data set, and is as one-sided as that and the untouched model are."),
        say("Questions with options are not conversation: what an adapter writes freely was not looked at unless a section says so."),
    )
