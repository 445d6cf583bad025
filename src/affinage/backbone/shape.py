"""What a model's configuration tells, without its weights: shape, windows, lengths."""

from __future__ import annotations

import re
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig

from affinage.backbone.attention import Window, hand_on
from affinage.records import BackboneShape, UserError

__all__ = ["build", "decoder_layers", "longest_position", "needs_ids", "node_limit", "shape_of", "windows_of"]


def build(config: PretrainedConfig, dtype: torch.dtype = torch.float32, attention: str = "affinage") -> nn.Module:
    """A model with this configuration and random weights (on the meta device: with none).

    Raises:
        UserError: transformers knows no causal language model for the configuration.
    """
    try:
        model: nn.Module = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation=attention)
    except (ValueError, KeyError, ImportError) as error:
        raise UserError(
            f"model type {config.model_type!r}",
            f"{type(error).__name__}: {' '.join(str(error).split())[:300]}",
            "a decoder-only language model whose attention goes through transformers' AttentionInterface",
            "Choose another model; `affinage models ls --probe` shows which work.",
        ) from None
    hand_on(model)
    return model


def shape_of(config: PretrainedConfig) -> BackboneShape:
    """The numbers that methods need, read from the configuration by building the model without memory for its weights."""
    text = config.get_text_config()
    with torch.device("meta"):
        model = build(config)
    layers = decoder_layers(model)
    prefix = next(name for name, module in model.named_modules() if module is layers)
    linears = tuple(
        (f"{prefix}.{name}", module.in_features, module.out_features) for name, module in layers.named_modules() if type(module) is nn.Linear
    )
    widths = {(name.split(".", 1)[1], size) for name, _, size in ((n.removeprefix(prefix + "."), i, o) for n, i, o in linears)}
    first = text.per_layer_config[0] if text.is_heterogeneous else text
    heads = int(first.num_attention_heads)
    kv_heads = int(getattr(first, "num_key_value_heads", None) or heads)
    head_width = int(getattr(first, "head_dim", None) or first.hidden_size // heads)
    refusal = _why_no_prefix(text, widths, kv_heads * head_width)
    return BackboneShape(
        layers=int(text.num_hidden_layers),
        width=int(model.get_input_embeddings().embedding_dim),  # type: ignore[operator]
        kv_heads=kv_heads,
        head_width=head_width,
        vocabulary=int(model.get_input_embeddings().num_embeddings),  # type: ignore[operator]
        linears=linears,
        weights=tuple((name, tuple(parameter.shape)) for name, parameter in model.named_parameters()),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        uniform_heads=not refusal,
        refusal=refusal,
    )


def decoder_layers(model: Any) -> nn.ModuleList:
    """The list of decoder layers; a composite model's other towers have lists of their own."""
    decoder = model.get_decoder()
    count = int(decoder.config.get_text_config().num_hidden_layers)
    found = [module for module in decoder.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not found:
        raise UserError(type(model).__name__, "no list of decoder layers", f"a module list of {count} layers", "Choose another model.")
    return found[0]


def _why_no_prefix(text: Any, widths: set[tuple[str, int]], expected: int) -> str:
    """Why keys and values cannot be prefixed; empty where they can."""
    if getattr(text, "num_kv_shared_layers", 0):
        return f"its last {text.num_kv_shared_layers} layers reuse another layer's keys and values"
    if getattr(text, "kv_lora_rank", None):
        return "its keys and values differ in width (latent attention)"
    different = sorted({size for name, size in widths if re.search(r"(^|\.)(k_proj|v_proj)$", name) and size != expected})
    if different:
        return f"its keys and values have widths {different} beside {expected}"
    return ""


def windows_of(config: PretrainedConfig) -> tuple[Window | None, ...]:
    """Per layer the window that the configuration tells: some models put theirs into the mask only, which the tree replaces."""
    text = config.get_text_config()
    count = int(text.num_hidden_layers)
    sliding = getattr(text, "sliding_window", None)
    chunk = getattr(text, "attention_chunk_size", None)
    kinds = getattr(text, "layer_types", None)
    if kinds is None:
        used = sliding and getattr(text, "use_sliding_window", True)
        kinds = ["sliding_attention" if used else "full_attention"] * count
    windows: list[Window | None] = []
    for kind in kinds[:count]:
        if "sliding" in kind and sliding:
            windows.append(Window("sliding", int(sliding)))
        elif "chunked" in kind and chunk:
            windows.append(Window("chunked", int(chunk)))
        else:
            windows.append(None)
    return tuple(windows)


def longest_position(config: PretrainedConfig) -> tuple[int | None, str]:
    """The number of positions that a sequence may use, and why; None where only the model's training sets a limit."""
    text = config.get_text_config()
    longest = getattr(text, "max_position_embeddings", None)
    rope = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None)
    per_layer = [value for value in rope.values() if isinstance(value, dict)] if rope else []
    for parameters in [rope, *per_layer] if rope else []:
        kind = parameters.get("rope_type")
        if kind in {"dynamic", "longrope"} and longest:
            original = parameters.get("original_max_position_embeddings") if kind == "longrope" else None
            return int(original or longest), f"its rotary embedding ({kind}) changes with the longest sequence"
    if rope is None and longest:
        return int(longest), "its positions are learned"
    return None, ""


def node_limit(config: PretrainedConfig) -> int | None:
    """Nodes that a pack may have, for models that derive positions from the index in the sequence (Llama 4's temperature); else None."""
    text = config.get_text_config()
    if getattr(text, "attn_temperature_tuning", False) and getattr(text, "floor_scale", None):
        return int(text.floor_scale) - 1
    return None


def needs_ids(config: PretrainedConfig) -> bool:
    """Whether every layer looks the token ids up again (Gemma 3n, Gemma 4), so that a node must have a token."""
    return bool(getattr(config.get_text_config(), "hidden_size_per_layer_input", None))
