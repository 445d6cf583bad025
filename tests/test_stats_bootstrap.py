"""Template groups drawn with replacement: pinned values, the definition done by a slow loop, scipy and statsmodels, refusal of bad input."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
import statsmodels.api as sm

from affinage import seeds
from affinage.stats import Average, CellSums, Draws, cell_sums, clustered, draw, draw_groups
from affinage.stats.studentised import bootstrap_t, studentised

AVERAGES: tuple[Average, ...] = ("template", "row")


def cluster_rows(key: int, groups: int = 24, cells: int = 3) -> pl.DataFrame:
    """Rows of unequal groups; every cell lacks some of the groups, and some rows have no credit."""
    rng = seeds.generator("bootstrap rows", key)
    rows: list[dict[str, Any]] = []
    for cell in range(cells):
        for group in range(groups):
            if (group + cell) % 5 == 4:
                continue
            for question in range(int(rng.integers(1, 9))):
                credit = None if rng.random() < 0.05 else float(rng.random() < 0.3 + 0.4 * (group % 2))
                about = {"group": f"g{group:02}", "template_id": f"t{group:02}{question % 2}", "mcq_id": f"q{group}-{question}"}
                rows.append({"cell": f"run {cell}", "weight": (1.0, 0.5, -0.5)[cell % 3], **about, "choice": credit})
    return pl.DataFrame(rows)


def slow_mean(rows: list[dict[str, Any]], average: Average) -> float:
    """One cell's accuracy; a row that stands twice counts twice, and so does its template."""
    if average == "row":
        return statistics.fmean(row["choice"] for row in rows)
    by_template: dict[tuple[str, int], list[float]] = {}
    for row in rows:
        by_template.setdefault((row["template_id"], row["copy"]), []).append(row["choice"])
    return statistics.fmean(statistics.fmean(values) for values in by_template.values())


def drawn_rows(frame: pl.DataFrame, counts: dict[str, int]) -> list[dict[str, Any]]:
    """The rows of a bootstrap sample."""
    scored = [row for row in frame.to_dicts() if row["choice"] is not None]
    return [{**row, "copy": copy} for row in scored for copy in range(counts[row["group"]])]


# Draws ---------------------------------------------------------------------------------------------------------------------------------


def test_a_draw_is_as_many_groups_with_replacement() -> None:
    counts = draw_groups(40, 4000, ("draws", 1))
    assert counts.shape == (4000, 40)
    assert (counts.sum(1) == 40).all()
    # A group's count is binomial (40, 1/40): mean 1, variance 1 - 1/40; 4,000 draws pin both to a few percent.
    assert counts.mean(0) == pytest.approx(np.ones(40), abs=0.08)
    assert counts.var() == pytest.approx(1 - 1 / 40, abs=0.02)
    # Drawn together, two groups share what is left: covariance -1/40.
    assert np.cov(counts[:, 0] + counts[:, 1]) == pytest.approx(2 * (1 - 1 / 40) - 2 / 40, abs=0.12)


def test_draws_are_a_function_of_their_key_and_more_of_them_leave_the_first_as_they_are() -> None:
    assert np.array_equal(draw_groups(300, 20_000, ("a",))[:7500], draw_groups(300, 7500, ("a",)))
    assert not np.array_equal(draw_groups(30, 5, ("a",)), draw_groups(30, 5, ("b",)))


@pytest.mark.parametrize(("groups", "draws"), [(0, 10), (10, 0), (-1, 5)])
def test_nothing_to_draw_is_refused(groups: int, draws: int) -> None:
    with pytest.raises(ValueError, match="needs groups and draws"):
        draw_groups(groups, draws, ("a",))


def test_a_group_cannot_be_drawn_from_twice() -> None:
    with pytest.raises(ValueError, match="stands twice"):
        draw(["a", "b", "a"], ("x",))


# Sums ----------------------------------------------------------------------------------------------------------------------------------


