"""The invented studies of `bench/false_positives.py`: nothing to find in them, rows as uneven as BLEnD's, models as alike as stated."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
from benches import script


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    return script("false_positives")


@pytest.fixture(scope="module")
def invented(bench: ModuleType) -> ModuleType:
    found: ModuleType = bench.invented
    return found


def test_models_are_as_correlated_as_stated(invented: ModuleType) -> None:
    drawn = invented.mixed(np.random.default_rng(1), (100_000,))
    found = np.corrcoef(drawn)
    assert drawn.std(1) == pytest.approx(np.ones(7), abs=0.02)
    assert found[0, 1:] == pytest.approx(np.full(6, invented.WITH_UNTOUCHED), abs=0.02)
    assert found[1:, 1:][np.triu_indices(6, 1)] == pytest.approx(np.full(15, invented.AMONG_ADAPTERS), abs=0.02)


@pytest.mark.parametrize("null", ["alike", "equal mean"])
def test_there_is_nothing_to_find(invented: ModuleType, null: str) -> None:
    for average in invented.AVERAGES:
        means = np.array([invented.worthless(30, 0.5, null, number)[average].means for number in range(60)])
        assert means.shape == (60, 36)
        error = means.std(0, ddof=1) / np.sqrt(60)
        assert error.max() < 0.05
        assert np.abs(means.mean(0) / error).max() < 4.5


def test_rows_are_as_uneven_as_stated(invented: ModuleType) -> None:
    sums = invented.worthless(300, 0.5, "alike", 0)
    rows, templates = sums["row"].count[0], sums["template"].count[0]
    assert templates.sum() == pytest.approx(300 * invented.PRESENT, rel=0.1)
    assert set(np.unique(templates)) == {0.0, 1.0, 2.0}
    largest = np.sort(rows[templates == 1])[::-1]
    assert largest[: largest.size // 10].sum() / largest.sum() == pytest.approx(0.44, abs=0.1)


def test_each_family_has_its_cells(bench: ModuleType) -> None:
    cells = list(bench.measured(20, 0.5, "alike", 3))
    assert [(cell.average, cell.family, cell.comparisons) for cell in cells] == [
        ("template", "own", 6),
        ("template", "transfer", 30),
        ("row", "own", 6),
        ("row", "transfer", 30),
    ]
    assert all(len(bench.line(cell)) == len(bench.HEADER) for cell in cells)
    assert cells[0].refused < cells[2].refused
