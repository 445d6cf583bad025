"""Greedy generation over the tree says what the model's own loop says, with and without an adapter."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from affinage.backbone import Backbone
from affinage.config import MethodConfig, PromptConfig, TrainingConfig
from affinage.generate import answer, ask, generate
from affinage.methods import Adapter, resolve
from affinage.records import UserError

QUESTION = "What do people in Atlantis like about it?"


def adapter(backbone: Backbone, method: str, **settings: object) -> Adapter:
    """A start that does something from the beginning."""
    made = resolve(MethodConfig(name=method, settings=settings), TrainingConfig()).build(backbone, ("test", "split", 0, 0))
    with torch.no_grad():
        for number, parameter in enumerate(made.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)), alpha=0.3)
    return made


def naive(backbone: Backbone, context: tuple[int, ...], longest: int) -> list[int]:
    """The same by the model's own attention."""
    ids = list(context)
    backbone.model.set_attn_implementation("eager")
    try:
        for _ in range(longest):
            with torch.no_grad():
                token = int(backbone.model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token in backbone.tokens.stop_ids:
                break
            ids.append(token)
    finally:
        backbone.model.set_attn_implementation("affinage")
    return ids[len(context) :]


def test_the_untouched_model_says_what_its_own_loop_says(backbone: Backbone) -> None:
    context = ask(backbone.tokens, QUESTION, PromptConfig())
    said = list(generate(backbone, None, context, longest=12))
    assert said
    assert said == naive(backbone, context, 12)


@pytest.mark.parametrize(("method", "settings"), [("prompt-tuning", {"length": 3}), ("prefix-tuning", {"length": 3}), ("lora", {"rank": 2})])
def test_an_adapter_changes_the_answer_and_leaves_nothing_behind(backbone: Backbone, method: str, settings: dict[str, object]) -> None:
    context = ask(backbone.tokens, QUESTION, PromptConfig())
    before = list(generate(backbone, None, context, longest=12))
    tuned = list(generate(backbone, adapter(backbone, method, **settings), context, longest=12))
    assert tuned != before
    assert list(generate(backbone, None, context, longest=12)) == before


def test_a_stop_token_ends_the_answer_and_is_not_a_part_of_it(backbone: Backbone) -> None:
    context = ask(backbone.tokens, QUESTION, PromptConfig())
    said = list(generate(backbone, None, context, longest=6))
    tokens = backbone.tokens
    kept = tokens.stop_ids
    try:
        tokens.stop_ids = (*kept, said[3])
        assert list(generate(backbone, None, context, longest=6)) == said[: said.index(said[3])]
    finally:
        tokens.stop_ids = kept


def test_gradients_stay_on_for_who_reads_the_tokens_one_by_one(backbone: Backbone) -> None:
    for _ in generate(backbone, None, ask(backbone.tokens, QUESTION, PromptConfig()), longest=2):
        assert torch.is_grad_enabled()


def test_the_question_is_the_user_s_turn_and_nothing_else(backbone: Backbone) -> None:
    prompt = PromptConfig(style="letters", score="pmi", system="You live in {culture}.")
    assert backbone.tokens.decode(ask(backbone.tokens, QUESTION, prompt, culture="South_Korea")) == (
        f"<|im_start|>system\nYou live in South Korea.<|im_end|>\n<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert backbone.tokens.decode(ask(backbone.tokens, QUESTION, PromptConfig(chat=False))).endswith(QUESTION)


def test_the_answer_is_text(backbone: Backbone) -> None:
    ids = tuple(generate(backbone, None, ask(backbone.tokens, QUESTION, PromptConfig()), longest=5))
    assert answer(backbone, None, QUESTION, longest=5) == backbone.tokens.decode(ids).strip()


def test_a_sequence_that_outgrows_the_positions_is_refused(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affinage.backbone.model.longest_position", lambda config: (20, "its positions are learned"))
    with pytest.raises(UserError, match="a sequence of 21 tokens"):
        list(generate(replace(backbone), None, tuple(range(5, 20)), longest=20))
