"""Bad input, each with its message: what stands where, what was expected, what to do."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from affinage.config import DataConfig
from affinage.data import COLUMNS, load
from affinage.data.files import read_records
from affinage.records import UserError

HEADER = "mcq_id,template_id,culture,topic,question,options,option_cultures,answer\n"
GOOD = 'q1,t,A,food,What in A?,"[""x"", ""y""]","[""A"", ""B""]",0\n'


def table(path: Path) -> DataConfig:
    return DataConfig(source="table", path=str(path))


def csv(tmp_path: Path, text: str, encoding: str = "utf-8") -> Path:
    path = tmp_path / "questions.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("q2,t,A,food,What in A?\n", "5 cells; expected 8, one for each column"),
        (GOOD.replace("q1,t", "q2,"), "no template; expected the id"),
        (GOOD.replace("q1,t,A", "q2,t,"), "no culture; expected the culture"),
        (GOOD.replace("q1", ""), "no id; expected one"),
        (GOOD, "id 'q1' occurs before"),
        (GOOD.replace("q1", "q2").replace(",0\n", ",2\n"), "answer 2 is outside the 2 options"),
        (GOOD.replace("q1", "q2").replace(",0\n", ",-1\n"), "answer -1 is outside the 2 options"),
        (GOOD.replace("q1", "q2").replace(",0\n", ",A\n"), "answer 'A'; expected the right option's index from 0"),
        (GOOD.replace("q1", "q2").replace('""y""]', '""x ""]', 1), "option 'x' stands there twice"),
        (GOOD.replace("q1", "q2").replace('""y""]', '"" ""]', 1), "an empty option"),
        (GOOD.replace("q1", "q2").replace(', ""y""]', "]", 1), "1 options; expected 2 to 26"),
        (GOOD.replace("q1", "q2").replace('[""x""', '[""x""]', 1), "options: no JSON list"),
        (GOOD.replace("q1", "q2").replace(', ""B""]', "]", 1), "1 option cultures for 2 options"),
        (GOOD.replace("q1", "q2").replace("What in A?", " "), "no question; expected its text"),
    ],
)
def test_a_malformed_row_is_named_with_file_line_and_reason(tmp_path: Path, row: str, reason: str) -> None:
    path = csv(tmp_path, HEADER + GOOD + row)
    with pytest.raises(UserError, match="1 malformed rows") as caught:
        load(table(path))
    assert f"{path}:3: {reason}" in str(caught.value)
    kept = load(table(path), quarantine=True)
    assert (len(kept), len(kept.faults)) == (1, 1)


def test_lines_are_counted_through_cells_of_many_lines(tmp_path: Path) -> None:
    long = GOOD.replace("What in A?", '"What\nin\nA?"')
    path = csv(tmp_path, HEADER + long + GOOD.replace("q1", "q2").replace(",0\n", ",9\n"))
    assert [fault.line for fault in load(table(path), quarantine=True).faults] == [5]


def test_ten_faults_are_shown_and_all_are_counted(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER + GOOD + "".join(f"r{number}\n" for number in range(30)))
    with pytest.raises(UserError, match="30 malformed rows") as caught:
        load(table(path))
    assert str(caught.value).count("cells; expected 8") == 10


def test_no_row_left_is_an_error_even_with_quarantine(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER + GOOD.replace(",0\n", ",7\n"))
    with pytest.raises(UserError, match=r"no usable question.*answer 7"):
        load(table(path), quarantine=True)


def test_a_missing_column_is_named_with_the_nearest_found(tmp_path: Path) -> None:
    path = csv(tmp_path, HEADER.replace("template_id", "templateid") + GOOD)
    with pytest.raises(UserError, match=r"no column template_id.*Did you mean 'templateid'"):
        load(table(path))


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    assert len(load(table(csv(tmp_path, HEADER + GOOD, "utf-8-sig")))) == 1


def test_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"questions\.csv:2: found byte 0xf1, which is not UTF-8.*Save it as UTF-8"):
        load(table(csv(tmp_path, HEADER + GOOD.replace("food", "año"), "latin-1")))
    with pytest.raises(UserError, match="a file in UTF-16"):
        load(table(csv(tmp_path, HEADER + GOOD, "utf-16")))


def test_a_quotation_mark_that_is_not_closed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"questions\.csv:3: found malformed text.*quotation mark"):
        load(table(csv(tmp_path, HEADER + GOOD + GOOD[:-5])))


ROW = {"mcq_id": "q1", "template_id": "t", "culture": "A", "question": "What in A?", "options": ["x", "y"], "answer": 1}


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_json_may_be_a_list_or_lines(tmp_path: Path, suffix: str) -> None:
    rows = [ROW, {**ROW, "mcq_id": "q2"}]
    path = tmp_path / f"questions{suffix}"
    for text in (json.dumps(rows), json.dumps(rows, indent=2), "\n".join(map(json.dumps, rows)), "\ufeff" + json.dumps(rows)):
        path.write_text(text, encoding="utf-8")
        assert [mcq.answer for mcq in load(table(path)).questions()] == [1, 1]


@pytest.mark.parametrize("length", [-1, -10, 30])
def test_truncated_json_is_named_with_its_line(tmp_path: Path, length: int) -> None:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps([ROW, ROW], indent=1)[:length], encoding="utf-8")
    with pytest.raises(UserError, match=r"questions\.json:\d+: .*expected JSON.*fetch it again"):
        load(table(path))


def test_json_rows_that_are_none_are_faults(tmp_path: Path) -> None:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, [ROW, 5, {"mcq_id": "q2"}])), encoding="utf-8")
    faults = load(table(path), quarantine=True).faults
    assert [(fault.line, fault.reason.split(";")[0]) for fault in faults] == [(2, "a int"), (3, "no template_id, culture, question, options, answer")]


def test_truncated_parquet_and_another_suffix_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    pl.DataFrame([ROW]).write_parquet(path)
    assert len(load(table(path))) == 1
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(UserError, match="no readable Parquet"):
        load(table(path))
    with pytest.raises(UserError, match=r"'\.xlsx'; expected one of \.csv"):
        list(read_records(tmp_path / "questions.xlsx", ()))


def test_a_malformed_row_of_the_package_s_own_parquet_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "questions.parquet"
    row = {**ROW, "topic": "food", "option_cultures": ["A", "B"], "language": "en"}
    rows = [row, {**row, "mcq_id": "q2", "answer": 4}, {**row, "mcq_id": "q3", "template_id": None}]
    pl.DataFrame(rows, schema=COLUMNS).write_parquet(path)
    assert [(fault.line, fault.reason.split(";")[0]) for fault in load(table(path), quarantine=True).faults] == [
        (2, "answer 4 is outside the 2 options"),
        (3, "no template"),
    ]
