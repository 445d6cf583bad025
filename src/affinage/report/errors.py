"""What is chosen where it is wrong: whose culture's option, and how far an adapter pulls its own culture's into others'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from affinage.report.cells import Cells
from affinage.report.evidence import Evidence
from affinage.report.language import say
from affinage.report.owners import Owners, owner_name
from affinage.report.pull import pull
from affinage.report.table import Section, Table
from affinage.report.words import named, number, percent, slug
from affinage.stats import credited, option_matrix, whose

__all__ = ["section"]


def section(cells: Cells) -> Section | None:
    """Whose option and pull, or why it is not known whose options they are; None where nothing was trained."""
    options = Owners(cells.evidence)
    if not options.labels:
        return None
    if options.missing:
        return Section("errors", (), (), say("Errors"), options.missing)
    chosen = _Whose(options)
    pulled, lines = pull(options)
    tables = (*chosen.tables(), *pulled)
    if not tables:
        return None  # the untouched model alone is there yet
    frames = (("whose-option", chosen.frame),) if chosen.frame.height else ()
    return Section("errors", tuple(lines), tables, say("Errors"), frames=frames)


_FRAME = {
    **dict.fromkeys(("label", "trained_culture", "tested_culture", "option_culture"), pl.String()),
    "offered": pl.Int64(),
    **dict.fromkeys(("chosen", "blind"), pl.Float64()),
}


@dataclass(frozen=True)
class _Whose:
    """Whose option is chosen in wrong answers about the studied cultures."""

    options: Owners

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Columns of `_FRAME`, pooled over splits and starts; an empty label is the untouched model."""
        evidence = self.options.evidence
        parts = []
        for label in ("", *self.options.labels):
            for culture in evidence.cultures:
                rows = _answers(evidence, label, culture)
                if rows.is_empty():
                    continue
                answer = rows["answer"].to_numpy().astype(np.int64)
                found = whose(option_matrix(rows["values"]), self.options.of(rows), answer, len(self.options.names))
                about = {"label": label, "trained_culture": culture if label else "", "tested_culture": culture}
                named_ = found.with_columns(
                    *(pl.lit(value).alias(name) for name, value in about.items()), pl.Series("option_culture", self.options.names)
                )
                parts.append(named_.select(*_FRAME))
        return pl.concat(parts) if parts else pl.DataFrame(schema=_FRAME)

    def tables(self) -> Iterator[Table]:
        """One per method, beside the untouched model on the same cultures."""
        for label in self.options.labels:
            if (self.frame["label"] == label).any():
                yield self._table(label, self.options.evidence.trained(label))

    def _table(self, label: str, trained: Sequence[str]) -> Table:
        counted = self.frame.filter(pl.col("tested_culture").is_in(trained)).group_by("label", "option_culture")
        sums = {(row[0], row[1]): row[2:] for row in counted.agg(pl.col("offered", "chosen", "blind").sum()).iter_rows()}
        rows = []
        for name in self.options.names:
            both = [sums.get((kind, name), (0, 0.0, 0.0)) for kind in ("", label)]
            if any(offered for offered, _, _ in both):
                rows.append((owner_name(name), *(text for each in both for text in _share(*each))))
        text = say(
            "Questions about the cultures that adapters were trained on, each answered by the untouched model and by its own culture's adapter: "
            "wrong answers alone, over all splits and starts. Offered: in so many wrong answers there was an option of this culture (one for each "
            "such option); chosen: percent of these in which it was the one that was chosen. Blind: percent that a choice among the wrong options "
            "without looking at them would give. Both models are wrong on other questions, so the two halves are no pairs; counts rest on rows, "
            "without interval."
        )
        half = (say("offered"), say("chosen"), say("blind"))
        untouched, own = [say("untouched: {column}", column=each) for each in half], [say("own: {column}", column=each) for each in half]
        title = say("Whose option is chosen when wrong: {label}, own culture", label=named(label))
        return Table(f"whose-option-{slug(label)}", title, text, (say("option of"), *untouched, *own), tuple(rows))


def _answers(evidence: Evidence, label: str, culture: str) -> pl.DataFrame:
    """Scored answers about a culture: of the untouched model (no label), or of its own adapter."""
    if label:
        rows = evidence.part(lambda name, trained, tested: name == label and trained == tested == culture)
    else:
        rows = evidence.part(lambda name, trained, tested: (name, trained) == evidence.untouched and tested == culture)
    return credited(rows, "choice")


def _share(offered: int, chosen: float, blind: float) -> tuple[str, str, str]:
    """A table's three cells."""
    return (number(offered), percent(chosen / offered), percent(blind / offered)) if offered else (number(0), "", "")
