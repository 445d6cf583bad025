"""A draft of the answers to the field's reproducibility questions, from the study's own files; what they cannot tell is left to the authors.

The questions are those of the Responsible NLP Checklist of ACL Rolling Review (letters and numbers are its own) in our words, and where the NeurIPS
checklist asks further, its.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from affinage.report.costs import parameters, training_seconds
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.provenance import provenance, terms
from affinage.report.state import reasons
from affinage.report.verdict import Verdict, verdicts
from affinage.report.words import many, named, number, shown, span
from affinage.stats import MINIMUM_EFFECTIVE
from affinage.store import RunRecord, write_atomically

__all__ = ["Item", "checklist", "items", "write_checklist"]


@dataclass(frozen=True, slots=True)
class Item:
    """One question with what a study can answer."""

    key: str
    """As the checklist numbers it."""
    question: str
    answers: tuple[str, ...]
    """What the study's files tell, one sentence or more each."""
    unknown: tuple[str, ...]
    """What they cannot tell."""


def write_checklist(evidence: Evidence, folder: Path, found: Sequence[Verdict] | None = None) -> Path:
    """Writes `checklist.md` into a report's folder.

    Args:
        evidence: the study.
        folder: of the report.
        found: its verdicts, where they are known.
    """
    path = folder / "checklist.md"
    write_atomically(path, checklist(evidence, found).encode())
    return path


def checklist(evidence: Evidence, found: Sequence[Verdict] | None = None) -> str:
    """The draft as Markdown, in the report's language."""
    parts = [
        "# " + say("Reproducibility checklist, a draft"),
        "",
        say(
            "Made from the files of the study {name}. Letters and numbers are those of the Responsible NLP Checklist (ACL Rolling Review); the last "
            "questions are of the NeurIPS checklist. Lines marked “to be written” are what no file of the study can tell.",
            name=evidence.study.config.name,
        ),
        "",
    ]
    if evidence.trial:
        parts += [f"**{say('The numbers are no result yet: {reasons}.', reasons=reasons(evidence.trial))}**", ""]
    for item in items(evidence, found):
        parts += [f"## {item.key}. {item.question}", ""]
        parts += [f"* {answer}" for answer in item.answers]
        parts += [f"* **{say('To be written')}**: {unknown}" for unknown in item.unknown]
        parts.append("")
    return "\n".join(parts)


def items(evidence: Evidence, found: Sequence[Verdict] | None = None) -> Iterator[Item]:
    """Every question, in the order of the checklists."""
    yield from _claims(evidence)
    yield from _data(evidence)
    yield from _experiments(evidence)
    yield from _people(evidence)
    yield from _further(evidence, verdicts(evidence) if found is None else found)


def _claims(evidence: Evidence) -> Iterator[Item]:
    """Limitations and risks."""
    side = say("A culture is here the majority answer of a few annotators under a country or region label, asked in multiple-choice questions.")
    rests = say(
        "The numbers are of {cultures} and {templates}; intervals say what new templates of the same kind would have changed, not what other "
        "cultures, languages or ways of asking would.",
        cultures=many(len(evidence.cultures), "culture"),
        templates=many(_templates(evidence), "template"),
    )
    yield Item("A1", say("Are the limitations of the work described?"), (side, rests), (say("limits of the paper's own claims."),))
    risks = say("The adapters describe no person and are not for guessing anyone's culture.")
    yield Item("A2", say("Are potential risks discussed?"), (risks,), (say("risks of the use that the paper proposes."),))


def _data(evidence: Evidence) -> Iterator[Item]:
    """Scientific artefacts."""
    stated = list(terms(evidence))
    model = say("Model: {id}.", id=evidence.study.plan.model.get("id", ""))
    citations = tuple(f"{name}: {value}" for name, value in stated if name.endswith((say("name"), say("citation"), say("url"))))
    yield Item("B1", say("Are the creators of the artefacts cited?"), (model, *citations), (say("the model's citation."),))
    licences = tuple(f"{name}: {value}" for name, value in stated if name.endswith((say("licence"), say("passing on"))))
    yield Item("B2", say("Are licences and terms of use given?"), licences, (say("the model's licence, as its maker states it."),))
    limits = tuple(f"{name}: {value}" for name, value in stated if name.endswith(say("restrictions")))
    yield Item("B3", say("Is the use consistent with what the artefacts are meant for?"), limits, (say("whether this use is within those limits."),))
    ids = say("The study's folder keeps ids and numbers, none of the data's texts; adapters are weights and lists of template ids.")
    yield Item("B4", say("Was the data checked for personal or offensive content?"), (ids,), (say("what was checked, and how."),))
    topics = sorted(topic for topic in evidence.study.questions["topic"].unique().drop_nulls() if topic)
    about = [say("Cultures: {names}.", names=", ".join(map(shown, evidence.cultures)))]
    about += [say("Topics: {names}.", names=", ".join(topics))] if topics else []
    yield Item("B5", say("Is it documented what the artefacts cover?"), tuple(about), (say("languages, and the groups that annotators stand for."),))
    yield Item("B6", say("Are statistics of the data given (counts, splits)?"), tuple(_counts(evidence)), ())


