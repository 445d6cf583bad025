"""The invented studies of bench/coverage.py: their correlation and truth, and that their intervals are those of a report."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from benches import script

from affinage.stats import Draws, Sides, clustered, draw_groups, procedure, studentised


@pytest.fixture(scope="module")
def bench() -> Any:
    return script("coverage")


@pytest.fixture(scope="module")
def invented(bench: Any) -> Any:
    return bench.invented


def test_rows_of_a_template_have_the_correlation_that_is_said(invented: Any) -> None:
    for correlation in (0.2, 0.9):
        made = invented.worthwhile(invented.Design(300, "equal", correlation, 1), invented.sizes_of("equal", ""), 0, 50)
        assert made.worth.mean() == pytest.approx(invented.GAIN, abs=3 * invented.OF_SPLIT / np.sqrt(50))
        assert (made.total.sum((1, 2)) / made.count.sum()).mean() == pytest.approx(made.worth.mean(), abs=0.01)
        # A sum of n rows of variance v and correlation r has variance n v (1 + (n - 1) r); v is nearly RIGHT + WRONG less the squared mean.
        rows = invented.EQUAL
        found = np.mean([(study[0] - rows * worth[0]).var() for study, worth in zip(made.total, made.worth, strict=True)])
        single = invented.RIGHT + invented.WRONG - invented.GAIN**2
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


def test_its_intervals_are_those_of_a_report(bench: Any, invented: Any) -> None:
    cell = invented.Design(30, "blend", 0.5, 3)
    made = invented.worthwhile(cell, lambda rng, pool: rng.integers(1, 6, pool).astype(float), 4, 3)
    found = {kind: (low, high) for kind, _, low, high in bench.intervals(made, 4, cell)}
    counts = draw_groups(made.count.shape[1], bench.DRAWS, ("coverage", cell.name, 4))
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


def test_what_the_code_refuses_is_refused(bench: Any, invented: Any) -> None:
    sizes = invented.sizes_of("equal", "")
    cell = invented.Design(20, "equal", 0.5, 1)
    given = {kind: not np.isnan(low).any() for kind, _, low, _ in bench.intervals(invented.worthwhile(cell, sizes, 0, 2), 0, cell)}
    assert given == {"template": True, "row-jackknife": True, "quantiles": True, "row": True, "procedure": False, "corrected": False}
    few = invented.Design(9, "equal", 0.5, 1)
    assert all(np.isnan(low).all() for _, _, low, _ in bench.intervals(invented.worthwhile(few, sizes, 0, 2), 0, few))
