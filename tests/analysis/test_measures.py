"""Measures of likeness: values worked out by hand, the same from the definition, and what they refuse."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import pearsonr

from affinage.analysis.measures import Floats, agreement, centred_gram, debiased_cka, jensen_shannon, kappa, option_correlation, shares
from affinage.analysis.tensors import cosines, matched, mean_pairwise, mean_tokens, products, virtual_tokens, whole
from affinage.seeds import generator


def even(count: int) -> Floats:
    return np.full(count, 1 / count)


# Answers ----------------------------------------------------------------------------------------------------------------------------------


def test_kappa_by_hand() -> None:
    """Both yes 20 times of 50, both no 15 times, else 5 and 10: p_o = 0.7; the first says yes in 0.5, the other in 0.6, so p_e = 0.3 + 0.2."""
    one, other = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    weights = np.array([20, 5, 10, 15]) / 50
    assert agreement(one, other, weights) == pytest.approx(0.7)
    assert kappa(one, other, weights) == pytest.approx((0.7 - 0.5) / (1 - 0.5))


def test_kappa_is_zero_for_who_agrees_as_often_as_chance_and_unknown_where_nothing_varies() -> None:
    one, other = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert kappa(one, other, even(4)) == pytest.approx(0.0)
    assert np.isnan(kappa(np.zeros(4, np.int64), np.zeros(4, np.int64), even(4)))


def test_weights_change_the_share_that_agrees() -> None:
    one, other = np.array([0, 1]), np.array([0, 0])
    assert agreement(one, other, np.array([0.9, 0.1])) == pytest.approx(0.9)


def test_option_scores_correlate_after_each_question_s_mean_is_gone() -> None:
    stream = generator("option scores")
    one, other = stream.normal(size=(2, 30, 4))
    flat = [(each - each.mean(axis=1, keepdims=True)).ravel() for each in (one, other)]
    assert option_correlation(one, other, even(30)) == pytest.approx(pearsonr(*flat).statistic)
    level = stream.normal(size=(30, 1)) * 50  # how surprising a question is changes nothing
    assert option_correlation(one + level, other - level, even(30)) == pytest.approx(pearsonr(*flat).statistic)
    assert option_correlation(one, -one, even(30)) == pytest.approx(-1.0)


def test_a_question_with_fewer_options_counts_with_those_that_it_has() -> None:
    one = np.array([[0.0, 1.0, np.nan], [2.0, 0.0, 1.0]])
    other = np.array([[0.0, 3.0, np.nan], [1.0, 1.0, 4.0]])
    flat_one, flat_other = [-0.5, 0.5, 1.0, -1.0, 0.0], [-1.5, 1.5, -1.0, -1.0, 2.0]
    assert option_correlation(one, other, even(2)) == pytest.approx(pearsonr(flat_one, flat_other).statistic)
    assert shares(one)[0] == pytest.approx([1 / (1 + np.e), np.e / (1 + np.e), 0.0])


def test_jensen_shannon_is_scipy_s_and_lies_between_nothing_and_everything() -> None:
    stream = generator("distributions")
    one, other = stream.dirichlet(np.ones(4), size=(2, 20))
    expected = np.mean([jensenshannon(p, q, base=2) for p, q in zip(one, other, strict=True)])
    assert jensen_shannon(one, other, even(20)) == pytest.approx(expected)
    certain = np.array([[1.0, 0.0]])
    assert jensen_shannon(certain, certain[:, ::-1], even(1)) == pytest.approx(1.0)
    assert jensen_shannon(one, one, even(20)) == pytest.approx(0.0, abs=1e-7)


# States -----------------------------------------------------------------------------------------------------------------------------------


def hsic_by_definition(k: Floats, m: Floats) -> float:
    """Song et al. 2012, equation 4: means over distinct index tuples, written out."""
    n = len(k)
    two = np.mean([k[i, j] * m[i, j] for i, j in itertools.permutations(range(n), 2)])
    four = np.mean([k[i, j] * m[q, r] for i, j, q, r in itertools.permutations(range(n), 4)])
    three = np.mean([k[i, j] * m[i, q] for i, j, q in itertools.permutations(range(n), 3)])
    return float(two + four - 2 * three)


def test_debiased_cka_from_the_definition_over_distinct_rows() -> None:
    stream = generator("states")
    one = stream.normal(size=(7, 3))
    other = one @ stream.normal(size=(3, 5)) + stream.normal(size=(7, 5))
    gram, partner = one @ one.T, other @ other.T
    expected = hsic_by_definition(gram, partner) / np.sqrt(hsic_by_definition(gram, gram) * hsic_by_definition(partner, partner))
    found = debiased_cka(centred_gram(one), centred_gram(other))
    assert found == pytest.approx(expected)
    n = len(one)
    assert (centred_gram(one) * centred_gram(other)).sum() / (n * (n - 3)) == pytest.approx(hsic_by_definition(gram, partner))


def test_cka_is_one_under_rotation_shift_and_scale_and_not_under_others() -> None:
    stream = generator("rotation")
    one = stream.normal(size=(40, 6))
    turned = 3.0 * one @ np.linalg.qr(stream.normal(size=(6, 6)))[0] + 7.0
    assert debiased_cka(centred_gram(one), centred_gram(turned)) == pytest.approx(1.0)
    assert debiased_cka(centred_gram(one), centred_gram(one**2)) < 0.5


@pytest.mark.parametrize(("width", "biased"), [(576, 0.97), (4096, 0.996)])
def test_of_random_rows_that_are_few_and_wide_only_the_biased_value_is_near_one(width: int, biased: float) -> None:
    """Why there is no CKA over a prompt's own 16 vectors."""
    one, other = generator("two random prompts").normal(size=(2, 16, width))
    centre = np.eye(16) - 1 / 16
    left, right = (centre @ each @ each.T @ centre for each in (one, other))
    plain = (left * right).sum() / np.sqrt((left * left).sum() * (right * right).sum())
    assert plain == pytest.approx(biased, abs=0.01)
    assert abs(debiased_cka(centred_gram(one), centred_gram(other))) < 0.3


