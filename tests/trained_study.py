"""Studies of the tiny model, short enough to be trained in a test; and one that is finished: two methods that can be added up, one that cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from affinage.config import StudyConfig, validated
from affinage.study import run
from study_fakes import CLEAN, CULTURES, study, write_questions
from tiny import write_model

METHODS: list[dict[str, Any]] = [
    {"name": "prompt-tuning", "settings": {"length": 3}, "training": {"rate": 0.05}},
    {"name": "prefix-tuning", "settings": {"length": 2}, "training": {"rate": 0.05}},
    {"name": "lora", "settings": {"rank": 2, "targets": ["q_proj", "v_proj"]}, "training": {"rate": 0.02}},
    {"name": "lora-mixture", "settings": {"rank": 1, "experts": 2, "top": 2, "hidden": 2, "code": 2, "targets": ["q_proj"]}},
]
"""Of the finished study."""

TESTED = 14
"""Questions per culture on the test side, each of a template of its own."""


def material(folder: Path, templates: int = 24) -> Path:
    """Puts the questions and the model of `tiny_study` into a folder, and returns it."""
    folder.mkdir(exist_ok=True)
    write_questions(folder / "questions.parquet", templates=templates)
    write_model(folder / "model")
    return folder


def tiny_study(
    folder: Path, methods: list[dict[str, Any]], *, training: dict[str, Any], cohort: int, nodes_per_pack: int, **changes: Any
) -> StudyConfig:
    """Three cultures, one split, one start; trained by `choice` on a folder of `material`."""
    config = study(
        folder / "questions.parquet",
        cohort=cohort,
        methods=methods,
        prompt={"style": "text"},
        training={"loss": "choice", "rate": 0.01, **training},
        splits={"kind": "folds", "folds": 2, "count": 1, "development": False},
        starts=1,
    )
    values = config.model_dump(mode="json")
    model = {"id": str(folder / "model"), "dtype": "float32", "device": "cpu", "threads": 1, "cohort": cohort, "nodes_per_pack": nodes_per_pack}
    return validated(StudyConfig, {**values, "model": model, "data": {**values["data"], "cultures": list(CULTURES)}, **changes}, "test")


def shared_study(factory: pytest.TempPathFactory) -> Path:
    """The folder of the finished study, made once per session; analyses may be added to it."""
    folder = factory.getbasetemp() / "trained study"
    if not folder.exists():
        training = {"steps": 4, "batch_size": 4, "checkpoint_seconds": 1000.0}
        config = tiny_study(material(folder), METHODS, training=training, cohort=3, nodes_per_pack=4000)
        assert run(config, folder / "runs", standing=CLEAN).complete
    return folder / "runs"
