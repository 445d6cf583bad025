"""Programs without a language model in the report's language: what tables call them, and what they do."""

from __future__ import annotations

from collections.abc import Callable

from affinage.data.baselines import BASELINE_NAMES
from affinage.report.language import say

__all__ = ["program_does", "program_name"]

_SAID: dict[str, tuple[Callable[[], str], Callable[[], str]]] = {
    "association": (
        lambda: say("word-country association"),
        lambda: say("Takes the option whose words were most often right for the culture in training, and never reads the question."),
    ),
    "memoriser": (
        lambda: say("memoriser"),
        lambda: say("Takes the option that was most often right for this culture and this template in training."),
    ),
    "elimination": (
        lambda: say("elimination"),
        lambda: say("Strikes the options that training shows to be right for other cultures in the same template, and guesses among the rest."),
    ),
    "length": (
        lambda: say("length of the option"),
        lambda: say("Takes the longest option, or the shortest, whichever was right more often in training."),
    ),
    "rarity": (
        lambda: say("frequency of the option"),
        lambda: say(
            "Takes the option that stands most often among the training options, or least often, whichever was right more often in training."
        ),
    ),
    "letter": (
        lambda: say("most frequent place"),
        lambda: say("Takes the place (A, B, ...) where the right answer stood most often for the culture in training."),
    ),
}
"""Name of a program -> its name in words, and one sentence that says what it does; English as in `data.baselines`."""

_BY_LABEL = {label: name for name, label in BASELINE_NAMES.items()}


def program_name(label: str) -> str:
    """What a table calls a program.

    Args:
        label: of `data.baselines.BASELINE_NAMES`; another text stays as it is.
    """
    return _SAID[_BY_LABEL[label]][0]() if label in _BY_LABEL else label


def program_does(label: str) -> str:
    """One sentence that says what a program does.

    Args:
        label: of `data.baselines.BASELINE_NAMES`.
    """
    return _SAID[_BY_LABEL[label]][1]()
