"""P-tuning: where the vectors stand, what makes them, and what is left when training is over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from cases import FLOAT32, build, distance, moved, read, sequences
from peft.tuners.p_tuning import PromptEncoder, PromptEncoderConfig
from torch import Tensor
from transformers import AutoModelForCausalLM

from affinage import adapters
from affinage.adapters import AdapterCard
from affinage.backbone import Backbone
from affinage.config import MethodConfig, PromptConfig, TrainingConfig
from affinage.free_answers import generate_all
from affinage.generate import generate
from affinage.methods import Adapter, registry, resolve
from affinage.methods.p_tuning import EncodedPrompt
from affinage.pack import Branch
from affinage.prompts import render
from affinage.records import NO_AID, Aid, Encoded, Style, UserError
from affinage.scoring import answer_branch, option_branches
from affinage.store import RunFolder
from affinage.train import train
from tiny import LETTERS, TEXT, encode, questions

WORDS = "People like:"
BOTH = {"root": (2, WORDS, 1), "before_answer": ("Answer:", 3), "encoder": "mlp"}


def spelled(backbone: Backbone, folder: Path, adapter: Adapter, context: Sequence[int], answer: Sequence[int]) -> Tensor:
    """Logits of transformers' own model over embeddings laid out by hand: root, context, before the answer, answer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    tensors = adapter.final_tensors()
    nothing = torch.zeros(0, backbone.shape.width)
    embed = model.get_input_embeddings()
    parts = [tensors.get("root", nothing), embed(torch.tensor(context)), tensors.get("before_answer", nothing)]
    parts.append(embed(torch.tensor(answer, dtype=torch.long)))
    with torch.no_grad():
        logits: Tensor = model(inputs_embeds=torch.cat(parts)[None]).logits[0]
    return logits


def test_the_vectors_stand_at_the_root_and_before_the_answer(backbone: Backbone) -> None:
    adapter = build(("p-tuning", {"root": (2,), "before_answer": (3,)}), backbone)
    placed = adapter.place(Branch((11, 12, 13, 14), 2))
    assert placed == Branch((-1, -2, 11, 12, -3, -4, -5, 13, 14), 7, answer=7)
    # In generation part of the answer is already there, and the vectors stay where it began.
    assert adapter.place(Branch((11, 12, 13, 14), 3, answer=2)) == Branch((-1, -2, 11, 12, -3, -4, -5, 13, 14), 8, answer=7)


@pytest.mark.parametrize("settings", [BOTH, {"root": (), "before_answer": (4,)}, {"root": (3,)}])
def test_it_reads_as_if_the_embeddings_were_laid_out_by_hand(settings: dict[str, object], backbone: Backbone, tiny_folder: Path) -> None:
    adapter = moved(build(("p-tuning", settings), backbone))
    branches = sequences(3, backbone.shape.vocabulary)
    ours = read(backbone, branches, [adapter])
    theirs = [spelled(backbone, tiny_folder, adapter, b.ids[: b.first], b.ids[b.first : -1])[b.first - len(b.ids) :] for b in branches]
    assert distance(ours, read(backbone, branches)) > 1e-2
    assert distance(ours, theirs) < FLOAT32


def test_generation_leaves_the_vectors_where_the_answer_began(backbone: Backbone, tiny_folder: Path) -> None:
    adapter = moved(build(("p-tuning", BOTH), backbone), size=0.5)
    context = sequences(1, backbone.shape.vocabulary)[0].ids
    expected: list[int] = []
    wandering: list[int] = []
    for _ in range(6):
        expected.append(int(spelled(backbone, tiny_folder, adapter, context, expected)[-1].argmax()))
        wandering.append(int(spelled(backbone, tiny_folder, adapter, [*context, *wandering], [])[-1].argmax()))
    assert expected != wandering
    assert not set(expected) & set(backbone.tokens.stop_ids)
    assert list(generate(backbone, adapter, context, longest=6)) == expected
    other = sequences(2, backbone.shape.vocabulary)[1].ids
    answers = generate_all(backbone, adapter, [context, other], longest=6)
    assert answers[0] == (tuple(expected), False)