def test_sums_are_those_counted_by_head() -> None:
    rows = pl.DataFrame(
        {
            "cell": ["b", "b", "b", "a", "b"],
            "group": ["g", "g", "g", "h", "h"],
            "template_id": ["t", "t", "u", "v", "v"],
            "choice": [1.0, 0.0, 1.0, None, 0.5],
        }
    )
    by_template, by_row = cell_sums(rows), cell_sums(rows, average="row", groups=["h", "i", "g"])
    # Cell a has no credit at all and is no cell; template t earned one half, u one.
    assert by_template.cells.to_list() == ["b"]
    assert (by_template.groups, by_template.total.tolist(), by_template.count.tolist()) == (("g", "h"), [[1.5, 0.5]], [[2.0, 1.0]])
    assert (by_row.groups, by_row.total.tolist(), by_row.count.tolist()) == (("h", "i", "g"), [[0.5, 0.0, 2.0]], [[1.0, 0.0, 3.0]])
    assert by_row.means == pytest.approx([2.5 / 4])


@pytest.mark.parametrize("average", AVERAGES)
def test_the_means_are_those_of_the_definition(average: Average) -> None:
    frame = cluster_rows(1)
    sums = cell_sums(frame, average=average)
    everything = drawn_rows(frame, dict.fromkeys(sums.groups, 1))
    expected = [slow_mean([row for row in everything if row["cell"] == cell], average) for cell in sums.cells]
    assert sums.means == pytest.approx(expected)


def test_a_template_without_group_is_refused() -> None:
    frame = cluster_rows(2).with_columns(pl.when(pl.col("group") == "g01").then(None).otherwise("group").alias("group"))
    with pytest.raises(ValueError, match="template 't010' has no template group"):
        cell_sums(frame)


def test_a_group_that_is_not_drawn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="template group 'g23' is not among the 23"):
        cell_sums(cluster_rows(2), groups=[f"g{k:02}" for k in range(23)])


def test_draws_of_other_groups_do_not_fit() -> None:
    sums = cell_sums(cluster_rows(2))
    with pytest.raises(ValueError, match="do not fit"):
        draw([*sums.groups, "another"], ("x",), 10).means(sums)


# Means of draws ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", AVERAGES)
def test_a_draws_mean_is_that_of_its_rows(average: Average) -> None:
    frame = cluster_rows(3)
    sums = cell_sums(frame, average=average)
    draws = draw(sums.groups, ("slow", average), 12)
    found = draws.means(sums)
    for counts, means in zip(draws.counts.tolist(), found, strict=True):
        sample = drawn_rows(frame, dict(zip(draws.groups, counts, strict=True)))
        expected = [slow_mean([row for row in sample if row["cell"] == cell], average) for cell in sums.cells]
        assert means == pytest.approx(expected)


def test_every_cell_sees_the_same_draw() -> None:
    frame = cluster_rows(4, cells=1)
    both = pl.concat([frame, frame.with_columns(pl.lit("copy").alias("cell"), pl.col("choice") * 0.5)])
    sums = cell_sums(both)
    means = draw(sums.groups, ("same",), 500).means(sums)
    assert means[:, 0].std() > 0.01
    assert sums.cells.to_list() == ["copy", "run 0"]
    assert means[:, 0] == pytest.approx(means[:, 1] * 0.5)


def test_a_draw_without_any_group_of_a_cell_has_no_mean() -> None:
    sums = CellSums(np.array([[1.0, 0.0, 0.0]]), np.array([[2.0, 0.0, 0.0]]), pl.Series(["c"]), ("a", "b", "c"))
    draws = Draws(np.array([[1, 1, 1], [0, 3, 0], [3, 0, 0]]), ("a", "b", "c"))
    assert draws.means(sums)[:, 0].tolist() == pytest.approx([0.5, math.nan, 0.5], nan_ok=True)


def test_with_one_row_per_group_it_is_scipys_bootstrap() -> None:
    values = np.array([seeds.uniform("scipy", k) ** 2 for k in range(40)])
    sums = CellSums(values[None], np.ones((1, 40)), pl.Series(["c"]), tuple(f"g{k:02}" for k in range(40)))
    means = draw(sums.groups, ("scipy",)).means(sums)[:, 0]
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=10_000, rng=seeds.generator("scipy's"))
    assert means.std(ddof=1) == pytest.approx(theirs.standard_error, rel=0.03)
    ours = np.quantile(means, [0.025, 0.975])
    assert ours == pytest.approx([theirs.confidence_interval.low, theirs.confidence_interval.high], abs=0.1 * theirs.standard_error)


