"""The procedure's interval: balanced analysis of variance by hand and by REML (statsmodels), pinned values, refusal of bad input."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import scipy.stats
from statsmodels.regression.mixed_linear_model import MixedLM, VCSpec

from affinage import seeds
from affinage.stats import cell_sums, clustered
from affinage.stats.components import components
from affinage.stats.procedure import Sides, decompose, procedure, resampled

DRAWN = Sides(drawn=True, test=20, train=80, overlap=True)


def crossed(key: int, templates: int, splits: int, starts: int, deviations: tuple[float, float, float, float]) -> npt.NDArray[np.float64]:
    """Differences of the same templates in every split and start: deviations of template, split, start, rest; [splits, starts, templates]."""
    rng = seeds.generator("crossed", key, templates, splits, starts)
    of_template, of_split, of_start, rest = deviations
    parts = rng.normal(0, of_template, templates) + rng.normal(0, of_split, (splits, 1, 1)) + rng.normal(0, of_start, (splits, starts, 1))
    return np.asarray(0.1 + parts + rng.normal(0, rest, (splits, starts, templates)))


def frame_of(values: npt.NDArray[np.float64], tested: npt.NDArray[np.bool_] | None = None) -> pl.DataFrame:
    """One question per template; `tested` [splits, templates] says which templates a split tests."""
    splits, starts, templates = values.shape
    rows = [
        {
            "cell": f"{split} {start}",
            "weight": 1 / (splits * starts),
            "split": f"s{split}",
            "start": start,
            "group": f"g{template:04}",
            "template_id": f"t{template}",
            "mcq_id": f"q{template}",
            "choice": float(values[split, start, template]),
        }
        for split in range(splits)
        for start in range(starts)
        for template in range(templates)
        if tested is None or tested[split, template]
    ]
    return pl.DataFrame(rows)


def arrays(frame: pl.DataFrame) -> tuple[Any, ...]:
    """Total, count, weight, split, start."""
    sums = cell_sums(frame)
    of_cells = frame.group_by("cell").agg(pl.col("weight", "split", "start").first()).sort("cell")
    split = of_cells["split"].rank("dense").to_numpy().astype(np.int64) - 1
    return sums.total, sums.count, of_cells["weight"].to_numpy(), split, of_cells["start"].to_numpy()


def drawn_sides(key: int, splits: int, templates: int, share: float) -> npt.NDArray[np.bool_]:
    """Test sides drawn at random."""
    rng = seeds.generator("sides", key)
    return np.stack([rng.permutation(templates) < share * templates for _ in range(splits)])


# The variance of the mean --------------------------------------------------------------------------------------------------------------


def test_with_the_same_templates_in_every_split_it_is_the_crossed_analysis_of_variance() -> None:
    templates, splits = 15, 4
    values = crossed(1, templates, splits, 1, (0.2, 0.15, 0.0, 0.2))
    table = values[:, 0]
    rows, columns, grand = table.mean(1), table.mean(0), table.mean()
    of_splits = templates * ((rows - grand) ** 2).sum() / (splits - 1)
    of_templates = splits * ((columns - grand) ** 2).sum() / (templates - 1)
    both = ((table - rows[:, None] - columns + grand) ** 2).sum() / ((splits - 1) * (templates - 1))
    assert of_splits > both
    found = procedure(frame_of(values), DRAWN)
    terms = np.array([of_templates, of_splits, both]) / (templates * splits)
    variance = terms[0] + terms[1] - terms[2]
    freedom = variance**2 / (terms**2 / [templates - 1, splits - 1, (splits - 1) * (templates - 1)]).sum()
    assert found.estimate.value == pytest.approx(grand)
    assert found.estimate.error == pytest.approx(math.sqrt(variance))
    assert found.degrees == pytest.approx(freedom)
    half = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(variance)
    assert [found.estimate.low, found.estimate.high] == pytest.approx([grand - half, grand + half])


def test_splits_that_differ_less_than_chance_leave_what_templates_alone_explain() -> None:
    values = crossed(2, 15, 4, 1, (0.2, 0.0, 0.0, 0.2))
    values = values - values.mean(2, keepdims=True) + 0.1
    frame = frame_of(values)
    found, alone = procedure(frame, DRAWN), clustered(frame)
    assert found.estimate.error == pytest.approx(alone.error)
    assert found.estimate.value == pytest.approx(alone.value)


@pytest.mark.parametrize("key", range(12))
def test_it_is_never_surer_than_the_interval_of_these_adapters(key: int) -> None:
    frame = frame_of(crossed(key, 60, 3, 2, (0.3, 0.05, 0.02, 0.3)), drawn_sides(key, 3, 60, 0.4))
    found, alone = procedure(frame, DRAWN), clustered(frame)
    assert found.estimate.error is not None
    assert found.estimate.low is not None
    assert alone.error is not None
    assert alone.low is not None
    assert found.estimate.error >= alone.error * (1 - 1e-12)
    assert found.estimate.low <= alone.low + 1e-12


def test_splits_that_differ_widen_it() -> None:
    sides = drawn_sides(3, 4, 60, 0.4)
    calm = crossed(3, 60, 4, 1, (0.1, 0.0, 0.0, 0.1))
    moved = calm + np.array([-0.3, -0.1, 0.1, 0.3])[:, None, None]
    before, after = (procedure(frame_of(values, sides), DRAWN) for values in (calm, moved))
    assert before.estimate.error is not None
    # The splits' own means differ by a deviation of 0.26: over four of them 0.13.
    assert after.estimate.error == pytest.approx(0.13, abs=0.02)
    assert before.estimate.error < 0.04
    assert after.degrees == pytest.approx(3, abs=0.5)


def test_values_of_many_studies_at_once_are_those_of_each() -> None:
    frames = [frame_of(crossed(key, 30, 3, 2, (0.3, 0.1, 0.1, 0.3)), drawn_sides(5, 3, 30, 0.5)) for key in range(3)]
    each = [arrays(frame) for frame in frames]
    _, count, weight, split, _ = each[0]
    together = decompose(np.stack([total for total, *_ in each]), count, weight, split)
    spread = resampled(np.stack([total for total, *_ in each]), count, weight, split, 0.25)
    for place, frame in enumerate(frames):
        found = procedure(frame, DRAWN)
        assert found.estimate.value == pytest.approx(together.value[place])
        assert found.estimate.error == pytest.approx(math.sqrt(together.variance[place]))
        assert found.degrees == pytest.approx(together.degrees[place])
        assert found.corrected.error == pytest.approx(math.sqrt(spread[place]))


def test_the_corrected_variance_is_that_of_the_paper() -> None:
    # Splits' means 0.1, 0.2, 0.3: s^2 = 0.01; sides of 20 and 80: (1/3 + 1/4) 0.01. Two starts, of which a split's mean is what counts.
    means = np.array([0.1, 0.2, 0.3])[:, None, None] + np.array([-0.05, 0.05])[:, None] + np.tile([-0.2, 0.2], 10)
    found = procedure(frame_of(means), DRAWN)
    error = math.sqrt((1 / 3 + 1 / 4) * 0.01)
    assert found.corrected.error == pytest.approx(error)
    assert found.corrected.value == pytest.approx(0.2)
    assert found.corrected.high == pytest.approx(0.2 + scipy.stats.t.ppf(0.975, 2) * error)


# Components ----------------------------------------------------------------------------------------------------------------------------


def mean_squares(values: npt.NDArray[np.float64]) -> dict[str, float]:
    """Variances by the textbook's expected mean squares: templates crossed with splits, starts nested in splits."""
    splits, starts, templates = values.shape
    by_split, by_run, by_template = values.mean((1, 2)), values.mean(2), values.mean((0, 1))
    both, grand = values.mean(1), values.mean()
    template = splits * starts * ((by_template - grand) ** 2).sum() / (templates - 1)
    split = starts * templates * ((by_split - grand) ** 2).sum() / (splits - 1)
    crossing = starts * ((both - by_split[:, None] - by_template + grand) ** 2).sum() / ((splits - 1) * (templates - 1))
    start = templates * ((by_run - by_split[:, None]) ** 2).sum() / (splits * (starts - 1))
    left = values - both[:, None] - by_run[:, :, None] + by_split[:, None, None]
    rest = (left**2).sum() / (splits * (starts - 1) * (templates - 1))
    return {
        "template": (template - crossing) / (splits * starts),
        "split": (split - crossing - start + rest) / (starts * templates),
        "start": (start - rest) / templates,
        "crossing": (crossing - rest) / starts,
        "rest": rest,
    }


