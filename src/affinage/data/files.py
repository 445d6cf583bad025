"""Reading tables of any of the formats that questions come in, row by row, with the line that each row stands on."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from affinage.records import UserError
from affinage.registry import suggest

__all__ = ["SUFFIXES", "Record", "read_records", "read_text"]

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".parquet")
"""What `read_records` can read."""

_LONGEST_CELL = 1 << 20
_UTF16 = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file."""

    line: int
    """1-based line on which the row begins; in Parquet files the 1-based row."""
    values: dict[str, Any]
    """Column -> value: texts in CSV and TSV, anything JSON or Parquet can hold elsewhere."""
    fault: str = ""
    """Why the row is malformed; then `values` is empty."""


def read_records(path: Path, required: Sequence[str]) -> Iterator[Record]:
    """The rows of a file; the format is told by its suffix.

    A row with too many or too few cells, or that is no mapping, comes with its `fault`; what makes the rest of the file
    unreadable is an error.

    Args:
        path: a file with one of the suffixes of `SUFFIXES`; JSON is a list of objects or one object per line, either suffix.
        required: columns that every row must have.

    Raises:
        UserError: not there, not such a format, not UTF-8, cut short, or a column is missing.
    """
    readers = {".csv": _delimited, ".tsv": _delimited, ".json": _json, ".jsonl": _json, ".parquet": _parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise UserError(str(path), f"a file of kind {path.suffix!r}", f"one of {', '.join(SUFFIXES)}", "Convert it to one of these.")
    try:
        yield from reader(path, required)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    except OSError as error:
        raise UserError(str(path), error.strerror or str(error), "a readable file", "Check the path.") from None


def read_text(path: Path) -> str:
    """A text file in UTF-8, with or without a byte order mark.

    Raises:
        UserError: not there, or not UTF-8; the message names the byte and its line.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, error) from None
    except OSError as error:
        raise UserError(str(path), error.strerror or str(error), "a readable file", "Check the path.") from None


def _not_utf8(path: Path, error: UnicodeDecodeError) -> UserError:
    content = path.read_bytes()
    if content[:2] in _UTF16:
        return UserError(str(path), "a file in UTF-16", "UTF-8", "Save it as UTF-8.")
    try:
        content.decode("utf-8-sig")
        start = error.start
    except UnicodeDecodeError as whole:
        start = whole.start
    line = content.count(b"\n", 0, start) + 1
    return UserError(f"{path}:{line}", f"byte 0x{content[start]:02x}, which is not UTF-8", "text in UTF-8", "Save it as UTF-8.")


def _need_columns(path: Path, found: Sequence[str], required: Sequence[str]) -> None:
    missing = [column for column in required if column not in found]
    if missing:
        hints = " ".join(suggest(column, found) for column in missing) if found else ""
        raise UserError(str(path), f"no column {', '.join(missing)}", f"the columns {', '.join(required)}", hints or "Add them.")


def _delimited(path: Path, required: Sequence[str]) -> Iterator[Record]:
    csv.field_size_limit(_LONGEST_CELL)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)
        try:
            header = next(reader, [])
            _need_columns(path, header, required)
            begin = reader.line_num + 1
            for cells in reader:
                if len(cells) == len(header):
                    yield Record(begin, dict(zip(header, cells, strict=True)))
                elif cells:
                    yield Record(begin, {}, f"{len(cells)} cells; expected {len(header)}, one for each column")
                begin = reader.line_num + 1
        except csv.Error as error:
            todo = "Look for a quotation mark that is not closed or not doubled, in this row or above it."
            raise UserError(f"{path}:{reader.line_num}", f"malformed text ({error})", "CSV", todo) from None


def _json(path: Path, required: Sequence[str]) -> Iterator[Record]:
    """Object after object, so that a large file needs the memory of its text and of one row."""
    text = read_text(path)
    decoder = json.JSONDecoder()
    place, line, counted, first = _after_blank(text, 0), 1, 0, True
    listed = text[place : place + 1] == "["
    place = _after_blank(text, place + 1) if listed else place
    while place < len(text) and not (listed and text[place] == "]"):
        line, counted = line + text.count("\n", counted, place), place
        try:
            value, place = decoder.raw_decode(text, place)
        except json.JSONDecodeError as error:
            at = text.count("\n", 0, error.pos) + 1
            raise UserError(f"{path}:{at}", f"malformed or cut-short JSON ({error.msg})", "JSON", "Mend the line, or fetch it again.") from None
        if first and isinstance(value, dict):
            _need_columns(path, list(value), required)
            first = False
        yield _mapping(line, value, required)
        place = _after_blank(text, place)
        if listed and text[place : place + 1] == ",":
            place = _after_blank(text, place + 1)
        elif listed and text[place : place + 1] != "]":
            at = text.count("\n", 0, place) + 1
            raise UserError(f"{path}:{at}", "a list that does not go on with ',' or ']'", "JSON", "Mend the line, or fetch it again.")
    if listed and place >= len(text):
        raise UserError(f"{path}:{text.count(chr(10)) + 1}", "a list that is not closed", "JSON", "The file was cut short: fetch it again.")


def _after_blank(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _mapping(line: int, value: object, required: Sequence[str]) -> Record:
    if not isinstance(value, dict):
        return Record(line, {}, f"a {type(value).__name__}; expected an object with the row's values")
    missing = [column for column in required if column not in value]
    if missing:
        return Record(line, {}, f"no {', '.join(missing)}; expected the columns {', '.join(required)}")
    return Record(line, value)


def _parquet(path: Path, required: Sequence[str]) -> Iterator[Record]:
    try:
        frame = pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise UserError(str(path), f"no readable Parquet ({error})", "a Parquet file", "Fetch or make it again.") from None
    _need_columns(path, frame.columns, required)
    for row, values in enumerate(frame.iter_rows(named=True), start=1):
        yield Record(row, values)