def test_unrelated_states_have_a_debiased_cka_around_zero() -> None:
    stream = generator("unrelated")
    found = [debiased_cka(centred_gram(stream.normal(size=(50, 300))), centred_gram(stream.normal(size=(50, 300)))) for _ in range(40)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(40) + 1e-3
    assert np.std(found) < 0.1


def test_three_rows_are_too_few() -> None:
    with pytest.raises(ValueError, match="3 rows"):
        centred_gram(np.eye(3))


# Tensors ----------------------------------------------------------------------------------------------------------------------------------


def test_cosines_of_tokens_by_hand() -> None:
    one, other = np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([[0.0, 5.0], [1.0, 0.0]])
    assert mean_tokens(one, other) == pytest.approx((0.5 * 0.5 + 1.0 * 2.5) / np.sqrt(1.25 * 6.5))
    assert mean_pairwise(one, other) == pytest.approx(0.5)  # cosines 0, 1, 1, 0
    assert matched(one, other) == pytest.approx(1.0)  # the same tokens in another order
    assert whole({"x": one.astype(np.float32)}, {"x": other.astype(np.float32)}) == pytest.approx(0.0)


def test_matching_is_the_best_of_all_orders() -> None:
    one, other = generator("matching").normal(size=(2, 5, 8))
    table = cosines(one, other)
    assert matched(one, other) == pytest.approx(max(table[range(5), order].mean() for order in itertools.permutations(range(5))))
    assert matched(one, other) > np.diag(table).mean()


def test_a_token_that_has_not_moved_has_no_direction() -> None:
    still = np.zeros((2, 3))
    assert np.isnan(mean_tokens(still, np.ones((2, 3))))
    assert np.isnan(whole({"x": still.astype(np.float32)}, {"x": np.ones((2, 3), np.float32)}))


def test_low_rank_updates_are_compared_as_products_not_as_factors() -> None:
    stream = generator("factors")
    names = ("m.a", "n.a", "m.b", "n.b")
    one, other = ({name: stream.normal(size=(2, 5) if name.endswith("a") else (4, 2)).astype(np.float32) for name in names} for _ in range(2))
    full = [{name: each[f"{name}.b"] @ each[f"{name}.a"] for name in ("m", "n")} for each in (one, other)]
    by_module = [whole({name: full[0][name]}, {name: full[1][name]}) for name in ("m", "n")]
    found = products(one, other)
    assert found["whole"] == pytest.approx(whole(*full), abs=1e-6)
    assert found["mean by module"] == pytest.approx(np.mean(by_module), abs=1e-6)
    mixed = stream.normal(size=(2, 2)).astype(np.float32)
    turned = {name: value @ mixed if name.endswith("b") else np.linalg.inv(mixed) @ value for name, value in one.items()}
    same = {name: np.asarray(value, np.float32) for name, value in turned.items()}
    assert products(one, same)["whole"] == pytest.approx(1.0, abs=1e-5)
    assert whole(one, same) < 0.9


@pytest.mark.parametrize(
    ("method", "names", "shape"),
    [
        ("prompt-tuning", ("vectors",), (3, 8)),
        ("prefix-tuning", ("prefix",), (3, 40)),
        ("p-tuning", ("root", "before_answer"), (6, 8)),
        ("lora", ("m.a", "m.b"), None),
        ("prefix-tuning-plus", ("maps",), None),
    ],
)
def test_which_methods_have_virtual_tokens(method: str, names: tuple[str, ...], shape: tuple[int, int] | None) -> None:
    sizes = {"vectors": (3, 8), "prefix": (3, 40), "maps": (2, 1, 4, 4)}
    tensors = {name: np.zeros(sizes.get(name, (3, 8)), np.float32) for name in names}
    found = virtual_tokens(method, tensors, 8)
    assert (None if found is None else found.shape) == shape
