"""Score files: one row per question and option order. Every number of a report is computed from them."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import polars as pl

from affinage.records import ItemScore, UserError
from affinage.store.files import write_atomically

__all__ = ["SCORE_SCHEMA", "read_many_scores", "read_scores", "write_scores"]

SCORE_SCHEMA: dict[str, pl.DataType] = {
    "mcq_id": pl.String(),
    "template_id": pl.String(),
    "culture": pl.String(),
    "answer": pl.Int16(),
    "order": pl.List(pl.Int16()),
    "logprob": pl.List(pl.Float64()),
    "tokens": pl.List(pl.Int32()),
    "characters": pl.List(pl.Int32()),
    "empty_logprob": pl.List(pl.Float64()),
    "letter_mass": pl.Float64(),
    "greedy_token": pl.Int64(),
    "greedy_probability": pl.Float64(),
    "free": pl.Boolean(),
    "state": pl.String(),
}
"""Columns of a score file: the fields of `ItemScore`, which documents them."""


def score_frame(scores: Sequence[ItemScore]) -> pl.DataFrame:
    """The scores as a table; [scores, fields of ItemScore]."""
    columns = {field.name: [getattr(score, field.name) for score in scores] for field in fields(ItemScore)}
    return pl.DataFrame({name: [list(v) if isinstance(v, tuple) else v for v in values] for name, values in columns.items()}, schema=SCORE_SCHEMA)


def write_scores(path: Path, scores: Sequence[ItemScore]) -> None:
    """Writes a score file, atomically: a score file that is there is complete.

    Raises:
        UserError: as `write_atomically`.
    """
    write_table(path, score_frame(scores))


def read_scores(path: Path) -> pl.DataFrame:
    """The rows of a score file, with the columns of `SCORE_SCHEMA`.

    Raises:
        UserError: the file is missing, cut short, or has other columns.
    """
    return read_table(path, SCORE_SCHEMA)


def read_many_scores(paths: Sequence[Path], columns: Iterable[str] = tuple(SCORE_SCHEMA)) -> tuple[pl.DataFrame, list[int]]:
    """The rows of several score files, one after the other; of a study's thousands of files in one reading.

    Args:
        paths: the files, each once.
        columns: those of `SCORE_SCHEMA` that are needed.

    Returns:
        The rows, and how many of them each file has.

    Raises:
        UserError: a file is missing, cut short, or has other columns.
    """
    wanted = list(columns)
    if not paths:
        return pl.DataFrame(schema={name: SCORE_SCHEMA[name] for name in wanted}), []
    try:
        found = pl.scan_parquet(list(paths), schema=SCORE_SCHEMA, glob=False, include_file_paths=_FILE).select(*wanted, _FILE).collect()
    except (OSError, pl.exceptions.PolarsError):
        for path in paths:
            read_scores(path)  # names the file that is at fault
        raise
    blocks = found[_FILE].rle().struct.unnest()
    counts = dict(zip(blocks["value"].to_list(), blocks["len"].to_list(), strict=True))
    return found.drop(_FILE), [counts.get(str(path), 0) for path in paths]


_FILE = "file"


def write_table(path: Path, frame: pl.DataFrame) -> None:
    """Writes a table as Parquet, atomically."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_atomically(path, buffer.getvalue())


def read_table(path: Path, schema: dict[str, pl.DataType], *, may_lack: Collection[str] = ()) -> pl.DataFrame:
    """A Parquet file of ours whose columns are those of `schema`; those of `may_lack` that it has not are null."""
    todo = "Remove the file and run `affinage study run` on the study again: it makes what is missing."
    try:
        frame = pl.read_parquet(io.BytesIO(path.read_bytes()))
    except OSError as error:
        raise UserError(str(path), error.strerror or str(error), "a Parquet file of the study", todo) from None
    except pl.exceptions.PolarsError as error:
        raise UserError(str(path), f"a damaged file ({error})", "a whole Parquet file", todo) from None
    there = {**dict.fromkeys(may_lack), **frame.schema}
    if set(there) == set(schema):
        frame = frame.with_columns(pl.lit(None, schema[name]).alias(name) for name, kind in there.items() if kind is None).select(*schema)
    if dict(frame.schema) != schema:
        raise UserError(str(path), f"columns {', '.join(frame.columns) or 'none'}", f"{', '.join(schema)}, typed as written", todo)
    return frame
