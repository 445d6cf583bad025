"""A report of five million scored rows: how long it takes and what it needs is printed, not judged."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest

from affinage.report import build_report, read_evidence
from affinage.report.cells import Cells
from scale import Scale


@pytest.mark.slow
def test_five_million_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = Scale()
    folder = study.write(tmp_path)
    assert study.scored > 5_000_000
    lines = []

    def lap(what: str, began: tuple[float, float]) -> tuple[float, float]:
        now = time.monotonic(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        lines.append(f"{what}: {now[0] - began[0]:.1f} s, of which {now[1] - began[1]:.1f} s on processors; peak so far {peak:.2f} GiB")
        return time.monotonic(), time.process_time()

    began = time.monotonic(), time.process_time()
    evidence = read_evidence(folder)
    began = lap("reading", began)
    assert evidence.rows.height > study.scored
    cells = Cells(evidence)
    began = lap("cells", began)
    assert cells.runs.height
    del evidence, cells
    page = build_report(folder).page
    lap("the whole report, read again", began)
    assert page.exists()
    with capsys.disabled():
        print("", f"{study.scored:,} scored rows in {study.runs:,} runs", *lines, sep="\n")  # noqa: T201
