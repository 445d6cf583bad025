"""Which device a name means, and how much memory a job may take."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from affinage.backbone import device_name, device_of, free_memory, memory
from affinage.records import UserError

GIB = 1 << 30


def test_names_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of("cpu") == torch.device("cpu")
    assert device_name("cpu") == "cpu"
    with pytest.raises(UserError, match=r"model\.device: found 'gpu'; expected cpu, cuda, cuda:1, \.\.\. or auto"):
        device_of("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto") == torch.device("cpu")
    for asked in (device_of, device_name, free_memory):
        with pytest.raises(UserError, match=r"model\.device: found 'cuda', and no CUDA device .*Run it where the GPU is"):
            asked("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert (device_of("auto"), device_of("cuda:1")) == (torch.device("cuda"), torch.device("cuda:1"))
    with pytest.raises(UserError, match=r"found 'cuda:2', and 2 CUDA devices"):
        device_of("cuda:2")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 200 GiB to spare, and no control groups yet."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 300000000 kB\nMemAvailable: {200 * GIB // 1024} kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "_OWN", tmp_path / "own")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    return tmp_path


def group(folder: Path, limit: str, used: int, cached: int, names: tuple[str, str, str]) -> None:
    folder.mkdir(parents=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {cached}\nfile 7\n")


def test_a_job_s_limit_counts_where_it_is_tighter_than_the_machine(machine: Path) -> None:
    assert free_memory("cpu") == ("cpu", 200 * GIB)
    (machine / "own").write_text("0::/slurm/job_7/step_0\n")
    names = ("memory.max", "memory.current", "inactive_file")
    group(machine / "groups" / "slurm" / "job_7", str(8 * GIB), 3 * GIB, GIB, names)
    assert free_memory("cpu")[1] == 6 * GIB, "cached files make room"
    group(machine / "groups" / "slurm" / "job_7" / "step_0", "max", 2 * GIB, 0, names)
    assert free_memory("cpu")[1] == 6 * GIB, "a step without a limit of its own has its job's"
    (machine / "groups" / "slurm" / "job_7" / "memory.current").write_text(str(10 * GIB))
    assert free_memory("cpu")[1] == 0


def test_limits_of_the_first_version_and_of_a_container(machine: Path) -> None:
    (machine / "own").write_text("5:devices:/\n4:cpu,memory:/host/only\n1:name=systemd:/\n0::/\n")
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    group(machine / "groups" / "memory", str(4 * GIB), GIB, 0, names)
    assert free_memory("cpu")[1] == 3 * GIB
    (machine / "groups" / "memory" / names[0]).write_text("9223372036854771712")
    assert free_memory("cpu")[1] == 200 * GIB, "what version 1 calls no limit"
