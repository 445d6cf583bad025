"""The whole on GPUs that are none (`pretended`): nothing is computed over tensors of two devices, and values are those of the CPU."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack
from transformers import AutoConfig
from typer.testing import CliRunner, Result

from affinage.cli import app
from affinage.doctor import tiny_model
from affinage.store import read_scores
from pretended import GPU, TOLERANCE, Gpus, gpus
from tiny import write_study

RUN = CliRunner()
REAL = torch.cuda.is_available()


class TestThePretence:
    @pytest.fixture
    def places(self) -> Iterator[Gpus]:
        with gpus() as places:
            yield places

    def test_tensors_of_two_devices_do_not_meet(self, places: Gpus) -> None:
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        whole, index, number = torch.arange(3), torch.tensor([0, 2], device="cuda"), torch.zeros(())
        assert (here.device, there.device, (there * 2)[1:].device) == (torch.device("cpu"), GPU, GPU)
        refused: list[tuple[Callable[..., Any], Sequence[Any]]] = [
            (torch.add, (here, there)),
            (torch.matmul, (there, here)),
            (torch.cat, ([here, there],)),
            (here.__getitem__, (index,)),
            (whole.__getitem__, (index,)),
            (there.__getitem__, (index.to("cuda:1"),)),
            (torch.arange(3, device="cuda").__setitem__, (index, whole[:2])),
            (number.add_, (there.sum(),)),
        ]
        for operation, operands in refused:
            with pytest.raises(RuntimeError, match="at least two devices"):
                operation(*operands)
        assert (there + torch.tensor(1.0)).device == GPU, "a number may come from main memory"
        assert there[torch.tensor([0, 2])].tolist() == [1, 1], "and so may indices"

    def test_copies_lie_where_they_were_made(self, places: Gpus) -> None:
        here, there = torch.ones(3), torch.ones(3, device="cuda")
        assert copy.deepcopy(there).device == there.device == GPU
        assert torch.as_tensor(here, device="cuda").device == GPU
        assert here.device == torch.device("cpu")
        assert (there.new_tensor([1.0]).device, here.type_as(there).device) == (GPU, GPU)
        assert np.asarray(here).tolist() == [1, 1, 1]

    def test_what_cuda_refuses_is_refused(self, places: Gpus) -> None:
        with pytest.raises(TypeError, match="to numpy"):
            torch.ones(3, device="cuda").numpy()
        for device, stream in (("cuda", "cpu"), ("cpu", "cuda")):
            with pytest.raises(RuntimeError, match="generator"):
                torch.randn(3, device=device, generator=torch.Generator(stream))
        assert torch.randn(3, device="cuda", generator=torch.Generator("cuda")).device == GPU
        with pytest.raises(RuntimeError, match="invalid device ordinal"):
            torch.ones(3).to("cuda:2")

    def test_gradients_go_back_and_what_crosses_is_counted(self, places: Gpus) -> None:
        leaf = torch.ones(3, requires_grad=True)
        (leaf.to("cuda") * 2).sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        assert (leaf.grad.tolist(), leaf.grad.device) == ([2, 2, 2], torch.device("cpu"))
        assert places.moves == {("cpu", "cuda:0"): 1, ("cuda:0", "cpu"): 1}
        there = torch.ones(3, device="cuda")
        assert (float(there[0]), there.tolist(), there[there > 0].device, places.waits) == (1, [1, 1, 1], GPU, 3)

    def test_it_ends(self) -> None:
        made: list[Any] = [torch.Generator()]

        def fails() -> None:
            with gpus():
                made.append(torch.ones(3, device="cuda"))
                torch.randn(3, device="cuda", generator=made[0])

        with pytest.raises(RuntimeError, match="generator"):
            fails()
        assert (made[1].device, torch.cuda.is_available()) == (torch.device("cpu"), REAL)
        assert torch.Generator.__module__ == "torch._C"
        modes = _get_current_function_mode_stack(), _get_current_dispatch_mode_stack()  # type: ignore[no-untyped-call]
        assert modes == ([], [])


METHODS: list[dict[str, Any]] = [
    {"name": "none"},
    {"name": "lora", "settings": {"rank": 2}},
    {"name": "prompt-tuning", "settings": {"length": 4}},
    {"name": "contrastive-prefix"},
]
BESIDE: dict[str, Any] = {
    "controls": [{"name": "all-cultures"}, {"name": "letter-bias"}],
    "prompting": [{"name": "few-shot", "settings": {"side": "validation"}}],
}


def run(*arguments: str, on: int = 1) -> Result:
    """A command on a machine with so many GPUs."""
    if on:
        with gpus(on) as places:
            result = RUN.invoke(app, arguments)
        assert places.operations["cuda:0"] > 100, result.output
    else:
        result = RUN.invoke(app, arguments)
    assert result.exit_code == 0, f"{result.output}\n{result.exception!r}"
    return result


@pytest.fixture(scope="module")
def out(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study on a GPU, as its command leaves it; beside it the same without one."""
    place = tmp_path_factory.mktemp("study")
    path = write_study(place, tiny_folder, METHODS, steps=3, templates=12, **BESIDE)
    run("study", "run", str(path), "--out", str(place / "gpu"))
    run("study", "run", str(path), "--out", str(place / "cpu"), "--set", "model.device=cpu", on=0)
    return place / "gpu"


class TestCommands:
    def test_a_study_scores_what_it_does_without_one(self, out: Path) -> None:
        scores = [self.scores(place) for place in (out, out.parent / "cpu")]
        assert scores[0].drop("logprob").equals(scores[1].drop("logprob"))
        assert len(scores[0]) > 100
        one, other = (torch.tensor(each["logprob"].to_list()) for each in scores)
        assert torch.allclose(one, other, atol=TOLERANCE)

    @staticmethod
    def scores(out: Path) -> pl.DataFrame:
        """One row per scored option."""
        tables = [read_scores(path).with_columns(test=pl.lit(str(path.relative_to(out)))) for path in out.glob("runs/**/scores/*.parquet")]
        return pl.concat(tables).select("test", "mcq_id", "order", "logprob").sort("test", "mcq_id", maintain_order=True).explode("order", "logprob")

    def test_its_adapters_answer_and_are_sound(self, out: Path) -> None:
        adapter = str(next(out.glob("runs/lora/Atlantis/*/adapter")))
        assert "lora, Atlantis" in run("ask", adapter, "What is it?", "--tokens", "4").output
        assert re.search(r"\b0 wrong", run("doctor", adapter).output)

    def test_it_is_analysed(self, out: Path) -> None:
        assert "similarity: " in run("analyse", str(out)).output

    def test_the_doctor_tries_the_gpu(self) -> None:
        output = run("doctor").output
        assert len(re.findall(r"token tree +ok|token tree on CUDA +ok", output)) == 2
        with gpus():
            failed = list(tiny_model(AutoConfig.for_model("bloom"), "cuda"))
        assert (failed[0].name, failed[0].state) == ("token tree on CUDA", "wrong")
        assert "set `model.device` to cpu" in failed[1].todo
