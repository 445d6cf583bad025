"""Statistics: pinned values, the definition computed again by a slow loop, refusal of bad input, coverage of the interval."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse
import scipy.stats

from affinage import seeds
from affinage.records import Score
from affinage.report import reference
from affinage.stats import MINIMUM_EFFECTIVE, Estimate, clustered, column_specificity, paired, per_run, spread, with_credit
from affinage.stats.intervals import delete_one_group, group_shares, jackknife, student


def score_rows(*rows: dict[str, Any]) -> pl.DataFrame:
    """Score rows; what a row leaves out is filled in."""
    base: dict[str, Any] = {
        "run": "r",
        "label": "lora",
        "method": "lora",
        "trained_culture": "Spain",
        "split": "s",
        "start": 0,
        "culture": "Spain",
        "template_id": "t",
        "answer": 0,
        "logprob": [-1.0, -2.0, -3.0, -4.0],
        "tokens": [1, 1, 1, 1],
        "characters": [1, 1, 1, 1],
        "empty_logprob": [-1.0, -1.0, -1.0, -1.0],
        "free": None,
        "state": "scored",
    }
    full = [{**base, "mcq_id": f"q{place}", **row} for place, row in enumerate(rows)]
    return pl.DataFrame(full, schema_overrides={"free": pl.Boolean, "logprob": pl.List(pl.Float64), "empty_logprob": pl.List(pl.Float64)})


def random_rows(seed: int, count: int = 240) -> pl.DataFrame:
    """Rows of two runs and the untouched model, with ties, unscored ones and unequal templates."""
    rng = seeds.generator("random rows", seed)
    rows: list[dict[str, Any]] = []
    for run, trained in (("a", "Spain"), ("b", "Spain"), ("base", "")):
        for question in range(count // 3):
            scored = rng.random() > 0.05
            options = int(rng.integers(2, 5))
            rows.append(
                {
                    "run": run,
                    "label": "none" if run == "base" else "lora",
                    "trained_culture": trained,
                    "start": int(run == "b"),
                    "mcq_id": f"q{question}",
                    "template_id": f"t{int(math.sqrt(question))}",
                    "answer": int(rng.integers(options)),
                    "logprob": [-float(x) for x in rng.integers(1, 5, options)] if scored else [],
                    "tokens": [int(x) for x in rng.integers(1, 4, options)] if scored else [],
                    "characters": [int(x) for x in rng.integers(1, 9, options)] if scored else [],
                    "empty_logprob": [-float(x) for x in rng.integers(1, 5, options)] if scored else [],
                    "free": bool(rng.random() < 0.5) if scored else None,
                    "state": "scored" if scored else "too long",
                }
            )
    return score_rows(*rows)


# Credit --------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "expected"),
    [("total", [0.0, 1.0, 0.0]), ("per-token", [1.0, 0.0, 0.0]), ("per-character", [0.5, 0.5, 0.0]), ("pmi", [0.0, 0.0, 1.0])],
)
def test_each_score_prefers_another_option(score: Score, expected: list[float]) -> None:
    lists = {"logprob": [-4.0, -3.0, -5.0], "tokens": [4, 1, 2], "characters": [8, 6, 5], "empty_logprob": [-1.0, -1.0, -9.0]}
    credited = with_credit(score_rows(*({**lists, "answer": answer} for answer in range(3))), score)
    assert credited["choice"].to_list() == expected
    assert credited["chance"].to_list() == pytest.approx([1 / 3] * 3)


def test_ties_share_the_credit() -> None:
    rows = score_rows({"logprob": [-1.0, -1.0, -1.0, -2.0]}, {"logprob": [-1.0, -1.0, -1.0, -2.0], "answer": 3}, {"logprob": [-1.0, -1.0]})
    lists = {"tokens": pl.lit([1, 1, 1, 1]), "characters": pl.lit([1, 1, 1, 1])}
    assert with_credit(rows.with_columns(**lists))["choice"].to_list() == pytest.approx([1 / 3, 0, 1 / 2])


def slow_credit(row: dict[str, Any], score: Score) -> float | None:
    """The definition, option by option."""
    if row["state"] != "scored":
        return None
    values = []
    for option, total in enumerate(row["logprob"]):
        match score:
            case "total":
                values.append(total)
            case "per-token":
                values.append(total / row["tokens"][option])
            case "per-character":
                values.append(total / row["characters"][option])
            case "pmi":
                values.append(total - row["empty_logprob"][option])
    winners = [option for option, value in enumerate(values) if value == max(values)]
    return 1 / len(winners) if row["answer"] in winners else 0.0


@pytest.mark.parametrize("score", ["total", "per-token", "per-character", "pmi"])
def test_credit_equals_the_definition(score: Score) -> None:
    rows = random_rows(1)
    credited = {(row["run"], row["mcq_id"]): row for row in with_credit(rows, score).iter_rows(named=True)}
    expected = [slow_credit(row, score) for row in rows.iter_rows(named=True)]
    assert [credited[row["run"], row["mcq_id"]]["choice"] for row in rows.iter_rows(named=True)] == expected
    assert None in expected
    assert 0.5 in expected


@pytest.mark.parametrize(
    ("change", "score", "message"),
    [
        ({"answer": 4}, "total", "answer is outside"),
        ({"logprob": []}, "total", "fewer than two options"),
        ({"logprob": [-1.0, float("nan"), -1.0, -1.0]}, "total", "no number"),
        ({"tokens": [1, 1, 1]}, "per-token", "`logprob` and `tokens` differ in length"),
        ({"tokens": [1, 0, 1, 1]}, "per-token", "`tokens` below 1"),
        ({"empty_logprob": []}, "pmi", "`logprob` and `empty_logprob` differ in length"),
        ({"logprob": [-math.inf] * 4, "empty_logprob": [-math.inf] * 4}, "pmi", "no number"),
    ],
)
def test_a_score_that_makes_no_sense_is_refused_by_name(change: dict[str, Any], score: Score, message: str) -> None:
    with pytest.raises(ValueError, match=f"run 'r', question 'q1': .*{message}.*1 such rows"):
        with_credit(score_rows({}, change), score)


# Orders of the options -----------------------------------------------------------------------------------------------------------------

EARNED = ("choice", "free", "orders", "one_order", "same", "survives", "state")


def asked_in(*orders: dict[str, Any]) -> dict[str, Any]:
    """One question asked in several orders."""
    found = with_credit(score_rows(*({"mcq_id": "q", "free": False, **order} for order in orders)))
    assert found.height == 1
    return {name: found[name][0] for name in EARNED}


A, B = [-1.0, -2.0, -3.0, -4.0], [-5.0, -2.0, -6.0, -7.0]
"""The first option is best; the second is."""


@pytest.mark.parametrize(
    ("orders", "expected"),
    [
        # Always the first, which is right.
        ([{"logprob": A, "free": True}, {"logprob": A, "free": True}], (1.0, 1.0, 2, 1.0, 1.0, 1.0)),
        # Always the first, which is wrong.
        ([{"logprob": A, "answer": 2}, {"logprob": A, "answer": 2}], (0.0, 0.0, 2, 0.0, 1.0, 0.0)),
        # First, then second: the means are -3 and -2, so the second wins over both orders.
        ([{"logprob": A, "free": True}, {"logprob": B}], (0.0, 0.5, 2, 0.5, 0.0, 0.0)),
        ([{"logprob": A, "answer": 1}, {"logprob": B, "answer": 1, "free": True}], (1.0, 0.5, 2, 0.5, 0.0, 0.0)),
        # A tie in one order is no single answer, so nothing survives; over both orders the first is ahead.
        ([{"logprob": A}, {"logprob": [-1.0, -1.0, -3.0, -4.0]}], (1.0, 0.0, 2, 0.75, 0.0, 0.0)),
        # A tie in every order is no single answer either.
        ([{"logprob": [-1.0, -1.0, -3.0, -4.0]}] * 2, (0.5, 0.0, 2, 0.5, 0.0, 0.0)),
        # One order, as without orders.
        ([{"logprob": A, "free": True}], (1.0, 1.0, 1, 1.0, 1.0, 1.0)),
    ],
)
def test_orders_are_averaged_before_the_best_option_is_chosen(orders: list[dict[str, Any]], expected: tuple[float, ...]) -> None:
    found = asked_in(*orders)
    assert tuple(found[name] for name in EARNED[:-1]) == pytest.approx(expected)
    assert found["state"] == "scored"


def test_each_score_is_made_before_it_is_averaged() -> None:
    # Per token the first option has -8/4 and -1/1, -1.5 on average, and is ahead of -1.6; -9 over 5 tokens would be behind it.
    first = {"mcq_id": "q", "logprob": [-8.0, -1.6, -9.0, -9.0], "tokens": [4, 1, 1, 1]}
    second = {**first, "logprob": [-1.0, -1.6, -9.0, -9.0], "tokens": [1, 1, 1, 1]}
    assert with_credit(score_rows(first, second), "per-token")["choice"].to_list() == [1.0]
    assert with_credit(score_rows(first, first), "per-token")["choice"].to_list() == [0.0]


def test_who_looks_at_letters_alone_is_tied_over_every_rotation() -> None:
    letters = [-0.1, -0.2, -0.3, -0.7]
    sums = {sum(letters[(option - turn) % 4] for turn in range(4)) for option in range(4)}
    assert len(sums) > 1  # the same numbers, added in another order
    rotations = [{"logprob": [letters[(option - turn) % 4] for option in range(4)], "order": [0]} for turn in range(4)]
    found = asked_in(*rotations)
    assert (found["choice"], found["one_order"], found["same"], found["survives"]) == (0.25, 0.25, 0.0, 0.0)


def test_a_question_with_an_unscored_order_is_unscored() -> None:
    found = asked_in({"logprob": A}, {"logprob": [], "state": "too long"}, {"logprob": A})
    assert [found[name] for name in EARNED] == [None, None, 3, None, None, None, "too long"]


def test_orders_of_one_question_stay_apart_from_other_runs_and_cultures() -> None:
    frame = score_rows(*({"mcq_id": "q", "run": run, "culture": culture} for run in "ab" for culture in "xy" for _ in range(2)))
    found = with_credit(frame)
    assert found.height == 4
    assert found["orders"].to_list() == [2] * 4
    assert per_run(found)["questions"].to_list() == [1] * 8


@pytest.mark.parametrize("change", [{"answer": 1}, {"logprob": [-1.0, -2.0, -3.0]}])
def test_orders_that_are_not_of_one_question_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"question 'q': its orders differ in the answer or in the number of options \(1 such rows\)"):
        asked_in({}, change)


# Accuracy per run, pairs, spread -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reading", ["choice", "free"])
def test_accuracy_per_run_equals_the_definition(reading: str) -> None:
    asked = random_rows(2)
    credited = with_credit(asked)
    found = per_run(credited).filter(pl.col("reading") == reading)
    for run in ("a", "b", "base"):
        rows = [row for row in credited.iter_rows(named=True) if row["run"] == run]
        scored = [row for row in rows if row[reading] is not None]
        templates = sorted({row["template_id"] for row in scored})
        inner = [statistics.fmean(row[reading] for row in scored if row["template_id"] == template) for template in templates]
        by_average = {row["average"]: row for row in found.filter(pl.col("run") == run).iter_rows(named=True)}
        assert by_average["row"]["accuracy"] == pytest.approx(statistics.fmean(row[reading] for row in scored))
        assert by_average["template"]["accuracy"] == pytest.approx(statistics.fmean(inner))
        options = {row["mcq_id"]: len(row["logprob"]) for row in asked.iter_rows(named=True) if row["run"] == run}
        assert by_average["row"]["chance"] == pytest.approx(statistics.fmean(1 / options[row["mcq_id"]] for row in scored))
        for row in by_average.values():
            assert (row["questions"], row["templates"], row["unscored"]) == (len(scored), len(templates), len(rows) - len(scored))
        assert by_average["row"]["unscored"] > 0


def test_unscored_questions_are_never_wrong() -> None:
    rows = score_rows({}, {"state": "too long", "logprob": []})
    assert per_run(with_credit(rows))["accuracy"].to_list() == [1.0, 1.0]


def test_no_row_stands_for_a_reading_without_letters() -> None:
    assert per_run(with_credit(score_rows({})))["reading"].unique().to_list() == ["choice"]


def test_pairs_are_made_by_question_and_leave_out_what_one_side_lacks() -> None:
    wrong, unscored = {"answer": 3}, {"state": "too long", "logprob": []}
    tuned = with_credit(score_rows({}, {}, wrong, {}, unscored))
    base = with_credit(score_rows({}, wrong, {}, unscored, {}).with_columns(pl.lit("").alias("trained_culture")))
    assert paired(tuned, base).sort("mcq_id")["choice"].to_list() == [0.0, 1.0, -1.0, None, None]
    assert paired(tuned, base.with_columns(pl.lit("another").alias("split")))["choice"].null_count() == 5


def test_pairs_can_be_tied_to_the_start() -> None:
    tuned = with_credit(score_rows({}, {"run": "r1", "start": 1, "mcq_id": "q0"}))
    others = with_credit(score_rows({"answer": 3}, {"run": "r1", "start": 1, "mcq_id": "q0"}))
    assert paired(tuned, others, beside=("start",)).sort("start")["choice"].to_list() == [1.0, 0.0]
    assert paired(tuned, others).sort("start")["choice"].to_list() == [0.5, 0.5]


def test_spread_is_the_sample_deviation() -> None:
    found = spread([0.5, 0.7, 0.9])
    assert [found.mean, found.deviation, found.count] == pytest.approx([0.7, 0.2, 3])
    assert spread([0.5]).deviation is None


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [math.inf]])
def test_spread_refuses_what_is_no_number(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite values"):
        spread(values)


# Intervals -----------------------------------------------------------------------------------------------------------------------------


def cluster_rows(seed: int, groups: int = 20, cells: int = 3, mean: float = 0.1, share: float = 0.7) -> pl.DataFrame:
    """Rows whose expectation is `mean`; `share` of the variance belongs to the template group, and every cell sees it."""
    rng = seeds.generator("cluster rows", seed, groups, cells, share)
    group = np.repeat(np.arange(groups), rng.choice([1, 1, 2, 3], groups))
    template = np.repeat(np.arange(group.size), rng.integers(2, 9, group.size))
    effect = rng.normal(0, math.sqrt(share), groups)[group[template]]
    frames = [
        pl.DataFrame(
            {
                "cell": [f"run {cell}"] * template.size,
                "weight": [1 / cells] * template.size,
                "group": [f"g{g}" for g in group[template]],
                "template_id": [f"t{t}" for t in template],
                "mcq_id": [f"q{q}" for q in range(template.size)],
                "choice": mean + 0.3 * (effect + rng.normal(0, math.sqrt(1 - share), template.size)),
            }
        )
        for cell in range(cells)
    ]
    return pl.concat(frames)


def slow_value(rows: list[dict[str, Any]], average: str) -> float:
    """Sum over cells of weight times accuracy, from the definition."""
    value = 0.0
    for cell in {row["cell"] for row in rows}:
        here = [row for row in rows if row["cell"] == cell]
        if average == "row":
            accuracy = statistics.fmean(row["choice"] for row in here)
        else:
            by_template = itertools.groupby(sorted(here, key=_template), key=_template)
            accuracy = statistics.fmean(statistics.fmean(row["choice"] for row in group) for _, group in by_template)
        value += here[0]["weight"] * accuracy
    return value


def _template(row: dict[str, Any]) -> str:
    return str(row["template_id"])


@pytest.mark.parametrize("average", ["template", "row"])
def test_the_interval_equals_the_jackknife_done_by_hand(average: Any) -> None:
    frame = cluster_rows(3, groups=25)
    # A cell that saw a part of the groups, with a negative weight: a difference between test sides.
    frame = pl.concat([frame, frame.filter(pl.col("cell") == "run 0", pl.col("group") != "g3").with_columns(cell=pl.lit("x"), weight=pl.lit(-0.5))])
    rows = frame.to_dicts()
    value = slow_value(rows, average)
    groups = sorted({row["group"] for row in rows})
    left_out = [slow_value([row for row in rows if row["group"] != group], average) for group in groups]
    error = math.sqrt((len(groups) - 1) / len(groups) * sum((x - value) ** 2 for x in left_out))
    found = clustered(frame, average)
    assert found.value == pytest.approx(value)
    assert found.error == pytest.approx(error)
    assert found.groups == 25
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * error * scipy.stats.t.ppf(0.975, found.effective - 1))


def test_with_one_row_per_group_it_is_the_textbook_t_interval() -> None:
    values = [seeds.uniform("textbook", k) for k in range(30)]
    names = [f"g{k}" for k in range(30)]
    frame = pl.DataFrame({"cell": "c", "weight": 1.0, "group": names, "template_id": names, "mcq_id": names, "choice": values})
    found = clustered(frame)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert [found.low, found.high] == pytest.approx([expected.low, expected.high])
    assert found.effective == pytest.approx(30)


def test_pairing_removes_what_both_sides_share() -> None:
    tuned = cluster_rows(4, cells=1, share=0.95)
    base = tuned.with_columns(pl.lit("base").alias("cell"), pl.lit(-1.0).alias("weight"), pl.col("choice") - 0.05)
    difference = clustered(pl.concat([tuned, base]))
    alone = clustered(tuned)
    assert difference.value == pytest.approx(0.05)
    assert difference.above
    assert alone.error is not None
    assert difference.error is not None
    assert difference.error < alone.error / 100


def test_the_difference_of_equals_is_no_difference() -> None:
    tuned = cluster_rows(5, cells=1)
    zero = clustered(pl.concat([tuned, tuned.with_columns(pl.lit("base").alias("cell"), pl.lit(-1.0).alias("weight"))]))
    assert not zero.above
    assert not zero.below


def test_rows_of_one_group_do_not_count_as_many() -> None:
    frame = cluster_rows(6, groups=20, cells=1, share=0.95)
    by_row = clustered(frame.with_columns(pl.col("mcq_id").alias("group")), "row")
    by_group = clustered(frame, "row")
    assert by_row.error is not None
    assert by_group.error is not None
    assert by_group.error > 1.5 * by_row.error


def test_one_combination_of_cells_is_the_case_of_many_with_one_row() -> None:
    draw = seeds.generator("combinations of cells")
    count = draw.integers(0, 4, (5, 30)).astype(np.float64)
    count[4] = np.eye(30)[7]  # a cell in one template group alone
    total = count * draw.uniform(size=(5, 30))
    weights = np.array([[0.5, 0.5, 0, 0, 0], [1, 0, -1, 0, 0], [0, 0, 0.5, 0.25, 0.25], [0, 0, 0, 0, 0]])
    values, errors = (np.array(each) for each in zip(*(jackknife(total, count, weight) for weight in weights), strict=True))
    assert np.isnan(errors).tolist() == [False, False, True, False]
    for form in (weights, scipy.sparse.csr_array(weights)):
        np.testing.assert_allclose(delete_one_group(total, count, form, values), errors, rtol=1e-12)
        np.testing.assert_allclose(group_shares(count, form), [group_shares(count, weight) for weight in weights], rtol=1e-12)
    # Several tables over the same counts at once.
    stacked = jackknife(np.stack([total, 2 * total]), count, weights[1])
    np.testing.assert_allclose(stacked, [[values[1], 2 * values[1]], [errors[1], 2 * errors[1]]], rtol=1e-12)
    # Groups that none of its cells has are no groups of a combination.
    apart = np.concatenate([count, np.zeros((5, 9))], axis=1)
    assert jackknife(np.concatenate([total, np.zeros((5, 9))], axis=1), apart, weights[0])[1] == pytest.approx(errors[0])


def test_a_t_interval_of_many_is_that_of_each() -> None:
    low, high = student(np.array([0.1, 0.2, 0.3]), np.array([0.01, np.nan, 0.02]), np.array([9.0, 0.0, 30.5]), 0.9)
    assert np.isnan(low).tolist() == np.isnan(high).tolist() == [False, True, False]
    for place, (value, error, degrees) in enumerate(((0.1, 0.01, 9.0), (0.3, 0.02, 30.5))):
        assert (low[2 * place], high[2 * place]) == pytest.approx(scipy.stats.t.interval(0.9, degrees, loc=value, scale=error))


def test_kish_counts_what_a_few_large_groups_leave() -> None:
    names = [f"g{k}" for k in range(12)] + ["g0"] * 24
    count = len(names)
    units = [f"t{k}" for k in range(count)]
    frame = pl.DataFrame({"cell": "c", "weight": 1.0, "group": names, "template_id": units, "mcq_id": units, "choice": [1.0, 0.0] * (count // 2)})
    found = clustered(frame)
    assert found.effective == pytest.approx(36**2 / (25**2 + 11))
    assert found.effective < MINIMUM_EFFECTIVE < found.groups
    assert (found.low, found.high, found.error) == (None, None, None)
    assert found.value == pytest.approx(0.5)


def test_a_cell_of_one_group_gets_no_interval() -> None:
    frame = cluster_rows(7, groups=40)
    lone = frame.filter(pl.col("group") == "g0").with_columns(pl.lit("lone").alias("cell"), pl.lit(0.01).alias("weight"))
    found = clustered(pl.concat([frame, lone]))
    assert found.effective > MINIMUM_EFFECTIVE
    assert found.low is None


def test_nothing_scored_is_no_number() -> None:
    found = clustered(cluster_rows(8).with_columns(pl.lit(None, pl.Float64).alias("choice")))
    assert math.isnan(found.value)
    assert found.questions == found.groups == 0


def _without_group(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.when(pl.col("group") == "g1").then(None).otherwise("group").alias("group"))


def _two_weights(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.when(pl.col("group") == "g1").then(0.5).otherwise("weight").alias("weight"))


@pytest.mark.parametrize(("spoil", "message"), [(_without_group, "has no template group"), (_two_weights, "two weights")])
def test_the_interval_refuses_bad_input(spoil: Callable[[pl.DataFrame], pl.DataFrame], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        clustered(spoil(cluster_rows(9)))


@pytest.mark.parametrize(("groups", "share"), [(20, 0.9), (40, 0.2)])
def test_the_interval_covers_the_truth(groups: int, share: float) -> None:
    found = [clustered(cluster_rows(100 + k, groups=groups, cells=2, share=share)) for k in range(250)]
    covered = [_covers(estimate, 0.1) for estimate in found]
    # 250 draws of a 95 % interval: fewer than 91 % (z = -2.9) or all of them would be the interval's fault.
    assert 0.91 <= statistics.fmean(covered) < 1.0


def _covers(estimate: Estimate, truth: float) -> bool:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= truth <= estimate.high


# Transfer ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "published"),
    [("prompt-tuning", [6.18, 6.80, 12.35, 9.41, 14.10, 14.60]), ("prefix-tuning", [3.59, 4.95, 8.40, 5.63, 10.44, 10.57])],
)
def test_column_specificity_of_the_reference_study(method: str, published: list[float]) -> None:
    pairs = reference.PAIRS[method]
    matrix = np.array([[pairs[a][c][0] for c in reference.CULTURES] for a in reference.CULTURES])
    assert column_specificity(matrix) == pytest.approx(published, abs=0.0051)
    for c in range(6):
        assert column_specificity(matrix)[c] == pytest.approx(matrix[c, c] - statistics.fmean(matrix[a, c] for a in range(6) if a != c))


@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (4,)])
def test_column_specificity_refuses_what_is_no_table_of_pairs(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square matrix"):
        column_specificity(np.zeros(shape))
