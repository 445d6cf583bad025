"""Studies that an older version began: what their files lack is added, and nothing is made anew."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from affinage.records import UserError
from affinage.store import QUESTION_SCHEMA, StudyFolder, lacks_columns, read_study
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


def test_another_missing_column_is_still_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    pl.DataFrame([dict.fromkeys(QUESTION_SCHEMA)], schema=QUESTION_SCHEMA).drop("swap", "option_cultures").write_parquet(path)
    with pytest.raises(UserError, match="columns split, culture"):
        read_table(path, QUESTION_SCHEMA, may_lack=("option_cultures",))
