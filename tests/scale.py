"""A study of as many scored rows as one wants, laid out on disk by the store's own writers; runs as a program: `python tests/scale.py FOLDER`.

Answers are drawn, so nothing in it is about any culture; only its size is like a real study's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from affinage import seeds
from affinage.config import StudyConfig
from affinage.records import BASELINES, Split
from affinage.store import QUESTION_SCHEMA, SCORE_SCHEMA, PlanRecord, RunState, StudyFolder, advance, open_study, reopen, write_plan, write_table
from plays import WORKER, planned_run

__all__ = ["Scale"]

OPTIONS = 4


@dataclass(frozen=True)
class Scale:
    """How large the study is; by default five million scored rows."""

    cultures: int = 16
    labels: tuple[str, ...] = ("prompt-tuning", "prefix-tuning", "lora", "p-tuning-v2")
    folds: int = 3
    starts: int = 2
    templates: int = 120
    """On each test side."""
    rows: int = 780
    """Questions of a culture on each test side."""

    @property
    def runs(self) -> int:
        """Untouched model, untrained starts, adapters."""
        return self.folds * (1 + len(self.labels) * self.starts * (1 + self.cultures))

    @property
    def scored(self) -> int:
        """Rows in the study's score files."""
        return self.runs * self.cultures * self.rows

    def write(self, folder: Path) -> Path:
        """Lays the study out in a folder."""
        study, names = StudyFolder(folder), [f"Culture_{number:02d}" for number in range(self.cultures)]
        settings = {"name": "scale", "starts": self.starts, "splits": {"kind": "folds", "folds": self.folds, "count": self.folds}}
        open_study(study, StudyConfig.model_validate(settings), write=True)
        splits = tuple(self._splits())
        kinds = [("none", "", 1)]
        kinds += [(label, trained, self.starts) for label in self.labels for trained in ("untrained", *names)]
        runs = tuple(
            planned_run(label, trained, split.name, start) for label, trained, starts in kinds for split in splits for start in range(starts)
        )
        sizes = tuple({"split": s.name, "culture": c, "train": 2 * self.rows, "test": self.rows, "development": 0} for s in splits for c in names)
        data = {"name": "scale", "licence": "CC-BY-4.0", "restrictions": "drawn", "digest": "abc"}
        record = PlanRecord(splits, tuple(names), runs, sizes, {split.name: 0.01 for split in splits}, data, {"id": "tiny"})
        questions = {(split.name, culture): self._questions(split, culture) for split in splits for culture in names}
        write_plan(study, record, pl.concat(questions.values()))
        for run in runs:
            there = study.run(run["run"])
            state = reopen(there, RunState({"run": run["run"]}, {}), WORKER)
            for culture in names:
                write_table(there.scores(culture), self._scores(run, culture, questions[run["split"], culture]))
            advance(there, advance(there, state, "trained"), "finished")
        return folder

    def _splits(self) -> Iterator[Split]:
        """Folds."""
        sides = [frozenset(f"T{fold}{number:04d}" for number in range(self.templates)) for fold in range(self.folds)]
        for fold, side in enumerate(sides):
            yield Split(f"fold-{fold}-of-{self.folds}", frozenset().union(*sides) - side, side)

    def _questions(self, split: Split, culture: str) -> pl.DataFrame:
        """A culture's rows of the question table."""
        draw = seeds.generator("scale", split.name, culture)
        templates = sorted(split.test_templates)
        chosen = [templates[number % len(templates)] for number in range(self.rows)]
        frame = pl.DataFrame({"template_id": chosen}).with_row_index("row")
        values: dict[str, Any] = {
            "answer_seen": draw.random(self.rows) < 0.4,
            "agreement": draw.choice([0.4, 0.8, 1.0], self.rows),
            **{name: (draw.random(self.rows) < 0.3).astype(np.float64) for name in BASELINES},
        }
        # Every fourth question is asked, with the same options, in every culture.
        swapped = pl.when(pl.col("row") % 4 == 0).then(pl.format("swap {} {}", pl.lit(split.name), "row"))
        answer = pl.Series(draw.integers(0, OPTIONS, self.rows))
        return frame.select(
            pl.lit(split.name).alias("split"),
            pl.lit(culture).alias("culture"),
            pl.format("{}-{}-{}", "template_id", pl.lit(culture), "row").alias("mcq_id"),
            "template_id",
            pl.format("G{}", pl.col("template_id").str.slice(1).cast(pl.Int64) // 2 * 2).alias("group"),
            pl.format("topic {}", pl.col("template_id").str.slice(1).cast(pl.Int64) % 6).alias("topic"),
            swapped.alias("swap"),
            pl.format("right {}", answer).alias("right"),
            pl.Series("option_cultures", self._option_cultures(culture, answer.to_list())),
            **{name: pl.Series(value) for name, value in values.items()},
        ).select(*QUESTION_SCHEMA)

    def _option_cultures(self, culture: str, answer: list[int]) -> list[list[str]]:
        """The own culture's option is the right one, three cultures' stand beside it."""
        others = [f"Culture_{number:02d}" for number in range(self.cultures) if f"Culture_{number:02d}" != culture]
        chosen = [[others[(row + place) % len(others)] for place in range(OPTIONS)] for row in range(self.rows)]
        return [[*cultures[:right], culture, *cultures[right + 1 :]] for cultures, right in zip(chosen, answer, strict=True)]

    def _scores(self, run: dict[str, Any], culture: str, questions: pl.DataFrame) -> pl.DataFrame:
        """One score file: the adapter of the own culture is right more often."""
        draw = seeds.generator("scores", run["run"], culture)
        answer = questions["right"].str.slice(len("right ")).cast(pl.Int16)
        logprob = draw.normal(-3.0, 1.0, (self.rows, OPTIONS))
        skill = 0.2 + 0.1 * (run["trained_culture"] not in {"", "untrained"}) + 0.2 * (run["trained_culture"] == culture)
        right = draw.random(self.rows) < skill
        logprob[right, answer.to_numpy()[right]] = -0.5
        lists = {
            "order": np.tile(np.arange(OPTIONS), (self.rows, 1)),
            "logprob": logprob,
            "tokens": np.ones((self.rows, OPTIONS)),
            "characters": np.ones((self.rows, OPTIONS)),
        }
        return questions.select(
            "mcq_id",
            "template_id",
            "culture",
            answer.alias("answer"),
            *(pl.Series(name, value).arr.to_list().cast(SCORE_SCHEMA[name]) for name, value in lists.items()),
            pl.lit([], SCORE_SCHEMA["empty_logprob"]).alias("empty_logprob"),
            letter_mass=draw.random(self.rows),
            greedy_token=draw.integers(0, 50_000, self.rows),
            greedy_probability=draw.random(self.rows),
            free=logprob.argmax(1) == answer.to_numpy(),
            state=pl.lit("scored"),
        )


if __name__ == "__main__":
    print(Scale().write(Path(sys.argv[1])))  # noqa: T201