def _counts(evidence: Evidence) -> Iterator[str]:
    """What the data consists of."""
    study = evidence.study
    splits = study.config.splits
    yield say(
        "{splits} of kind `{kind}`, tested side: {side}. A split divides template groups (near-duplicate questions stay together), the same way for "
        "every culture; a split by question does not exist.",
        splits=many(len(study.plan.splits), "split"),
        kind=splits.kind,
        side=splits.side,
    )
    sides = {name: [int(row[name]) for row in study.plan.sizes] for name in ("train", "test")}
    if all(sides.values()):
        yield say(
            "Per split and culture {train} on the training side and {test} on the test side, before any cap; {templates} are tested.",
            train=span(sides["train"], "question"),
            test=span(sides["test"], "question"),
            templates=many(_templates(evidence), "template"),
        )
    if splits.development:
        yield say("15 % of the templates are a development side, on neither of the other two, where settings may be chosen.")
    lost = sum(sum(counts["unscored"] for counts in run.scored.values()) for run in evidence.runs if run.scored)
    yield say("Questions that could not be scored are in no mean; over all runs: {count}.", count=number(lost))


def _experiments(evidence: Evidence) -> Iterator[Item]:
    """Computational experiments."""
    yield Item("C1", say("Are parameters, compute budget and infrastructure given?"), tuple(_compute(evidence)), _uncounted())
    yield Item(
        "C2", say("Are the experimental setup, the search space and the chosen values given?"), tuple(_settings(evidence)), _searched(evidence)
    )
    yield Item("C3", say("Are results given with descriptive statistics?"), tuple(_statistics(evidence)), ())
    packages = tuple(f"{name}: {value}" for name, value in provenance(evidence) if name == say("worker"))
    yield Item("C4", say("Are packages and their versions given?"), packages, ())


def _compute(evidence: Evidence) -> Iterator[str]:
    """Parameters, hours, machines."""
    for label in evidence.labels:
        count = parameters(evidence, label)
        if count is not None:
            yield say("{method} trains {count} parameters per adapter (mean).", method=named(label), count=number(count))
    known = [seconds for run in evidence.runs if (seconds := training_seconds(evidence, run)) is not None]
    trained = sum(run.counts is not None for run in evidence.runs)
    if known:
        yield say(
            "Training took {hours} hours, from the logs of {runs} ({trained} were trained); a step of adapters that are trained together is divided "
            "equally among them.",
            hours=number(sum(known) / 3600, ",.2f"),
            runs=many(len(known), "run"),
            trained=number(trained),
        )
    machines = sorted({(str(worker.get("device")), str(worker.get("platform")), str(worker.get("threads"))) for worker in _workers(evidence)})
    for device, platform, threads in machines:
        yield say("Machine: {device}, {platform}, {threads} CPU threads.", device=device, platform=platform, threads=threads)


def _uncounted() -> tuple[str, ...]:
    """Compute that a study's logs do not have."""
    return (
        say("the frozen model's number of parameters, if its name does not say it."),
        say("hours of testing, of searches outside of this study's folder, and of runs that were thrown away."),
    )


