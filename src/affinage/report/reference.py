"""The reference study's own numbers, to stand beside ours where the cultures match.

Source: Le Bellier, "Parameter-efficient fine-tuning for LLMs adaptation to cultural commonsense knowledge" (RECITAL 2026), OLMo-7B-Instruct on
BLEnD: accuracy over question rows in percent, mean (deviation) over six runs, three for the untouched model. Where the study's text and
tables differ these are the tables' numbers. Spain's prefix tested on Iran (71.20) repeats its neighbour and is probably a slip.
"""

from __future__ import annotations

__all__ = ["CULTURES", "FORMAT_CONTROL", "METHODS", "OWN_TEST_OF_CONTROL", "PAIRS", "SOURCE", "SPLIT_SIZES", "UNTOUCHED", "known"]

Number = tuple[float, float]
"""Mean and deviation over the study's runs, percent."""

SOURCE = "Le Bellier (RECITAL 2026), OLMo-7B-Instruct on BLEnD, accuracy by row"

CULTURES = ("Spain", "Mexico", "China", "South Korea", "Iran", "Algeria")
METHODS = ("prompt-tuning", "prefix-tuning")


def _row(*numbers: Number) -> dict[str, Number]:
    """Numbers of one row by tested culture."""
    return dict(zip(CULTURES, numbers, strict=True))


UNTOUCHED = _row((74.24, 8.57), (72.37, 1.20), (68.06, 3.34), (66.20, 5.06), (62.03, 2.31), (55.08, 7.01))

FORMAT_CONTROL = _row((53.66, 11.56), (50.17, 11.09), (45.65, 5.99), (45.77, 6.98), (43.02, 9.26), (42.37, 6.08))
"""Prompt-tuned on questions with the culture cut out, tested on the ordinary test sides: what noise does, no reference for a gain."""

OWN_TEST_OF_CONTROL = 28.33
"""The format control on its own test side, percent."""

PAIRS: dict[str, dict[str, dict[str, Number]]] = {
    "prompt-tuning": {
        "Spain": _row((80.58, 6.06), (75.73, 6.92), (68.65, 3.51), (67.11, 4.69), (58.24, 4.35), (59.90, 6.00)),
        "Mexico": _row((76.64, 7.27), (80.59, 5.92), (71.52, 3.57), (66.88, 5.09), (59.13, 4.29), (58.34, 8.37)),
        "China": _row((73.88, 5.40), (74.48, 6.21), (81.37, 3.57), (67.39, 5.17), (63.59, 4.32), (58.97, 6.56)),
        "South Korea": _row((73.97, 9.64), (73.42, 8.26), (67.39, 3.35), (75.95, 4.66), (59.88, 3.94), (54.96, 8.60)),
        "Iran": _row((73.84, 9.17), (73.15, 7.82), (69.04, 5.53), (65.62, 5.51), (74.83, 5.09), (57.69, 8.17)),
        "Algeria": _row((73.68, 11.51), (72.18, 8.75), (68.51, 4.98), (65.69, 5.64), (62.83, 8.75), (72.57, 5.32)),
    },
    "prefix-tuning": {
        "Spain": _row((82.03, 6.18), (75.65, 8.20), (73.47, 2.87), (71.20, 2.50), (71.20, 6.61), (63.08, 7.26)),
        "Mexico": _row((79.70, 4.91), (79.65, 6.81), (75.00, 4.12), (70.99, 3.54), (67.69, 4.99), (62.48, 7.44)),
        "China": _row((78.34, 6.97), (77.08, 7.35), (81.41, 3.92), (71.23, 2.89), (67.82, 5.61), (61.96, 9.64)),
        "South Korea": _row((77.31, 7.24), (73.39, 7.78), (71.56, 2.26), (76.19, 3.19), (64.35, 5.83), (64.47, 7.53)),
        "Iran": _row((78.89, 8.47), (74.21, 9.14), (72.87, 4.31), (69.67, 4.30), (78.59, 5.30), (65.74, 6.72)),
        "Algeria": _row((77.98, 9.38), (73.15, 9.08), (72.15, 4.37), (69.73, 5.99), (69.70, 7.77), (74.12, 5.41)),
    },
}
"""Accuracy by method, trained culture, tested culture; the own-culture numbers are the diagonals."""

SPLIT_SIZES: dict[str, tuple[tuple[int, int], ...]] = {
    "Spain": ((15806, 3474), (15170, 4110), (15466, 3814)),
    "Mexico": ((16538, 3975), (16442, 4071), (16198, 4315)),
    "China": ((16344, 4066), (16137, 4273), (16053, 4357)),
    "South Korea": ((17314, 4125), (16571, 4868), (16868, 4571)),
    "Iran": ((15409, 3962), (15121, 4250), (15008, 4363)),
    "Algeria": ((16502, 3862), (16185, 4179), (16148, 4216)),
}
"""Questions (train, test) of each of the study's three splits; a culture's sums identify the data version."""


def known(culture: str) -> str | None:
    """The study's name of a culture as a source spells it, or None when the study does not have it."""
    name = culture.replace("_", " ").strip().lower()
    return next((ours for ours in CULTURES if ours.lower() == name), None)
