"""The page of a search: equal budgets, the spread over trials, and only then what was chosen."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from affinage.methods.spaces import Choice, Span
from affinage.tune.outcome import Outcome, Searched
from affinage.tune.settings import at_a_time
from affinage.tune.trials import Score, Trial

__all__ = ["page"]

_CHOSEN = """\
The accuracy of what was chosen is the highest of many on the same questions, hence too high: it says what to use, not how well it does. That is
what the test side is for, which no trial has seen."""


def page(outcome: Outcome) -> str:
    """The page, in Markdown.

    Args:
        outcome: the search.
    """
    made, search = outcome.made, outcome.search
    trial = f"**Provisional: {'; '.join(made.provisional)}.**\n" if made.provisional else ""
    data = made.record.data
    parts = [
        f"# Search: {outcome.config.name}\n",
        f"Model: {made.config.model.id}. Data: {data['name']} (digest {data['digest'][:12]}). Cultures: {', '.join(made.cultures)}.\n",
        trial,
        "## Budget\n",
        f"Every method had the same on every split: {search.budget()}. {_trial(outcome)} {_stopping(outcome)}\n",
        _table(("split", "training templates", "validation templates", "untouched model"), _side_rows(outcome)),
        "## Spread over trials\n",
        "Accuracy on the validation side: mean over cultures of the mean over templates. Lowest, median and highest are over complete trials; "
        "`as it stood` is the first trial, with the values that the study has.\n",
        _table(
            (
                "split",
                "method",
                "complete",
                "stopped early",
                "failed",
                "out of time",
                "steps",
                "seconds",
                "lowest",
                "median",
                "highest",
                "as it stood",
            ),
            (_spread(each, outcome) for each in outcome.found),
        ),
        *(f"* {label} on {split}: {reason}\n" for (split, label), reason in outcome.failures.items()),
        "## What was chosen\n",
        f"{_CHOSEN}\n",
        _table(("split", "method", "accuracy", "values"), (_choice(each) for each in outcome.found)),
        "## What was searched\n",
        _table(("method", "value", "range"), _space_rows(outcome)),
        "## All trials\n",
        _table(("split", "method", "trial", "state", "steps", "seconds", "accuracy", "values"), _trial_rows(outcome)),
        "## What made these numbers\n",
        *(f"* {name}: {value if isinstance(value, str) else json.dumps(value)}" for name, value in outcome.worker.items()),
        "",
    ]
    return "\n".join(part for part in parts if part)


def _trial(outcome: Outcome) -> str:
    """What a trial is, and how much of it is trained at a time."""
    together, cultures = at_a_time(outcome.config, outcome.made.cultures), len(outcome.made.cultures)
    if together == cultures:
        return "A trial is one adapter per culture, in lockstep."
    some = f"{together} at a time (`model.cohort`)"
    return f"A trial is one adapter per culture, {some}, and measured at its end alone, but where a method trains several cultures as one."


def _stopping(outcome: Outcome) -> str:
    """When a trial ended early."""
    if not outcome.search.prune:
        return "No trial was stopped early."
    return "Stopped early: its best measurement was below the median of the others at the same step. What that left over went to further trials."


def _side_rows(outcome: Outcome) -> Iterator[Sequence[str]]:
    for split, side in outcome.sides.items():
        yield split, f"{len(side.train_templates):,}", f"{len(side.test_templates):,}", _accuracy(outcome.untouched.get(split))


def _spread(each: Searched, outcome: Outcome) -> Sequence[str]:
    """How a method's trials went."""
    scores = sorted(trial.score.value for trial in each.trials if trial.score is not None)
    allowed = outcome.search.allowed(each.whole)
    steps = f"{sum(trial.steps for trial in each.trials):,}{'' if allowed is None else f' of {allowed:,}'}"
    ends = [_percent(value) for value in (scores[0], median(scores), scores[-1])] if scores else ["", "", ""]
    counts = [str(each.count(state)) for state in ("complete", "pruned", "failed", "out of time")]
    first = each.trials[0].score if each.trials else None
    seconds = f"{sum(trial.seconds for trial in each.trials):,.0f}"
    return each.split, each.label, *counts, steps, seconds, *ends, "" if first is None else _percent(first.value)


def _choice(each: Searched) -> Sequence[str]:
    best = each.best
    return each.split, each.label, _accuracy(best.score if best else None), _values(best) if best else "none is complete"


def _space_rows(outcome: Outcome) -> Iterator[Sequence[str]]:
    seen = set()
    for each in outcome.found:
        for name, part in each.space.items():
            if (each.label, name) not in seen:
                seen.add((each.label, name))
                yield each.label, name, _range(part)


def _range(part: Span | Choice) -> str:
    if isinstance(part, Choice):
        return ", ".join(json.dumps(value) for value in part.values)
    return f"{part.low:g} to {part.high:g}{', whole numbers' if part.whole else ''}{', by the logarithm' if part.log else ''}"


def _trial_rows(outcome: Outcome) -> Iterator[Sequence[str]]:
    for each in outcome.found:
        for trial in each.trials:
            score = trial.reason if trial.state == "failed" else _accuracy(trial.score)
            yield each.split, each.label, str(trial.number), trial.state, str(trial.steps), f"{trial.seconds:,.0f}", score, _values(trial)


def _values(trial: Trial) -> str:
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {json.dumps(value)}" for name, value in trial.values.items())


def _accuracy(score: Score | None) -> str:
    """`61.2 % (52.0 to 70.4)`."""
    if score is None:
        return ""
    return _percent(score.value) + (f" ({100 * score.low:.1f} to {100 * score.high:.1f})" if score.low is not None and score.high is not None else "")


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [header, [":--"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines) + "\n"
