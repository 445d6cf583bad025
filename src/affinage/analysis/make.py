"""Makes a study's analyses: what is missing and nothing else."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from affinage.analysis.base import Analysis, Progress, Told, analyses
from affinage.analysis.settings import AnalysisSettings
from affinage.analysis.subject import Subject
from affinage.records import UserError
from affinage.store import AnalysisRecord, analysis_folder, canonical_digest, cores, provenance, read_analysis_record, write_analysis

__all__ = ["Made", "make"]


@dataclass(frozen=True, slots=True)
class Made:
    """An analysis that stands on disk."""

    name: str
    folder: Path
    tables: tuple[str, ...]
    now: bool
    """Whether this call made it; False where it stood there already."""


def make(subject: Subject, tell: Callable[[Told], None] = lambda told: None) -> tuple[Made, ...]:
    """Makes the analyses that `subject.settings.only` names, or all of them, where they are missing or of another state of the study.

    Args:
        subject: the study.
        tell: is told of every piece of work.

    Returns:
        One record per analysis, in the order asked for.

    Raises:
        UserError: an unknown name; a file that cannot be read or written; data or model that are not those of the study.
    """
    chosen = [analyses.get(name) for name in dict.fromkeys(subject.settings.only or tuple(analyses))]
    return tuple(_made(subject, analysis, tell) for analysis in chosen)


def _made(subject: Subject, analysis: Analysis, tell: Callable[[Told], None]) -> Made:
    """One analysis, made where it is missing."""
    folder = analysis_folder(subject.record.folder, analysis.name)
    runs = tuple(run.run for run in subject.record.runs if run.status == "finished")
    inputs = canonical_digest([analysis.version, list(runs), *_contents(analysis, subject.settings)])
    standing = read_analysis_record(folder)
    if standing is not None and standing.inputs == inputs:
        return Made(analysis.name, folder.path, standing.tables, now=False)
    began = time.monotonic()
    progress = Progress(analysis.name, analysis.version, folder, tell)
    tables = {name: frame for name, frame in analysis.run(subject, progress).items() if not frame.is_empty()}
    model = subject.record.config.model
    worker = provenance(model.device, model.threads or cores(), subject.standing)
    record = AnalysisRecord(
        analysis.name,
        inputs,
        runs,
        analysis.values(subject.settings),
        tuple(tables),
        worker.as_dict(),
        round(time.monotonic() - began, 3),
    )
    write_analysis(folder, record, tables)
    for unit in folder.units.glob("*.parquet"):
        if unit.stem not in progress.kept:
            unit.unlink()
    return Made(analysis.name, folder.path, record.tables, now=True)


def _contents(analysis: Analysis, settings: AnalysisSettings) -> list[tuple[str, object]]:
    """The settings that an analysis reads; of a file its content.

    Raises:
        UserError: the file cannot be read.
    """
    values = analysis.values(settings)
    for name in analysis.reads:
        file = getattr(settings, name)
        if not isinstance(file, Path):
            continue
        try:
            values[name] = hashlib.sha256(file.read_bytes()).hexdigest()
        except OSError as error:
            todo = f"Check the path given to --{name}."
            raise UserError(str(file), error.strerror or str(error), "a file that can be read", todo) from None
    return sorted(values.items())
