"""Every model is tried before it is used: transformers does not check that an architecture computes what the token tree needs.

Some run without any mask, some let branches leak through a recurrent state, without an error. So a tiny random copy of the configuration (windows,
caps and sinks made binding) and once the loaded weights must pass three checks: each layer calls the attention function exactly once; tokens of
one branch leave the root and the sibling branches as they are; a tree of three branches equals the model's own eager attention one by one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PretrainedConfig

from affinage.backbone.attention import KEYWORD, plant
from affinage.backbone.catalogue import cache_folder
from affinage.backbone.kernels import STRIPS, Kernel
from affinage.backbone.shape import build, needs_ids, windows_of
from affinage.pack import Branch, pack
from affinage.records import UserError
from affinage.seeds import generator
from affinage.store import read_json, write_json

__all__ = ["Probe", "probe", "probe_configuration", "require", "tiny"]

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 5e-2, torch.float16: 1e-2}
"""Largest difference of logits, as a share of the largest logit, that counts as rounding. The tiny float32 copy is held to the first."""

LOADED = 1e-4
"""The same for loaded float32 weights: tens of layers and large activations round ten times as much (a 1.5B Qwen2: 1.1e-5)."""

SPREAD = 1.2
"""In a narrower type real weights can round a great deal: a 1.5B Qwen2's own eager and sdpa attention differ by 0.35 of the largest logit in
bfloat16, where the tree is nearer to float32 than eager is. So there the tree may be so many times as far from the nearer of the two as they are from
each other. What the tree computes is settled before, by the tiny copy in float32."""


@dataclass(frozen=True, slots=True)
class Probe:
    """What the probe found."""

    architecture: str
    layer_types: tuple[str, ...]
    """Distinct layer types of the configuration."""
    calls: str
    """Empty where each layer called the attention function exactly once; else what happened."""
    leak: float
    """Largest change of the root's and siblings' logits when one branch's tokens change, as a share of the largest logit."""
    difference: float
    """Largest difference from the model's own attention one by one, as a share of the largest logit."""
    tolerance: float
    error: str = ""
    """What stopped the probe."""
    spread: float = 0.0
    """Largest difference between the model's own eager and sdpa attention, where it was measured."""

    @property
    def passed(self) -> bool:
        """Whether the model may be used."""
        return not (self.error or self.calls) and self.leak <= self.tolerance and self.difference <= self.allowed

    @property
    def allowed(self) -> float:
        """The difference from the model's own attention that counts as rounding."""
        return max(self.tolerance, SPREAD * self.spread)

    @property
    def reason(self) -> str:
        """Why it did not pass; empty where it did."""
        if self.error:
            return self.error
        if self.calls:
            return self.calls
        if self.leak > self.tolerance:
            return f"branches of the token tree leak into each other (by {self.leak:.1e} of the largest logit)"
        if self.difference > self.allowed:
            return f"the token tree differs from the model's own attention (by {self.difference:.1e} of the largest logit)"
        return ""


def require(result: Probe, name: str) -> None:
    """Refuses a model whose probe failed.

    Raises:
        UserError: naming the model, what was found, and its layer types.
    """
    if not result.passed:
        raise UserError(
            f"model {name} ({result.architecture}; layers: {', '.join(result.layer_types) or 'not told'})",
            result.reason,
            "a decoder whose every layer attends through transformers' AttentionInterface, and through nothing else",
            "It cannot be used; `affinage models ls --probe` shows which architectures work.",
        )


