"""Studies that an older version began: what their files lack is added, and nothing is made anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from affinage.config import MethodConfig, StudyConfig, TrainingConfig
from affinage.records import UserError
from affinage.store import QUESTION_SCHEMA, StudyFolder, lacks_columns, read_json, read_study, write_json
from affinage.store.scores import read_table
from affinage.study import run
from study_fakes import CLEAN, CULTURES, Fake, study, write_questions


def test_options_cultures_are_added_to_a_question_table_without_them(tmp_path: Path) -> None:
    out, config = tmp_path / "out", study(write_questions(tmp_path / "questions.parquet"))

    def again() -> Fake:
        fake = Fake()
        assert run(config, out, engine=fake.engine(), standing=CLEAN, poll=0.02).complete
        return fake

    assert again().steps
    folder = StudyFolder(out)
    whole = read_study(out).questions
    assert whole["option_cultures"].to_list() == [list(CULTURES)] * whole.height
    pl.read_parquet(folder.questions).drop("option_cultures").write_parquet(folder.questions)
    assert lacks_columns(folder)
    older = read_study(out).questions
    assert older.schema == pl.Schema(QUESTION_SCHEMA)
    assert older["option_cultures"].null_count() == older.height
    assert again().steps == []
    assert not lacks_columns(folder)
    assert read_study(out).questions.equals(whole)


def test_a_study_without_a_way_of_computing_contexts_goes_on_in_the_one_that_there_was(tmp_path: Path) -> None:
    out, ways = tmp_path / "out", set[str]()
    questions = write_questions(tmp_path / "questions.parquet")

    def asked(**model: Any) -> StudyConfig:
        config = study(questions, methods=[{"name": "prompt-tuning"}], starts=1)
        return config.model_copy(update={"model": config.model.model_copy(update=model)})

    def behind_the_context(fake: Fake) -> Any:
        def resolve(method: MethodConfig, training: TrainingConfig) -> Any:
            made = fake.resolve(method, training)
            made.after_context = True
            return made

        def train(*given: Any, context: str, **rest: Any) -> None:
            ways.add(context)
            fake.train(*given, **rest)

        return replace(fake.engine(), resolve=resolve, train=train)

    def again(fake: Fake, **model: Any) -> bool:
        return run(asked(**model), out, engine=behind_the_context(fake), standing=CLEAN, poll=0.02).complete

    assert not again(Fake(fail=lambda folder: "Iran" in str(folder.path)), context="gradient")
    folder = StudyFolder(out)
    written = yaml.safe_load(folder.config.read_bytes())
    assert written["model"].pop("context") == "gradient"
    folder.config.write_text(yaml.safe_dump(written))
    for state in out.rglob("run.json"):
        values = read_json(state)
        values["plan"].pop("context", None)
        write_json(state, values)
    with pytest.raises(UserError, match=r"model\.context: 'gradient' there, 'kept' now"):
        again(Fake(), context="kept")
    ways.clear()
    fake = Fake()
    assert again(fake)
    assert ways == {"gradient"}
    assert len(set(fake.steps)) == 2, "those of the culture that failed, on both splits"
    assert run(asked(), tmp_path / "new", engine=behind_the_context(Fake()), standing=CLEAN, poll=0.02).complete
    assert ways - {"gradient"}, "a study that is begun now settles it"


def test_another_missing_column_is_still_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    pl.DataFrame([dict.fromkeys(QUESTION_SCHEMA)], schema=QUESTION_SCHEMA).drop("swap", "option_cultures").write_parquet(path)
    with pytest.raises(UserError, match="columns split, culture"):
        read_table(path, QUESTION_SCHEMA, may_lack=("option_cultures",))
