"""Numbers and names as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from urllib.parse import unquote

from affinage.stats import MINIMUM_EFFECTIVE, Estimate

__all__ = ["base", "bounds", "few", "many", "named", "nothing_trained", "parted", "percent", "points", "shown", "slug", "span", "zero_shot"]


def percent(fraction: float) -> str:
    """A fraction as percent, one decimal."""
    return f"{100 * fraction:.1f}"


def points(fraction: float) -> str:
    """A difference in points, with its sign and one decimal; what rounds to zero has none."""
    text = f"{100 * fraction:+.1f}"
    return "0.0" if text in {"+0.0", "-0.0"} else text.replace("-", "−")


def bounds(estimate: Estimate, form: Callable[[float], str]) -> str:
    """An interval as text, or why there is none; that of an accuracy (`form` is `percent`) is cut at 0 and 100."""
    if estimate.low is None or estimate.high is None:
        return "" if math.isnan(estimate.value) else "too few templates"
    low, high = (max(0.0, estimate.low), min(1.0, estimate.high)) if form is percent else (estimate.low, estimate.high)
    return f"{form(low)} to {form(high)}"


def few(estimate: Estimate) -> str:
    """Why an estimate has no interval."""
    if estimate.effective >= MINIMUM_EFFECTIVE:
        return "all questions of some run lie in a single template group: no interval and no verdict"
    # Cut, not rounded: 9.96 groups are fewer than ten.
    groups = f"{math.floor(10 * estimate.effective) / 10:.1f}"
    return f"{groups} effective template groups, {MINIMUM_EFFECTIVE:.0f} are needed for an interval or a verdict"


def many(count: int, noun: str) -> str:
    """A number and its noun: `1 question`, `1,200 questions`."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def base(estimate: Estimate) -> str:
    """What an estimate rests on: `96 questions of 48 templates`."""
    return f"{many(estimate.questions, 'question')} of {many(estimate.templates, 'template')}"


def span(numbers: Iterable[int], noun: str = "") -> str:
    """`1,200 questions`, or `900 to 1,200 questions`; without noun the numbers alone."""
    found = list(numbers)
    low, high = min(found), max(found)
    last = many(high, noun) if noun else f"{high:,}"
    return last if low == high else f"{low:,} to {last}"


def slug(label: str) -> str:
    """A label as a part of a file's name."""
    return re.sub(r"[^\w.-]+", "-", label)


def shown(culture: str) -> str:
    """A culture's name as people write it: `South_Korea` is South Korea."""
    return culture.replace("_", " ")


def named(label: str) -> str:
    """A method's label at the beginning of a sentence or of a row."""
    return {"lora": "LoRA"}.get(label, label[:1].upper() + label[1:])


def zero_shot(text: str) -> str:
    """What stands for an adapter, or for its number, of a culture none of whose questions it was trained on."""
    return f"{text} (zero-shot)"


def nothing_trained(label: str) -> str:
    """A baseline without training in a row of a table."""
    return f"{label}, nothing trained"


def parted(training_set: str) -> tuple[str, str]:
    """A control's name and the culture that a training set of it stands for; empty where it stands for none."""
    control, _, culture = training_set.partition(".")
    return control, unquote(culture)
