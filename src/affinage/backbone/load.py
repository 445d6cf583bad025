"""From a model's name to a frozen backbone: configuration, weights, tokenizer, probe."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import nn
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig, PretrainedConfig
from transformers.modeling_layers import GradientCheckpointingLayer

from affinage.backbone.allocator import keep_freed_memory
from affinage.backbone.attention import attend, hand_on
from affinage.backbone.catalogue import resolve
from affinage.backbone.compiled import compile_layers, require_compilable
from affinage.backbone.device import device_of
from affinage.backbone.kernels import kernel_of
from affinage.backbone.model import Backbone, Identity
from affinage.backbone.norms import shorten_norms
from affinage.backbone.placement import placement, require_resident
from affinage.backbone.probe import probe, probe_configuration, require
from affinage.backbone.quantised import quantisation, row_by_row
from affinage.backbone.shape import decoder_layers, shape_of
from affinage.config import ModelConfig
from affinage.encode import Tokens
from affinage.records import BackboneShape, UserError
from affinage.store import cores

__all__ = ["configuration", "describe", "load", "tokens"]

AttentionInterface.register("affinage", torch.compiler.disable(attend))  # type: ignore[no-untyped-call]  # compiled layers call it as it is

_BLOCKS, _BLOCK = 64, 4096
"""A weights file is known by its size and by so many blocks of so many bytes, spread over it."""


def describe(config: ModelConfig) -> tuple[BackboneShape, Identity]:
    """Shape and identity of a model, from its configuration; weights are not loaded.

    Raises:
        UserError: no such model, or transformers cannot build it.
    """
    place = resolve(config.id)
    settings = configuration(place, config.revision)
    return shape_of(settings), _identity(config, place, settings)


def load(config: ModelConfig) -> Backbone:
    """A frozen model, probed, ready to compute over token trees.

    Sets the number of CPU threads and, on CPU, deterministic algorithms, for the whole process: both are part of a plan. On CPU it also has the C
    library keep what is freed (`allocator`).

    Raises:
        UserError: no such model, one that fails the probe, or values of `model` that do not go together or lack a library.
    """
    require_compilable(config)
    place = resolve(config.id)
    settings = configuration(place, config.revision)
    _refuse_quantising_again(config, place, settings)
    require(probe_configuration(settings), config.id)
    device = device_of(config.device)
    if device.type == "cpu":
        torch.use_deterministic_algorithms(True)
        keep_freed_memory()
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # a debugging aid; every output here is written
    torch.set_num_threads(config.threads or cores())
    transformers.utils.logging.disable_progress_bar()  # ours says what happens
    extra: dict[str, Any] = _gguf(place) | ({"quantization_config": GgufConfig(dequantize=True)} if _gguf(place) else {"use_safetensors": True})
    where = placement(config, device)
    extra |= where | quantisation(config)
    model = _from_hub(
        lambda: AutoModelForCausalLM.from_pretrained(
            _folder(place), revision=config.revision or "main", dtype=getattr(torch, config.dtype), attn_implementation="affinage", **extra
        ),
        config.id,
    )
    require_resident(model)
    model = (model if where else model.to(device)).eval().requires_grad_(False)
    row_by_row(model)
    hand_on(model)
    if not config.compile:
        shorten_norms(model)
    if config.gradient_checkpointing:
        _checkpoint(model, config.id)
    kernel = kernel_of(config.attention)
    require(probe(model, settings, loaded=True, kernel=kernel), config.id)
    if config.compile:
        compile_layers(decoder_layers(model))
    return Backbone(model, tokens(config), shape_of(settings), _identity(config, place, settings), kernel, compiled=bool(config.compile))


def _refuse_quantising_again(config: ModelConfig, place: Path | str, settings: PretrainedConfig) -> None:
    """Weights that come quantised are not quantised a second time."""
    stored = "a GGUF file" if _gguf(place) else "quantised weights" if getattr(settings, "quantization_config", None) else ""
    if config.quantisation != "none" and stored:
        raise UserError("model.quantisation", f"{config.quantisation} for {stored}", "a model with weights as they are", "Set it to none.")


def tokens(config: ModelConfig) -> Tokens:
    """The model's tokenizer with its stop tokens; weights are not loaded.

    Raises:
        UserError: no such model, or a tokenizer that cannot be used.
    """
    place = resolve(config.id)
    revision = config.revision or "main"
    tokenizer = _from_hub(lambda: AutoTokenizer.from_pretrained(_folder(place), revision=revision, **_gguf(place)), config.id)
    if _gguf(place):
        _own_ends(tokenizer, configuration(place))
    try:
        stops = GenerationConfig.from_pretrained(_folder(place), revision=revision).eos_token_id
    except OSError:  # a model without generation_config.json stops at its tokenizer's end-of-text token
        stops = None
    return Tokens(tokenizer, stops if stops is not None else (), config.template_arguments)


def _own_ends(tokenizer: Any, settings: PretrainedConfig) -> None:
    """Gives a GGUF file's tokenizer the tokens that the file names for begin and end: transformers 5.17 swaps the two of Llama's kind."""
    for name in ("bos_token", "eos_token"):
        number = getattr(settings, f"{name}_id", None)
        if isinstance(number, int) and number != getattr(tokenizer, f"{name}_id"):
            setattr(tokenizer, name, tokenizer.convert_ids_to_tokens(number))


def configuration(place: Path | str, revision: str | None = None) -> PretrainedConfig:
    """The configuration of a folder, GGUF file or hub id.

    Raises:
        UserError: there is none, or transformers does not know its model type.
    """
    return _from_hub(lambda: AutoConfig.from_pretrained(_folder(place), revision=revision or "main", **_gguf(place)), str(place))


def _from_hub(call: Any, name: str) -> Any:
    """What transformers answers, its errors as ours."""
    try:
        return call()
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError, StrictDataclassError) as error:
        message = " ".join(str(error).split())[:400]
        raise UserError(
            f"model {name}",
            message,
            "a model that transformers can load, here or on the hub",
            "Check the name and the network; `affinage models ls`.",
        ) from None


def _folder(place: Path | str) -> str:
    return str(place.parent if isinstance(place, Path) and place.suffix == ".gguf" else place)


def _gguf(place: Path | str) -> dict[str, Any]:
    return {"gguf_file": place.name} if isinstance(place, Path) and place.suffix == ".gguf" else {}


def _commit(hub_id: str, revision: str) -> str:
    """The commit that a revision of a hub id stands for, from the cache in which its configuration lies by now.

    Raises:
        UserError: it does not lie there, so that nothing would say which weights an adapter belongs to.
    """
    file = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    if not isinstance(file, str):
        raise UserError(f"model {hub_id}", "no commit in the hub's cache", "a cache that names the commit", "Clear the hub's cache and try again.")
    return Path(file).parent.name


def _identity(model: ModelConfig, place: Path | str, config: PretrainedConfig) -> Identity:
    """Of a hub id the commit, which names the content; of a folder or file a digest of the content."""
    if isinstance(place, str):
        commit = _commit(place, model.revision or "main")
        return Identity(model.id, commit, hashlib.sha256(f"{place}@{commit}{_suffix(model)}".encode()).hexdigest(), model.quantisation)
    kept = {key: value for key, value in config.to_dict().items() if key not in {"transformers_version", "_name_or_path", "dtype", "torch_dtype"}}
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode())
    files = [place] if place.suffix == ".gguf" else sorted(place.glob("*.safetensors"))
    for file in files:
        size = file.stat().st_size
        digest.update(str(size).encode())
        with file.open("rb") as stream:
            for block in range(_BLOCKS):
                stream.seek(max(0, size - _BLOCK) * block // (_BLOCKS - 1))
                digest.update(stream.read(_BLOCK))
    digest.update(_suffix(model).encode())
    return Identity(model.id, "", digest.hexdigest(), model.quantisation)


def _suffix(model: ModelConfig) -> str:
    """What makes another model of the same weights; empty where they are taken as they are."""
    return "" if model.quantisation == "none" else f" in {model.quantisation}"


def _checkpoint(model: Any, name: str) -> None:
    """Has the decoder layers computed again in the backward pass, without a change of what they compute.

    transformers does that for layers in train mode. Only the layers are put into it, not the modules inside: routers that sample their experts
    there would compute something else.

    Raises:
        UserError: the model has no such layers.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers or not model.supports_gradient_checkpointing:
        raise UserError(f"model {name}", "no layers that can be computed again", "such layers for `model.gradient_checkpointing`", "Set it to false.")
    # The second is the method's name in older versions of transformers.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    model.disable_input_require_grads()  # which only the other kind of checkpointing needs
    for layer in layers:
        layer.training = True
        _silence(layer)


def _silence(layer: nn.Module) -> None:
    """The dropouts that a layer itself applies in train mode, to zero; those inside are not in train mode."""
    for owner in (layer, getattr(layer, "config", None)):
        for name, value in list(vars(owner).items()) if owner is not None else ():
            if ("dropout" in name or "pdrop" in name) and isinstance(value, float):
                setattr(owner, name, 0.0)
