"""How often the paired tests find a difference where there is none: each test, and each family after correction.

    OMP_NUM_THREADS=1 python bench/false_positives.py --out bench/results

Six cultures, the untouched model and one adapter of each culture, all of them right equally often on every culture. The families are those of a
report: six adapters on their own culture, thirty on the others. Nothing is fitted: a family's error rate is the share of the invented studies in
which some difference of it is called one.
"""

# ruff: noqa: T201  (a script prints)

from __future__ import annotations

import argparse
import math
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import invented_studies as invented
import numpy as np
import polars as pl
import scipy
from invented_studies import ACCURACIES, AVERAGES, MOST_ROWS, NULLS, OF_A_CULTURE, PRESENT, worthless

import affinage
from affinage.stats import Contrasts, contrasts, weights_of
from affinage.stats.paired_tests import family_p_values
from affinage.store import checkout, write_atomically, write_json

LEVEL = 0.05
DRAWS = 999
"""Of signs, in each study."""

TEMPLATES = (20, 60, 300)
CORRELATIONS = (0.2, 0.5, 0.9)
FAMILIES = ("own", "transfer")


@dataclass(frozen=True, slots=True)
class Cell:
    """What was found in one cell of the grid, by one average and in one family."""

    templates: int
    correlation: float
    null: str
    average: str
    family: str
    comparisons: int
    studies: int
    effective: float
    """Mean effective number of template groups of a comparison."""
    refused: float
    """Share of the comparisons that the package does not test."""
    each: float
    """Share of single tests with p <= 0.05, uncorrected."""
    each_error: float
    """Its Monte Carlo standard error."""
    any_plain: float
    """Share of studies in which some uncorrected p is <= 0.05."""
    holm: float
    """Share of studies in which some p of Holm is."""
    max_t: float
    """Share of studies in which some p of max-T is."""
    said: float
    """Share of studies in which a report names a difference: Holm's p below 0.05 and an interval that does not contain zero."""

    def error(self, share: float) -> float:
        """Monte Carlo standard error of a share of the studies."""
        return math.sqrt(share * (1 - share) / self.studies)


