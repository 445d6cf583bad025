"""The invented studies of bench/coverage.py: their correlation and truth, and that their intervals are those of a report."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from affinage.stats import Draws, Sides, clustered, draw_groups, procedure, studentised

SCRIPT = Path(__file__).resolve().parents[2] / "bench" / "invented_studies.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("invented_studies", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["invented_studies"] = module
    spec.loader.exec_module(module)
    return module


def test_rows_of_a_template_have_the_correlation_that_is_said(script: Any) -> None:
    for correlation in (0.2, 0.9):
        made = script.invent(script.Cell(300, "equal", correlation, 1), script.sizes_of("equal", ""), 0, 50)
        assert made.worth.mean() == pytest.approx(script.GAIN, abs=3 * script.OF_SPLIT / np.sqrt(50))
        assert (made.total.sum((1, 2)) / made.count.sum()).mean() == pytest.approx(made.worth.mean(), abs=0.01)
        # A sum of n rows of variance v and correlation r has variance n v (1 + (n - 1) r); v is nearly RIGHT + WRONG less the squared mean.
        rows = script.EQUAL
        found = np.mean([(study[0] - rows * worth[0]).var() for study, worth in zip(made.total, made.worth, strict=True)])
        single = script.RIGHT + script.WRONG - script.GAIN**2
        assert found == pytest.approx(rows * single * (1 + (rows - 1) * correlation), rel=0.05)


def frame_of(made: Any, study: int) -> pl.DataFrame:
    """One invented study as rows; each template's rows share their mean."""
    rows = []
    for run, template in np.argwhere(made.count > 0).tolist():
        count = int(made.count[run, template])
        names = {"group": f"g{template:04}", "template_id": f"t{template}", "choice": made.total[study, run, template] / count}
        about = {"cell": run, "weight": 1 / len(made.split), "split": int(made.split[run]), "start": run % 2, **names}
        rows += [{**about, "mcq_id": f"q{template}-{row}"} for row in range(count)]
    return pl.DataFrame(rows)


def test_its_intervals_are_those_of_a_report(script: Any) -> None:
    cell = script.Cell(30, "blend", 0.5, 3)
    made = script.invent(cell, lambda rng, pool: rng.integers(1, 6, pool).astype(float), 4, 3)
    found = {kind: (low, high) for kind, _, low, high in script.intervals(made, 4, cell)}
    counts = draw_groups(made.count.shape[1], script.DRAWS, ("coverage", cell.name, 4))
    for study in range(3):
        frame = frame_of(made, study)
        whole = procedure(frame, Sides(drawn=True, test=20, train=80, overlap=True))
        draws = Draws(counts, tuple(sorted(frame["group"].unique())))
        expected = {
            "template": clustered(frame),
            "row-jackknife": clustered(frame, "row"),
            "row": studentised(frame, draws),
            "procedure": whole.estimate,
            "corrected": whole.corrected,
        }
        for kind, estimate in expected.items():
            assert (found[kind][0][study], found[kind][1][study]) == pytest.approx((estimate.low, estimate.high)), kind


def test_what_the_code_refuses_is_refused(script: Any) -> None:
    sizes = script.sizes_of("equal", "")
    cell = script.Cell(20, "equal", 0.5, 1)
    given = {kind: not np.isnan(low).any() for kind, _, low, _ in script.intervals(script.invent(cell, sizes, 0, 2), 0, cell)}
    assert given == {"template": True, "row-jackknife": True, "quantiles": True, "row": True, "procedure": False, "corrected": False}
    few = script.Cell(9, "equal", 0.5, 1)
    assert all(np.isnan(low).all() for _, _, low, _ in script.intervals(script.invent(few, sizes, 0, 2), 0, few))
