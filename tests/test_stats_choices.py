"""Statistics of what was chosen: which option, whose culture's."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
import scipy.special

from affinage import seeds
from affinage.stats import NOBODY, codes, option_matrix, option_shares, picks, whose


def test_lists_of_unequal_length_become_a_padded_matrix() -> None:
    found = option_matrix(pl.Series([[1.0, 2.0], [3.0, 4.0, 5.0]]))
    assert found[:, :2].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert math.isnan(found[0, 2])
    assert found[1, 2] == 5.0
    assert option_matrix(pl.Series([], dtype=pl.List(pl.Float64))).shape == (0, 0)


@pytest.mark.parametrize("lists", [[[1.0], None], [[1.0], []]])
def test_a_question_without_options_is_refused(lists: list[list[float] | None]) -> None:
    with pytest.raises(ValueError, match="without options"):
        option_matrix(pl.Series(lists, dtype=pl.List(pl.Float64)))


def test_shares_are_the_softmax_of_the_options_that_are_there() -> None:
    values = np.array([[-1.0, -2.0, np.nan], [-900.0, -901.0, -902.0], [0.0, -np.inf, -np.inf]])
    found = option_shares(values)
    assert found[0, :2].tolist() == pytest.approx(scipy.special.softmax([-1.0, -2.0]).tolist())
    assert math.isnan(found[0, 2])
    assert found[1].tolist() == pytest.approx(scipy.special.softmax(values[1]).tolist())
    assert found[2].tolist() == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="finite"):
        option_shares(np.array([[-np.inf, -np.inf]]))


def test_the_best_option_is_picked_and_ties_share() -> None:
    values = np.array([[-1.0, -2.0, -3.0], [-1.0, -1.0, -3.0], [-1.0, -1.0, np.nan], [-2.0, -1.0, np.nan]])
    assert picks(values).tolist() == [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 1.0, 0.0]]


def test_names_become_codes() -> None:
    found = codes(pl.Series([["Iran", "Spain"], ["dummy", "", "Spain"]]), ("Spain", "dummy"))
    assert found.tolist() == [[NOBODY, 0, NOBODY], [1, NOBODY, 0]]


def test_whose_option_by_hand() -> None:
    # Options of Spain (0), Iran (1), nobody known; the first option is right throughout.
    owner = np.array([[0, 1, NOBODY], [0, 1, 1], [0, 1, NOBODY], [0, 1, 1]], np.int32)
    values = np.array([[0.0, 2.0, 1.0], [0.0, 1.0, 2.0], [3.0, 1.0, 1.0], [2.0, 2.0, 0.0]])
    # Wrong: the first two (Iran both times). The third is right, in the fourth the right option is among the best.
    found = whose(values, owner, np.zeros(4, np.int64), 2)
    assert found.columns == ["code", "offered", "chosen", "blind"]
    assert found.rows() == [(0, 0, 0.0, 0.0), (1, 3, 2.0, 1.5)]


def test_whose_option_equals_the_definition() -> None:
    rng = seeds.generator("whose")
    count, options = 300, 4
    values = rng.integers(0, 4, (count, options)).astype(np.float64)
    owner = rng.integers(-1, 3, (count, options)).astype(np.int32)
    answer = rng.integers(options, size=count)
    values[::5, 3] = np.nan
    answer[::5] %= 3
    expected = {code: [0, 0.0, 0.0] for code in range(3)}
    for row in range(count):
        there = [k for k in range(options) if not math.isnan(values[row, k])]
        best = [k for k in there if values[row, k] == max(values[row, j] for j in there)]
        if answer[row] in best:
            continue
        for k in there:
            if k != answer[row] and owner[row, k] != NOBODY:
                entry = expected[int(owner[row, k])]
                entry[0] += 1
                entry[1] += (k in best) / len(best)
                entry[2] += 1 / (len(there) - 1)
    for code, offered, chosen, blind in whose(values, owner, answer, 3).iter_rows():
        assert (offered, chosen, blind) == (expected[code][0], pytest.approx(expected[code][1]), pytest.approx(expected[code][2]))


def test_other_questions_cultures_are_refused() -> None:
    with pytest.raises(ValueError, match="the same questions"):
        whose(np.zeros((2, 3)), np.zeros((1, 3), np.int32), np.zeros(2, np.int64), 1)