def test_words_are_the_models_embeddings_and_are_not_trained(backbone: Backbone, tmp_path: Path) -> None:
    adapter = build(("p-tuning", BOTH), backbone)
    ids = backbone.tokens.ids((WORDS,))[0]
    before = adapter.final_tensors()
    assert len(before["root"]) == 2 + len(ids) + 1
    assert torch.equal(before["root"][2:-1], backbone.embed(ids))
    encoded = encode(backbone, questions("Atlantis", 4), LETTERS)
    train(backbone, adapter, encoded, TrainingConfig(steps=3, batch_size=4, rate=1e-2), prompt=LETTERS, seed=0, folder=RunFolder(tmp_path))
    after = adapter.final_tensors()
    assert torch.equal(after["root"][2:-1], before["root"][2:-1])
    assert not torch.equal(after["root"][:2], before["root"][:2])
    assert not torch.equal(after["before_answer"][-3:], before["before_answer"][-3:])


def test_the_encoder_is_peft_s_recurrent_one(backbone: Backbone) -> None:
    adapter = moved(build(("p-tuning", {"root": (5,)}), backbone))
    assert isinstance(adapter, EncodedPrompt)
    assert adapter.lstm is not None
    width = backbone.shape.width
    config = PromptEncoderConfig(
        num_virtual_tokens=5,
        token_dim=width,
        num_transformer_submodules=1,
        encoder_hidden_size=width // 2,
        encoder_num_layers=2,
        encoder_reparameterization_type="LSTM",
    )
    theirs = PromptEncoder(config)
    with torch.no_grad():
        theirs.embedding.weight.copy_(adapter.embedding)
        theirs.lstm_head.load_state_dict(adapter.lstm.state_dict())
        for layer, weight, bias in ((0, adapter.inner_weight, adapter.inner_bias), (2, adapter.outer_weight, adapter.outer_bias)):
            theirs.mlp_head[layer].weight.copy_(weight)
            theirs.mlp_head[layer].bias.copy_(bias)
        torch.testing.assert_close(adapter.final_tensors()["root"], theirs(torch.arange(5)[None])[0], rtol=1e-5, atol=1e-6)
    assert sum(value.numel() for value in theirs.parameters()) == adapter.parameter_count() == 14 * width**2 + 18 * width + 5 * width


def test_a_start_draws_nothing_from_the_global_stream(backbone: Backbone) -> None:
    before = torch.get_rng_state()
    build(("p-tuning", {"root": (3,)}), backbone)
    assert torch.equal(torch.get_rng_state(), before)


def test_peft_holds_the_root_alone(backbone: Backbone, tmp_path: Path) -> None:
    method = registry.get("p-tuning")
    settings = method.settings.model_validate(BOTH)
    adapter = moved(build(("p-tuning", BOTH), backbone))
    for convert in (method.to_peft, method.from_peft):
        with pytest.raises(UserError, match=r"method p-tuning: before_answer: found \['Answer:', 3\], which PEFT's format cannot hold"):
            convert(settings, backbone.shape, adapter.final_tensors())
    card = AdapterCard("p-tuning", settings.model_dump(mode="json"), "", "fold", frozenset(), ("p", 0), LETTERS, backbone.identity, "d")
    adapters.save(adapter, tmp_path, card)
    assert json.loads((tmp_path / "adapter_config.json").read_text()) == {"peft_type": None}
    back = adapters.load(tmp_path, backbone)
    branches = sequences(2, backbone.shape.vocabulary)
    assert all(torch.equal(one, other) for one, other in zip(read(backbone, branches, [back]), read(backbone, branches, [adapter]), strict=True))


def test_the_pattern_must_hold_a_virtual_token() -> None:
    with pytest.raises(UserError, match="before_options and before_answer hold no number"):
        resolve(MethodConfig(name="p-tuning", settings={"root": [WORDS]}), TrainingConfig())
    with pytest.raises(UserError, match=r"settings"):
        resolve(MethodConfig(name="p-tuning", settings={"root": [0]}), TrainingConfig())


def test_fewer_vectors_than_the_pattern_holds_are_refused(backbone: Backbone) -> None:
    method = registry.get("p-tuning")
    settings = method.settings.model_validate({"root": (2, WORDS, 1)})
    short = {"root": torch.zeros(3, backbone.shape.width)}
    with pytest.raises(UserError, match=r"root of shape \[3, 64\]; expected root \[4, 64\]"):
        method.restore(settings, backbone.shape, short)


ANYWHERE = {"root": (1,), "before_question": (2, WORDS), "before_options": (1,), "before_answer": (3,), "encoder": "mlp"}


