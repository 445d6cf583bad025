"""Where soft prompts begin, and what the fit of a projection is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from cases import build
from transformers import AutoModelForCausalLM

from affinage.backbone import Backbone
from affinage.methods import prefix_tuning, registry, starts
from affinage.methods.prefix_tuning import ProjectedPrefix, SoftPrefix
from affinage.methods.prompt_tuning import SoftPrompt
from affinage.methods.starts import COMMON, start_ids
from affinage.records import UserError

TEXT = "What do people in Atlantis like?"


def wide(backbone: Backbone, vocabulary: int) -> Backbone:
    """The backbone as if it had a vocabulary of that size."""
    return replace(backbone, shape=replace(backbone.shape, vocabulary=vocabulary))


def test_a_vocabulary_start_samples_common_ids_without_replacement(backbone: Backbone) -> None:
    every = start_ids("vocabulary", None, COMMON, wide(backbone, 50_000), ("split", 0, 0))
    assert sorted(every) == list(range(5000))
    few = start_ids("vocabulary", None, 16, wide(backbone, 50_000), ("split", 0, 0))
    assert len(set(few)) == 16
    assert few != start_ids("vocabulary", None, 16, wide(backbone, 50_000), ("split", 1, 0))
    assert max(start_ids("vocabulary", None, 16, backbone, ("split", 0, 0))) < backbone.shape.vocabulary


def test_more_tokens_than_can_be_sampled(backbone: Backbone) -> None:
    with pytest.raises(UserError, match=r"length: found 401; expected at most 400"):
        start_ids("vocabulary", None, 401, backbone, ())


@pytest.mark.parametrize("text", [None, ""])
def test_a_text_start_wants_a_text(backbone: Backbone, text: str | None) -> None:
    with pytest.raises(UserError, match=r"method settings: text: found .*Set `settings.text`"):
        start_ids("text", text, 4, backbone, ())


def test_a_text_is_repeated_and_cut(backbone: Backbone) -> None:
    ids = backbone.tokens.ids((TEXT,))[0]
    assert start_ids("text", TEXT, len(ids) + 2, backbone, ()) == (*ids, *ids[:2])
    assert start_ids("text", TEXT, 3, backbone, ()) == ids[:3]


def test_a_soft_prompt_from_text_is_its_embeddings(backbone: Backbone) -> None:
    ids = backbone.tokens.ids((TEXT,))[0]
    adapter = build(("prompt-tuning", {"length": len(ids), "start": "text", "text": TEXT}), backbone)
    assert isinstance(adapter, SoftPrompt)
    assert torch.equal(adapter.vectors.detach(), backbone.model.get_input_embeddings().weight[list(ids)])


def test_a_random_start_has_the_deviation_that_is_asked_for(backbone: Backbone) -> None:
    adapter = build(("prompt-tuning", {"length": 100, "start": "random", "deviation": 0.25}), backbone)
    assert isinstance(adapter, SoftPrompt)
    assert float(adapter.vectors.detach().std()) == pytest.approx(0.25, rel=0.05)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT asks transformers by the old name
def test_a_prefix_from_text_is_what_peft_takes_from_the_cache(backbone: Backbone, tiny_folder: Path) -> None:
    ids = backbone.tokens.ids((TEXT,))[0]
    adapter = build(("prefix-tuning", {"length": len(ids), "start": "text", "text": TEXT}), backbone)
    assert isinstance(adapter, SoftPrefix)
    base = AutoModelForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32, attn_implementation="eager").eval()
    model = peft.get_peft_model(base, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=len(ids)))
    tokenizer: Any = lambda text, **others: {"input_ids": torch.tensor([ids])}  # noqa: E731
    theirs = peft.initialize_kv_prefix_from_text(model, tokenizer, text=TEXT, use_chat_template=False)
    assert float((adapter.flat.detach() - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())


@pytest.mark.parametrize("start", ["vocabulary", "text"])
def test_the_fit_brings_a_projection_near_its_text(start: str, backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"length": 4, "start": start, "text": TEXT}
    target = build(("prefix-tuning", settings), backbone)
    fitted = build(("prefix-tuning", {**settings, "projection": 32}), backbone)
    monkeypatch.setattr(prefix_tuning, "FIT_STEPS", 0)
    unfitted = build(("prefix-tuning", {**settings, "projection": 32}), backbone)
    assert isinstance(target, SoftPrefix)
    assert isinstance(fitted, ProjectedPrefix)
    assert isinstance(unfitted, ProjectedPrefix)
    before, after = (float((each.flat() - target.flat).detach().square().mean()) for each in (unfitted, fitted))
    assert after < before / 2
    assert all(value.grad is None or not value.grad.any() for value in fitted.parameters())


def test_a_model_whose_keys_and_values_cannot_be_prefixed_is_refused(backbone: Backbone) -> None:
    odd = replace(backbone, shape=replace(backbone.shape, uniform_heads=False, refusal="its keys and values differ in width (latent attention)"))
    with pytest.raises(UserError, match=r"method prefix-tuning: found a model of which its keys and values differ in width"):
        build(("prefix-tuning", {"length": 2}), odd)


def test_an_unknown_target_module_is_refused_by_name(backbone: Backbone) -> None:
    with pytest.raises(UserError, match=r"method lora: targets: found 'q_porj'.*Did you mean .*'q_proj'"):
        build(("lora", {"targets": ("q_porj",)}), backbone)


def test_only_the_decoder_layers_are_updated(backbone: Backbone) -> None:
    method = registry.get("lora")
    every = method.count(method.settings(), backbone.shape)
    some = sum(
        method.count(method.settings.model_validate({"targets": (leaf,)}), backbone.shape) for leaf in ("q_proj", "k_proj", "v_proj", "o_proj")
    )
    assert 0 < some < every
    assert "lm_head" not in {name.rsplit(".", 1)[-1] for name, _, _ in backbone.shape.linears}
    assert starts.COMMON == 5000
