"""What the questions are made of: rows, templates, places of the right answer, options, topics, near-duplicates."""

from __future__ import annotations

import numpy as np
import polars as pl

from affinage.audit.base import EVERY, Composition, Count, Duplicates, Origin, Template
from affinage.data import Dataset
from affinage.data.groups import near_duplicates, template_groups
from affinage.records import DUMMY_CULTURE
from affinage.stats import kish

__all__ = ["composition", "duplicates", "options", "origin", "topics"]

_NOT_APPLICABLE = "not-applicable"
_LARGEST = 0.1


def origin(dataset: Dataset) -> Origin:
    """Source, size and terms."""
    terms = dataset.terms
    return Origin(
        name=dataset.name,
        revision=dataset.revision,
        licence=terms.licence,
        citation=terms.citation,
        url=terms.url,
        restrictions=terms.restrictions,
        may_pass_on=terms.may_pass_on,
        questions=len(dataset),
        templates=len(dataset.templates),
        cultures=len(dataset.cultures),
        languages=tuple(sorted(dataset.frame["language"].unique())),
    )


def composition(dataset: Dataset) -> tuple[Composition, ...]:
    """One record per culture, and last one over all."""
    frame = dataset.frame.select(
        "culture",
        "template_id",
        "answer",
        pl.col("option_cultures").list.contains(DUMMY_CULTURE).alias("dummy"),
        pl.col("options").list.eval(pl.element().str.to_lowercase() == _NOT_APPLICABLE).list.any().alias("not_applicable"),
        pl.col("options").list.len().alias("count"),
    )
    longest = int(frame.select(pl.col("count").max()).item())
    parts = {culture: frame.filter(pl.col("culture") == culture) for culture in dataset.cultures}
    return tuple(_composition(culture, part, longest) for culture, part in {**parts, EVERY: frame}.items())


def _composition(culture: str, frame: pl.DataFrame, longest: int) -> Composition:
    pairs = frame.group_by("culture", "template_id").len("rows")["rows"]
    by_template = frame.group_by("template_id").len("rows")["rows"].sort(descending=True)
    places = np.bincount(frame["answer"].to_numpy(), minlength=longest) / frame.height
    majority = frame.group_by("culture", "answer").len("rows").group_by("culture").agg(pl.col("rows").max())["rows"].sum() / frame.height
    return Composition(
        culture=culture,
        rows=frame.height,
        templates=by_template.len(),
        median=float(np.median(pairs.to_numpy())),
        maximum=int(pairs.to_numpy().max()),
        top_tenth=float(by_template.head(max(round(_LARGEST * by_template.len()), 1)).sum() / frame.height),
        effective=kish(by_template),
        places=tuple(places.tolist()),
        majority=float(majority),
        dummies=float(frame["dummy"].to_numpy().mean()),
        not_applicable=float(frame["not_applicable"].to_numpy().mean()),
    )


def options(dataset: Dataset) -> tuple[Count, ...]:
    """Number of options -> rows and templates, fewest options first."""
    counted = _counts(dataset.frame, pl.col("options").list.len())
    return tuple(sorted(counted, key=lambda count: int(count.name)))


def topics(dataset: Dataset) -> tuple[Count, ...]:
    """Topic -> rows and templates, most rows first; empty where the source tells no topic."""
    counted = _counts(dataset.frame, pl.col("topic"))
    return () if {count.name for count in counted} == {""} else counted


def _counts(frame: pl.DataFrame, key: pl.Expr) -> tuple[Count, ...]:
    """Rows and templates per value of `key`, most rows first."""
    counted = frame.group_by(key.cast(pl.String).alias("name")).agg(pl.len().alias("rows"), pl.col("template_id").n_unique().alias("templates"))
    return tuple(Count(*row) for row in counted.sort(["rows", "name"], descending=[True, False]).iter_rows())


def duplicates(dataset: Dataset) -> Duplicates:
    """Near-duplicate pairs and groups among the templates with questions."""
    present = dataset.templates
    open_questions = {template: dataset.open_questions.get(template, "") for template in present}
    groups = template_groups(dataset)
    members: dict[str, list[Template]] = {}
    for template in present:
        text = open_questions[template] if dataset.terms.may_pass_on else ""
        members.setdefault(groups[template], []).append(Template(template, text))
    several = sorted(
        (tuple(templates) for templates in members.values() if len(templates) > 1), key=lambda group: (-len(group), group[0].template_id)
    )
    return Duplicates(
        pairs=len(near_duplicates(open_questions)),
        templates=sum(map(len, several)),
        of=len(present),
        groups=tuple(several),
    )
