"""What is known of an adapter beyond its own folder: the terms of its data, and how it did in the study that it is part of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from affinage.adapters.disk import AdapterCard, settings_of
from affinage.backbone.catalogue import CATALOGUE
from affinage.data import answer_sources, choice_sources, fact_sources, survey_sources
from affinage.methods import registry
from affinage.records import UserError
from affinage.stats import Estimate, clustered, paired, with_credit
from affinage.store import UNTOUCHED, RunRecord, StudyRecord, read_scores, read_study

__all__ = ["DataTerms", "Facts", "ScoreLine", "backbone_terms", "facts", "run_of"]


@dataclass(frozen=True, slots=True)
class DataTerms:
    """The terms of one data set."""

    name: str
    licence: str
    citation: str
    url: str
    restrictions: str
    may_pass_on: bool
    """Whether files derived from it may be uploaded or passed on; False also where nothing is known of it."""


@dataclass(frozen=True, slots=True)
class ScoreLine:
    """What the adapter reached on one culture's test side, by template, with the interval over template groups."""

    culture: str
    own: bool
    """Whether it is the culture that it was trained on."""
    accuracy: Estimate
    untouched: Estimate | None
    """The model without adapter on the same questions; None where that was not tested."""
    gain: Estimate | None
    """Their difference, paired by question."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of an adapter beyond its own folder."""

    terms: tuple[DataTerms, ...]
    """Per data set that it was trained or chosen on; empty where it does not tell."""
    backbone_terms: str
    """What is known of the terms of the backbone."""
    study: str = ""
    """Name of the study that it is part of; empty where it is part of none."""
    split: str = ""
    """How the study divides templates, in words."""
    provisional: tuple[str, ...] = ()
    """Why the study keeps it out of its main tables."""
    counts: Mapping[str, int] | None = None
    """`questions` and `templates` that it was trained on."""
    scores: tuple[ScoreLine, ...] = ()
    taught: tuple[str, ...] = ()
    """Cultures whose questions one training read for several adapters; empty where it was trained on its own culture's alone."""


def facts(folder: Path, card: AdapterCard) -> Facts:
    """What is known of the adapter in a folder.

    Args:
        folder: the adapter's; a study is found above it.
        card: what the adapter says of itself.

    Raises:
        UserError: files of the study are damaged, or the card's settings are.
    """
    found = run_of(folder)
    taught = registry.get(card.method).taught(settings_of(card, folder))
    stated = {} if found is None else _stated(found[0])
    terms = tuple(_terms(name, stated) for name in card.sources)
    about = backbone_terms(card.backbone.id)
    if found is None:
        return Facts(terms, about, taught=taught)
    study, run = found
    splits = study.config.splits
    described = f"{run.split} of {len(study.plan.splits)} (kind {splits.kind}, tested side: {splits.side})"
    return Facts(terms, about, study.config.name, described, run.provisional, run.counts, tuple(_scores(study, run)), taught)


def run_of(folder: Path) -> tuple[StudyRecord, RunRecord] | None:
    """The study and the run whose adapter stands in a folder; None where it is part of no study.

    Raises:
        UserError: files of the study are damaged.
    """
    place = folder.resolve()
    for above in place.parents:
        if (above / "plan" / "plan.json").is_file() and (above / "study.yaml").is_file():
            study = read_study(above)
            path = place.parent.relative_to(above).as_posix()
            return next(((study, run) for run in study.runs if run.run == path), None)
    return None


def backbone_terms(model_id: str) -> str:
    """What is known of a backbone's terms; Affinage knows those of its catalogue alone."""
    if model_id in CATALOGUE:
        entry = CATALOGUE.get(model_id)
        return f"{entry.title}: {entry.licence}, as its maker states it"
    return f"{Path(model_id).name}: not known to Affinage; they stand on the model's own page or beside its files"


def _stated(study: StudyRecord) -> dict[str, Mapping[str, str]]:
    """Data set -> its terms as the plan has them: those of a table come from its mapping, not from the source."""
    stated: dict[str, Mapping[str, str]] = {study.plan.data["name"]: study.plan.data} if "licence" in study.plan.data else {}
    for row in study.plan.sets:
        if row.get("source"):
            stated.setdefault(row["source"]["name"], row["source"])
    return stated


def _terms(name: str, stated: Mapping[str, Mapping[str, str]]) -> DataTerms:
    """The terms of a data set: as the study states them, else as the source does."""
    if name in stated:
        told = stated[name]
        text = {key: told.get(key, "") for key in ("licence", "citation", "url", "restrictions")}
        # The plan says in words that nothing may be passed on, and is silent where it may.
        return DataTerms(name, **text, may_pass_on=not told.get("passing_on"))
    for sources in (choice_sources, answer_sources, survey_sources, fact_sources):
        if name in sources:
            terms = sources.get(name).terms
            return DataTerms(name, terms.licence, terms.citation, terms.url, terms.restrictions, terms.may_pass_on)
    return DataTerms(name, "not known to Affinage", "", "", "", may_pass_on=False)


def _scores(study: StudyRecord, run: RunRecord) -> Iterator[ScoreLine]:
    """Per studied culture; nothing before the run is finished."""
    if run.status != "finished":
        return
    base = next((each for each in study.runs if each.trained_culture == UNTOUCHED and each.split == run.split and each.status == "finished"), None)
    for culture in study.plan.cultures:
        rows = _rows(study, run, culture)
        untouched = None if base is None else _rows(study, base, culture)
        yield ScoreLine(
            culture,
            culture == run.trained_culture,
            clustered(rows),
            None if untouched is None else clustered(untouched),
            None if untouched is None else clustered(paired(rows, untouched)),
        )


def _rows(study: StudyRecord, run: RunRecord, culture: str) -> pl.DataFrame:
    """What a run earned on each question of a culture, ready for its interval."""
    named = [pl.lit(getattr(run, name)).alias(name) for name in ("run", "label", "method", "trained_culture", "split", "start")]
    scores = read_scores(study.folder.run(run.run).scores(culture)).with_columns(named)
    keys = ["split", "culture", "mcq_id"]
    groups = study.questions.select(*keys, "group")
    rows = with_credit(scores, study.config.prompt.score).join(groups, on=keys, how="left", maintain_order="left")
    if rows["group"].null_count():
        todo = "Run the study again where its folder was edited."
        raise UserError(str(study.folder.questions), f"no template group for some questions of {culture}", "one for each that was asked", todo)
    return rows.with_columns(pl.lit(0).alias("cell"), pl.lit(1.0).alias("weight"))
