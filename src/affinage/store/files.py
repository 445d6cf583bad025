"""Files that are either whole or not there: written beside their place, forced to the disk, renamed into it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

from affinage.records import UserError

__all__ = ["CheckpointError", "canonical_digest", "disk_full", "leaf_differences", "read_json", "sweep", "write_atomically", "write_json"]

_TEMPORARY = ".tmp"
_FULL = {errno.ENOSPC, errno.EDQUOT}


@final
class CheckpointError(UserError):
    """A checkpoint cannot be continued: it is damaged, or the training that wrote it was another one. That says nothing against what it trains."""


def write_atomically(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Puts a complete file at `path`, whatever happens meanwhile: a reader sees the old file or the new one, never a part.

    Args:
        path: where the file shall stand; missing folders are made.
        content: the bytes, or a function that writes the file at the temporary path that it is given (same folder).

    Raises:
        UserError: the disk is full (the message names the free space) or the place cannot be written; the old file, if any,
            is untouched and nothing half-written is left.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}{_TEMPORARY}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(temporary)
        else:
            _write_bytes(temporary, content)
        _force(temporary)
        temporary.replace(path)
        _force(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the first error is the one to report
            temporary.unlink(missing_ok=True)
        if (mended := write_error(path, error)) is not None:
            raise mended from error
        raise


def _write_bytes(path: Path, content: bytes) -> None:
    """Every byte of `content`: a system call may take fewer than it was given."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


def _force(path: Path) -> None:
    """Has the system put a file, or a folder's list of names, on the disk: a rename may otherwise outlive its bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_error(path: Path, error: BaseException) -> UserError | None:
    """What the user can do about a failed write; None where the error is of another kind."""
    if disk_full(error):
        return UserError(
            str(path),
            f"a full disk ({_free(path) / 1e6:.1f} MB free, or a quota reached)",
            "room for the file",
            "Free some space and run the same command again: it continues.",
        )
    if isinstance(error, OSError):
        return UserError(str(path), error.strerror or str(error), "a place that can be written", "Check the path and its permissions.")
    return None


def disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that the disk is full."""
    while error is not None:
        # Libraries written in Rust (safetensors, polars) hand on the system's sentence, without its number.
        if (isinstance(error, OSError) and error.errno in _FULL) or "No space left on device" in str(error):
            return True
        error = error.__cause__
    return False


def _free(path: Path) -> int:
    """Free bytes on the disk of `path`, which need not exist."""
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def sweep(folder: Path) -> None:
    """Removes what killed writers left directly in `folder` or one level below. Only for who holds the folder's claim."""
    for pattern in (f".*{_TEMPORARY}", f"*/.*{_TEMPORARY}"):
        for leftover in folder.glob(pattern):
            leftover.unlink(missing_ok=True)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a mapping as JSON, atomically.

    Raises:
        UserError: as `write_atomically`.
    """
    write_atomically(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """The mapping that a JSON file holds.

    Raises:
        UserError: the file is missing, cut short, or holds something else.
    """
    todo = "If the file was edited or copied in part, remove it and run the same command again."
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(str(path), str(error), "a whole JSON file", todo) from None
    if not isinstance(value, dict):
        raise UserError(str(path), type(value).__name__, "a JSON object", todo)
    return value


def canonical_digest(value: Any) -> str:
    """SHA-256 (64 hexadecimal digits) of a tree of plain values: the order of keys and of sets' members makes no difference.

    Args:
        value: mappings with string keys, sequences, sets of strings, strings, numbers, booleans, None.

    Raises:
        TypeError: something else is in it.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":"), default=_sorted_set).encode()).hexdigest()


def _sorted_set(value: object) -> list[str]:
    """A set as JSON can hold it."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


def leaf_differences(there: object, here: object, path: str = "") -> Iterator[tuple[str, object, object]]:
    """(dotted path, value there, value here) of each leaf by which two trees of plain values differ; None where a side has no such key.

    Args:
        there: mappings, lists and values, as JSON holds them.
        here: likewise; its lists may be tuples.
        path: of the two themselves.
    """
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in dict.fromkeys([*there, *here]):
            yield from leaf_differences(there.get(key), here.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(there, list) and isinstance(here, list | tuple) and len(there) == len(here):
        for number, (left, right) in enumerate(zip(there, here, strict=True)):
            yield from leaf_differences(left, right, f"{path}.{number}")
    elif there != here:
        yield path, there, here
