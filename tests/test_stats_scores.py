"""Statistics: chance-centred credit, share of what was left, Brier score, calibration error, each against its definition."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import scipy.stats

from affinage import seeds
from affinage.stats import brier, brier_binary, chance_centred, reliability, share_of_left, template_weights

Floats = npt.NDArray[np.float64]


# Chance -----------------------------------------------------------------------------------------------------------------------------------


def test_chance_is_nought_and_all_right_is_one() -> None:
    found = chance_centred([0.25, 1.0, 0.0, 0.625, 0.5], [0.25, 0.25, 0.25, 0.25, 0.5])
    assert found.tolist() == pytest.approx([0.0, 1.0, -1 / 3, 0.5, 0.0])
    assert math.isnan(chance_centred([math.nan], [math.nan])[0])


@pytest.mark.parametrize("chance", [0.0, 1.0, 1.5])
def test_an_impossible_chance_is_refused(chance: float) -> None:
    with pytest.raises(ValueError, match="chance"):
        chance_centred([0.5], [chance])


# Share of what was left -------------------------------------------------------------------------------------------------------------------


def left_rows(groups: int, seed: int = 0, *, runs: int = 2, before: float = 0.4, gain: float = 0.2) -> pl.DataFrame:
    """Two cells over the same template groups, one to three questions per template."""
    rng = seeds.generator("left", seed)
    rows: list[dict[str, Any]] = []
    for group in range(groups):
        for question in range(int(rng.integers(1, 4))):
            for run in range(runs):
                base = float(rng.random() < before)
                own = float(rng.random() < before + gain)
                name = f"g{group}-{question}"
                about = {"cell": run, "weight": 1 / runs, "group": f"g{group}", "template_id": f"g{group}", "mcq_id": name}
                rows.append({**about, "gain": own - base, "left": 1 - base, "own": own, "base": base})
    return pl.DataFrame(rows)


def by_hand(rows: pl.DataFrame) -> float:
    """Mean over cells of the mean over templates, of both, then their ratio."""

    def mean(name: str) -> float:
        by_template = rows.group_by("cell", "template_id").agg(pl.col(name).mean()).group_by("cell").agg(pl.col(name).mean())
        return float(by_template[name].to_numpy().mean())

    return (mean("own") - mean("base")) / (1 - mean("base"))


def test_half_of_what_was_left_is_a_half() -> None:
    # Untouched right on 4 of 12, adapter on 8 of 12: 4 of the 8 that were left.
    names = [f"t{k}" for k in range(12)]
    before, after = np.arange(12) < 4, np.arange(12) < 8
    rows = pl.DataFrame(
        {"cell": 0, "weight": 1.0, "group": names, "template_id": names, "mcq_id": names, "gain": after * 1.0 - before, "left": 1.0 - before}
    )
    assert share_of_left(rows).value == pytest.approx(0.5)
    assert share_of_left(rows.with_columns(gain=-pl.col("gain"))).value == pytest.approx(-0.5)


def test_the_share_equals_the_definition_and_its_error_the_jackknife_of_the_ratio() -> None:
    rows = left_rows(60)
    found = share_of_left(rows)
    assert found.value == pytest.approx(by_hand(rows))
    without = np.array([by_hand(rows.filter(pl.col("group") != f"g{group}")) for group in range(60)])
    jackknife = math.sqrt(59 / 60 * ((without - by_hand(rows)) ** 2).sum())
    # The linearised ratio and the ratio itself agree to a part of 1/groups.
    assert found.error == pytest.approx(jackknife, rel=0.03)
    assert found.low is not None
    assert found.high is not None
    assert found.value - found.low == pytest.approx(found.high - found.value)
    assert found.low < found.value < found.high


def test_the_interval_covers_the_true_share() -> None:
    # True share: (0.6 - 0.4) / 0.6.
    found = [share_of_left(left_rows(50, seed, runs=1)) for seed in range(200)]
    covered = [each.low <= 1 / 3 <= each.high for each in found if each.low is not None and each.high is not None]
    assert len(covered) == 200
    assert scipy.stats.binomtest(sum(covered), 200, 0.95).pvalue > 1e-3


def test_by_row_and_by_template_differ() -> None:
    rows = left_rows(40)
    by_row = share_of_left(rows, "row")
    sums = rows.group_by("cell").agg(pl.col("own", "base").mean())
    own, base = (float(sums[name].to_numpy().mean()) for name in ("own", "base"))
    assert by_row.value == pytest.approx((own - base) / (1 - base))
    assert by_row.value != pytest.approx(share_of_left(rows).value)


def test_nothing_left_has_no_share_and_few_groups_no_interval() -> None:
    rows = left_rows(40)
    nothing = share_of_left(rows.with_columns(left=pl.lit(0.0), gain=pl.lit(0.0)))
    assert math.isnan(nothing.value)
    assert nothing.low is None
    few = share_of_left(left_rows(6))
    assert few.low is None
    assert few.value == pytest.approx(by_hand(left_rows(6)))


def test_a_gain_without_what_was_left_is_refused() -> None:
    rows = left_rows(12).with_columns(left=pl.when(pl.int_range(pl.len()) == 3).then(None).otherwise("left"))
    with pytest.raises(ValueError, match="without what was left"):
        share_of_left(rows)


# Brier ------------------------------------------------------------------------------------------------------------------------------------


def test_brier_s_score_of_pinned_forecasts() -> None:
    shares = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.7, 0.2, 0.1, np.nan]]
    assert brier(shares, [0, 0, 2, 0]).tolist() == pytest.approx([0.0, 2.0, 0.75, 0.09 + 0.04 + 0.01])


def test_brier_s_score_equals_the_definition_and_for_two_classes_is_twice_the_binary_one() -> None:
    rng = seeds.generator("brier")
    shares, answer = rng.dirichlet(np.ones(5), 50), rng.integers(5, size=50)
    expected = [sum((p - (k == a)) ** 2 for k, p in enumerate(row)) for row, a in zip(shares, answer, strict=True)]
    assert brier(shares, answer).tolist() == pytest.approx(expected)
    two = rng.dirichlet(np.ones(2), 50)
    right = rng.integers(2, size=50)
    assert brier(two, right).tolist() == pytest.approx((2 * brier_binary(two[:, 0], right == 0)).tolist())


@pytest.mark.parametrize(
    ("shares", "answer", "message"),
    [
        ([[0.5, 0.4]], [0], "sum to 1"),
        ([[1.5, -0.5]], [0], "between 0 and 1"),
        ([[0.5, 0.5]], [2], "none of the options"),
        ([[0.5, 0.5, np.nan]], [2], "none of the options"),
        ([[0.5, 0.5]], [0, 1], "one answer each"),
    ],
)
def test_brier_refuses_what_is_no_forecast(shares: list[list[float]], answer: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        brier(shares, answer)


# Calibration ------------------------------------------------------------------------------------------------------------------------------


def test_a_curve_worked_out_by_hand() -> None:
    # Two bins: (0, 0.5] holds 0.3 and 0.5, (0.5, 1] holds 0.9 three times.
    found = reliability([0.3, 0.5, 0.9, 0.9, 0.9], [0, 1, 1, 1, 0], bins=2)
    assert found.low.tolist() == [0.0, 0.5]
    assert found.high.tolist() == [0.5, 1.0]
    assert found.count.tolist() == [2, 3]
    assert found.share.tolist() == pytest.approx([0.4, 0.6])
    assert found.confidence.tolist() == pytest.approx([0.4, 0.9])
    assert found.right.tolist() == pytest.approx([0.5, 2 / 3])
    assert found.error == pytest.approx(0.4 * 0.1 + 0.6 * (0.9 - 2 / 3))
    # Kumar's estimate: (gap^2 - right (1 - right) / (n - 1)), weighted.
    squared = 0.4 * (0.01 - 0.25 / 1) + 0.6 * ((0.9 - 2 / 3) ** 2 - (2 / 9) / 2)
    assert found.debiased == math.sqrt(max(0.0, squared))
    assert found.noise.tolist() == pytest.approx([(0.21 + 0.25) / 4, 0.09 / 3])
    assert found.by_chance == pytest.approx(0.4 * math.sqrt(2 * 0.115 / math.pi) + 0.6 * math.sqrt(2 * 0.03 / math.pi))


def slow_error(confidence: Floats, right: Floats, bins: int) -> float:
    """Guo et al. 2017, equation 3, bin by bin."""
    total = 0.0
    for k in range(bins):
        inside = (confidence > k / bins) & (confidence <= (k + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    return total


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_calibration_error_equals_the_definition(bins: int) -> None:
    rng = seeds.generator("calibration", bins)
    confidence = rng.uniform(0.25, 1.0, 400)
    right = (rng.random(400) < confidence**2).astype(np.float64)
    assert reliability(confidence, right, bins=bins).error == pytest.approx(slow_error(confidence, right, bins))


def test_bins_of_equal_mass_hold_as_many_questions_and_never_part_equal_confidences() -> None:
    rng = seeds.generator("mass")
    confidence = rng.random(1000)
    even = reliability(confidence, confidence > 0.5, bins=10, binning="mass")
    assert even.count.tolist() == [100] * 10
    assert (np.diff(even.low) > 0).all()
    shuffled = rng.permutation(1000)
    again = reliability(confidence[shuffled], confidence[shuffled] > 0.5, bins=10, binning="mass")
    assert again.error == pytest.approx(even.error)
    alike = reliability([0.5] * 8 + [0.5 + 1e-13, 0.9], [1.0] * 5 + [0.0] * 5, bins=4, binning="mass")
    assert alike.count.tolist() == [9, 1]
    assert alike.low.tolist() == pytest.approx([0.5, 0.9])
    assert alike.high.tolist() == pytest.approx([0.5, 0.9])


def test_a_weight_counts_as_often_as_it_says() -> None:
    rng = seeds.generator("weights")
    confidence, right, weight = rng.random(80), rng.random(80) < 0.5, rng.integers(1, 4, 80)
    weighted = reliability(confidence, right, weight, bins=7)
    repeated = reliability(np.repeat(confidence, weight), np.repeat(right, weight), bins=7)
    assert weighted.error == pytest.approx(repeated.error)
    assert weighted.right.tolist() == pytest.approx(repeated.right.tolist())
    assert weighted.count.sum() == 80


def test_what_a_calibrated_model_shows_by_chance_is_what_simulation_gives() -> None:
    rng = seeds.generator("floor")
    confidence = rng.uniform(0.3, 0.95, 600)
    errors, squares = [], []
    for _ in range(300):
        curve = reliability(confidence, rng.random(600) < confidence, bins=10, binning="mass")
        errors.append(curve.error)
        squares.append(float(curve.share @ ((curve.right - curve.confidence) ** 2 - curve.spread)))
    assert reliability(confidence, confidence, bins=10, binning="mass").by_chance == pytest.approx(np.mean(errors), rel=0.05)
    # The debiased square is zero in the mean; the plain error is far from it.
    assert np.mean(errors) > 0.03
    assert abs(np.mean(squares)) < 3 * np.std(squares) / math.sqrt(300)


def test_a_model_that_is_too_sure_by_a_tenth_has_that_debiased_error() -> None:
    rng = seeds.generator("too sure")
    confidence = rng.uniform(0.5, 0.95, 40_000)
    curve = reliability(confidence, rng.random(40_000) < confidence - 0.1, bins=15, binning="mass")
    assert curve.debiased == pytest.approx(0.1, abs=0.01)
    assert curve.error == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("confidence", "right", "weight", "message"),
    [
        ([1.2], [1.0], None, "confidence outside"),
        ([math.nan], [1.0], None, "confidence outside"),
        ([0.5], [2.0], None, "credit outside"),
        ([0.5], [1.0], [0.0], "above zero"),
        ([0.5, 0.6], [1.0], None, "per question"),
        ([], [], None, "at least one bin and one question"),
    ],
)
def test_a_curve_of_what_is_no_probability_is_refused(confidence: list[float], right: list[float], weight: list[float] | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reliability(confidence, right, weight)


def test_a_lone_question_in_every_bin_has_no_debiased_error() -> None:
    assert math.isnan(reliability([0.1, 0.9], [0.0, 1.0], bins=2).debiased)


def test_template_weights_make_the_headline_s_mean() -> None:
    rng = seeds.generator("headline")
    rows = pl.DataFrame(
        [
            {"run": run, "culture": culture, "template_id": f"t{int(math.sqrt(question))}", "value": float(rng.random())}
            for run in "ab"
            for culture in ("Spain", "Iran")
            for question in range(9 if run == "a" else 5)
        ]
    )
    by_template = rows.group_by("run", "culture", "template_id").agg(pl.col("value").mean()).group_by("run", "culture").agg(pl.col("value").mean())
    weights = template_weights(rows)
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ rows["value"].to_numpy() == pytest.approx(float(by_template["value"].to_numpy().mean()))