# The studentised interval --------------------------------------------------------------------------------------------------------------


def slow_pivot(total: Any, count: Any, weight: Any, drawn: Any) -> tuple[float, float]:
    """Value and standard error of one draw; a group's part is the derivative of the value by how much the group counts."""
    cells, groups = total.shape
    value = sum(weight[c] * (drawn @ total[c]) / (drawn @ count[c]) for c in range(cells))
    parts = []
    for group in range(groups):
        nudged = drawn.astype(float).copy()
        nudged[group] += 1e-6
        moved = sum(weight[c] * (nudged @ total[c]) / (nudged @ count[c]) for c in range(cells))
        parts.append((moved - value) / 1e-6)
    there = sum(count.sum(0) > 0)
    return value, math.sqrt(there / (there - 1) * sum(drawn[g] * parts[g] ** 2 for g in range(groups)))


def test_the_studentised_quantiles_are_those_of_the_definition() -> None:
    frame = cluster_rows(5)
    sums = cell_sums(frame, average="row")
    weight = np.array([1.0, 0.5, -0.5])
    counts = draw_groups(len(sums.groups), 39, ("pivot",))
    value, error = slow_pivot(sums.total, sums.count, weight, np.ones(len(sums.groups)))
    pivots = sorted((x - value) / s for x, s in (slow_pivot(sums.total, sums.count, weight, row) for row in counts))
    found_error, found = bootstrap_t(sums.total, sums.count, weight, counts, level=0.9)
    assert found_error == pytest.approx(error, rel=1e-4)
    # Of 39 draws the 5 % quantile is the second, the 95 % quantile the 38th.
    assert found == pytest.approx([pivots[1], pivots[37]], rel=1e-3)


def skewed_rows(skew: float, groups: int = 40) -> pl.DataFrame:
    """One row per group; the larger `skew`, the longer the upper tail."""
    names = [f"g{k:02}" for k in range(groups)]
    values = [math.exp(skew * scipy.stats.norm.ppf((k + 0.5) / groups)) for k in range(groups)]
    return pl.DataFrame({"cell": "c", "weight": 1.0, "group": names, "template_id": names, "mcq_id": names, "choice": values})


def test_the_interval_puts_the_quantiles_on_the_other_side_and_takes_the_farther_bound() -> None:
    frame = skewed_rows(1.0)
    draws = draw(frame["group"].to_list(), ("sides",), 999)
    found, alone = studentised(frame, draws), clustered(frame, "row")
    sums = cell_sums(frame, average="row")
    error, (low, high) = bootstrap_t(sums.total, sums.count, np.ones(1), draws.counts)
    assert alone.low is not None
    assert alone.high is not None
    # A long upper tail: the mean is more often far below the truth than far above it.
    assert found.value - low * error > alone.high + 0.1 * error
    assert found.value - high * error > alone.low
    assert found.high == pytest.approx(found.value - low * error)
    assert found.low == pytest.approx(alone.low)
    assert found.value == pytest.approx(alone.value)


def test_the_error_by_row_is_the_cluster_robust_one_of_statsmodels() -> None:
    frame = cluster_rows(7, cells=1).filter(pl.col("choice").is_not_null())
    values, group = frame["choice"].to_numpy(), frame["group"].rank("dense").to_numpy()
    fitted = sm.OLS(values, np.ones((len(values), 1))).fit(cov_type="cluster", cov_kwds={"groups": group, "use_correction": False})
    groups = len(set(group.tolist()))
    found = studentised(frame, draw(frame["group"].unique().to_list(), ("x",), 99))
    assert found.value == pytest.approx(fitted.params[0])
    assert found.error == pytest.approx(fitted.bse[0] * math.sqrt(groups / (groups - 1)))


