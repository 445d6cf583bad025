"""How alike two adapters answer, and how alike two sets of states are: each formula with its source, in numpy.

Letters: Q questions, C options, H width. Weights [Q] sum to 1; the study's headline weighs every template alike.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["agreement", "centred_gram", "debiased_cka", "jensen_shannon", "kappa", "option_correlation", "shares"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FEWEST_STATES = 4
"""Below it the unbiased estimate of Song et al. divides by zero."""


def agreement(one: Ints, other: Ints, weights: Floats) -> float:
    """The share of questions that both answer alike.

    Args:
        one: [Q] the option that one chooses.
        other: [Q] the option that the other chooses.
        weights: [Q].
    """
    return float(weights @ (one == other))


def kappa(one: Ints, other: Ints, weights: Floats) -> float:
    """Cohen's kappa: (p_o - p_e) / (1 - p_e), where p_e is the sum over the categories of the product of both shares.

    Cohen (1960), "A coefficient of agreement for nominal scales", equation 1.

    Args:
        one: [Q] category that one chooses, from 0.
        other: [Q] category that the other chooses.
        weights: [Q].

    Returns:
        NaN where both always choose one and the same category, so that nothing is left to agree about.
    """
    categories = int(max(one.max(), other.max())) + 1
    left, right = (np.bincount(each, weights, minlength=categories) for each in (one, other))
    expected = float(left @ right)
    return float("nan") if expected >= 1 - 1e-12 else (agreement(one, other, weights) - expected) / (1 - expected)


def option_correlation(one: Floats, other: Floats, weights: Floats) -> float:
    """Pearson's correlation of two adapters' option scores, each question's mean taken away first.

    What is left says which options an adapter likes better than the others of the same question; how long or how surprising a question is on the
    whole has no part in it.

    Args:
        one: [Q, C] scores, NaN behind a question's last option.
        other: [Q, C].
        weights: [Q].
    """
    x, y = (np.nan_to_num(each - np.nanmean(each, axis=1, keepdims=True)) for each in (one, other))
    cross, left, right = (float(weights @ (a * b).sum(axis=1)) for a, b in ((x, y), (x, x), (y, y)))
    return cross / np.sqrt(left * right) if left > 0 and right > 0 else float("nan")


def shares(scores: Floats) -> Floats:
    """[Q, C] softmax over a question's options; zero behind the last."""
    raised = np.exp(scores - np.nanmax(scores, axis=1, keepdims=True))
    return np.asarray(np.nan_to_num(raised) / np.nansum(raised, axis=1, keepdims=True), np.float64)


def jensen_shannon(one: Floats, other: Floats, weights: Floats) -> float:
    """The weighted mean over questions of the Jensen-Shannon distance between two distributions over the options, in [0, 1].

    It is the square root of H((p + q) / 2) - (H(p) + H(q)) / 2 with entropies in bits (Lin 1991, equation 4.1; its root is a metric: Endres and
    Schindelin 2003).

    Args:
        one: [Q, C] shares, zero behind a question's last option.
        other: [Q, C].
        weights: [Q].
    """
    divergence = _entropy((one + other) / 2) - (_entropy(one) + _entropy(other)) / 2
    return float(weights @ np.sqrt(divergence.clip(0, 1)))


def _entropy(p: Floats) -> Floats:
    """[Q] in bits; 0 log 0 is 0."""
    return np.asarray(-(p * np.log2(np.where(p > 0, p, 1.0))).sum(axis=-1), np.float64)


def centred_gram(states: npt.NDArray[np.floating]) -> Floats:
    """The U-centred matrix of inner products between rows, [n, n] with a zero diagonal.

    a_ij - sum_i / (n - 2) - sum_j / (n - 2) + sum / ((n - 1)(n - 2)) outside the diagonal, of inner products whose diagonal is set to zero. With it
    the unbiased HSIC of Song et al. (2012), "Feature selection via dependence maximization", equation 5, is sum_ij A_ij B_ij / (n (n - 3)) (Székely
    and Rizzo 2014, "Partial distance correlation with methods for dissimilarities", equation 3.2).

    Args:
        states: [n, H], one row per question.

    Raises:
        ValueError: fewer than four rows.
    """
    rows = np.asarray(states, np.float64)
    n = len(rows)
    if n < FEWEST_STATES:
        raise ValueError(f"{n} rows, where four are needed")
    rows = rows - rows.mean(axis=0)  # changes nothing but the rounding
    gram = np.asarray(rows @ rows.T, np.float64)
    np.fill_diagonal(gram, 0.0)
    sums = gram.sum(axis=0)
    gram -= sums[:, None] / (n - 2) + sums[None, :] / (n - 2) - sums.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(gram, 0.0)
    return gram


def debiased_cka(one: Floats, other: Floats) -> float:
    """Centred kernel alignment without the bias that few rows in a wide space give it: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)).

    With the plain, biased HSIC (Kornblith et al. 2019) unrelated states come near 1 as soon as they are wider than they are many; with the unbiased
    one their expectation is about 0 (Murphy, Zylberberg and Fyshe 2024, "Correcting biased centered kernel alignment measures in biological and
    artificial neural networks"). Rows must be questions. Over a prompt's own 16 rows the biased value says nothing: of two random prompts of 16
    vectors in 576 to 4,096 dimensions it is 0.97 to 0.996 (tested). So no CKA is computed between prompts, only between states over questions.

    Args:
        one: [n, n] `centred_gram` of one adapter's states.
        other: [n, n] of the other's, over the same questions in the same order.

    Returns:
        At most 1, below zero where they are less alike than chance; NaN where one is constant.
    """
    norm = np.sqrt((one * one).sum() * (other * other).sum())
    return float((one * other).sum() / norm) if norm > 0 else float("nan")