def texts_between(backbone: Backbone, branch: Branch) -> list[str]:
    """The texts between the virtual tokens, run after run."""
    found: list[list[int]] = [[]]
    for before, token in zip((0, *branch.ids), branch.ids, strict=False):
        if token >= 0 > before:
            found.append([])
        if token >= 0:
            found[-1].append(token)
    return [backbone.tokens.decode(ids) for ids in found]


@pytest.mark.parametrize("style", ["letters", "text-listed"])
@pytest.mark.parametrize("chat", [True, False])
@pytest.mark.parametrize("aided", [True, False])
def test_a_pattern_stands_where_question_options_and_answer_begin(style: Style, chat: bool, aided: bool, backbone: Backbone) -> None:
    mcq, shot = questions("Atlantis", 2)
    aid = Aid((shot,), ("People there like blue hats.",)) if aided else NO_AID
    prompt = PromptConfig(style=style, chat=chat, system="Think of {culture}.", options="source")
    encoded = backbone.tokens.encode(render(mcq, prompt, backbone.tokens, seed=0, aid=aid))
    assert isinstance(encoded, Encoded)
    adapter = build(("p-tuning", ANYWHERE), backbone)
    placed = adapter.place(answer_branch(encoded))
    assert [token for token in placed.ids if token < 0] == list(range(-1, -1 - len(adapter.doors().vectors), -1))  # type: ignore[arg-type]
    assert tuple(token for token in placed.ids if token >= 0) == answer_branch(encoded).ids
    nothing, before, question, options, answer = texts_between(backbone, placed)
    assert nothing == ""
    assert before.endswith("People there like blue hats.\n\n" if aided else "<|im_start|>user\n" if chat else "Think of Atlantis.\n\n")
    assert question.strip().startswith(mcq.question)
    assert options.strip().startswith(f"A. {mcq.options[0]}")
    assert answer.strip().startswith(encoded.rendered.answers[mcq.answer])
    assert placed.first == len(placed.ids) - len(encoded.continuation_ids[mcq.answer])


def test_an_empty_question_has_its_place_too(backbone: Backbone) -> None:
    prompt = PromptConfig(style="letters", score="pmi")
    (encoded,) = encode(backbone, questions("Atlantis", 1), prompt)
    adapter = build(("p-tuning", {"root": (), "before_question": (1,), "before_options": (1,)}), backbone)
    before, instruction, options = texts_between(backbone, adapter.place(option_branches(encoded, "pmi")[-1]))
    assert before.endswith("user\n")
    assert instruction.strip() == "Answer with the letter of the right option only."
    assert options.strip().startswith("A. ")


def test_a_pattern_is_read_as_if_the_embeddings_were_laid_out_by_hand(backbone: Backbone, tiny_folder: Path) -> None:
    adapter = moved(build(("p-tuning", ANYWHERE), backbone))
    (branch,) = sequences(1, backbone.shape.vocabulary)
    tensors = adapter.final_tensors()
    assert list(tensors) == ["root", "before_question", "before_options", "before_answer"]
    model = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32, attn_implementation="eager").eval()
    text = model.get_input_embeddings()(torch.tensor(branch.ids[:-1])).detach()
    ends = (0, branch.question, branch.options, branch.first, len(text))
    parts = [part for place, (begin, end) in zip(tensors, pairwise(ends), strict=True) for part in (tensors[place], text[begin:end])]
    with torch.no_grad():
        theirs = model(inputs_embeds=torch.cat(parts)[None]).logits[0]
    assert distance(read(backbone, [branch], [adapter]), [theirs[branch.first - len(branch.ids) :]]) < FLOAT32


def test_a_pattern_s_places_that_are_not_there_are_refused(backbone: Backbone) -> None:
    adapter = build(("p-tuning", {"root": (), "before_options": (1,)}), backbone)
    (encoded,) = encode(backbone, questions("Atlantis", 1), TEXT)
    with pytest.raises(UserError, match="method p-tuning: before_options: found a text without listed options"):
        adapter.place(answer_branch(encoded))
    asking = build(("p-tuning", {"root": (), "before_question": (1,)}), backbone)
    assert asking.place(answer_branch(encoded)).ids.count(-1) == 1
    with pytest.raises(UserError, match="method p-tuning: before_question: found a text without a question that can be found"):
        list(generate(backbone, asking, encoded.context_ids, longest=1))
    plain = registry.get("p-tuning").settings.model_validate({"before_answer": (2,)})
    assert set(plain.model_dump()) == {"root", "before_answer", "encoder", "deviation"}, "runs of before keep their names"
