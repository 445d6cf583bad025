"""What a control says, in one plain sentence; what an interval does not show is not said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from affinage.report import reference
from affinage.report.evidence import LETTER_BIAS
from affinage.report.language import retell, say
from affinage.report.pooled import Line
from affinage.report.words import base, bounds, many, named, number, percent, points
from affinage.stats import Estimate

__all__ = ["FORMAT_CONTROL", "OTHER_CULTURES", "Said", "lacking", "says"]

FORMAT_CONTROL = "format-control"
"""The reference study's control: the culture is cut out of the question, the options are left."""

OTHER_CULTURES = "other-cultures"
"""The control that is trained on every culture but the one that it is tested on."""

_LEAD: dict[str, Callable[[], str]] = {
    OTHER_CULTURES: lambda: say("What is format: trained on other cultures"),
    "general-format": lambda: say("What is format: trained on questions about nothing cultural"),
    "all-cultures": lambda: say("What one adapter for all gives: trained on every culture together"),
    LETTER_BIAS: lambda: say("What needs no training: with a few numbers fitted to its liking of letters or of short answers and nothing trained"),
    "wrong-culture": lambda: say("What wrong labels give: trained on its culture's questions with another culture's answers marked as right"),
    "question-blind": lambda: say("What the options alone give: with the question hidden in training and test"),
    "option-blind": lambda: say("What the options' places alone give: with their texts hidden in training and test"),
}
"""How a control's sentence begins; one that is not listed is named."""


@dataclass(frozen=True, slots=True)
class Said:
    """A control's pooled numbers beside its method's."""

    control: str
    label: str
    own: Line
    """Accuracy of the ordinary adapters on their own culture."""
    gain: Line
    """That minus the untouched model."""
    base: Line | None
    """Accuracy of the untouched model, put as the control puts its questions; None where that is the study's way."""
    reached: Line
    """Accuracy of the control."""
    own_test: Line | None
    """On its own test set; None where it has none."""
    change: Line
    """Control minus untouched model, put likewise."""
    beyond: Line | None
    """Own culture minus control; None for the study's format control."""

    @property
    def lines(self) -> tuple[Line, ...]:
        """Those of the control, in the order of a table."""
        return tuple(each for each in (self.base, self.reached, self.own_test, self.change, self.beyond) if each is not None)


def says(said: Said) -> str:
    """The sentence of one control."""
    missing = max(said.reached.missing, said.own.missing)
    incomplete = lacking(missing) if missing else ""
    if math.isnan(said.reached.estimate.value):
        return say("{control}: nothing is scored yet.{incomplete}", control=named(retell("names", said.control)), incomplete=incomplete)
    if said.control == FORMAT_CONTROL:
        return _format_control(said) + incomplete
    lead = _LEAD[said.control]() if said.control in _LEAD else say("{control}: trained on it", control=named(retell("names", said.control)))
    subject = say("the untouched model") if said.control == LETTER_BIAS else said.label
    parts = [f"{lead}, {subject} {_change(said)}"]
    if said.base is not None:
        reached, put = _share(said.reached), _share(said.base)
        parts.append(say("it is right in {reached}, the untouched model put likewise in {put}", reached=reached, put=put))
    if said.own_test is not None and not math.isnan(said.own_test.estimate.value):
        shares = {"own": _share(said.own_test), "studied": _share(said.reached)}
        if said.control == "wrong-culture":
            parts.append(say("by such labels it is right in {own}, by the true ones in {studied}", **shares))
        else:
            parts.append(say("on its own test set it is right in {own}, on the studied cultures in {studied}", **shares))
    if said.beyond is not None and not math.isnan(said.beyond.estimate.value):
        beyond, rests = _number(said.beyond.estimate), base(said.beyond.estimate)
        parts.append(say("{label} trained on its own culture minus this control: {number} ({base})", label=said.label, number=beyond, base=rests))
    return say("; ").join(parts) + "." + incomplete


def lacking(missing: int) -> str:
    """What is said behind a number some of whose runs are not there.

    Args:
        missing: how many, at least 1.
    """
    runs = many(missing, "run")
    return say(" {runs} is missing: this will change.", runs=runs) if missing == 1 else say(" {runs} are missing: this will change.", runs=runs)


def _change(said: Said) -> str:
    """How far the control is from the untouched model, and of what gain that is a part."""
    part, whole = said.change.estimate, said.gain.estimate
    other = say("the untouched model") if said.base is None else say("the untouched model put likewise")
    if said.control == LETTER_BIAS:
        other = say("itself without them")
    if said.base is None and part.above and whole.above:
        return say(
            "gains {part} ({interval}) of the {whole} points ({whole_interval}) that {label} gains over the untouched model when trained on its "
            "own culture",
            part=percent(part.value),
            interval=_interval(part),
            whole=percent(whole.value),
            whole_interval=_interval(whole),
            label=said.label,
        )
    model = _alone(whole, say("the untouched model"))
    return say("{control}; trained on its own culture {label} {model}", control=_alone(part, other), label=said.label, model=model)


def _alone(estimate: Estimate, other: str) -> str:
    """A difference as a verb."""
    if math.isnan(estimate.value):
        return say("cannot be compared with {other}", other=other)
    interval = _interval(estimate)
    if estimate.above:
        return say("gains {points} points over {other} ({interval})", points=percent(estimate.value), other=other, interval=interval)
    if estimate.below:
        return say("loses {points} points against {other} ({interval})", points=percent(-estimate.value), other=other, interval=interval)
    if estimate.low is None:
        return say("stands at {points} points from {other} ({interval})", points=points(estimate.value), other=other, interval=interval)
    return say("is not shown to differ from {other} ({number})", other=other, number=_number(estimate))


def _format_control(said: Said) -> str:
    """The study's control, as the study reports it: beside the untouched model."""
    own = "" if said.own_test is None else say(", {share} on its own test set", share=_share(said.own_test))
    study = list(reference.FORMAT_CONTROL)
    theirs = [reference.FORMAT_CONTROL[name][0] - reference.UNTOUCHED[name][0] for name in study]
    return say(
        "Format control (the culture cut out of the question, the options left), {label}: {share} on the studied cultures{own}; it {change}. Its "
        "labels cannot be predicted from its inputs, so it shows that noise does harm, not what format gives, and it is never the reference for a "
        "gain. The study's own: {high} to {low} points from its untouched model, {own_test} % on the control's own test set.",
        label=said.label,
        share=_share(said.reached),
        own=own,
        change=_alone(said.change.estimate, say("the untouched model")),
        high=points(max(theirs) / 100),
        low=points(min(theirs) / 100),
        own_test=number(reference.OWN_TEST_OF_CONTROL, ".2f"),
    )


def _share(line: Line) -> str:
    """An accuracy with its interval."""
    if math.isnan(line.estimate.value):
        return say("no question yet")
    return say("{percent} % ({interval})", percent=percent(line.estimate.value), interval=_interval(line.estimate, plain=True))


def _number(estimate: Estimate) -> str:
    """A difference with its interval and what that shows."""
    parts = {"points": points(estimate.value), "interval": _interval(estimate)}
    if estimate.low is None or estimate.above or estimate.below:
        return say("{points} points, {interval}", **parts)
    return say("{points} points, {interval}, contains zero", **parts)


def _interval(estimate: Estimate, *, plain: bool = False) -> str:
    """The interval in words."""
    if estimate.low is None:
        return say("too few template groups for an interval")
    return say("95 % interval {bounds}", bounds=bounds(estimate, percent if plain else points))
