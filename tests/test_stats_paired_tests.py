"""Paired tests, corrections, effects, ranks: pinned values, scipy and statsmodels, slow loops, refusals, error rates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from affinage import seeds
from affinage.stats import (
    DRAWS,
    Comparison,
    Estimate,
    PairedTest,
    clustered,
    first_probabilities,
    holm,
    max_t,
    paired_tests,
    planned_families,
    ranked,
    sign_draws,
    sign_flip,
)
from affinage.stats.effects import POWER, remaining_share, smallest_detectable, standardised
from affinage.stats.paired_tests import null_statistics, statistics

# Sign flips ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contributions", "p"),
    [
        # Of the 8 sums of +-1 +-2 +-3 only 6 and -6 are as far from zero as 6.
        ([1.0, 2.0, 3.0], 2 / 8),
        # 4 and -4; 6 and -6.
        ([-1.0, 2.0, 3.0], 4 / 8),
        # Every sum of three ones is 1 or 3 away.
        ([1.0, 1.0, -1.0], 1.0),
        # Groups that add nothing change nothing: 0.3 is reached by 2 of 4, whatever the third sign.
        ([0.1, 0.2, 0.0], 4 / 8),
        ([0.0, 0.0, 0.0], 1.0),
    ],
)
def test_every_combination_of_signs_by_hand(contributions: list[float], p: float) -> None:
    signs = sign_draws(3, ("hand",))
    assert signs.exact
    assert sorted(map(tuple, signs.values.tolist())) == sorted(itertools.product((-1, 1), repeat=3))
    assert sign_flip(np.array([contributions]), signs).tolist() == [p]


def test_all_combinations_equal_scipy() -> None:
    rng = seeds.generator("scipy")
    ours, theirs = rng.normal(0.4, 1, 12), rng.normal(0, 1, 12)
    found = sign_flip((ours - theirs)[None, :], sign_draws(12, ("scipy",)))
    expected = scipy.stats.permutation_test(
        (ours, theirs), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True, n_resamples=1 << 12
    )
    assert found[0] == pytest.approx(expected.pvalue)
    assert found[0] < 1


def test_drawn_signs_come_near_to_all_of_them_and_never_to_zero() -> None:
    rng = seeds.generator("drawn")
    contributions = np.stack([rng.normal(shift, 1, 13) for shift in (0.0, 0.4, 0.8, 5.0)])
    every, some = sign_draws(13, ("x",)), sign_draws(13, ("x",), draws=8_000)
    assert (every.exact, some.exact) == (True, False)
    exact, drawn = sign_flip(contributions, every), sign_flip(contributions, some)
    assert drawn == pytest.approx(exact, abs=4 * 0.5 / math.sqrt(8_000))
    count = (null_statistics(contributions, some) >= statistics(contributions) - 1e-9).sum(0)
    assert drawn.tolist() == ((1 + count) / 8_001).tolist()
    assert drawn.min() >= 1 / 8_001
    assert sign_flip(np.ones((1, 60)), sign_draws(60, ("x",), draws=99)).tolist() == [1 / 100]


def test_combinations_are_enumerated_up_to_the_number_of_draws() -> None:
    assert sign_draws(13, ("x",)).values.shape == (8192, 13)
    drawn = sign_draws(14, ("x",))
    assert (drawn.values.shape, drawn.exact) == ((DRAWS, 14), False)
    assert set(np.unique(drawn.values)) == {-1, 1}
    assert abs(float(drawn.values.mean())) < 4 / math.sqrt(drawn.values.size)
    assert np.array_equal(drawn.values, sign_draws(14, ("x",)).values)
    assert not np.array_equal(drawn.values, sign_draws(14, ("y",)).values)


def test_the_statistic_orders_flips_as_students_t_does() -> None:
    contributions = seeds.generator("student").normal(0.3, 1, (1, 9))
    signs = sign_draws(9, ("student",))
    flipped = signs.values * contributions
    student = np.abs(scipy.stats.ttest_1samp(flipped, 0, axis=1).statistic)
    ours = null_statistics(contributions, signs)[:, 0]
    assert student == pytest.approx(ours * np.sqrt(8 / (9 - ours**2)))
    assert float((student >= abs(scipy.stats.ttest_1samp(contributions[0], 0).statistic) - 1e-9).mean()) == sign_flip(contributions, signs)[0]


def test_the_error_rate_is_the_level() -> None:
    # 2,000 differences that are none, unlike in size from group to group; the deviation of the share is 0.5 points.
    rng = seeds.generator("level")
    contributions = rng.normal(0, rng.lognormal(0, 1, 24), (2_000, 24))
    found = sign_flip(contributions, sign_draws(24, ("level",), draws=2_000))
    assert float((found <= 0.05).mean()) == pytest.approx(0.05, abs=0.015)
    assert float((sign_flip(contributions + 1.0, sign_draws(24, ("level",), draws=500)) <= 0.05).mean()) > 0.3


@pytest.mark.parametrize(("groups", "draws"), [(0, 10), (3, 0)])
def test_signs_need_groups_and_draws(groups: int, draws: int) -> None:
    with pytest.raises(ValueError, match="groups and draws"):
        sign_draws(groups, ("x",), draws)


def test_contributions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="signs of 3 template groups do not fit 4"):
        sign_flip(np.zeros((1, 4)), sign_draws(3, ("x",)))
    with pytest.raises(ValueError, match="no number"):
        sign_flip(np.array([[1.0, math.nan]]), sign_draws(2, ("x",)))


# Corrections ---------------------------------------------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    # 4 * 0.005, 3 * 0.01, 2 * 0.03, and 0.04, which may not fall below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert holm([]).tolist() == []


@pytest.mark.parametrize("size", [1, 7, 240])
def test_holm_equals_statsmodels(size: int) -> None:
    p = np.round(seeds.generator("holm", size).beta(0.4, 3, size), 3)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_what_cannot_be_tested_counts_in_the_family() -> None:
    found = holm([0.01, math.nan, 0.02])
    assert found[[0, 2]] == pytest.approx([0.03, 0.04])
    assert math.isnan(found[1])
    assert found[[0, 2]] == pytest.approx(holm([0.01, 1.0, 0.02])[[0, 2]])


@pytest.mark.parametrize("p", [[-0.1], [0.2, 1.1], [[0.1]]])
def test_holm_refuses_what_is_no_probability(p: Any) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(p)


def test_max_t_by_hand() -> None:
    # Over two groups, (1, 1) has 2 / sqrt(2) and (2, 0) has 1. Signs ++ and -- leave both; +- and -+ make the first 0. The larger one is reached by
    # the largest statistic in 2 of 4; the smaller one in all.
    contributions, signs = np.array([[1.0, 1.0], [2.0, 0.0]]), sign_draws(2, ("hand",))
    observed = statistics(contributions)
    assert observed == pytest.approx([math.sqrt(2), 1.0])
    assert max_t(observed, null_statistics(contributions, signs), exact=True).tolist() == [0.5, 1.0]


def slow_max_t(observed: Sequence[float], null: Sequence[Sequence[float]]) -> list[float]:
    """The step-down procedure, comparison by comparison; of drawn signs."""
    order = sorted(range(len(observed)), key=lambda k: -observed[k])
    found, last = [0.0] * len(observed), 0.0
    for place, k in enumerate(order):
        count = sum(max(draw[other] for other in order[place:]) >= observed[k] - 1e-9 for draw in null)
        last = found[k] = max(last, (1 + count) / (1 + len(null)))
    return found


def test_max_t_equals_the_definition() -> None:
    rng = seeds.generator("max t")
    common = rng.normal(0, 1, 15)
    contributions = np.stack([0.7 * common + rng.normal(shift, 1, 15) for shift in (0.0, 1.5, 0.8, 0.0, 2.0)])
    contributions[3, 5:] = 0.0  # A comparison on fewer groups.
    signs = sign_draws(15, ("max t",), draws=300)
    observed, null = statistics(contributions), null_statistics(contributions, signs)
    found = max_t(observed, null, exact=False)
    assert found.tolist() == slow_max_t(observed.tolist(), null.tolist())
    assert len(set(found.tolist())) > 2
    assert (found >= sign_flip(contributions, signs)).all()


def test_blocks_of_draws_make_no_difference() -> None:
    contributions = seeds.generator("blocks").normal(0.3, 1, (3, 20))
    signs = sign_draws(20, ("blocks",), draws=2_500)
    observed, null = statistics(contributions), null_statistics(contributions, signs)
    assert null == pytest.approx(np.abs(signs.values @ contributions.T) / np.sqrt((contributions**2).sum(1)))
    assert max_t(observed, null, exact=False).tolist() == slow_max_t(observed.tolist(), null.tolist())


def test_the_same_comparison_many_times_costs_max_t_nothing_and_holm_much() -> None:
    one = seeds.generator("same").normal(0.6, 1, (1, 13))
    signs, many = sign_draws(13, ("same",)), np.repeat(one, 30, axis=0)
    p = sign_flip(one, signs)[0]
    assert 0.001 < p < 0.2
    assert max_t(statistics(many), null_statistics(many, signs), exact=True) == pytest.approx(np.full(30, p))
    assert holm(sign_flip(many, signs)) == pytest.approx(np.full(30, min(1.0, 30 * p)))


@pytest.mark.parametrize(
    ("observed", "null", "message"),
    [
        (np.ones(2), np.ones((5, 3)), "same comparisons"),
        (np.ones(2), np.ones((0, 2)), "same comparisons"),
        (np.array([math.nan]), np.ones((3, 1)), "number"),
    ],
)
def test_max_t_refuses_bad_input(observed: Any, null: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        max_t(observed, null, exact=False)


# Families ------------------------------------------------------------------------------------------------------------------------------


def test_families_are_a_function_of_the_plan() -> None:
    found = planned_families({"lora": ["Spain", "Iran"], "prompt-tuning": ["Iran"]}, ["Spain", "Iran", "US"])
    assert found == {
        "own": (
            Comparison("own", "lora", "Spain", "Spain"),
            Comparison("own", "lora", "Iran", "Iran"),
            Comparison("own", "prompt-tuning", "Iran", "Iran"),
        ),
        "methods": (Comparison("methods", "lora", "", "", "prompt-tuning"),),
        "transfer": (
            Comparison("transfer", "lora", "Spain", "Iran"),
            Comparison("transfer", "lora", "Spain", "US"),
            Comparison("transfer", "lora", "Iran", "Spain"),
            Comparison("transfer", "lora", "Iran", "US"),
            Comparison("transfer", "prompt-tuning", "Iran", "Spain"),
            Comparison("transfer", "prompt-tuning", "Iran", "US"),
        ),
    }


def test_a_family_without_a_comparison_is_none() -> None:
    assert set(planned_families({"lora": ["Spain"], "full": ["Iran"]}, ["Spain", "Iran"])) == {"own", "transfer"}
    assert planned_families({}, ["Spain"]) == {}


# Effects -------------------------------------------------------------------------------------------------------------------------------


def test_with_equal_groups_the_effect_is_cohens_d() -> None:
    values = seeds.generator("cohen").normal(0.4, 1, 25)
    found = standardised(values[None, :] / 25, np.full((1, 25), 1 / 25))
    assert found[0] == pytest.approx(values.mean() / values.std(ddof=1))
    assert found[0] * 5 == pytest.approx(scipy.stats.ttest_1samp(values, 0).statistic)


def test_with_unequal_groups_the_deviation_is_the_weighted_one_of_numpy() -> None:
    rng = seeds.generator("weighted")
    values, shares = rng.normal(0.2, 1, 12), rng.dirichlet(np.ones(12))
    expected = (shares @ values) / math.sqrt(float(np.cov(values, aweights=shares, ddof=1)))
    assert standardised((values * shares)[None, :], shares[None, :])[0] == pytest.approx(expected)


def test_an_effect_without_deviation_is_none() -> None:
    found = standardised(np.array([[0.1, 0.1], [0.2, 0.0], [0.0, 0.0]]), np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 0.0]]))
    assert np.isnan(found).all()
    with pytest.raises(ValueError, match="same groups"):
        standardised(np.zeros((1, 3)), np.zeros((1, 2)))


def test_shares_of_what_was_left() -> None:
    assert remaining_share(0.1, 0.4) == pytest.approx(0.25)
    assert remaining_share(-0.1, 0.4) == pytest.approx(-0.25)
    # Always right, and so but for rounding.
    assert remaining_share(0.0, 0.0) is None
    assert remaining_share(0.0, 1 - (0.7 + 0.2 + 0.1)) is None
    for left in (-0.2, math.nan):
        with pytest.raises(ValueError, match="more than always"):
            remaining_share(0.1, left)


def test_the_smallest_detectable_difference_has_a_power_of_eighty_percent() -> None:
    # Many groups, so that Student's t is the normal distribution.
    effect = TTestPower().solve_power(nobs=5_000, alpha=0.05, power=0.8)
    assert smallest_detectable(1 / math.sqrt(5_000)) == pytest.approx(effect, rel=0.002)
    assert pytest.approx(scipy.stats.norm.ppf(0.975) + scipy.stats.norm.ppf(0.8), abs=0.002) == POWER
    with pytest.raises(ValueError, match="standard error"):
        smallest_detectable(math.nan)


# Whole comparisons ---------------------------------------------------------------------------------------------------------------------

FAMILY = tuple(Comparison("own", "lora", culture, culture) for culture in ("Spain", "Iran", "US", "gone", "few"))


def compared(groups: int = 24, effects: Sequence[float] = (0.0, 0.3, -0.2)) -> pl.DataFrame:
    """Three comparisons of two runs each on uneven groups, one without rows, one on few groups."""
    rng = seeds.generator("compared", groups)
    group = np.repeat(np.arange(groups), rng.choice([1, 1, 2, 3], groups))
    template = np.repeat(np.arange(group.size), rng.integers(2, 9, group.size))
    frames = []
    for place, effect in [*enumerate(effects), (4, 0.2)]:
        for run in ("a", "b"):
            left = rng.random(template.size) < (0.9 if place < 4 else 1.0)
            left &= (group[template] < 6) | (place < 4)
            before = (rng.random(template.size) < 0.4).astype(float)
            after = np.clip(before + (rng.random(template.size) < abs(effect)) * np.sign(effect), 0, 1)
            frames.append(
                pl.DataFrame(
                    {
                        "comparison": place,
                        "run": f"{place}{run}",
                        "culture": FAMILY[place].tested,
                        "group": [f"g{g:02}" for g in group[template]],
                        "template_id": [f"t{t}" for t in template],
                        "mcq_id": [f"q{q}" for q in range(template.size)],
                        "choice": np.where(rng.random(template.size) < 0.05, np.nan, after - before),
                        "reached": after,
                    }
                )
                .with_columns(pl.col("choice").fill_nan(None))
                .filter(left)
            )
    return pl.concat(frames)


@pytest.fixture(scope="module")
def found() -> tuple[PairedTest, ...]:
    return paired_tests(FAMILY, compared(), ("test",))


def one(place: int) -> pl.DataFrame:
    """The cells of one comparison as `clustered` takes them."""
    rows = compared().filter(pl.col("comparison") == place)
    return rows.with_columns(pl.col("run").alias("cell"), pl.lit(0.5).alias("weight"))


@pytest.mark.parametrize("place", [0, 1, 2, 4])
def test_each_difference_has_the_interval_of_the_jackknife(found: tuple[PairedTest, ...], place: int) -> None:
    expected = clustered(one(place))
    ours = found[place].estimate
    names = ("value", "error", "low", "high", "groups", "effective", "questions", "templates")
    for name in names:
        assert getattr(ours, name) == pytest.approx(getattr(expected, name)), name
    assert found[place].runs == 2


def test_each_p_is_that_of_the_groups_contributions(found: tuple[PairedTest, ...]) -> None:
    groups = sorted(compared()["group"].unique())
    contributions = []
    for place in range(3):
        rows = one(place).filter(pl.col("choice").is_not_null())
        by_template = rows.group_by("run", "group", "template_id").agg(pl.col("choice").mean())
        sizes = dict(by_template.group_by("run").len().iter_rows())
        sums: dict[str, float] = dict.fromkeys(groups, 0.0)
        for run, group, _, value in by_template.iter_rows():
            sums[group] += value / sizes[run] / 2
        contributions.append([sums[group] for group in groups])
    values = np.array(contributions)
    signs = sign_draws(len(groups), ("test",))
    p = sign_flip(values, signs)
    assert [found[k].p for k in range(3)] == pytest.approx(p)
    assert [found[k].holm for k in range(3)] == pytest.approx(holm([*p, math.nan, math.nan])[:3])
    assert [found[k].max_t for k in range(3)] == pytest.approx(max_t(statistics(values), null_statistics(values, signs), exact=False))
    assert [each.shown() for each in found] == [0, 1, -1, 0, 0]


def test_each_comparison_has_its_sizes(found: tuple[PairedTest, ...]) -> None:
    for place in range(3):
        error = found[place].estimate.error
        assert error is not None
        assert found[place].detectable == pytest.approx(2.8 * error)
        scored = one(place).filter(pl.col("choice").is_not_null())
        before = clustered(scored.with_columns((pl.col("reached") - pl.col("choice")).alias("before")), credit="before").value
        assert found[place].remaining == pytest.approx(found[place].estimate.value / (1 - before))
    assert found[1].effect is not None
    assert found[1].effect > 0.5


def test_few_groups_or_no_run_is_a_number_without_test(found: tuple[PairedTest, ...]) -> None:
    for place, runs in ((3, 0), (4, 2)):
        each = found[place]
        assert (each.p, each.holm, each.max_t, each.effect, each.detectable, each.estimate.low) == (None,) * 6
        assert (each.runs, each.shown()) == (runs, 0)
        assert math.isnan(each.estimate.value) == (runs == 0)
    assert found[3].remaining is None


def test_without_any_row_the_family_stands_all_the_same() -> None:
    empty = paired_tests(FAMILY, compared().with_columns(pl.lit(None, pl.Float64).alias("choice")), ("test",))
    assert [each.comparison for each in empty] == list(FAMILY)
    assert {(each.p, each.runs) for each in empty} == {(None, 0)}


def test_a_row_of_no_comparison_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the 2 of the family"):
        paired_tests(FAMILY[:2], compared(), ("test",))


@pytest.mark.parametrize(("low", "corrected", "verdict"), [(0.01, 0.04, 1), (-0.01, 0.04, 0), (0.01, 0.06, 0), (-0.4, 0.04, -1)])
def test_a_difference_is_shown_by_interval_and_corrected_p_alike(low: float, corrected: float, verdict: int) -> None:
    estimate = Estimate(low + 0.05, 0.02, low, low + 0.1, 30, 30.0, 100, 30)
    assert PairedTest(FAMILY[0], estimate, corrected / 2, corrected, corrected, 0.3, 0.1, 0.05, 2).shown() == verdict


# Ranks ---------------------------------------------------------------------------------------------------------------------------------


def test_a_rank_has_the_share_of_draws_in_which_it_is_first() -> None:
    drawn = np.array([[0.1, 0.2], [0.2, 0.1], [0.3, 0.3], [0.0, 0.3], [math.nan, 0.1]])
    assert first_probabilities(drawn).tolist() == [1.5 / 4, 2.5 / 4]
    found = ranked(("a", "b"), np.array([0.2, 0.3]), drawn)
    assert [(each.name, each.value, each.probability) for each in found] == [("b", 0.3, 0.625), ("a", 0.2, 0.375)]


def test_equals_share_every_draw() -> None:
    drawn = np.repeat(seeds.generator("equals").random((200, 1)), 4, axis=1)
    assert first_probabilities(drawn).tolist() == [0.25] * 4


def test_the_probability_of_a_lead_is_the_normal_one() -> None:
    rng = seeds.generator("normal lead")
    drawn = rng.normal((0.0, 1.0), 1.0, (20_000, 2))
    assert first_probabilities(drawn)[1] == pytest.approx(scipy.stats.norm.cdf(1 / math.sqrt(2)), abs=0.012)


@pytest.mark.parametrize(
    ("drawn", "message"),
    [(np.zeros((3, 0)), "one or more"), (np.array([[math.nan], [math.nan], [1.0]]), "only 1 of 3"), (np.zeros((0, 2)), "only 0")],
)
def test_ranks_refuse_draws_without_numbers(drawn: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        first_probabilities(drawn)


def test_ranks_refuse_names_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="as many values"):
        ranked(("a",), np.zeros(2), np.zeros((3, 2)))
