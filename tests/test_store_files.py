"""Whole files, logs that can be cut back, digests that do not depend on order."""

from __future__ import annotations

import errno
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest

from affinage.records import UserError
from affinage.store import append_log, canonical_digest, cut_log, disk_full, read_json, read_log, run_path, sweep, write_atomically, write_json
from affinage.store.folder import RunFolder, file_name


def _full(*_arguments: object, **_keywords: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _left_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")
    assert path.read_bytes() == b"old"
    write_atomically(path, lambda temporary: temporary.write_bytes(b"new"))
    assert path.read_bytes() == b"new"
    assert _left_in(path.parent) == ["file"]


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, bytes(data)[:3]))
    write_atomically(tmp_path / "file", b"0123456789")
    append_log(tmp_path / "log", {"step": 1})
    assert (tmp_path / "file").read_bytes() == b"0123456789"
    assert read_log(tmp_path / "log") == ({"step": 1},)


def _broken_after_some_bytes(temporary: Path) -> None:
    temporary.write_bytes(b"half")
    _full()


def _broken_in_rust(temporary: Path) -> None:
    temporary.write_bytes(b"half")
    raise RuntimeError('Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })')


@pytest.mark.parametrize("writer", [_broken_after_some_bytes, _broken_in_rust])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, writer: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(UserError, match=r"file: found a full disk \([0-9.]+ MB free.*continues"):
        write_atomically(path, writer)
    assert path.read_bytes() == b"old"
    assert _left_in(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["open", "write", "fsync"])
def test_a_full_disk_at_each_system_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, call, _full)
    with pytest.raises(UserError, match="a full disk"):
        write_atomically(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert _left_in(tmp_path) == ["file"]


def test_a_crash_at_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def die(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert _left_in(tmp_path) == ["file"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"file/below: found .*; expected a place that can be written"):
        write_atomically(tmp_path / "file" / "below", b"")


def test_another_error_of_a_writer_passes_and_leaves_nothing(tmp_path: Path) -> None:
    def writer(temporary: Path) -> None:
        temporary.write_bytes(b"half")
        raise ValueError("not the disk's fault")

    with pytest.raises(ValueError, match="not the disk's fault"):
        write_atomically(tmp_path / "file", writer)
    assert _left_in(tmp_path) == []


def test_sweep_removes_what_killed_writers_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "scores" / "Spain.parquet", b"kept")
    for leftover in (tmp_path / ".run.json.0a1b2c3d.tmp", tmp_path / "scores" / ".Iran.parquet.0a1b2c3d.tmp"):
        leftover.write_bytes(b"half")
    sweep(tmp_path)
    assert [path.name for path in sorted(tmp_path.rglob("*")) if path.is_file()] == ["Spain.parquet"]


def test_json_travels_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    write_json(path, {"a": [1, None], "ä": 0.1})
    assert read_json(path) == {"a": [1, None], "ä": 0.1}
    for size in (0, 1, 9):
        path.write_bytes(b'{"a": 1, "b": 2}'[:size])
        with pytest.raises(UserError, match=r"run\.json: .*a whole JSON file"):
            read_json(path)
    path.write_text("[1]")
    with pytest.raises(UserError, match="found list; expected a JSON object"):
        read_json(path)
    with pytest.raises(UserError, match="No such file"):
        read_json(tmp_path / "absent.json")


def test_a_log_is_cut_back_to_a_step(tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    assert read_log(log) == ()
    assert cut_log(log, 3) == 0
    records = [{"step": step, "loss": 1 / step} for step in range(1, 7)]
    for record in records:
        append_log(log, record)
    assert list(read_log(log)) == records
    assert cut_log(log, 4) == 4
    append_log(log, records[4])
    assert list(read_log(log)) == records[:5]
    assert cut_log(log, 0) == 0
    assert log.read_bytes() == b""


def test_a_torn_last_line_is_cut_at_any_byte(tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    lines = b"".join(json.dumps({"step": step, "loss": 0.5}).encode() + b"\n" for step in (1, 2, 3))
    second = len(lines) // 3 * 2
    for size in range(second, len(lines)):
        log.write_bytes(lines[:size])
        assert cut_log(log, 3) == 2
        assert log.read_bytes() == lines[:second]


def test_damage_before_the_last_line_is_named_with_its_line(tmp_path: Path) -> None:
    log = tmp_path / "train.jsonl"
    log.write_bytes(b'{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"train\.jsonl:2: found a damaged line"):
        cut_log(log, 3)


def test_in_a_file_of_several_a_torn_line_costs_that_line_alone(tmp_path: Path) -> None:
    log = tmp_path / "changes.jsonl"
    append_log(log, {"after": 8})
    log.write_bytes(log.read_bytes() + b'{"aft')
    append_log(log, {"after": 4})
    assert read_log(log, strict=False) == ({"after": 8}, {"after": 4})
    with pytest.raises(UserError, match=r"changes\.jsonl:2: found a damaged line"):
        read_log(log)


def test_a_full_disk_is_known_by_what_it_caused() -> None:
    mended = UserError("file", "a full disk", "room", "")
    mended.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert disk_full(mended)
    assert disk_full(RuntimeError("safetensors: No space left on device (os error 28)"))
    assert not disk_full(OSError(errno.EACCES, "denied"))


def test_a_full_disk_takes_back_the_part_of_the_line_that_it_took(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "train.jsonl"
    append_log(log, {"step": 1})
    whole, calls = os.write, []

    def fills_up(descriptor: int, data: bytes) -> int:
        calls.append(len(data))
        return whole(descriptor, bytes(data)[:4]) if len(calls) == 1 else _full()

    monkeypatch.setattr(os, "write", fills_up)
    with pytest.raises(UserError, match=r"train\.jsonl: found a full disk"):
        append_log(log, {"step": 2})
    assert len(calls) == 2
    assert log.read_bytes() == b'{"step": 1}\n'


def test_a_digest_depends_on_content_not_on_order() -> None:
    value = {"a": {"x": 1, "y": [1, 2]}, "templates": {f"T{i}" for i in range(20)}, "rate": 1e-4}
    items = list(value.items())
    random.Random(0).shuffle(items)
    turned = {**dict(items), "templates": frozenset(f"T{i}" for i in reversed(range(20))), "a": {"y": [1, 2], "x": 1}}
    assert canonical_digest(turned) == canonical_digest(value)
    assert canonical_digest({**value, "rate": 2e-4}) != canonical_digest(value)
    assert canonical_digest({**value, "a": {"x": 1, "y": [2, 1]}}) != canonical_digest(value)
    with pytest.raises(TypeError, match="Path has no canonical form"):
        canonical_digest({"path": Path()})


def test_a_run_is_named_by_what_determines_it() -> None:
    path = run_path("lora", "South_Korea", "fold-0-of-2", "start1", {"a": 1})
    assert path == f"runs/lora/South_Korea/fold-0-of-2-start1-{canonical_digest({'a': 1})[:8]}"
    assert run_path("lora", "South_Korea", "fold-0-of-2", "start1", {"a": 2}) != path


@pytest.mark.parametrize("name", ["Spain", "South_Korea", "Côte d'Ivoire", "../up", "a/b", ".", "..", "%41", "시골"])
def test_any_culture_is_one_part_of_a_path(tmp_path: Path, name: str) -> None:
    part = file_name(name)
    assert Path(part).name == part
    assert not part.startswith(".")
    assert RunFolder(tmp_path).scores(name).resolve() == (tmp_path / "scores" / f"{part}.parquet").resolve()
    assert unquote(part) == name
