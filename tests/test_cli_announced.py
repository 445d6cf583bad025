"""The line that says on what and how a model computes, and the warning beside it."""

from __future__ import annotations

from typing import Any

import pytest

from affinage.cli.flags import announce_compilations, announce_model
from affinage.config import ModelConfig


@pytest.mark.parametrize(
    ("values", "policy", "said"),
    [
        ({}, "passive", "Model smollm2 in bfloat16 on cpu with 2 threads. Attention by strips; OMP_WAIT_POLICY passive."),
        ({"attention": "sdpa", "compile": True}, None, "with 2 threads. Attention by sdpa, layers compiled; OMP_WAIT_POLICY not set."),
        ({"quantisation": "4bit"}, "active", "Model smollm2 in bfloat16 over 4bit weights on cpu with 2 threads."),
        ({"device_map": "auto"}, "active", "on cpu, spread by model.device_map with 2 threads."),
    ],
)
def test_one_line_says_how_a_model_computes(
    values: dict[str, Any], policy: str | None, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 9.0, 9.0))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if policy is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", policy)
    announce_model(ModelConfig(device="cpu", threads=2, **values))
    found = capsys.readouterr()
    assert said in found.out
    assert found.err == ""


@pytest.mark.parametrize(("busy", "warns"), [(3.9, False), (4.1, True)])
def test_a_machine_without_a_free_core_is_said(busy: float, warns: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (busy, 0.0, 0.0))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    announce_model(ModelConfig(device="cpu", threads=1))
    err = capsys.readouterr().err
    assert ("This machine is busy already: 4.1 processes on average over the last minute for 4 cores." in err) == warns


def test_compilations_are_said_where_something_is_compiled(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    announce_compilations(ModelConfig())
    assert capsys.readouterr().out == ""
    announce_compilations(ModelConfig(compile=True))
    assert capsys.readouterr().out == "Compiled: nothing.\n"
    monkeypatch.setattr("affinage.backbone.compiled._made", {"decoder layers": 9, "flex attention": 1})
    announce_compilations(ModelConfig(attention="flex"))
    assert capsys.readouterr().out == "Compiled: 9 graphs of decoder layers, 1 graph of flex attention.\n"
