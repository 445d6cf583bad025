"""Tiny random models of any architecture, batches that branch, and what each model's own attention says of them one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import functional_call
from transformers import AttentionInterface, AutoConfig, DynamicCache, PretrainedConfig

from affinage.backbone.attention import attend
from affinage.backbone.doors import Doors, LowRank
from affinage.backbone.model import Backbone, Identity
from affinage.backbone.probe import random_model, tiny
from affinage.backbone.shape import needs_ids, shape_of
from affinage.encode import Tokens
from affinage.pack import Branch, pack
from affinage.scoring import token_logprobs
from affinage.seeds import generator

AttentionInterface.register("affinage", attend)
torch.set_num_threads(1)  # threads would wait for each other longer than these models compute

PASSING: dict[str, dict[str, Any]] = {
    "apertus": {},
    "arcee": {},
    "biogpt": {},
    "bitnet": {},
    "cohere": {},
    "cohere2": {},
    "deepseek_v2": {},
    "deepseek_v3": {},
    "ernie4_5": {},
    "exaone4": {},
    "gemma": {},
    "gemma2": {},
    "gemma3_text": {},
    "gemma3n_text": {},
    "gemma4_text": {"num_kv_shared_layers": 2},
    "glm": {},
    "glm4": {},
    "gpt2": {},
    "gpt_neox": {},
    "gpt_oss": {},
    "granite": {},
    "granitemoe": {},
    "helium": {},
    "hunyuan_v1_dense": {},
    "jetmoe": {},
    "llama": {},
    "llama4_text": {},
    "minicpm3": {},
    "mistral": {},
    "mixtral": {},
    "nemotron": {},
    "olmo": {},
    "olmo2": {},
    "olmo3": {},
    "olmoe": {},
    "opt": {},
    "persimmon": {},
    "phi": {},
    "phi3": {},
    "phimoe": {"sliding_window": 2047},
    "qwen2": {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 1},
    "qwen2_moe": {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 1},
    "qwen3": {},
    "qwen3_moe": {},
    "seed_oss": {},
    "smollm3": {},
    "stablelm": {},
    "starcoder2": {"sliding_window": 4096},
}
"""Architectures that compute over token trees, with the configuration values that make a window bind where the default leaves it out."""

GROUPED = {"num_attention_heads": 32, "num_key_value_heads": 8}
"""Grouped queries, which survive in the tiny copy."""

_ROOT = (5, 6, 7, 8, 9, 10)
BATCH = (
    Branch((*_ROOT, 11, 12, 13, 14, 15), 7),
    Branch((*_ROOT, 11, 12, 13, 20, 21, 22), 9),
    Branch((*_ROOT, 11, 12), 7),
    Branch((*_ROOT, *range(30, 66)), 20),
    Branch((*_ROOT, 30, 31, 32, 70, 71, 72, 73, 74, 75), 9),
    Branch((40, 41, 42, 43, 44, 45, 46), 2),
    Branch((*_ROOT, 11, 12, 13, 14, 15), 10),
)
"""Deep and shallow branches, one that adds nothing, one longer than a strip, a second root, an equal one."""


def small(name: str, **values: Any) -> tuple[Any, PretrainedConfig]:
    """A tiny random model of an architecture and its configuration; windows of 5 and caps of 1 where the architecture has them."""
    config = tiny(AutoConfig.for_model(name, **values))
    return random_model(config), config


def backbone_of(model: Any, config: PretrainedConfig) -> Backbone:
    """A backbone without a tokenizer."""
    return Backbone(model, cast(Tokens, None), shape_of(config), Identity("tiny", "", ""))


def random(*shape: int, key: str, scale: float = 1.0) -> Tensor:
    """A float32 tensor of normal values that wants a gradient."""
    return torch.from_numpy(generator("trees", key).normal(0.0, scale, shape)).float().requires_grad_()


def doors_of(backbone: Backbone, kinds: Sequence[str], *, slots: int = 3, key: str = "") -> Doors:
    """Random doors of these kinds: `vectors`, `prefix`, `updates` (of every linear module)."""
    shape = backbone.shape
    heads = (shape.layers, slots, shape.kv_heads, shape.head_width)
    return Doors(
        vectors=random(3, shape.width, key=f"{key} vectors") if "vectors" in kinds else None,
        keys=random(*heads, key=f"{key} keys") if "prefix" in kinds else None,
        values=random(*heads, key=f"{key} values") if "prefix" in kinds else None,
        updates={
            name: LowRank(random(2, inputs, key=f"{key} {name} a", scale=0.3), random(outputs, 2, key=f"{key} {name} b", scale=0.3), 0.5)
            for name, inputs, outputs in (shape.linears if "updates" in kinds else ())
        },
    )


def tensors_of(doors: Doors) -> list[Tensor]:
    """Everything that is trained."""
    fixed = [each for each in (doors.vectors, doors.keys, doors.values) if each is not None]
    return fixed + [each for update in doors.updates.values() for each in (update.a, update.b)]


def placed(branch: Branch, doors: Doors, adapter: int = 0) -> Branch:
    """A sequence behind the virtual tokens."""
    count = 0 if doors.vectors is None else len(doors.vectors)
    return Branch((*range(-1, -1 - count, -1), *branch.ids), branch.first + count, adapter)


def on_a_tree(backbone: Backbone, doors: Doors, batch: Sequence[Branch] = BATCH) -> tuple[Tensor, list[Tensor]]:
    """Log-probabilities of the predicted tokens in the batch's order, and the gradients of their weighted sum."""
    packed = pack([placed(branch, doors) for branch in batch])
    with backbone.logits(packed, [doors]) as logits:
        found = token_logprobs(logits, packed)
        return found.detach(), _gradients(found, tensors_of(doors))


