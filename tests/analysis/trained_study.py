"""A finished study of the tiny model: three cultures, two methods that can be added up and one that cannot, trained for a few steps."""

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


TESTED = 14
"""Questions per culture on the test side, each of a template of its own."""


def shared_study(factory: pytest.TempPathFactory) -> Path:
    """The folder of the study, made once per session; analyses may be added to it."""
    folder = factory.getbasetemp() / "trained study"
    if folder.exists():
        return folder / "runs"
    folder.mkdir()
    write_questions(folder / "questions.parquet")
    write_model(folder / "model")
    config = study(
        folder / "questions.parquet",
        cohort=3,
        methods=METHODS,
        prompt={"style": "text"},
        training={"loss": "choice", "steps": 4, "batch_size": 4, "checkpoint_seconds": 1000.0, "rate": 0.01},
        splits={"kind": "folds", "folds": 2, "count": 1, "development": False},
        starts=1,
    )
    values = config.model_dump(mode="json")
    model = {"id": str(folder / "model"), "dtype": "float32", "device": "cpu", "threads": 1, "cohort": 3, "nodes_per_pack": 4000}
    settled = validated(StudyConfig, {**values, "model": model, "data": {**values["data"], "cultures": list(CULTURES)}}, "test")
    assert run(settled, folder / "runs", standing=CLEAN).complete
    return folder / "runs"
