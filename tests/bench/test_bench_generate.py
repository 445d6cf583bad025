"""`generate` as a peer: the letter that it answers, batches that stay right, and texts, which it cannot score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benches import METHODS, Near, made

from affinage.bench.comparison import Comparison
from affinage.bench.equality import score_answer
from affinage.bench.material import Material, evaluation_work
from affinage.bench.results import Cell
from affinage.bench.sides import OURS
from affinage.bench.sides.generate import Generate
from affinage.bench.work import Work, write_work
from affinage.records import UserError

pytestmark = [pytest.mark.filterwarnings(f"ignore::{kind}") for kind in ("FutureWarning", "UserWarning", "DeprecationWarning")]

COUNT = 9


@pytest.fixture(scope="module")
def material(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Material:
    return made(tiny_folder, tmp_path_factory.mktemp("questions"))


def worked(material: Material, method: str, style: str, folder: Path) -> Work:
    prompt = material.config.prompt.model_copy(update={"style": style})
    return evaluation_work(material, method, prompt, folder / "start")


def our_scores(work: Work, folder: Path) -> list[list[float]]:
    talk = Near()
    talk.ask("open", side=OURS["eval"], work=write_work(folder / "ours.json", work), options={})
    scores: list[list[float]] = talk.ask("scores", count=COUNT)["scores"]
    return scores


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_its_letter_is_ours_wherever_two_letters_differ_by_more_than_rounding(method: str, material: Material, tmp_path: Path) -> None:
    work = worked(material, method, "letters", tmp_path)
    ours = our_scores(work, tmp_path)
    # The tiny model answers with whatever token; only letters are to win here, so each question's letters are raised above all other tokens.
    side = Generate(work)
    letters = sorted({option[0] for question in work.questions for option in question.options})
    output = side._model.get_output_embeddings()
    raised = _raised(letters)
    handle = output.register_forward_hook(lambda module, args, logits: logits + raised(logits))
    answered = side.letters(COUNT)
    handle.remove()
    clear = [int(np.argmax(row)) for row in ours if np.diff(np.sort(row))[-1] > 1e-4]
    assert len(clear) == COUNT
    assert answered == clear
    assert len(set(answered)) > 1


def _raised(letters: list[int]) -> Any:
    """What lifts the logits of some tokens above those of all others, by the same amount."""

    def lift(logits: Any) -> Any:
        added = logits.new_zeros(logits.shape[-1])
        added[letters] = 1e3
        return added

    return lift


def test_a_token_that_is_no_letter_is_no_answer(material: Material, tmp_path: Path) -> None:
    side = Generate(worked(material, "none", "letters", tmp_path))
    output = side._model.get_output_embeddings()
    other = material.tokens.ids(["red"])[0][0]
    handle = output.register_forward_hook(lambda module, args, logits: logits + _raised([other])(logits))
    assert side.letters(3) == [None] * 3
    handle.remove()


@pytest.mark.parametrize("method", ["none", *METHODS])
def test_batches_answer_what_single_questions_answer(method: str, material: Material, tmp_path: Path) -> None:
    work = worked(material, method, "letters", tmp_path)
    ours = our_scores(work, tmp_path)  # writes the start
    assert len({len(question.context) for question in work.questions[:COUNT]}) > 1, "equal lengths would need no padding"
    one, many = Generate(work), Generate(work, batch_size=4)
    np.testing.assert_allclose(one.scores(COUNT), ours, atol=1e-4)
    np.testing.assert_allclose(many.scores(COUNT), ours, atol=1e-4)
    taken = many.run()
    assert taken.tokens == one.run().tokens
    assert (taken.padded > taken.tokens) == (method != "prompt-tuning")


def test_padding_after_peft_s_virtual_tokens_would_answer_something_else(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = worked(material, "prompt-tuning", "letters", tmp_path)
    ours = our_scores(work, tmp_path)
    monkeypatch.setattr("affinage.bench.sides.generate.virtual_tokens", lambda work: 0)
    assert np.abs(np.array(Generate(work, batch_size=4).scores(COUNT)) - np.array(ours)).max() > 1e-3


def test_a_token_that_something_else_chose_is_an_error(material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side = Generate(worked(material, "none", "letters", tmp_path))
    greedy = side._generated(side._work.questions[:1])[0, -1].item()

    def hindered(batch: Any, **wanted: Any) -> Any:
        return right(batch, suppress_tokens=[greedy], **wanted)

    right = side._generated
    monkeypatch.setattr(side, "_generated", hindered)
    with pytest.raises(ValueError, match="did not take the most probable token"):
        side.scores(1)


def test_texts_do_not_run_and_the_cell_says_why(material: Material, tmp_path: Path) -> None:
    work = worked(material, "none", "text", tmp_path)
    with pytest.raises(UserError, match="it writes an answer of its own and scores no options"):
        Generate(work)
    for peer in ("generate", "generate-tuned"):
        cell = cell_of(work, peer, tmp_path / peer)
        assert cell.state.startswith("does not run: ")
        assert "found options that are texts; expected letters: it writes an answer of its own and scores no options" in cell.state


def test_a_cell_of_the_bench(material: Material, tmp_path: Path) -> None:
    cell = cell_of(worked(material, "prompt-tuning", "letters", tmp_path), "generate-tuned", tmp_path)
    assert cell.state == "measured"
    assert cell.options["batch_size"] in {4, 16, 64}
    assert cell.equality["float32"] < 1e-5


def cell_of(work: Work, peer: str, folder: Path) -> Cell:
    return Comparison(
        kind="eval",
        work=work,
        variant="letters",
        folder=folder,
        start=Near,
        judged=work,
        answer=lambda talk, path: score_answer(talk.ask("scores", count=4)["scores"]),
        repeat=lambda talk, index: talk.ask("run"),
        warm=(),
        timed=(0, 1),
        questions=len(work.questions),
        trial=work,
    ).cell(peer)
