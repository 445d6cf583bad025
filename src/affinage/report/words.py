"""Numbers and names as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from affinage.report.language import current, retell, say
from affinage.stats import MINIMUM_EFFECTIVE, Estimate

__all__ = [
    "base",
    "bounds",
    "called",
    "decimal",
    "few",
    "left_out",
    "many",
    "named",
    "nothing_trained",
    "number",
    "p_value",
    "parted",
    "percent",
    "points",
    "shown",
    "signed",
    "slug",
    "span",
    "spelled",
    "zero_shot",
]

_FRENCH = str.maketrans({",": "\u202f", ".": ","})
"""Thousands are set apart by a narrow space that does not break, decimals by a comma."""


def number(value: float, spec: str = ",") -> str:
    """A number in the report's language.

    Args:
        value: the number.
        spec: as `format` has it, in its English form.
    """
    return spelled(format(value, spec))


def spelled(text: str) -> str:
    """A number that was written the English way, in the report's language."""
    return text.translate(_FRENCH) if current() == "fr" else text


def percent(fraction: float) -> str:
    """A fraction as percent, one decimal."""
    return number(100 * fraction, ".1f")


def points(fraction: float) -> str:
    """A difference in points, with its sign and one decimal; what rounds to zero has no sign."""
    return signed(100 * fraction, 1)


def signed(value: float, places: int) -> str:
    """A difference with its sign and so many decimals; what rounds to zero has no sign."""
    return ("+" if float(f"{value:.{places}f}") > 0 else "") + decimal(value, places)


def decimal(value: float, places: int) -> str:
    """A number with so many decimals; what rounds to zero has no sign."""
    spec = f".{places}f"
    return number(value if float(format(value, spec)) else 0.0, spec).replace("-", "−")


def p_value(value: float | None) -> str:
    """A p-value with four decimals, `< 0.0001` where all of them would be zero; nothing where there is no test."""
    if value is None:
        return ""
    return decimal(value, 4) if float(f"{value:.4f}") else say("< {least}", least=decimal(0.0001, 4))


def bounds(estimate: Estimate, form: Callable[[float], str]) -> str:
    """An interval as text, or why there is none; that of an accuracy (`form` is `percent`) is cut at 0 and 100."""
    if estimate.low is None or estimate.high is None:
        return "" if math.isnan(estimate.value) else say("too few templates")
    low, high = (max(0.0, estimate.low), min(1.0, estimate.high)) if form is percent else (estimate.low, estimate.high)
    return say("{low} to {high}", low=form(low), high=form(high))


def few(estimate: Estimate) -> str:
    """Why an estimate has no interval."""
    if estimate.effective >= MINIMUM_EFFECTIVE:
        return say("all questions of some run lie in a single template group: no interval and no verdict")
    # Cut, not rounded: 9.96 groups are fewer than ten.
    groups = number(math.floor(10 * estimate.effective) / 10, ".1f")
    return say(
        "{groups} effective template groups, {needed} are needed for an interval or a verdict", groups=groups, needed=f"{MINIMUM_EFFECTIVE:.0f}"
    )


_NOUNS: dict[str, tuple[Callable[[str], str], Callable[[str], str]]] = {
    "adapter": (lambda n: say("{count} adapter", count=n), lambda n: say("{count} adapters", count=n)),
    "culture": (lambda n: say("{count} culture", count=n), lambda n: say("{count} cultures", count=n)),
    "method": (lambda n: say("{count} method", count=n), lambda n: say("{count} methods", count=n)),
    "order": (lambda n: say("{count} order", count=n), lambda n: say("{count} orders", count=n)),
    "pair": (lambda n: say("{count} pair", count=n), lambda n: say("{count} pairs", count=n)),
    "question": (lambda n: say("{count} question", count=n), lambda n: say("{count} questions", count=n)),
    "row": (lambda n: say("{count} row", count=n), lambda n: say("{count} rows", count=n)),
    "run": (lambda n: say("{count} run", count=n), lambda n: say("{count} runs", count=n)),
    "split": (lambda n: say("{count} split", count=n), lambda n: say("{count} splits", count=n)),
    "start": (lambda n: say("{count} start", count=n), lambda n: say("{count} starts", count=n)),
    "step": (lambda n: say("{count} step", count=n), lambda n: say("{count} steps", count=n)),
    "template": (lambda n: say("{count} template", count=n), lambda n: say("{count} templates", count=n)),
    "template group": (lambda n: say("{count} template group", count=n), lambda n: say("{count} template groups", count=n)),
    "test side": (lambda n: say("{count} test side", count=n), lambda n: say("{count} test sides", count=n)),
    "topic": (lambda n: say("{count} topic", count=n), lambda n: say("{count} topics", count=n)),
}
"""Noun -> one of it, several of it."""


def many(count: int, noun: str) -> str:
    """A number and its noun: `1 question`, `1,200 questions`; French has its singular for 0, too.

    Raises:
        LookupError: the noun is not listed here, so that nobody knows its plural in every language.
    """
    if noun not in _NOUNS:
        raise LookupError(f"no plural known of {noun!r}")
    one, several = _NOUNS[noun]
    return (one if count == 1 or (count == 0 and current() == "fr") else several)(number(count))


def base(estimate: Estimate) -> str:
    """What an estimate rests on: `96 questions of 48 templates`."""
    return say("{questions} of {templates}", questions=many(estimate.questions, "question"), templates=many(estimate.templates, "template"))


def span(numbers: Iterable[int], noun: str = "") -> str:
    """`1,200 questions`, or `900 to 1,200 questions`; without noun the numbers alone."""
    found = list(numbers)
    low, high = min(found), max(found)
    last = many(high, noun) if noun else number(high)
    return last if low == high else say("{low} to {high}", low=number(low), high=last)


def slug(label: str) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", label)


def shown(culture: str) -> str:
    """A culture's name as people write it: `South_Korea` is South Korea."""
    return culture.replace("_", " ")


def called(label: str) -> str:
    """A method's label inside a sentence."""
    return {"lora": "LoRA"}.get(label) or retell("names", label)


def named(label: str) -> str:
    """A method's label at the beginning of a sentence or of a row."""
    name = called(label)
    return name[:1].upper() + name[1:]


def zero_shot(text: str) -> str:
    """What stands for an adapter, or for its number, of a culture none of whose questions it was trained on."""
    return say("{text} (zero-shot)", text=text)


def left_out(text: str) -> str:
    """The same in full, for the head of a row that only such adapters stand in."""
    return say("{text} (trained without this culture: zero-shot)", text=text)


def nothing_trained(label: str) -> str:
    """A baseline without training in a row of a table."""
    return say("{label}, nothing trained", label=retell("names", label))


def parted(training_set: str) -> tuple[str, str]:
    """A control's name and the culture that a training set of it stands for; empty where it stands for none."""
    control, _, culture = training_set.partition(".")
    return control, unquote(culture)
