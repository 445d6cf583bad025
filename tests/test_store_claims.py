"""At most one process holds a run, whatever happens to the others. The races are run with real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from affinage.records import UserError
from affinage.store import claims
from affinage.store.claims import ClaimLostError, claim, claim_owner

ALONE = "import sys, time; from pathlib import Path; from affinage.store.claims import claim; folder = Path(sys.argv[1])\n"

HOLD = (
    ALONE
    + """
with claim(folder) as held:
    print(held is not None, flush=True)
    time.sleep(60)
"""
)

RACE = (
    ALONE
    + """
start, wins, kept = float(sys.argv[2]), [], []
for number in range(int(sys.argv[3])):
    while time.time() < start + number * 0.05:
        pass
    kept.append(claim(folder / str(number)))
    if kept[-1].__enter__() is not None:
        wins.append(number)
print(wins, flush=True)
sys.stdin.read()  # nobody releases anything before all have tried
"""
)

COUNT = (
    ALONE
    + """
counter = folder / "counter"
done = 0
while done < int(sys.argv[2]):
    with claim(folder) as held:
        if held is None:
            continue
        value = int(counter.read_text())
        time.sleep(0.001)
        counter.write_text(str(value + 1))
        done += 1
"""
)


def _start(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _end(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


def _stale(folder: Path, generation: int = 1, pid: int = 1, host: str = "elsewhere") -> Path:
    """A claim of another machine's process whose heart stopped an hour ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"claim-{generation:06d}"
    path.write_text(json.dumps({"host": host, "namespace": claims._namespace(), "pid": pid, "token": "t"}))
    os.utime(path, (time.time() - 3600,) * 2)
    return path


def test_a_claim_is_held_by_one_and_free_again_after_it(tmp_path: Path) -> None:
    assert claim_owner(tmp_path) is None
    with claim(tmp_path) as first:
        assert first is not None
        assert claim_owner(tmp_path) == f"{socket.gethostname()}, process {os.getpid()}"
        with claim(tmp_path) as second:
            assert second is None
        first.check()
    assert claim_owner(tmp_path) is None
    with claim(tmp_path) as again:
        assert again is not None
        assert again.generation == 2
    assert [path.name for path in tmp_path.iterdir()] == ["claim-000002"]


def test_a_claim_is_released_when_the_work_fails(tmp_path: Path) -> None:
    def work() -> None:
        with claim(tmp_path) as held:
            assert held is not None
            raise RuntimeError("training failed")

    with pytest.raises(RuntimeError, match="training failed"):
        work()
    assert claim_owner(tmp_path) is None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("heartbeat")]


def test_a_living_process_keeps_its_claim_and_a_killed_one_loses_it_at_once(tmp_path: Path) -> None:
    process = _start(HOLD, tmp_path)
    assert process.stdout is not None
    assert process.stdout.readline() == "True\n"
    assert claim_owner(tmp_path) == f"{socket.gethostname()}, process {process.pid}"
    with claim(tmp_path) as held:
        assert held is None
    os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while claim_owner(tmp_path) is not None and time.monotonic() < deadline:  # not yet collected by its parent, this test
        time.sleep(0.01)
    with claim(tmp_path) as held:
        assert held is not None
    process.communicate()


def test_the_heart_beats_and_a_stopped_one_is_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_running", lambda pid: True)
    with claim(tmp_path, 0.4) as held:
        assert held is not None
        time.sleep(1.0)
        assert claim_owner(tmp_path, 0.4) is not None
        held._stop.set()
        time.sleep(0.6)
        assert claim_owner(tmp_path, 0.4) is None
        with claim(tmp_path, 0.4) as other:
            assert other is not None
            with pytest.raises(ClaimLostError, match="claim 1 was taken over as claim 2"):
                held.check()
            other.check()


def test_a_claim_of_another_machine_lives_as_long_as_its_heart(tmp_path: Path) -> None:
    path = _stale(tmp_path)
    os.utime(path)
    assert claim_owner(tmp_path) == "elsewhere, process 1"
    with claim(tmp_path) as held:
        assert held is None
    _stale(tmp_path)
    with claim(tmp_path) as held:
        assert held is not None


def test_another_container_on_a_host_of_the_same_name_is_not_dead_because_its_process_is_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "claim-000001"
    owner = {"host": socket.gethostname(), "namespace": "pid:[1]", "pid": 2**22 + 1, "token": "t"}
    path.write_text(json.dumps(owner))
    assert claim_owner(tmp_path) is not None
    path.write_text(json.dumps({**owner, "namespace": claims._namespace()}))
    assert claim_owner(tmp_path) is None


def test_a_claim_that_a_crash_left_empty_is_taken_over_when_stale(tmp_path: Path) -> None:
    path = tmp_path / "claim-000001"
    path.touch()
    assert claim_owner(tmp_path) == "a host, process unknown"
    os.utime(path, (time.time() - 3600,) * 2)
    with claim(tmp_path) as held:
        assert held is not None


def test_a_slow_process_does_not_revive_a_generation_long_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _stale(tmp_path, 1)
    look = claims._dead

    def slow(path: Path, stale_after: float) -> bool:
        dead = look(path, stale_after)
        monkeypatch.setattr(claims, "_dead", look)
        with claim(tmp_path):  # meanwhile another process takes 1 over as 2 and releases it,
            pass
        holder.append(claim(tmp_path))  # and a third holds it as 3, so 2 is gone and could be made again
        assert holder[0].__enter__() is not None
        return dead

    holder: list[AbstractContextManager[claims.Claim | None]] = []
    monkeypatch.setattr(claims, "_dead", slow)
    with claim(tmp_path) as late:
        assert late is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["claim-000003"]
    holder.clear()


@pytest.mark.parametrize("stale", [False, True])
def test_of_many_processes_one_wins_each_claim(tmp_path: Path, stale: bool) -> None:
    rounds, racers = 15, 3
    for number in range(rounds if stale else 0):
        _stale(tmp_path / str(number))
    start = time.time() + 1.5
    processes = [_start(RACE, tmp_path, start, rounds) for _ in range(racers)]
    wins = sorted(number for process in processes if process.stdout for number in json.loads(process.stdout.readline()))
    for process in processes:
        _end(process)
    assert wins == list(range(rounds))


def test_nothing_is_lost_when_processes_take_turns(tmp_path: Path) -> None:
    (tmp_path / "counter").write_text("0")
    for process in [_start(COUNT, tmp_path, 40) for _ in range(3)]:
        _end(process)
    assert (tmp_path / "counter").read_text() == "120"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/run: .*a place that can be written"), claim(tmp_path / "file" / "run"):
        pass


def test_a_claim_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "claim-000001").write_text("[1]")
    with pytest.raises(UserError, match="found list; expected a claim as written by affinage"):
        claim_owner(tmp_path)