def test_a_pivot_worked_out_by_hand() -> None:
    # Two groups of one row, 0 and 1: the mean is 1/2, each group's part is -1/4 and 1/4, so s = sqrt(2 (1/16 + 1/16)) = 1/2.
    total, count, weight = np.array([[0.0, 1.0]]), np.ones((1, 2)), np.ones(1)
    # The draw (0, 2) has mean 1 and no error: the pivot is infinite. (1, 1) is the sample itself.
    error, quantiles = bootstrap_t(total, count, weight, np.array([[1, 1], [1, 1], [0, 2], [2, 0]]), level=0.2)
    assert error == pytest.approx(0.5)
    assert quantiles.tolist() == [0.0, 0.0]
    assert bootstrap_t(total, count, weight, np.array([[1, 1], [0, 2], [2, 0]]))[1].tolist() == [-math.inf, math.inf]


def test_the_interval_of_a_difference_needs_no_pairing_by_hand() -> None:
    frame = cluster_rows(8, groups=40, cells=1).with_columns(pl.lit(1.0).alias("weight"))
    base = frame.with_columns(pl.lit("base").alias("cell"), pl.lit(-1.0).alias("weight"), pl.col("choice") - 0.05)
    draws = draw(frame["group"].unique().to_list(), ("pairs",), 999)
    found = studentised(pl.concat([frame, base]), draws)
    alone = studentised(frame, draws)
    assert found.value == pytest.approx(0.05)
    assert alone.error is not None
    assert alone.error > 0.01
    assert found.error == pytest.approx(0, abs=1e-9)


def test_draws_may_hold_more_groups_than_the_rows() -> None:
    frame = cluster_rows(9, groups=40)
    wide = draw([*frame["group"].unique(), *(f"other {k}" for k in range(40))], ("wide",), 2000)
    narrow = draw(frame["group"].unique().to_list(), ("narrow",), 2000)
    one, two = studentised(frame, wide), studentised(frame, narrow)
    assert [one.value, one.error, one.groups] == pytest.approx([two.value, two.error, two.groups])
    assert one.high is not None
    assert two.high is not None
    assert one.error is not None
    assert one.high == pytest.approx(two.high, abs=0.25 * one.error)


def _few(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.filter(pl.col("group") < "g09")


def _lone(frame: pl.DataFrame) -> pl.DataFrame:
    rare = frame.filter(pl.col("group") == "g00").with_columns(pl.lit("lone").alias("cell"), pl.lit(0.01).alias("weight"))
    return pl.concat([frame, rare])


def _often_empty(frame: pl.DataFrame) -> pl.DataFrame:
    rare = frame.filter(pl.col("group").is_in(["g00", "g01"])).with_columns(pl.lit("two groups").alias("cell"), pl.lit(0.01).alias("weight"))
    return pl.concat([frame, rare])


@pytest.mark.parametrize("spoil", [_few, _lone, _often_empty])
def test_no_interval_where_none_can_be_had(spoil: Any) -> None:
    frame = cluster_rows(10, groups=40)
    draws = draw(frame["group"].unique().to_list(), ("refused",), 499)
    assert studentised(frame, draws).low is not None
    found = studentised(spoil(frame), draws)
    assert (found.low, found.high, found.error) == (None, None, None)
    assert found.value == pytest.approx(clustered(spoil(frame), "row").value)


def test_nothing_scored_is_no_number() -> None:
    frame = cluster_rows(11).with_columns(pl.lit(None, pl.Float64).alias("choice"))
    found = studentised(frame, draw(frame["group"].unique().to_list(), ("x",), 10))
    assert math.isnan(found.value)
    assert found.low is None


@pytest.mark.parametrize("group", ["g01", "g02"])
def test_a_cell_with_two_weights_is_refused(group: str) -> None:
    frame = cluster_rows(12).with_columns(pl.when(pl.col("group") == group).then(0.1).otherwise("weight").alias("weight"))
    with pytest.raises(ValueError, match="two weights"):
        studentised(frame, draw(frame["group"].unique().to_list(), ("x",), 10))
