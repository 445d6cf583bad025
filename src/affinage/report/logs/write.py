"""Writes a study's logs in another tool's form."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from affinage.report.logs import inspect_ai, lm_eval
from affinage.report.logs.base import Answered, Form, answered, texts_of
from affinage.store import read_study, write_atomically

__all__ = ["write_logs"]

_FILES: Mapping[Form, Callable[[Sequence[Answered]], Iterator[tuple[str, str]]]] = {"lm-eval": lm_eval.files, "inspect": inspect_ai.files}


def write_logs(study: Path, form: Form, folder: Path, pattern: str = "*", *, texts: bool = False) -> tuple[Path, ...]:
    """Writes every finished run's answers, question by question, as another tool's log.

    Args:
        study: the study's folder.
        form: whose log.
        folder: where the files go; files of the same names are replaced.
        pattern: of the runs' paths below `runs/`, as in a shell.
        texts: whether the questions' and options' texts go in, too.

    Returns:
        The files, in the plan's order.

    Raises:
        UserError: no study stands there, no finished run fits, a file is damaged, or texts are wanted that may not be passed on.
    """
    record = read_study(study)
    known = texts_of(record) if texts else None
    written = []
    for _, run in groupby(answered(record, pattern, known), key=lambda test: test.run.run):
        for name, content in _FILES[form](list(run)):
            written.append(folder / name)
            write_atomically(written[-1], content.encode())
    return tuple(written)
