"""Where the facts of `retrieval` come from: a source of facts, a text file, or the training side's own answers."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import polars as pl

from affinage import data
from affinage.config import DataConfig
from affinage.data import Terms, fact_sources
from affinage.data.files import read_text
from affinage.records import Fact, UserError
from affinage.registry import suggest

__all__ = ["LINES", "TRAINING", "answered", "stated"]

TRAINING = "training"
LINES = "lines"


@lru_cache(maxsize=4)
def stated(source: str, path: str | None) -> tuple[tuple[Fact, ...], Terms | None]:
    """The facts of a source, and its terms.

    Args:
        source: `lines` for a text file with one fact per line (blank lines are none), or a source of facts (`affinage data ls`).
        path: its file or folder.

    Raises:
        UserError: no such source or file, or no fact in it.
    """
    if source != LINES:
        if source not in fact_sources:
            known = (TRAINING, LINES, *fact_sources)
            raise UserError("facts of the baseline retrieval", repr(source), "a source of facts", suggest(source, known))
        found = data.load_facts(DataConfig(source=source, path=path))
        return found.items, found.terms
    if path is None:
        raise UserError("path of the baseline retrieval", "nothing", "a text file with one fact per line", "Say where it is.")
    lines = [line.strip() for line in read_text(Path(path)).splitlines()]
    facts = tuple(Fact(f"{Path(path).name}:{number}", "", "", line) for number, line in enumerate(lines, start=1) if line)
    if not facts:
        raise UserError(path, "no line with text", "at least one fact", "Check the file.")
    return facts, None


def answered(frame: pl.DataFrame) -> tuple[Fact, ...]:
    """Training questions with their right answers as facts; equal ones once."""
    right = pl.col("options").list.get(pl.col("answer")).alias("right")
    rows = frame.select("mcq_id", "culture", "topic", "template_id", "question", right).unique(
        ["culture", "question", "right"], keep="first", maintain_order=True
    )
    return tuple(Fact(name, culture, topic, f"{question} {answer}") for name, culture, topic, _, question, answer in rows.iter_rows())