def one_by_one(model: Any, config: PretrainedConfig, doors: Doors, batch: Sequence[Branch] = BATCH) -> tuple[Tensor, list[Tensor]]:
    """The same by the model's own attention: one sequence at a time, a filled cache, concatenated embeddings, merged weights."""
    model.set_attn_implementation("eager")
    try:
        found = torch.cat([_alone(model, config, doors, branch) for branch in batch])
        return found.detach(), _gradients(found, tensors_of(doors))
    finally:
        model.set_attn_implementation("affinage")


def _gradients(found: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    weight = torch.linspace(0.5, 1.5, len(found)).to(found.device)
    return list(torch.autograd.grad((found * weight).sum(), tensors, allow_unused=True, materialize_grads=True)) if tensors else []


def _alone(model: Any, config: PretrainedConfig, doors: Doors, branch: Branch) -> Tensor:
    ids = torch.tensor(branch.ids)
    given = model.get_input_embeddings()(ids[:-1])
    virtual = 0 if doors.vectors is None else len(doors.vectors)
    if doors.vectors is not None:
        given = torch.cat([doors.vectors.to(given.dtype), given])
    slots = 0 if doors.keys is None else doors.keys.shape[1]
    cache = None
    if doors.keys is not None and doors.values is not None:
        cache = DynamicCache(config=config)
        for layer, (key, value) in enumerate(zip(doors.keys, doors.values, strict=True)):
            cache.update(key.transpose(0, 1)[None].to(given.dtype), value.transpose(0, 1)[None].to(given.dtype), layer)
    merged = {
        f"{name}.weight": model.get_submodule(name).weight + (update.scale * update.b @ update.a).to(given.dtype)
        for name, update in doors.updates.items()
    }
    position = torch.arange(slots, slots + len(given))[None]
    inputs = {"input_ids": ids[None, :-1]} if needs_ids(config) else {"inputs_embeds": given[None]}
    kwargs = {**inputs, "position_ids": position, "past_key_values": cache, "use_cache": cache is not None}
    logits = functional_call(model, merged, (), kwargs).logits[0].float()
    rows = logits[virtual + branch.first - 1 :]
    found: Tensor = rows.log_softmax(-1).gather(1, ids[branch.first :, None])[:, 0]
    return found


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Equal up to a share of the largest expected value; where all are zero (an expert that no token reached), equal."""
    scale = float(expected.abs().max()) or 1e-9
    difference = float((found - expected).abs().max())
    assert difference <= tolerance * scale, f"differs by {difference / scale:.1e} of the largest value"
