"""What made the numbers, and under which terms the data stands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from affinage.report.evidence import Evidence

__all__ = ["provenance", "terms"]

_TERMS = ("name", "citation", "url", "licence", "restrictions", "passing_on")


def provenance(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What made the numbers, as (name, value) lines; the resolved study in full stands in `study.yaml` beside the report."""
    study = evidence.study
    config, plan = study.config, study.plan
    yield "study", f"{config.name} (every setting: `study.yaml`; runs, splits and template groups: `plan/`)"
    yield "model", _pairs(plan.model)
    yield "data", _pairs({name: plan.data[name] for name in ("name", "revision", "digest") if plan.data.get(name)})
    prompt = config.prompt
    yield "prompt", f"style {prompt.style}, score {prompt.score}, options {prompt.options}, chat template {'yes' if prompt.chat else 'no'}"
    yield "orders of the options in which each question is asked", config.evaluation.orders
    yield "splits", f"{config.splits.kind}, {', '.join(evidence.splits)}; side {config.splits.side}"
    if config.controls:
        yield "controls", ", ".join(control.name for control in config.controls)
    refused = sum(run.counts.get("refused", 0) for run in evidence.runs if run.counts)
    yield "training questions refused by the encoder", f"{refused:,} over all runs"
    workers = {_pairs(worker) for run in evidence.runs for worker in run.provenance}
    for worker in sorted(workers):
        yield "worker", worker


def terms(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Source, authors, licence and restrictions of every data set, and whether files derived from it may be passed on."""
    plan = evidence.study.plan
    yield from _stated("", plan.data)
    others = {row["control"]: row["source"] for row in plan.sets if row.get("source")}
    for control, source in others.items():
        yield from _stated(f"{control}: ", source)
    quoted = {run.label: evidence.searches[run.run].terms for run in evidence.runs if run.run in evidence.searches}
    for label, source in quoted.items():
        yield from _stated(f"{label}: ", source)


def _stated(before: str, source: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What one data set states."""
    for name in _TERMS:
        if source.get(name):
            yield before + name.replace("_", " "), source[name]


def _pairs(values: object) -> str:
    """A tree of values as one line: `name value, name value`."""
    if isinstance(values, dict):
        return ", ".join(f"{name} {_pairs(value)}" for name, value in values.items())
    return str(values)
