"""A run's log: one JSON object per line, appended while it trains and cut back to the checkpoint when it resumes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from affinage.records import UserError
from affinage.store.files import write_atomically, write_error

__all__ = ["append_log", "cut_log", "read_log"]


def append_log(path: Path, record: Mapping[str, Any]) -> None:
    """Appends one line, after the torn one of a crash where there is one; `record["step"]` says what `cut_log` may cut.

    Raises:
        UserError: the disk is full; the part of the line that was written is taken back.
    """
    line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
    descriptor = -1
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        before = os.fstat(descriptor).st_size
        if before and os.pread(descriptor, 1, before - 1) != b"\n":
            line = b"\n" + line
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    except OSError as error:
        raise write_error(path, error) or error from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def read_log(path: Path, *, strict: bool = True) -> tuple[dict[str, Any], ...]:
    """The log's records, in order; none where there is no log. A last line that a crash cut short is left out.

    Args:
        path: the log; need not exist.
        strict: whether a line before the last that cannot be read is an error. In a file of several processes, where nobody cuts the line that
            a crash left, it is left out.

    Raises:
        UserError: a line before the last cannot be read.
    """
    return tuple(json.loads(line) for line in _whole_lines(path, strict=strict))


def cut_log(path: Path, step: int) -> int:
    """Cuts the log back to `step`: the records after it, and a torn last line, go.

    Args:
        path: the log; need not exist.
        step: the last step to keep; 0 empties the log of a run that starts anew (steps count from 1).

    Returns:
        How many records are left.

    Raises:
        UserError: a line before the last cannot be read, or the disk is full.
    """
    if not path.exists():
        return 0
    kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= step]
    content = b"".join(line + b"\n" for line in kept)
    if content != path.read_bytes():
        write_atomically(path, content)
    return len(kept)


def _whole_lines(path: Path, *, strict: bool = True) -> Iterator[bytes]:
    """The log's lines without their ends, the torn last one left out, and where not `strict` every one that cannot be read."""
    if not path.exists():
        return
    *lines, _torn = path.read_bytes().split(b"\n")
    for number, line in enumerate(lines, start=1):
        try:
            whole = isinstance(json.loads(line), dict)
        except ValueError:
            whole = False
        if not whole and not strict:
            continue
        if not whole:
            todo = "Remove the run's folder to train it again, or the log alone to go on without its beginning."
            raise UserError(f"{path}:{number}", "a damaged line", "a JSON object", todo)
        yield line
