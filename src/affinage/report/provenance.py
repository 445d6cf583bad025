"""What made the numbers, and under which terms the data stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from affinage.report.evidence import Evidence
from affinage.report.language import retell, say
from affinage.report.words import number

__all__ = ["provenance", "terms"]

_TERMS: dict[str, Callable[[], str]] = {
    "name": lambda: say("name"),
    "citation": lambda: say("citation"),
    "url": lambda: say("url"),
    "licence": lambda: say("licence"),
    "restrictions": lambda: say("restrictions"),
    "passing_on": lambda: say("passing on"),
}
"""What a data set states -> its name in words."""


def provenance(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What made the numbers, as (name, value) lines; the resolved study in full stands in `study.yaml` beside the report."""
    study = evidence.study
    config, plan = study.config, study.plan
    yield say("study"), say("{name} (every setting: `study.yaml`; runs, splits and template groups: `plan/`)", name=config.name)
    yield say("model"), _pairs(plan.model)
    yield say("data"), _pairs({name: plan.data[name] for name in ("name", "revision", "digest") if plan.data.get(name)})
    prompt = config.prompt
    chat = say("yes") if prompt.chat else say("no")
    put = {"style": prompt.style, "score": prompt.score, "options": prompt.options, "chat": chat}
    yield say("prompt"), say("style {style}, score {score}, options {options}, chat template {chat}", **put)
    yield say("orders of the options in which each question is asked"), retell("settings", config.evaluation.orders)
    names = ", ".join(evidence.splits)
    yield say("splits"), say("{kind}, {names}; side {side}", kind=config.splits.kind, names=names, side=retell("settings", config.splits.side))
    if config.controls:
        yield say("controls"), ", ".join(_control(control.name) for control in config.controls)
    refused = sum(run.counts.get("refused", 0) for run in evidence.runs if run.counts)
    yield say("training questions refused by the encoder"), say("{count} over all runs", count=number(refused))
    workers = {_pairs(worker) for run in evidence.runs for worker in run.provenance}
    for worker in sorted(workers):
        yield say("worker"), worker


def terms(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Source, authors, licence and restrictions of every data set, and whether files derived from it may be passed on."""
    plan = evidence.study.plan
    yield from _stated("", plan.data)
    others = {row["control"]: row["source"] for row in plan.sets if row.get("source")}
    for control, source in others.items():
        yield from _stated(retell("names", control), source)
    quoted = {run.label: evidence.searches[run.run].terms for run in evidence.runs if run.run in evidence.searches}
    for label, source in quoted.items():
        yield from _stated(retell("names", label), source)


def _stated(whose: str, source: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What one data set states; `whose` it is, where it is not the study's own."""
    for name, words in _TERMS.items():
        if source.get(name):
            yield say("{whose}: {what}", whose=whose, what=words()) if whose else words(), retell("terms", source[name])


def _control(name: str) -> str:
    """A control as the report calls it, and as a configuration does where that is another name."""
    said = retell("names", name)
    return name if said == name else f"{said} (`{name}`)"


def _pairs(values: object) -> str:
    """A tree of values as one line: `name value, name value`."""
    if isinstance(values, dict):
        return ", ".join(f"{retell('settings', str(name))} {_pairs(value)}" for name, value in values.items() if value not in (None, "", {}))
    return retell("settings", str(values))
