"""Transfer: numbers of a table of pairs by hand, from their definition, from the reference study, and their intervals."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np
import polars as pl
import pytest

from affinage import seeds
from affinage.report import reference
from affinage.stats import (
    SPECIFICITIES,
    Specificity,
    c_dist,
    cell_sums,
    clustered,
    column_specificity,
    contrasts,
    interaction,
    row_specificity,
    specificities,
    specificity_weights,
    weights_of,
)

HAND = np.array([[0.8, 0.5], [0.6, 0.7]])
"""Column means 0.7 and 0.6, row means 0.65 both, all 0.65."""


def study(method: str) -> Any:
    pairs = reference.PAIRS[method]
    return np.array([[pairs[a][c][0] for c in reference.CULTURES] for a in reference.CULTURES])


def test_a_table_of_two_by_hand() -> None:
    assert column_specificity(HAND) == pytest.approx([0.2, 0.2])
    assert row_specificity(HAND) == pytest.approx([0.3, 0.1])
    assert interaction(HAND) == pytest.approx([0.1, 0.1])
    assert c_dist(HAND) == pytest.approx(1.0)
    assert c_dist(np.array([[0.8, 0.5], [0.9, 0.7]])) == pytest.approx((0.8 / 0.9 + 1) / 2)


@pytest.mark.parametrize("method", reference.METHODS)
def test_the_reference_study_s_numbers(method: str) -> None:
    table = study(method)
    published = {"prompt-tuning": [6.18, 6.80, 12.35, 9.41, 14.10, 14.60], "prefix-tuning": [3.59, 4.95, 8.40, 5.63, 10.44, 10.57]}[method]
    assert column_specificity(table) == pytest.approx(published, abs=0.0051)
    for k in range(6):
        others = [c for c in range(6) if c != k]
        assert row_specificity(table)[k] == pytest.approx(table[k, k] - statistics.fmean(table[k, c] for c in others))
        centred = table[k, k] - statistics.fmean(table[k]) - statistics.fmean(table[:, k]) + statistics.fmean(table.ravel())
        assert interaction(table)[k] == pytest.approx(centred)
    # By rows Spain's easy questions look like specificity and Algeria's hard ones like its lack.
    assert row_specificity(table)[0] > 2 * row_specificity(table)[5]


@pytest.mark.parametrize("method", reference.METHODS)
def test_c_dist_is_one_for_the_reference_study_as_for_adapters_that_are_all_the_same(method: str) -> None:
    assert c_dist(study(method)) == 1.0
    same = np.repeat(study(method)[:1], 6, axis=0)
    assert c_dist(same) == 1.0
    assert column_specificity(same) == pytest.approx(np.zeros(6))


def test_good_adapters_and_easy_cultures_alone_are_no_specificity() -> None:
    rng = seeds.generator("additive")
    additive = rng.random((7, 1)) + rng.random((1, 7))
    assert interaction(additive) == pytest.approx(np.zeros(7))
    assert np.abs(column_specificity(additive)).max() > 0.05
    # The residual of the additive model as least squares gives it.
    table = rng.random((7, 7))
    places = np.arange(49)
    design = np.zeros((49, 14))
    design[places, places // 7] = design[places, 7 + places % 7] = 1
    residuals = table.ravel() - design @ np.linalg.lstsq(design, table.ravel(), rcond=None)[0]
    assert interaction(table) == pytest.approx(np.diagonal(residuals.reshape(7, 7)))


def test_means_over_cultures_agree() -> None:
    table = seeds.generator("means").random((5, 5))
    assert row_specificity(table).mean() == pytest.approx(column_specificity(table).mean())
    assert interaction(table).mean() == pytest.approx(4 / 5 * column_specificity(table).mean())


@pytest.mark.parametrize("kind", list(SPECIFICITIES))
def test_weights_give_the_number_again(kind: Specificity) -> None:
    table = seeds.generator("weights", kind).random((6, 6))
    weights = specificity_weights(kind, 6)
    assert weights.shape == (6, 6, 6)
    assert np.tensordot(weights, table, axes=2) == pytest.approx(SPECIFICITIES[kind](table))
    assert weights.sum((1, 2)) == pytest.approx(np.zeros(6))


def test_a_missing_cell_is_missing_in_every_number_that_it_is_part_of() -> None:
    table = seeds.generator("missing").random((3, 3))
    table[0, 1] = np.nan
    assert np.isnan(column_specificity(table)).tolist() == [False, True, False]
    assert np.isnan(row_specificity(table)).tolist() == [True, False, False]
    assert np.isnan(interaction(table)).all()
    assert np.isnan(c_dist(table))


@pytest.mark.parametrize("number", [*SPECIFICITIES.values(), c_dist])
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (4,)])
def test_what_is_no_table_of_pairs_is_refused(number: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square matrix"):
        number(np.ones(shape))


def test_c_dist_refuses_a_culture_on_which_nobody_is_right() -> None:
    with pytest.raises(ValueError, match="ever right"):
        c_dist(np.array([[0.5, 0.0], [0.5, 0.0]]))


# Intervals -----------------------------------------------------------------------------------------------------------------------------

CULTURES = 3


def pairs_table(groups: int = 20) -> pl.DataFrame:
    """Rows of three adapters on three cultures, uneven, one culture without one group; `cell` is 3 * adapter + culture."""
    rng = seeds.generator("pairs table", groups)
    group = np.repeat(np.arange(groups), rng.choice([1, 2, 3], groups))
    template = np.repeat(np.arange(group.size), rng.integers(1, 6, group.size))
    frames = []
    for cell in range(CULTURES * CULTURES):
        kept = ~((cell % CULTURES == 1) & (group[template] == 4))
        credit = (rng.random(template.size) < 0.4 + 0.3 * (cell // CULTURES == cell % CULTURES)).astype(float)
        columns = {
            "cell": cell,
            "group": [f"g{g:02}" for g in group[template]],
            "template_id": [f"t{t}" for t in template],
            "mcq_id": [f"q{q}" for q in range(template.size)],
            "choice": credit,
        }
        frames.append(pl.DataFrame(columns).filter(kept))
    return pl.concat(frames)


@pytest.mark.parametrize("average", ["template", "row"])
@pytest.mark.parametrize("kind", list(SPECIFICITIES))
def test_each_specificity_has_the_interval_of_the_jackknife(kind: Specificity, average: Any) -> None:
    rows = pairs_table()
    weights = specificity_weights(kind, CULTURES).reshape(CULTURES, -1)
    number, cell = np.nonzero(weights)
    found = contrasts(cell_sums(rows, average=average), weights_of(number, cell, weights[number, cell], weights.shape)).estimates([1] * 3, [1] * 3)
    for k in range(CULTURES):
        cells = pl.DataFrame({"cell": range(9), "weight": weights[k]}).filter(pl.col("weight") != 0)
        expected = clustered(rows.join(cells, on="cell"), average)
        for name in ("value", "error", "low", "high", "groups", "effective"):
            assert getattr(found[k], name) == pytest.approx(getattr(expected, name)), name
        assert found[k].low is not None


def adapters_table(groups: int = 20) -> pl.DataFrame:
    """The same rows as those of three adapters with two runs each, the second without one row in five."""
    names = ["Spain", "Iran", "US"]
    rows = pairs_table(groups).with_columns(
        trained_culture=(pl.col("cell") // CULTURES).replace_strict(dict(enumerate(names))),
        culture=(pl.col("cell") % CULTURES).replace_strict(dict(enumerate(names))),
    )
    first, second = rows, rows.filter(pl.int_range(pl.len()) % 5 != 0)
    runs = [each.with_columns(pl.format("{}-{}", "trained_culture", pl.lit(number)).alias("run")) for number, each in enumerate((first, second))]
    return pl.concat(runs).drop("cell")


@pytest.mark.parametrize("kind", list(SPECIFICITIES))
def test_a_table_of_adapters_is_the_mean_over_their_runs(kind: Specificity) -> None:
    rows, cultures = adapters_table(), ["Spain", "Iran", "US"]
    found = specificities(rows, cultures)
    for a, trained in enumerate(cultures):
        for c, tested in enumerate(cultures):
            cell = rows.filter(pl.col("trained_culture") == trained, pl.col("culture") == tested)
            by_template = cell.group_by("run", "template_id").agg(pl.col("choice").mean()).group_by("run").agg(pl.col("choice").mean())
            assert found.matrix[a, c] == pytest.approx(by_template["choice"].mean())
    numbers = found.numbers[kind]
    assert [each.value for each in numbers] == pytest.approx([*SPECIFICITIES[kind](found.matrix), SPECIFICITIES[kind](found.matrix).mean()])
    weights = specificity_weights(kind, CULTURES)[1]
    pairs = [(trained, tested, weights[a, c] / 2) for a, trained in enumerate(cultures) for c, tested in enumerate(cultures) if weights[a, c]]
    weighted = pl.DataFrame(pairs, schema=["trained_culture", "culture", "weight"], orient="row")
    expected = clustered(rows.join(weighted, on=["trained_culture", "culture"]).with_columns(pl.struct("run", "culture").rank("dense").alias("cell")))
    assert (numbers[1].value, numbers[1].low, numbers[1].high) == pytest.approx((expected.value, expected.low, expected.high))
    asked = rows.filter(pl.col("culture") == "Iran") if kind == "column" else rows
    assert (numbers[1].questions, numbers[1].templates) == (asked["mcq_id"].n_unique(), asked["template_id"].n_unique())


def test_a_table_with_a_hole_or_a_further_culture_is_refused() -> None:
    rows = adapters_table()
    with pytest.raises(ValueError, match=r"each of 9 pairs and no other, \('Iran', 'US'\) is not so"):
        specificities(rows.filter((pl.col("trained_culture") != "Iran") | (pl.col("culture") != "US")), ["Spain", "Iran", "US"])
    with pytest.raises(ValueError, match="each of 4 pairs"):
        specificities(rows, ["Spain", "Iran"])


def test_contrasts_refuse_few_groups_and_a_cell_of_one_group() -> None:
    few = pairs_table(6)
    mean = weights_of(np.zeros(9, np.int64), np.arange(9), np.full(9, 1 / 9), (1, 9))
    (found,) = contrasts(cell_sums(few), mean).estimates([1], [1])
    assert (found.low, found.error) == (None, None)
    assert found.value == pytest.approx(float(cell_sums(few).means.mean()))
    lone = pairs_table().filter((pl.col("cell") != 8) | (pl.col("group") == "g00"))
    apart = weights_of(np.array([0, 0, 1]), np.array([0, 8, 0]), np.array([1.0, -0.01, 1.0]), (2, 9))
    with_lone, without = contrasts(cell_sums(lone), apart).estimates([1, 1], [1, 1])
    assert with_lone.low is None
    assert without.low is not None


def test_a_contrast_without_cells_is_no_number() -> None:
    sums = cell_sums(pairs_table())
    (found,) = contrasts(sums, weights_of(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), (1, 9))).estimates([0], [0])
    assert np.isnan(found.value)
    assert (found.groups, found.effective, found.low) == (0, 0.0, None)
    with pytest.raises(ValueError, match="each of 9 cells"):
        contrasts(sums, weights_of(np.zeros(1, np.int64), np.zeros(1, np.int64), np.ones(1), (1, 4)))
