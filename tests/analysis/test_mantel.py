"""Relabelling, centring, trees and maps: by hand, from the definition, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import statsmodels.api as sm
from scipy.cluster.hierarchy import fcluster

from affinage.analysis.layout import classical_map, tree
from affinage.analysis.mantel import centred, mantel, symmetric
from affinage.seeds import generator
from affinage.stats import DRAWS


def table(n: int, *key: str | int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    made = symmetric(generator(*key).normal(size=(n, n)))
    np.fill_diagonal(made, 0.0)
    return made


def test_effects_of_rows_and_columns_are_those_of_least_squares_outside_the_diagonal() -> None:
    given = generator("transfer").normal(size=(5, 5)) + np.arange(5)[:, None] * 3
    found = centred(given)
    cells = [(i, j) for i, j in itertools.permutations(range(5), 2)]
    design = np.array([[1.0, *(i == k for k in range(1, 5)), *(j == k for k in range(1, 5))] for i, j in cells], float)
    residuals = sm.OLS([given[cell] for cell in cells], design).fit().resid
    assert [found[cell] for cell in cells] == pytest.approx(list(residuals))
    assert np.diag(found) == pytest.approx(np.zeros(5))
    assert found.sum(axis=0) == pytest.approx(np.zeros(5))
    assert found.sum(axis=1) == pytest.approx(np.zeros(5))


def test_what_an_adapter_gains_at_home_does_not_enter_the_centred_table() -> None:
    given = table(6, "at home")
    assert centred(given + np.diag([9.0] * 6)) == pytest.approx(centred(given))
    assert centred(given + 4 * np.arange(6)[:, None] - np.arange(6)[None, :]) == pytest.approx(centred(given))


def test_mantel_over_every_relabelling_by_brute_force() -> None:
    one, other = table(5, "one"), table(5, "other")
    pairs = np.triu_indices(5, 1)
    found = mantel(one, other)
    assert found is not None
    values = [np.corrcoef(one[pairs], other[np.ix_(names, names)][pairs])[0, 1] for names in itertools.permutations(range(5))]
    assert found.correlation == pytest.approx(values[0])
    assert found.p == pytest.approx(np.mean([abs(value) >= abs(values[0]) - 1e-9 for value in values]))
    assert (found.relabellings, found.exact) == (120, True)


def test_of_a_chain_of_four_two_relabellings_fit_as_well_as_the_names_themselves() -> None:
    """Four places on a line: only the line itself and its mirror image give the same distances, and none gives -1; 2 of 24 relabellings."""
    line = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))
    found = mantel(line, line)
    assert found is not None
    assert found.correlation == pytest.approx(1.0)
    assert found.p == pytest.approx(2 / 24)


def test_centring_the_other_table_as_well_changes_the_correlation_but_no_p() -> None:
    one, other = table(6, "raw", 1), centred(table(6, "raw", 2))
    plain, both = mantel(one, other), mantel(centred(one), other)
    assert plain is not None
    assert both is not None
    assert abs(both.correlation) > abs(plain.correlation)
    assert both.p == plain.p


def test_beyond_eight_cultures_relabellings_are_drawn_and_the_observed_one_counts() -> None:
    near = table(9, "near")
    found, again = mantel(near, near + 0.01 * table(9, "noise"), "key"), mantel(near, near + 0.01 * table(9, "noise"), "key")
    assert found is not None
    assert found == again
    assert (found.relabellings, found.exact) == (DRAWS + 1, False)
    assert found.p == pytest.approx(1 / (DRAWS + 1))


def test_of_unrelated_tables_few_are_called_related() -> None:
    called = [mantel(table(6, "null", k), table(6, "null", k, "other")) for k in range(150)]
    assert np.mean([each is not None and each.p <= 0.05 for each in called]) < 0.11


def test_what_has_no_correlation_has_none() -> None:
    flat = np.ones((5, 5))
    assert mantel(flat, table(5, "any")) is None
    assert mantel(table(3, "three"), table(3, "three")) is None


@pytest.mark.parametrize(
    "faulty", [np.zeros((4, 5)), np.triu(np.ones((4, 4)), 1), np.full((4, 4), np.nan)], ids=["not square", "not symmetric", "not numbers"]
)
def test_other_tables_are_refused(faulty: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    with pytest.raises(ValueError, match="table"):
        mantel(table(4, "sound"), faulty)


# Trees and maps ---------------------------------------------------------------------------------------------------------------------------


def test_a_tree_of_average_linkage_by_hand() -> None:
    distances = np.array([[0.0, 1.0, 4.0, 5.0], [1.0, 0.0, 6.0, 7.0], [4.0, 6.0, 0.0, 2.0], [5.0, 7.0, 2.0, 0.0]])
    found = tree(distances)
    assert found.steps[:, 2] == pytest.approx([1.0, 2.0, 5.5])  # the last: mean of 4, 5, 6, 7
    assert list(fcluster(found.steps, 2, "maxclust")) == [1, 1, 2, 2]
    assert found.cophenetic == pytest.approx(np.corrcoef([1, 5.5, 5.5, 5.5, 5.5, 2], [1, 4, 5, 6, 7, 2])[0, 1])


def test_a_map_gives_back_the_distances_of_points_on_a_plane() -> None:
    points = generator("points").normal(size=(7, 2))
    distances = np.linalg.norm(points[:, None] - points[None], axis=-1)
    found = classical_map(distances)
    assert np.linalg.norm(found.places[:, None] - found.places[None], axis=-1) == pytest.approx(distances)
    assert found.share == pytest.approx(1.0)
    assert (found.places[np.abs(found.places).argmax(axis=0), range(2)] > 0).all()


def test_a_map_tells_how_much_it_cannot_show() -> None:
    corners = 1 - np.eye(5)  # five points as far from each other as from all others: four equal axes
    assert classical_map(corners).share == pytest.approx(0.5)
    assert np.isnan(classical_map(np.zeros((3, 3))).share)
