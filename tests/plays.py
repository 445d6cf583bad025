"""Invented studies on disk: every adapter as good as the test says."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from affinage import seeds
from affinage.config import StudyConfig
from affinage.records import ItemScore, Split
from affinage.store import (
    QUESTION_SCHEMA,
    PlanRecord,
    Provenance,
    RunState,
    StudyFolder,
    advance,
    open_study,
    reopen,
    run_path,
    write_plan,
    write_scores,
)

WORKER = Provenance("0.1.0", "c0ffee", False, "3.11", {"torch": "2.13"}, "Linux x86_64", "cpu", 2)
CULTURES = ("Spain", "South_Korea", "Atlantis")


@dataclass(frozen=True)
class Play:
    """An invented study: how often each kind of adapter is right, and what went wrong on the way."""

    cultures: tuple[str, ...] = CULTURES
    labels: tuple[str, ...] = ("prompt-tuning",)
    templates: int = 48
    rows: int = 2
    folds: int = 2
    starts: int = 2
    untouched: float = 0.3
    other: float = 0.35
    own: float = 0.75
    own_new: float | None = None
    letters: bool = True
    missing: tuple[tuple[str, int], ...] = ()
    provisional: tuple[str, ...] = ()
    unscored: int = 0
    side: str = "test"
    skills: dict[str, float] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Writes the study's folder as `study run` leaves it."""
        study = StudyFolder(folder)
        ids = [f"T{k:03d}" for k in range(self.templates)]
        splits = tuple(
            Split(f"fold-{f}-of-{self.folds}", frozenset(t for k, t in enumerate(ids) if k % self.folds != f), frozenset(ids[f :: self.folds]))
            for f in range(self.folds)
        )
        config = StudyConfig.model_validate({"name": "a play", "starts": self.starts, "splits": {"kind": "folds", "side": self.side}})
        open_study(study, config, write=True)
        kinds = [("none", "none", "", 1)]
        kinds += [(label, label, "untrained", self.starts) for label in self.labels]
        kinds += [(label, label, culture, self.starts) for label in self.labels for culture in self.cultures]
        runs = [
            {
                "run": run_path(label, trained or "untouched", split.name, str(start), {"all": [label, trained, split.name, start]}),
                "label": label,
                "method": method,
                "trained_culture": trained,
                "split": split.name,
                "start": start,
            }
            for label, method, trained, starts in kinds
            for split in splits
            for start in range(starts)
        ]
        sizes = tuple(
            {"split": s.name, "culture": c, "train": 1000, "test": self.rows * len(s.test_templates), "development": 0}
            for s in splits
            for c in self.cultures
        )
        data = {"name": "play", "licence": "CC-BY-4.0", "citation": "Nobody (2026)", "restrictions": "illustrative", "digest": "abc"}
        ranges = {split.name: 0.024 for split in splits}
        write_plan(study, PlanRecord(splits, self.cultures, tuple(runs), sizes, ranges, data, {"id": "tiny"}), self._questions(splits))
        for run in runs:
            if (run["trained_culture"], run["start"]) not in self.missing:
                self._run(study, run, next(s for s in splits if s.name == run["split"]))
        return folder

    def _questions(self, splits: tuple[Split, ...]) -> pl.DataFrame:
        rows = [
            (s.name, f"{t}-{c}-{r}", t, f"G{int(t[1:]) // 4}-{int(t[1:]) % 2}", c, seeds.uniform("association", t, c, r) < 0.5, r == 0)
            for s in splits
            for t in sorted(s.test_templates)
            for c in self.cultures
            for r in range(self.rows)
        ]
        return pl.DataFrame([(*row[:5], float(row[5]), row[6]) for row in rows], schema=QUESTION_SCHEMA, orient="row")

    def _run(self, study: StudyFolder, run: dict[str, object], split: Split) -> None:
        folder = study.run(str(run["run"]))
        state = reopen(folder, RunState({"run": run["run"]}, {}, provisional=self.provisional), WORKER)
        for culture in self.cultures:
            items = [
                self._item(run, culture, template, row, refused=template == min(split.test_templates) and row < self.unscored)
                for template in sorted(split.test_templates)
                for row in range(self.rows)
            ]
            write_scores(folder.scores(culture), items)
        advance(folder, advance(folder, state, "trained"), "finished")

    def _item(self, run: dict[str, object], culture: str, template: str, row: int, *, refused: bool) -> ItemScore:
        name = f"{template}-{culture}-{row}"
        answer = seeds.seed_of("answer", name) % 4
        if refused:
            return ItemScore(name, template, culture, answer, (0, 1, 2, 3), (), (), (), state="too long")
        trained = str(run["trained_culture"])
        skill = self.own if trained == culture else self.other if trained in self.cultures else self.untouched
        if trained == culture and row > 0 and self.own_new is not None:
            skill = self.own_new
        # One draw per question, shared by all runs: better adapters are right where worse ones are.
        right = seeds.uniform("easy", name) < self.skills.get(culture, 0.0) + skill
        chosen = answer if right else (answer + 1) % 4
        scores = tuple(-0.1 if option == chosen else -3.0 - option for option in range(4))
        free = chosen == answer if self.letters else None
        return ItemScore(name, template, culture, answer, (0, 1, 2, 3), scores, (1,) * 4, (1,) * 4, (), 0.9, 5, 0.8, free)