def main() -> None:
    """Runs the grid, prints each cell and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=2_000)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    found: list[Cell] = []
    for templates in TEMPLATES:
        for correlation in CORRELATIONS:
            for null in NULLS:
                # Half as many where a study takes five times as long.
                for cell in measured(templates, correlation, null, given.studies // (2 if templates > 100 else 1)):
                    print(" ".join(line(cell)), flush=True)
                    found.append(cell)
                if given.out is not None:
                    write(found, given.out)


# What the tests say of them ------------------------------------------------------------------------------------------------------------


def measured(templates: int, correlation: float, null: str, studies: int) -> Iterator[Cell]:
    """One point of the grid: a cell per average and family."""
    cultures = len(ACCURACIES)
    places = np.arange(cultures * cultures)
    own = places // cultures == places % cultures
    cells = {"own": places[own], "transfer": places[~own]}
    kept: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for number in range(studies):
        for average, sums in worthless(templates, correlation, null, number).items():
            for family, chosen in cells.items():
                weights = weights_of(np.arange(chosen.size), chosen, np.ones(chosen.size), (chosen.size, places.size))
                kept.setdefault((average, family), []).append(judged(contrasts(sums, weights), (templates, correlation, null, number)))
    for (average, family), lines in kept.items():
        values = np.array(lines)
        mean = values.mean(0).tolist()
        tested = values[np.isfinite(values[:, 2]), 2]
        each = float(tested.mean()) if tested.size else math.nan
        error = float(tested.std(ddof=1)) / math.sqrt(tested.size) if tested.size > 1 else math.nan
        yield Cell(templates, correlation, null, average, family, cells[family].size, studies, mean[0], mean[1], each, error, *mean[3:])


def judged(found: Contrasts, key: tuple[str | int | float, ...]) -> tuple[float, ...]:
    """One family of one study: effective groups, share refused, share of p <= 0.05, and whether some p is by each correction."""
    p, corrected, sharper = family_p_values(found, key, DRAWS)
    tested = ~np.isnan(p)
    shares = float((p[tested] <= LEVEL).mean()) if tested.any() else math.nan
    estimates = found.estimates([0] * p.size, [0] * p.size)
    away = np.array([each.above or each.below for each in estimates])
    some = (p <= LEVEL, corrected <= LEVEL, sharper <= LEVEL, (corrected < LEVEL) & away)
    return (float(found.effective.mean()), float(1 - tested.mean()), shares, *(float(each.any()) for each in some))


# The page ------------------------------------------------------------------------------------------------------------------------------

HEADER = (
    "studies",
    "templates",
    "correlation",
    "null",
    "average",
    "family",
    "effective groups",
    "refused, %",
    "each test, %",
    "some test, %",
    "Holm, %",
    "max-T, %",
    "said, %",
)


def line(cell: Cell) -> tuple[str, ...]:
    """A cell as text, shares in percent (Monte Carlo standard error)."""
    with_error = (f"{100 * share:.1f} ({100 * cell.error(share):.1f})" for share in (cell.any_plain, cell.holm, cell.max_t, cell.said))
    head = (f"{cell.studies:,}", str(cell.templates), str(cell.correlation), cell.null, cell.average, f"{cell.family} ({cell.comparisons})")
    shares = (f"{cell.effective:.1f}", f"{100 * cell.refused:.1f}")
    each = "none tested" if math.isnan(cell.each) else f"{100 * cell.each:.1f} ({100 * cell.each_error:.1f})"
    return (*head, *shares, each, *with_error)


def write(found: list[Cell], folder: Path) -> None:
    """Writes the page and every number."""
    standing = checkout()
    commit = f"{standing.commit}{', changed' if standing.dirty else ''}"
    versions = {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__, "polars": pl.__version__}
    command = " ".join(("python bench/false_positives.py", *sys.argv[1:]))
    about = {"command": command, "affinage": affinage.__version__, "commit": commit, "versions": versions, "machine": platform.processor() or "cpu"}
    settings = {
        **{"LEVEL": LEVEL, "DRAWS": DRAWS, "ACCURACIES": ACCURACIES, "TEMPLATES": TEMPLATES, "CORRELATIONS": CORRELATIONS},
        **{"NULLS": NULLS, "AVERAGES": AVERAGES, "FAMILIES": FAMILIES, "PRESENT": PRESENT},
        "ROWS": (OF_A_CULTURE.mean, OF_A_CULTURE.deviation, MOST_ROWS),
        **{name: getattr(invented, name) for name in ("PAIRED", "ACROSS_CULTURES", "WITH_UNTOUCHED", "AMONG_ADAPTERS")},
    }
    write_json(
        folder / "false-positives.json", {"bench": "false positives", **about, "settings": settings, "cells": [asdict(cell) for cell in found]}
    )
    rows = [HEADER, ("--:", "--:", "--:", ":--", ":--", ":--", *["--:"] * 7), *map(line, found)]
    table = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    page = folder / "false-positives.md"
    reading = page.read_text(encoding="utf-8").partition(READING)[2] if page.exists() else "\n"
    text = "\n".join(
        [
            "# False positives of the paired tests",
            "",
            f"    {command}",
            "",
            f"* affinage: {affinage.__version__}, commit {commit}",
            f"* versions: {', '.join(f'{name} {version}' for name, version in versions.items())}",
            f"* signs drawn {DRAWS} times in each study",
            "",
            EXPLAINED,
            "",
            table,
            "",
            READING,
        ]
    )
    write_atomically(page, (text + reading).encode())


EXPLAINED = """Every study is invented so that no adapter differs from the untouched model: what is found is false. *correlation*: inside a template.
*null*: `alike`, adapters and untouched model could change places; `equal mean`, they are right equally often but not on the same kind of template.
*average*: by template (headline) or by row, where few templates hold most rows. *effective groups*: Kish's number, mean over comparisons; below
ten the package refuses to test (*refused*). *each test*: share of single tests with p <= 0.05. *some test*, *Holm*, *max-T*: share of studies in
which some comparison of the family has p <= 0.05 without correction, by Holm, by max-T. *said*: share of studies in which a report names a difference
(Holm's p below 0.05 and an interval without zero). In brackets the Monte Carlo standard error."""

READING = "## How to read it"


if __name__ == "__main__":
    main()
