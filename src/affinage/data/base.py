"""A data set of multiple-choice questions, and the sources that make one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import polars as pl

from affinage import seeds
from affinage.config import DataConfig
from affinage.records import MCQ, Fault, UserError
from affinage.registry import Registry, suggest

__all__ = ["COLUMNS", "Dataset", "Source", "Terms", "as_frame", "cap", "sources"]

COLUMNS: dict[str, pl.DataType] = {
    "mcq_id": pl.String(),
    "template_id": pl.String(),
    "culture": pl.String(),
    "topic": pl.String(),
    "question": pl.String(),
    "options": pl.List(pl.String()),
    "option_cultures": pl.List(pl.String()),
    "answer": pl.Int32(),
    "language": pl.String(),
}
"""MCQ's fields as columns; the layout of every file that the package writes questions to."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a user must know before using or passing on the texts."""

    licence: str
    """SPDX name of the licence, or what is known of it."""
    citation: str
    """Title, authors, year, where."""
    url: str
    """The source's own page; empty where it has none."""
    restrictions: str
    """What the licence does not say: barred uses, how the data was made, what it is not good for."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Multiple-choice questions of several cultures over shared templates; never edited, only cut to a smaller one."""

    name: str
    """The source's name."""
    frame: pl.DataFrame = field(repr=False)
    """One row per question, columns as in `COLUMNS`."""
    terms: Terms = field(repr=False)
    culture_names: Mapping[str, str]
    """Culture as the source spells it -> its name in text ("US" -> "the US")."""
    open_questions: Mapping[str, str] = field(repr=False)
    """Template id -> the question with `{culture}` where the culture stands; of the whole source, whatever was cut off since, and also of
    templates that made no question, so that groups do not depend on the clash test."""
    row_counts: pl.DataFrame = field(repr=False)
    """Columns `culture, template_id, rows`: questions of the whole source, whatever was cut off since; splits are made from it, so
    that neither a choice of cultures nor a cap moves a template to another side."""
    faults: tuple[Fault, ...] = ()
    """Rows of the source that could not become questions."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Reason -> how many well-formed items of the source made no question by the source's own rule."""
    revision: str = ""
    """Version of the source where it states one: a commit of the hub."""

    def __len__(self) -> int:
        return self.frame.height

    @property
    def cultures(self) -> tuple[str, ...]:
        """Cultures with at least one question, in the alphabet's order."""
        return tuple(sorted(self.frame["culture"].unique()))

    @property
    def templates(self) -> tuple[str, ...]:
        """Ids of the templates with at least one question, in the alphabet's order."""
        return tuple(sorted(self.frame["template_id"].unique()))

    @cached_property
    def digest(self) -> str:
        """sha256 of the questions, independent of the order of the rows."""
        flat = [pl.col(name).list.join("\x1f") if dtype == pl.List else pl.col(name).cast(pl.String) for name, dtype in COLUMNS.items()]
        lines = self.frame.select(pl.concat_str(flat, separator="\x1e").alias("line"))["line"].sort()
        digest = hashlib.sha256()
        for line in lines:
            digest.update(line.encode())
            digest.update(b"\n")
        return digest.hexdigest()

    def questions(self, frame: pl.DataFrame | None = None) -> list[MCQ]:
        """The rows as records, in the frame's order.

        Args:
            frame: rows of this data set's columns, e.g. a filtered `self.frame`. Default: all.
        """
        rows = (self.frame if frame is None else frame).select(*COLUMNS)
        return [
            MCQ(**{**row, "options": tuple(row["options"]), "option_cultures": tuple(row["option_cultures"])}) for row in rows.iter_rows(named=True)
        ]

    def select(
        self,
        *,
        cultures: Iterable[str] | None = None,
        templates: Iterable[str] | None = None,
        rows_per_template: int | None = None,
    ) -> Dataset:
        """A smaller data set; what is kept keeps its order, its ids and its side of every split.

        Args:
            cultures: cultures to keep. Default: all.
            templates: template ids to keep; ids that have no question here are ignored. Default: all.
            rows_per_template: at most so many questions per (culture, template), those with the lowest hash of their id.

        Raises:
            UserError: a culture that is not in the data set, all of them together, each with the nearest that is.
        """
        frame = self.frame
        if cultures is not None:
            wanted, known = tuple(cultures), set(self.cultures)
            unknown = [
                UserError(f"culture of {self.name}", repr(culture), "a culture of the source", suggest(culture, known))
                for culture in wanted
                if culture not in known
            ]
            if unknown:
                raise UserError.join(unknown)
            frame = frame.filter(pl.col("culture").is_in(list(wanted)))
        if templates is not None:
            frame = frame.filter(pl.col("template_id").is_in(list(templates)))
        return replace(self, frame=cap(frame, rows_per_template))

    def summary(self) -> pl.DataFrame:
        """Rows and templates per culture: columns `culture, rows, templates`, in the alphabet's order."""
        return self.frame.group_by("culture").agg(pl.len().alias("rows"), pl.col("template_id").n_unique().alias("templates")).sort("culture")


def cap(frame: pl.DataFrame, rows_per_template: int | None) -> pl.DataFrame:
    """At most so many rows per (culture, template), chosen by a hash of the question's id alone; the rows keep their order.

    A row's hash does not depend on other rows, so a larger cap keeps what a smaller one kept.
    """
    if rows_per_template is None:
        return frame
    draw = pl.Series("draw", seeds.uniforms(("cap",), frame["mcq_id"]))
    kept = pl.col("draw").rank("ordinal").over("culture", "template_id") <= rows_per_template
    return frame.with_columns(draw).filter(kept).drop("draw")


def as_frame(questions: pl.DataFrame | Sequence[MCQ]) -> pl.DataFrame:
    """Questions as a frame with the columns of `COLUMNS`."""
    if isinstance(questions, pl.DataFrame):
        return questions
    return pl.DataFrame({name: [getattr(mcq, name) for mcq in questions] for name in COLUMNS}, schema=COLUMNS)


@dataclass(frozen=True, slots=True)
class Source:
    """A place that questions come from."""

    name: str
    """What `data.source` of a study says."""
    what: str
    """One sentence for `affinage data ls`."""
    terms: Terms
    path: str
    """What `data.path` may be; empty where none is needed."""
    read: Callable[[DataConfig], Dataset]
    """Reads the whole source; the selection of cultures and the cap come after it. Malformed rows are in the result's `faults`."""
    sample: Callable[[Path], DataConfig]
    """Writes a small valid input into an empty folder and says how to read it: the layout by example, and what the contract tests read."""


sources: Registry[Source] = Registry("data source")
"""Every source by name; a module of this package registers its own when imported."""
