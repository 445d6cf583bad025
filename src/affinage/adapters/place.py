"""Where an export goes: a folder that appears whole or not at all; and what of a place others may read."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from affinage.records import UserError

__all__ = ["new_folder", "public", "refuse_taken"]


def public(model_id: str) -> str:
    """A model's id as others may read it: of a folder or file on somebody's machine its name alone."""
    path = Path(model_id)
    return path.name if path.is_absolute() or path.exists() else model_id


def refuse_taken(to: Path) -> None:
    """Nothing is written over.

    Raises:
        UserError: something stands there already.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(str(to), "something that stands there already", "a folder that does not exist yet, or an empty one", "Give another --to.")


@contextmanager
def new_folder(to: Path) -> Iterator[Path]:
    """A folder to write into, beside its place; it takes the place when all went well, and is gone otherwise.

    Args:
        to: the place.

    Raises:
        UserError: something stands there already, or the place cannot be written.
    """
    refuse_taken(to)
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        work = Path(mkdtemp(prefix=f".{to.name}.", dir=to.parent))
    except OSError as error:
        raise UserError(str(to), error.strerror or str(error), "a place that can be written", "Check the path and its permissions.") from None
    try:
        yield work
        work.chmod(0o755)
        if to.exists():
            to.rmdir()
        work.rename(to)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)  # the first error is the one to report
        raise