def _settings(evidence: Evidence) -> Iterator[str]:
    """Prompt and every method's values."""
    config = evidence.study.config
    for name, value in provenance(evidence):
        if name in {say("prompt"), say("splits")}:
            yield f"{name}: {value}"
    training = config.training
    yield say(
        "Training, unless a method says otherwise: loss `{loss}`, {length}, {batch} questions per step, AdamW with a peak rate of {rate}, schedule "
        "`{schedule}`, weight decay {decay}.",
        loss=training.loss,
        length=say("{count} steps", count=number(training.steps))
        if training.steps is not None
        else say("{count} epochs", count=number(training.epochs, "")),
        batch=training.batch_size,
        rate=number(training.rate, "g"),
        schedule=training.schedule,
        decay=number(training.weight_decay, "g"),
    )
    for method in config.methods:
        yield say(
            "{method} (`{name}`): preset `{preset}`; settings {settings}; training {training}.",
            method=named(method.label or method.name),
            name=method.name,
            preset=method.preset,
            settings=_pairs(method.settings),
            training=_pairs(method.training),
        )
        for split, tuned in (method.tuned or {}).items():
            yield say(
                "{method}, {split}: chosen by a search ({origin}) that has seen {templates}, none of them tested: {values}.",
                method=named(method.label or method.name),
                split=split,
                origin=Path(tuned.origin).name,
                templates=many(len(tuned.seen), "template"),
                values=_pairs({**tuned.settings, **tuned.training}),
            )
    for run in evidence.runs:
        if run.run in evidence.searches:
            search = evidence.searches[run.run]
            yield say(
                "{label}, {split}: its wording is the best of {candidates} on {questions} of the {side} side.",
                label=run.label,
                split=run.split,
                candidates=search.budget,
                questions=many(search.questions, "question"),
                side=search.side,
            )


def _searched(evidence: Evidence) -> tuple[str, ...]:
    """What a study does not know of how its values were chosen."""
    if all(method.tuned for method in evidence.study.config.methods):
        return ()
    return (say("how values that no search of this study chose were found: tried by hand, taken from a paper, or left at their defaults."),)


def _statistics(evidence: Evidence) -> Iterator[str]:
    """What a number of the report is."""
    yield say(
        "Accuracy is the mean over templates of the template's accuracy (by row beside it), over {splits} and {starts} per split; tables show mean "
        "and sample deviation over runs.",
        splits=many(len(evidence.splits), "split"),
        starts=many(evidence.study.config.starts, "start"),
    )
    yield say(
        "Pooled numbers have 95 % intervals over template groups (delete-one-group jackknife, Student's t at the effective number of groups minus "
        "one); below {minimum} effective groups there is neither interval nor verdict. Differences are paired by question.",
        minimum=f"{MINIMUM_EFFECTIVE:.0f}",
    )
    missing = sum(run.status != "finished" for run in evidence.study.runs)
    if missing:
        yield say("{runs} of the plan are missing.", runs=many(missing, "run"))


def _people(evidence: Evidence) -> Iterator[Item]:
    """Human annotators, AI assistants."""
    name = evidence.study.plan.data.get("name", evidence.study.config.data.source)
    theirs = say("The study itself asked no annotators; those of {data} are described where it was published.", data=name)
    own = (say("whether the paper adds annotations of its own, with instructions, recruitment, pay, consent and review."),)
    yield Item("D1–D5", say("Are human annotators described: instructions, pay, consent, review, who they are?"), (theirs,), own)
    yield Item("E1", say("Is the use of AI assistants described?"), (), (say("which assistants were used, and for what."),))


def _further(evidence: Evidence, found: Sequence[Verdict]) -> Iterator[Item]:
    """What NeurIPS asks beside."""
    said = tuple(f"{named(verdict.label)}: {verdict.conclusion}" for verdict in found)
    yield Item("NeurIPS 1", say("Do the claims match the results?"), said, (say("whether abstract and introduction say no more than this."),))
    digest = evidence.study.plan.data.get("digest", "")
    again = (
        say("`study.yaml` holds every setting; `affinage study run` on it makes the same runs, named by the digest of what determines them."),
        say("The data's digest is {digest}.", digest=digest),
    )
    yield Item(
        "NeurIPS 4–5", say("Can the results be reproduced, and are code and data open?"), again, (say("where code and adapters are published."),)
    )
    yield Item("NeurIPS 10", say("Are broader impacts discussed?"), (), (say("positive and negative ones."),))


def _templates(evidence: Evidence) -> int:
    """Distinct tested templates."""
    return int(evidence.study.questions["template_id"].n_unique())


def _workers(evidence: Evidence) -> Sequence[Mapping[str, object]]:
    """What worked on the runs."""
    runs: Sequence[RunRecord] = evidence.runs
    return [worker for run in runs for worker in run.provenance]


def _pairs(values: Mapping[str, object]) -> str:
    """Values in one line; the defaults where none is set."""
    return ", ".join(f"{name} {value}" for name, value in values.items()) or say("as by default")
