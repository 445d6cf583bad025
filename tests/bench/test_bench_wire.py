"""Requests and replies between processes, a trainer that goes step by step, and the command's messages."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from benches import made
from typer.testing import CliRunner

import affinage.bench.sides as registry
from affinage.bench.material import training_work
from affinage.bench.sides.gate import Gate
from affinage.bench.wire import Process, SideError
from affinage.bench.work import read_work, write_work
from affinage.cli import app

ECHO = """
import sys
from affinage.bench.wire import serve
def answer(request):
    if request["do"] == "die":
        print("Killed by   hand", file=sys.stderr, flush=True)
        sys.exit(3)
    return {"got": request, "share": 1 / request["number"]}
serve(sys.stdin, sys.stdout, answer)
"""


def test_requests_errors_and_death() -> None:
    with closing(Process((sys.executable, "-c", ECHO))) as side:
        assert side.ask("echo", number=4, path=Path("a/b")) == {"got": {"do": "echo", "number": 4, "path": "a/b"}, "share": 0.25}
        with pytest.raises(SideError, match=r"^ZeroDivisionError: division by zero \(raised in __main__\)$"):
            side.ask("echo", number=0)
        assert side.ask("echo", number=1)["share"] == 1.0
        with pytest.raises(SideError, match=r"^the process ended with code 3: Killed by hand$"):
            side.ask("die")
        with pytest.raises(SideError, match="code 3"):
            side.ask("echo", number=1)


def test_a_worker_in_its_own_process(tiny_folder: Path, tmp_path: Path) -> None:
    work = training_work(made(tiny_folder, tmp_path), "prompt-tuning", 1, 2, tmp_path / "start")
    path = write_work(tmp_path / "work.json", work)
    with closing(Process()) as side:
        with pytest.raises(SideError, match=r"^side of the bench: found 'peft-lop'; .* 'peft-loop' or"):
            side.ask("open", side="peft-lop", work=path, options={})
        with pytest.raises(SideError, match="no open side can answer"):
            side.ask("step", index=0, gradients=None)
        assert side.ask("open", side="affinage", work=path, options={}) == {"device": "cpu", "threads": 1}
        first = side.ask("step", index=0, gradients=tmp_path / "gradients.safetensors")
        assert first["seconds"] > 0
        assert first["loss"] > 0
        assert (tmp_path / "gradients.safetensors").exists()
        assert side.ask("step", index=1, gradients=None)["batch"] != first["batch"]
        memory = side.ask("memory")
        assert memory["resident"] > 100e6
    assert read_work(path) == work


def test_a_gate_lets_one_step_through_at_a_time() -> None:
    gate, steps = Gate(), list[int]()

    def training() -> None:
        gate.pause()
        for step in range(3):
            steps.append(step)
            gate.pause()

    gate.begin(training)
    assert steps == []
    for step in range(3):
        gate.go()
        assert steps == list(range(step + 1))
    assert threading.active_count() > 1
    gate.go()
    with pytest.raises(RuntimeError, match="no more steps"):
        gate.go()


def test_a_gate_hands_errors_on() -> None:
    gate = Gate()

    def training() -> None:
        gate.pause()
        raise ValueError("no prefix with checkpointing")

    gate.begin(training)
    with pytest.raises(ValueError, match="no prefix"):
        gate.go()

    def early() -> None:
        raise ValueError("no such argument")

    with pytest.raises(ValueError, match="no such argument"):
        Gate().begin(early)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--peer", "peft-lop"), "--peer: found 'peft-lop'; expected a peer of `affinage bench train`. Did you mean "),
        (("eval", "--peer", "trl"), "--peer: found 'trl'; expected a peer of `affinage bench eval`."),
        (("train", "--peer", "peft-loop", "--method", "lorra"), "--method: found 'lorra'; expected a known one. Did you mean 'lora'?"),
        (("train", "--peer", "peft-loop", "--method", "none"), "--method: found 'none'"),
        (("eval", "--peer", "peft-eval", "--answers", "texts"), "--answers: found 'texts'; expected a known one. Did you mean 'text'"),
        (("train", "--peer", "peft-loop", "--culture", "Atlantys"), "Atlantys"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_bad_input_has_its_message(arguments: tuple[str, ...], message: str) -> None:
    result = CliRunner().invoke(app, ["bench", *arguments, "--model", "no/such"])
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_a_peer_that_is_not_installed_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    result = CliRunner().invoke(app, ["bench", "train", "--peer", "trl", "--peer", "peft-loop"])
    assert result.exit_code == 2
    assert (
        "peer trl: found no trl, peft, accelerate, datasets; expected it installed. Install the bench's peers (pip install 'affinage[bench]')"
        in result.stderr
    )
    assert len(result.stderr.splitlines()) == 2