def test_components_of_a_balanced_crossing_are_those_of_its_mean_squares() -> None:
    values = crossed(6, 20, 5, 3, (0.3, 0.2, 0.15, 0.2))
    expected = mean_squares(values)
    assert min(expected[name] for name in ("template", "split", "start", "rest")) > 0
    found = components(*arrays(frame_of(values)))
    assert found is not None
    assert found.start is not None
    of_rest = expected["crossing"] + expected["rest"]
    squares = [found.template**2, found.split**2, found.start**2, found.rest**2]
    assert squares == pytest.approx([expected["template"], expected["split"], expected["start"], of_rest])


def test_components_are_those_of_restricted_likelihood() -> None:
    values = crossed(7, 20, 5, 1, (0.3, 0.2, 0.0, 0.2))
    frame = frame_of(values)
    names = frame["template_id"].unique().sort().to_list(), frame["split"].unique().sort().to_list()
    columns = [
        np.array([[float(here == name) for name in known] for here in frame[column]])
        for column, known in zip(("template_id", "split"), names, strict=True)
    ]
    parts = VCSpec(["template", "split"], [[known] for known in names], [[column] for column in columns])
    ones = np.ones(frame.height)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MixedLM(frame["choice"].to_numpy(), ones[:, None], groups=ones, exog_vc=parts)
        fitted = model.fit(reml=True)
    theirs = dict(zip(model.exog_vc.names, fitted.vcomp, strict=True))
    found = components(*arrays(frame))
    assert found is not None
    assert found.start is None
    assert found.template**2 == pytest.approx(theirs["template"], rel=0.01)
    assert found.split**2 == pytest.approx(theirs["split"], rel=0.01)
    assert found.rest**2 == pytest.approx(fitted.scale, rel=0.01)