def probe(model: Any, config: PretrainedConfig, *, loaded: bool = False, kernel: Kernel = STRIPS) -> Probe:
    """Tries a model, weights as they are.

    Args:
        model: a causal language model whose attention implementation is ours.
        config: its configuration.
        loaded: whether these are real weights, of an architecture whose tiny copy has passed.
        kernel: how attention over the tree is computed.

    Raises:
        UserError: the kernel cannot compute the model's attention.
    """
    text = config.get_text_config()
    kinds = tuple(dict.fromkeys(getattr(text, "layer_types", None) or ()))
    dtype = next(model.parameters()).dtype
    rounds = dtype != torch.float32 or bool(getattr(model, "is_quantized", False))
    tolerance = TOLERANCE[torch.bfloat16 if rounds and dtype == torch.float32 else dtype] if rounds or not loaded else LOADED
    name = type(model).__name__
    try:
        calls, leak, difference, spread = _try(model, config, kernel, spread=loaded and rounds)
    except UserError as error:
        if error.where.startswith("model."):
            raise
        return Probe(name, kinds, "", 0.0, 0.0, tolerance, str(error))
    except Exception as error:
        # Whatever a foreign architecture raises on a tree is the finding itself; it is reported, and the model refused.
        return Probe(name, kinds, "", 0.0, 0.0, tolerance, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    return Probe(name, kinds, calls, leak, difference, tolerance, spread=spread)


def _try(model: Any, config: PretrainedConfig, kernel: Kernel, *, spread: bool) -> tuple[str, float, float, float]:
    """(calls, leak, difference, spread) of `Probe`."""
    text = config.get_text_config()
    rng = generator("probe")
    high = min(int(text.vocab_size), 100)
    root, first, second, third, other = (tuple(rng.integers(3, high, n).tolist()) for n in (7, 9, 12, 6, 12))
    while other[0] == second[0]:
        other = tuple(rng.integers(3, high, 12).tolist())
    branches = [root + first, root + second, root + third]
    calls: list[int] = []
    logits, order = _tree_logits(model, config, kernel, branches, calls)
    expected = list(range(int(text.num_hidden_layers)))
    if sorted(calls) != expected:
        return f"the layers {expected} called the attention function as {sorted(calls)}, not once each", 0.0, 0.0, 0.0
    changed, other_order = _tree_logits(model, config, kernel, [root + first, root + other, root + third], [])
    if not (torch.isfinite(logits).all() and torch.isfinite(changed).all()):
        return "the logits are not finite", 0.0, 0.0, 0.0
    scale = float(logits.abs().max())
    leak = _farthest([logits[order[b]] for b in (0, 2)], [changed[other_order[b]] for b in (0, 2)]) / scale
    tree = [logits[rows] for rows in order]
    own = [_one_by_one(model, config, branches, name) for name in (("eager", "sdpa") if spread and model._supports_sdpa else ("eager",))]
    difference = min(_farthest(tree, each) for each in own) / scale
    return "", leak, difference, _farthest(own[0], own[-1]) / scale


def _farthest(one: Sequence[Tensor], other: Sequence[Tensor]) -> float:
    """Largest difference between two lists of tensors."""
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


def _one_by_one(model: Any, config: PretrainedConfig, branches: Sequence[tuple[int, ...]], attention: str) -> list[Tensor]:
    """Logits [T - 1, V] of each sequence below its root, through one of the model's own attention functions."""
    model.set_attn_implementation(attention)
    try:
        return [_alone(model, config, ids) for ids in branches]
    finally:
        model.set_attn_implementation("affinage")


def _tree_logits(
    model: Any, config: PretrainedConfig, kernel: Kernel, branches: Sequence[tuple[int, ...]], calls: list[int]
) -> tuple[Tensor, list[Tensor]]:
    """Logits [M, V] at the nodes below the root of the tree of these branches, and per branch the rows on its path.

    Layers that called the attention function are appended to `calls`.
    """
    packed = pack([Branch((*ids, 0), 2) for ids in branches])
    seen: list[tuple[int, Tensor, Tensor]] = []
    device = model.get_input_embeddings().weight.device
    with torch.no_grad():
        tree = plant(packed, windows_of(config), device, calls=seen, kernel=kernel)
        out = model(
            **_input(model, config, torch.from_numpy(packed.ids).to(device)),
            position_ids=torch.from_numpy(packed.depth)[None].to(device),
            use_cache=False,
            logits_to_keep=packed.predicting,  # not a tensor, as in `Backbone.logits`
            **{KEYWORD: tree},
        ).logits[0]
    if len(out) != len(packed.predicting):
        raise UserError(
            type(model).__name__,
            f"logits at {len(out)} nodes",
            f"at the {len(packed.predicting)} that were asked for",
            "It ignores `logits_to_keep`.",
        )
    calls += [layer for layer, _, _ in seen]
    rows = [torch.from_numpy(packed.target_row[packed.target_branch == b]).to(device) for b in range(len(branches))]
    return out.float(), rows


def _alone(model: Any, config: PretrainedConfig, ids: Sequence[int]) -> Tensor:
    """Logits [T - 1, V] of one sequence below its root, through the model's own attention and mask."""
    device = model.get_input_embeddings().weight.device
    with torch.no_grad():
        position = torch.arange(len(ids), device=device)[None]
        given = _input(model, config, torch.tensor(ids, device=device))
        return model(**given, position_ids=position, use_cache=False).logits[0, 1:].float()  # type: ignore[no-any-return]


def _input(model: Any, config: PretrainedConfig, ids: Tensor) -> dict[str, Tensor]:
    """What a backbone hands to the model for [N] ids."""
    return {"input_ids": ids[None]} if needs_ids(config) else {"inputs_embeds": model.get_input_embeddings()(ids)[None]}


_TINY = {
    "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "vocab_size": 128, "head_dim": 16, "ffn_dim": 96, "word_embed_proj_dim": 64,
    "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32, "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8, "v_head_dim": 16, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 128, "first_k_dense_replace": 1,
    "dense_intermediate_size": 96, "intermediate_size_mlp": 96, "query_pre_attn_scalar": 16,
    "mamba_d_state": 8, "mamba_d_ssm": 128, "mamba_n_heads": 4, "mamba_d_head": 32, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 16, "linear_value_head_dim": 16, "d_model": 64,
}  # fmt: skip
"""Sizes of the tiny copy, by the name under which configurations hold them."""


def tiny(config: PretrainedConfig, window: int = 5, cap: float = 1.0) -> PretrainedConfig:
    """A copy of a configuration small enough to build in a second, of the same kinds of layers, with windows and caps that bind.

    Args:
        config: any decoder-only configuration.
        window: the sliding window and chunk of the copy, where the original has one.
        cap: the soft cap of the copy's attention, where the original has one.

    Raises:
        UserError: the configuration names no attention heads.
    """
    text = config.get_text_config()
    if not getattr(text, "num_attention_heads", None):
        raise UserError(
            f"model type {config.model_type!r}", "no attention heads in its configuration", "a decoder with attention", "Choose another model."
        )
    values = config.to_dict()
    values = values.get("text_config", values)
    kinds = getattr(text, "layer_types", None)
    layers = max(2, 1 + max(kinds.index(kind) for kind in set(kinds))) if kinds else 2
    # Layers that reuse the keys of others follow one layer of each kind that has its own.
    reusing = layers if values.get("num_kv_shared_layers") else 0
    layers = min(layers + reusing, int(text.num_hidden_layers))
    heads, kv_heads = text.num_attention_heads, values.get("num_key_value_heads")
    sizes: dict[str, Any] = {
        **_TINY,
        "num_hidden_layers": layers,
        "num_kv_shared_layers": reusing,
        "num_key_value_heads": 4 if kv_heads in (None, heads) else 1 if kv_heads == 1 else 2,
    }
    sizes |= dict.fromkeys(("sliding_window", "attention_chunk_size", "attention_window_size"), window)
    sizes |= {"attn_logit_softcapping": cap, "initializer_range": 0.15}
    if values.get("qk_rope_head_dim"):
        sizes["head_dim"] = sizes["qk_rope_head_dim"]
    small = type(text)()
    names = {name: small.attribute_map.get(name, name) for name in sizes}
    # A count that the configuration leaves to the model's own default is set too: the default would not fit the other sizes.
    always = {"head_dim", "num_key_value_heads", "num_experts_per_tok"}
    changed = {names[name]: value for name, value in sizes.items() if values.get(names[name]) is not None or (name in always and name in values)}
    changed |= {name: 1 for name in ("pad_token_id", "bos_token_id", "eos_token_id") if values.get(name) is not None}
    for name in ("layer_types", "mlp_layer_types", "no_rope_layers", "layers_block_type", "activation_sparsity_pattern"):
        if values.get(name):
            changed[name] = list(values[name])[:layers]
    if values.get("rope_parameters"):
        changed["rope_parameters"] = _shorter(values["rope_parameters"], sizes["head_dim"])
    kept = {name: value for name, value in values.items() if name not in {"per_layer_config", "model_type", "transformers_version", "architectures"}}
    return type(text)(**{**kept, **changed})


def _shorter(rope: dict[str, Any], head_width: int) -> dict[str, Any]:
    """The rotary parameters with as many factors as heads of this width have frequencies."""
    count = int(head_width * rope.get("partial_rotary_factor", 1.0)) // 2
    factors = {name: list(rope[name])[:count] for name in ("short_factor", "long_factor") if rope.get(name)}
    nested = {name: _shorter(value, head_width) for name, value in rope.items() if isinstance(value, dict)}
    return {**rope, **factors, **nested}


def random_model(config: PretrainedConfig) -> Any:
    """A model with the tiny copy's weights drawn from a fixed stream, sinks and biases non-zero, in evaluation mode, in float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        model = build(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith(("sinks", "bias")):
                    parameter.normal_(0.0, 0.5)
    return model.eval().requires_grad_(False)


def _sources() -> tuple[Path, ...]:
    """Everything of ours that a probe's result can depend on: this whole package, lest one be forgotten, and what lays trees out."""
    own = Path(__file__).parent
    return (*sorted(own.glob("*.py")), own.parent / "pack.py")


def probe_configuration(config: PretrainedConfig, cache: Path | None = None) -> Probe:
    """Tries a tiny random copy of a configuration in float32; the result is remembered per configuration and version.

    Args:
        config: the model's configuration.
        cache: folder of remembered results. Default: the cache folder of Affinage.
    """
    known = [transformers.__version__, torch.__version__, *(source.read_text(encoding="utf-8") for source in _sources())]
    text = json.dumps([config.to_dict(), *known], sort_keys=True, default=str)
    folder = (cache or cache_folder()) / "probes"
    remembered = folder / f"{hashlib.sha256(text.encode()).hexdigest()[:24]}.json"
    if remembered.is_file():
        values = read_json(remembered)
        return Probe(**{**values, "layer_types": tuple(values["layer_types"])})
    try:
        small = tiny(config)
        model = random_model(small)
    except Exception as error:
        # As in `probe`: an architecture that cannot be built small cannot be tried, and what it said is the finding.
        kinds = tuple(dict.fromkeys(getattr(config.get_text_config(), "layer_types", None) or ()))
        return Probe(str(config.model_type), kinds, "", 0.0, 0.0, 0.0, f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
    result = probe(model, small)
    write_json(remembered, asdict(result))  # at once, since processes on other machines may share the folder
    return result