def test_components_are_found_again_where_sides_overlap_in_part() -> None:
    # 3,000 templates and 30 splits leave little to chance but the splits' own deviation, of which there are only 30.
    frame = frame_of(crossed(8, 3000, 30, 2, (0.3, 0.2, 0.1, 0.4)), drawn_sides(8, 30, 3000, 0.1))
    found = components(*arrays(frame))
    assert found is not None
    assert found.template == pytest.approx(0.3, rel=0.05)
    assert found.rest == pytest.approx(0.4, rel=0.05)
    assert found.split == pytest.approx(0.2, rel=0.4)
    assert found.start == pytest.approx(0.1, rel=0.4)


def test_without_a_template_in_two_splits_nothing_is_told_apart() -> None:
    sides = np.arange(60) % 3 == np.arange(3)[:, None]
    frame = frame_of(crossed(9, 60, 3, 1, (0.3, 0.1, 0.0, 0.3)), sides)
    assert components(*arrays(frame)) is None
    found = procedure(frame, DRAWN)
    assert found.estimate.low is not None
    assert found.components is None


# Refusals ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("templates", "splits", "sides", "refusal"),
    [
        (30, 2, DRAWN, "splits"),
        (30, 1, DRAWN, "splits"),
        (30, 4, replace(DRAWN, drawn=False), "folds"),
        (9, 4, DRAWN, "templates"),
        (30, 3, DRAWN, None),
    ],
)
def test_a_number_without_interval_says_why(templates: int, splits: int, sides: Sides, refusal: str | None) -> None:
    frame = frame_of(crossed(10, templates, splits, 1, (0.2, 0.1, 0.0, 0.2)))
    found = procedure(frame, sides)
    assert found.refusal == refusal
    assert found.estimate.value == pytest.approx(clustered(frame).value)
    assert (found.estimate.low is None, found.corrected.low is None) == (refusal is not None,) * 2
    assert found.splits == splits
    assert found.lower


def test_splits_that_share_nothing_give_no_lower_bound_only() -> None:
    frame = frame_of(crossed(11, 30, 3, 1, (0.2, 0.1, 0.0, 0.2)))
    assert not procedure(frame, replace(DRAWN, overlap=False)).lower


def test_nothing_scored_is_no_number() -> None:
    frame = frame_of(crossed(12, 12, 3, 1, (0.2, 0.1, 0.0, 0.2))).with_columns(pl.lit(None, pl.Float64).alias("choice"))
    found = procedure(frame, DRAWN)
    assert math.isnan(found.estimate.value)
    assert found.estimate.low is None


def test_splits_without_any_difference_have_an_interval_of_no_width() -> None:
    found = procedure(frame_of(np.full((3, 1, 20), 0.25)), DRAWN)
    assert (found.estimate.low, found.estimate.value, found.estimate.high) == pytest.approx((0.25, 0.25, 0.25))


@pytest.mark.parametrize("column", ["split", "start"])
def test_a_cell_of_two_splits_or_starts_is_refused(column: str) -> None:
    frame = frame_of(crossed(13, 20, 3, 2, (0.2, 0.1, 0.1, 0.2)))
    other = pl.when(pl.col("group") == "g0003").then(pl.lit("s1") if column == "split" else pl.lit(1)).otherwise(column).alias(column)
    with pytest.raises(ValueError, match="two splits or starts"):
        procedure(frame.with_columns(other), DRAWN)


def test_a_difference_made_of_cells_of_both_signs_is_refused() -> None:
    frame = frame_of(crossed(14, 20, 3, 1, (0.2, 0.1, 0.0, 0.2)))
    signed = frame.with_columns(pl.when(pl.col("split") == "s1").then(-0.5).otherwise("weight").alias("weight"))
    with pytest.raises(ValueError, match="not above zero"):
        procedure(signed, DRAWN)
