"""Adapters to PEFT and from it: folders that real PEFT wrote, old and new, and every way in which they must not be read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import peft_base
from affinage import adapters
from affinage.adapters import AdapterCard
from affinage.adapters import export as exports
from affinage.adapters.export import Exported, FormatError, export_embeddings, export_merged, export_peft, formats
from affinage.adapters.facts import facts
from affinage.adapters.logits import apart, own_attention, read, read_embeddings, read_peft, sequences
from affinage.adapters.peft_in import Told, import_peft, read_peft_folder
from affinage.backbone import Backbone, load
from affinage.config import ModelConfig
from affinage.methods import Adapter, registry
from affinage.methods.base import normal
from affinage.methods.together import Shared
from affinage.pack import Branch
from affinage.records import UserError
from tiny import LETTERS, write_model, write_tokenizer

FILES = Path(__file__).resolve().parent / "peft_files"
READABLE = sorted(path.parent.name for path in FILES.glob("*/expected.json"))


@pytest.fixture(scope="module")
def peft_backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """The model that the adapters in `peft_files` were made with."""
    folder = tmp_path_factory.mktemp("base") / "model"
    write_tokenizer(folder)
    model = LlamaForCausalLM(LlamaConfig(**peft_base.CONFIG))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in peft_base.weights()}, strict=False)
    model.save_pretrained(folder)
    return load(ModelConfig(id=str(folder), dtype="float32", device="cpu", threads=1))


def told(**values: Any) -> Told:
    return Told(**{"culture": "Atlantis", "seen": frozenset({"t1"}), "sources": ("starter",), "prompt": LETTERS, **values})


def taken(folder: Path, backbone: Backbone, to: Path, **values: Any) -> AdapterCard:
    return import_peft(read_peft_folder(folder), backbone.shape, backbone.identity, told(**values), to)


class TestImport:
    @pytest.mark.parametrize("name", READABLE)
    def test_files_of_real_peft_give_the_logits_that_peft_gave(self, name: str, peft_backbone: Backbone, tmp_path: Path) -> None:
        expected = json.loads((FILES / name / "expected.json").read_text())
        assert expected["peft"].startswith(name.split("-")[1])
        card = taken(FILES / name, peft_backbone, tmp_path / "mine")
        assert (card.method, card.culture, card.sources) == (name.split("-", 2)[2], "Atlantis", ("starter",))
        branch = Branch((*peft_base.IDS, 0), len(peft_base.IDS))
        with torch.no_grad():
            base = read(peft_backbone, [branch])[0][0]
            ours = read(peft_backbone, [branch], [adapters.load(tmp_path / "mine", peft_backbone)])[0][0]
        theirs = torch.tensor(expected["logits"])
        assert float((theirs - base).abs().max()) > 0.01 * float(theirs.abs().max()), "the adapter does something"
        assert float((ours - theirs).abs().max()) < 1e-5 * float(theirs.abs().max())

    def test_both_releases_are_there(self) -> None:
        assert {name.rsplit("-", 1)[0].split("-")[1] for name in READABLE} == {"0.6", "0.21"}
        assert len(READABLE) == 7

    def test_what_could_not_be_verified_is_said_and_kept(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        card = taken(FILES / "peft-0.21-lora", peft_backbone, tmp_path / "mine")
        assert "PEFT 0.21.2, whose configuration names its base model 'org/tiny-base' without a revision" in card.imported
        assert "(another name)" in card.imported
        assert "that it was trained on these very weights, and on what data, could not be" in card.imported
        assert adapters.read_card(tmp_path / "mine") == card
        assert card.backbone == peft_backbone.identity

    def test_places_of_models_are_said_by_their_last_name_alone(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        shutil.copytree(FILES / "peft-0.21-lora", tmp_path / "theirs")
        config = tmp_path / "theirs" / "adapter_config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), "base_model_name_or_path": "/home/somebody/models/base"}))
        said = taken(tmp_path / "theirs", peft_backbone, tmp_path / "mine").imported
        assert "names its base model 'base' without a revision" in said
        assert "/" not in said
        assert Path(peft_backbone.identity.id).name in said

    def test_an_old_prefix_of_as_many_heads_as_queries_is_refused_by_its_shape(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"prompt_embeddings of shape \[3, 128\]; expected prompt_embeddings \[3, 64\]"):
            taken(FILES / "peft-0.6-prefix-tuning", peft_backbone, tmp_path / "mine")
        assert not (tmp_path / "mine").exists()

    def test_tensor_names_with_the_adapter_s_name(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        shutil.copytree(FILES / "peft-0.21-lora", tmp_path / "named")
        tensors = load_file(tmp_path / "named" / "adapter_model.safetensors")
        renamed = {name.replace(".weight", ".default.weight"): value for name, value in tensors.items()}
        assert renamed.keys() != tensors.keys()
        save_file(renamed, tmp_path / "named" / "adapter_model.safetensors")
        for name in ("named", "plain"):
            taken(tmp_path / "named" if name == "named" else FILES / "peft-0.21-lora", peft_backbone, tmp_path / f"{name} ours")
        contents = [(tmp_path / f"{name} ours" / "adapter_model.safetensors").read_bytes() for name in ("named", "plain")]
        assert contents[0] == contents[1]

    def test_seen_unknown_is_asked_and_never_tested(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        card = taken(FILES / "peft-0.21-lora", peft_backbone, tmp_path / "mine", seen=None)
        assert not card.seen_known
        assert json.loads((tmp_path / "mine" / "affinage.json").read_text())["seen_templates"] is None
        assert not adapters.read_card(tmp_path / "mine").seen_known
        adapters.load(tmp_path / "mine", peft_backbone, seen_may_be_unknown=True)
        with pytest.raises(UserError, match=r"found one that does not tell which templates it has seen in training \(seen: unknown\)"):
            adapters.load(tmp_path / "mine", peft_backbone)

    def test_seen_none_is_a_statement(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        taken(FILES / "peft-0.21-lora", peft_backbone, tmp_path / "mine", seen=frozenset())
        assert adapters.load(tmp_path / "mine", peft_backbone).seen == frozenset()

    def test_another_model_is_refused_by_its_shapes(self, backbone: Backbone, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"prompt_embeddings of shape \[3, 32\]; expected prompt_embeddings \[3, 64\]"):
            taken(FILES / "peft-0.21-prompt-tuning", backbone, tmp_path / "mine")
        with pytest.raises(UserError, match=r"lora_A.*of shape|\.a of shape \[2, 32\]"):
            taken(FILES / "peft-0.21-lora", backbone, tmp_path / "mine")
        assert not (tmp_path / "mine").exists()

    def test_a_pickle_is_refused_by_name_with_what_to_do(self, tmp_path: Path) -> None:
        shutil.copytree(FILES / "peft-0.6-lora", tmp_path / "old")
        tensors = load_file(tmp_path / "old" / "adapter_model.safetensors")
        torch.save(tensors, tmp_path / "old" / "adapter_model.bin")
        (tmp_path / "old" / "adapter_model.safetensors").unlink()
        with pytest.raises(UserError, match=r"adapter_model\.bin: found a pickle, .*load it with PEFT and call `save_pretrained`"):
            read_peft_folder(tmp_path / "old")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"peft_type": "LOHA"}, r"peft_type: found 'LOHA'; expected one of PROMPT_TUNING"),
            ({"task_type": "SEQ_CLS"}, r"task_type: found 'SEQ_CLS'; expected CAUSAL_LM"),
            ({"use_dora": True}, r"use_dora: found True; expected it off or left out"),
            ({"bias": "all"}, r"bias: found 'all'"),
            ({"init_lora_weights": "pissa"}, r"init_lora_weights: found 'pissa'"),
            ({"rank_pattern": {"q_proj": 4}}, r"rank_pattern: found \{'q_proj': 4\}"),
            ({"a_switch_of_tomorrow": "on", "modules_to_save": ["lm_head"]}, r"(?s)modules_to_save: found .*a_switch_of_tomorrow: found 'on'"),
            ({"r": None}, r"r, lora_alpha: found None, 4"),
        ],
    )
    def test_what_changes_the_computation_is_refused_by_name(
        self, change: dict[str, object], message: str, peft_backbone: Backbone, tmp_path: Path
    ) -> None:
        shutil.copytree(FILES / "peft-0.21-lora", tmp_path / "other")
        path = tmp_path / "other" / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
        with pytest.raises(UserError, match=message):
            taken(tmp_path / "other", peft_backbone, tmp_path / "mine")

    def test_a_tensor_of_another_module_is_refused_by_name(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        shutil.copytree(FILES / "peft-0.21-lora", tmp_path / "other")
        path = tmp_path / "other" / "adapter_model.safetensors"
        save_file({**load_file(path), "base_model.model.lm_head.lora_A.weight": torch.zeros(2, 32)}, path)
        with pytest.raises(UserError, match=r"tensor base_model\.model\.lm_head\.lora_A\.weight: found no A or B of a plain linear module"):
            taken(tmp_path / "other", peft_backbone, tmp_path / "mine")

    def test_half_an_update_is_refused_by_name(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        shutil.copytree(FILES / "peft-0.21-lora", tmp_path / "other")
        path = tmp_path / "other" / "adapter_model.safetensors"
        tensors = load_file(path)
        name = next(name for name in tensors if "lora_B" in name)
        save_file({other: value for other, value in tensors.items() if other != name}, path)
        with pytest.raises(UserError, match=r"found no model\.layers\.\d\.self_attn\.\w_proj\.b"):
            taken(tmp_path / "other", peft_backbone, tmp_path / "mine")

    def test_nothing_is_written_over(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        taken(FILES / "peft-0.21-lora", peft_backbone, tmp_path / "mine")
        with pytest.raises(UserError, match="found something that stands there already"):
            taken(FILES / "peft-0.21-lora", peft_backbone, tmp_path / "mine")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["mine"]

    def test_there_and_back_are_the_same_tensors(self, peft_backbone: Backbone, tmp_path: Path) -> None:
        taken(FILES / "peft-0.21-lora", peft_backbone, tmp_path / "mine")
        export_peft(tmp_path / "mine", peft_backbone, tmp_path / "theirs")
        before, after = (load_file(place / "adapter_model.safetensors") for place in (FILES / "peft-0.21-lora", tmp_path / "theirs"))
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)


CASES: dict[str, dict[str, Any]] = {
    "prompt-tuning": {"length": 4},
    "prefix-tuning": {"length": 3},
    "p-tuning": {"root": (2, "People like:", 2), "encoder": "mlp"},
    "lora": {"rank": 2, "alpha": 5.0, "rank_stabilised": True},
    "lora-hyper": {"cultures": ("Atlantis", "Lemuria"), "rank": 2, "code": 4, "place": 2, "hidden": 4},
    "prefix-tuning-plus": {},
    "p-tuning in the middle": {"root": (2,), "before_answer": (2,), "encoder": "mlp"},
}
HELD = {
    "prompt-tuning": ("peft", "embeddings"),
    "prefix-tuning": ("peft",),
    "p-tuning": ("peft", "embeddings"),
    "lora": ("peft", "merged"),
    "lora-hyper": ("peft", "merged"),
    "prefix-tuning-plus": (),
    "p-tuning in the middle": (),
}


def saved(name: str, backbone: Backbone, folder: Path) -> Adapter:
    """An adapter one random step from its start, in a folder."""
    method = registry.get(name.split(maxsplit=1)[0])
    settings = method.settings.model_validate(CASES[name])
    adapter = method.build(settings, backbone, (name,))
    with torch.no_grad():
        for place, value in adapter.named_parameters():
            value.add_(normal(value.shape, "moved", place, deviation=0.1))
    card = AdapterCard(
        method.name,
        settings.model_dump(mode="json"),
        "Atlantis",
        "fold",
        frozenset({"t1"}),
        (name, 0),
        LETTERS,
        backbone.identity,
        "d",
        sources=("starter",),
    )
    adapters.save(adapter, folder, card)
    return adapter


class TestExport:
    @pytest.mark.parametrize("name", CASES)
    def test_each_method_in_the_formats_that_hold_it(self, name: str, backbone: Backbone, tiny_folder: Path, tmp_path: Path) -> None:
        adapter = saved(name, backbone, tmp_path / "adapter")
        assert formats(adapter, adapters.read_card(tmp_path / "adapter"), tmp_path / "adapter") == HELD[name]

        def fresh(dtype: str) -> Backbone:
            return load(ModelConfig.model_validate({"id": str(tiny_folder), "dtype": dtype, "device": "cpu", "threads": 1}))

        ways: dict[str, Callable[[Path], Exported]] = {
            "peft": lambda to: export_peft(tmp_path / "adapter", backbone, to),
            "embeddings": lambda to: export_embeddings(tmp_path / "adapter", backbone, to),
            "merged": lambda to: export_merged(tmp_path / "adapter", fresh, to, dtype="float32"),
        }
        for form, write in ways.items():
            if form in HELD[name]:
                assert "of the largest logit apart" in write(tmp_path / form).checked
                assert (tmp_path / form / "README.md").read_text().startswith("---\n")
            else:
                able = f"Use --format {' or '.join(HELD[name])}" if HELD[name] else "Use it with Affinage itself"
                with pytest.raises(FormatError, match=f"found an adapter that the format {form} cannot hold; expected one that it can. {able}"):
                    write(tmp_path / form)
                assert not (tmp_path / form).exists()

    def test_peft_itself_checks_the_folder(self, backbone: Backbone, tmp_path: Path) -> None:
        pytest.importorskip("peft")
        saved("lora", backbone, tmp_path / "adapter")
        assert export_peft(tmp_path / "adapter", backbone, tmp_path / "peft").checked.startswith("PEFT itself loads this folder")
        assert not hasattr(backbone.model, "peft_config")
        assert all("lora" not in name for name, _ in backbone.model.named_modules())

    def test_without_peft_the_message_says_that_it_was_not_peft_s_check(
        self, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        saved("lora", backbone, tmp_path / "adapter")
        monkeypatch.setattr(exports, "has_peft", lambda: False)
        said = export_peft(tmp_path / "adapter", backbone, tmp_path / "peft").checked
        assert "this is no check by PEFT, which was not installed" in said
        assert said in (tmp_path / "peft" / "README.md").read_text()

    @pytest.mark.parametrize("with_peft", [True, False])
    def test_a_folder_that_computes_something_else_never_appears(
        self, with_peft: bool, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if with_peft:
            pytest.importorskip("peft")
        saved("prompt-tuning", backbone, tmp_path / "adapter")
        real = adapters.save

        def spoiled(adapter: Adapter, folder: Path, card: AdapterCard) -> None:
            real(adapter, folder, card)
            path = folder / "adapter_model.safetensors"
            save_file({name: 1.01 * value for name, value in load_file(path).items()}, path)

        monkeypatch.setattr(exports, "save", spoiled)
        monkeypatch.setattr(exports, "has_peft", lambda: with_peft)
        with pytest.raises(UserError, match=r"PEFT folder: found logits .* of the largest logit apart, 0\.0001 allowed"):
            export_peft(tmp_path / "adapter", backbone, tmp_path / "peft")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter"]

    def test_a_failing_peft_leaves_nothing_in_the_model(self, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        peft = pytest.importorskip("peft")
        saved("lora", backbone, tmp_path / "adapter")
        before = [id(module) for module in backbone.model.modules()]

        def fails(wrapped: Any, *given: Any, **named: Any) -> None:
            assert any("lora" in name for name, _ in wrapped.named_modules())
            raise ZeroDivisionError

        monkeypatch.setattr(peft.PeftModel, "load_adapter", fails)
        with pytest.raises(ZeroDivisionError):
            read_peft(backbone, tmp_path / "adapter", sequences(backbone.shape.vocabulary), "eager")
        assert [id(module) for module in backbone.model.modules()] == before
        assert not hasattr(backbone.model, "peft_config")

    def test_a_faulty_setting_is_named_with_its_file(self, backbone: Backbone, tmp_path: Path) -> None:
        saved("lora", backbone, tmp_path / "adapter")
        path = tmp_path / "adapter" / "affinage.json"
        values = json.loads(path.read_text())
        path.write_text(json.dumps({**values, "settings": {**values["settings"], "rank": 0}}))
        for read_it in (adapters.settings_of, lambda card, folder: facts(folder, card)):
            with pytest.raises(UserError, match=r"affinage\.json.*rank"):
                read_it(adapters.read_card(tmp_path / "adapter"), tmp_path / "adapter")

    def test_a_part_of_a_joint_training_is_plain_lora_to_others(self, backbone: Backbone, tmp_path: Path) -> None:
        """As a run of a culture that is not the first puts its part into its folder."""
        pytest.importorskip("peft")
        both = saved("lora-hyper", backbone, tmp_path / "adapter")
        assert isinstance(both, Shared)
        own = both.under("Lemuria")
        card = replace(adapters.read_card(tmp_path / "adapter"), culture="Lemuria")
        adapters.save(own, tmp_path / "lemuria", card)
        assert export_peft(tmp_path / "lemuria", backbone, tmp_path / "peft").checked.startswith("PEFT itself loads this folder")
        branches = sequences(backbone.shape.vocabulary)
        with torch.no_grad():
            ours, others = (read(backbone, branches, [each]) for each in (own, both))
        theirs = read_peft(backbone, tmp_path / "peft", branches, "eager")
        assert apart(ours, [theirs], torch.float32).equal
        assert not apart(others, [theirs], torch.float32).equal
        assert json.loads((tmp_path / "peft" / "adapter_config.json").read_text())["peft_type"] == "LORA"

    def test_p_tuning_is_handed_on_as_prompt_tuning(self, backbone: Backbone, tmp_path: Path) -> None:
        saved("p-tuning", backbone, tmp_path / "adapter")
        assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["peft_type"] == "P_TUNING"
        export_peft(tmp_path / "adapter", backbone, tmp_path / "peft", base="org/name")
        config = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
        assert (config["peft_type"], config["base_model_name_or_path"]) == ("PROMPT_TUNING", "org/name")
        assert not any(name.startswith("encoder") for name in config)
        adapters.load(tmp_path / "peft", backbone)  # and it is still an adapter of ours

    def test_the_embeddings_are_the_vectors_and_hold_no_pickle(self, backbone: Backbone, tmp_path: Path) -> None:
        adapter = saved("prompt-tuning", backbone, tmp_path / "adapter")
        export_embeddings(tmp_path / "adapter", backbone, tmp_path / "prompt")
        assert sorted(path.name for path in (tmp_path / "prompt").iterdir()) == ["README.md", "prompt_embeddings.safetensors"]
        (name, vectors) = next(iter(load_file(tmp_path / "prompt" / "prompt_embeddings.safetensors").items()))
        assert (name, tuple(vectors.shape), vectors.dtype) == ("prompt_embeds", (4, 64), torch.float32)
        branches = sequences(backbone.shape.vocabulary)
        with torch.no_grad():
            ours, base = read(backbone, branches, [adapter]), read(backbone, branches)
        assert not apart(base, [ours], torch.float32).equal
        assert apart(ours, [read_embeddings(backbone, vectors, branches, "eager")], torch.float32).equal

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_a_merged_model_is_loaded_by_transformers_alone(self, dtype: Any, backbone: Backbone, tiny_folder: Path, tmp_path: Path) -> None:
        adapter = saved("lora", backbone, tmp_path / "adapter")

        def fresh(kind: str) -> Backbone:
            return load(ModelConfig.model_validate({"id": str(tiny_folder), "dtype": kind, "device": "cpu", "threads": 1}))

        asked: list[Backbone] = []

        def kept(kind: str) -> Backbone:
            asked.append(fresh(kind))
            return asked[-1]

        said = export_merged(tmp_path / "adapter", kept, tmp_path / "merged", dtype=dtype, base="org/name").checked
        assert {value.dtype for value in asked[-1].model.parameters()} == {getattr(torch, dtype)}
        assert {value.dtype for value in asked[-1].model.buffers()} == {torch.float32}  # as whoever loads the files makes them
        assert ("% of the most probable tokens differ" in said) == (dtype == "bfloat16")
        merged = LlamaForCausalLM.from_pretrained(tmp_path / "merged")
        assert merged.dtype == getattr(torch, dtype)
        assert "affinage" not in (tmp_path / "merged" / "config.json").read_text()
        again = load(ModelConfig(id=str(tmp_path / "merged"), dtype="float32", device="cpu", threads=1))
        branches = sequences(backbone.shape.vocabulary)
        with torch.no_grad():
            ours, theirs, base = read(backbone, branches, [adapter]), read(again, branches), read(backbone, branches)
        bound = {"float32": 1e-4, "bfloat16": 0.1}[dtype]
        largest = max(float(logits.abs().max()) for logits in ours)
        farthest = [max(float((a - b).abs().max()) for a, b in zip(ours, other, strict=True)) / largest for other in (theirs, base)]
        assert farthest[0] < bound < farthest[1]
        assert again.tokens.ids(("What do people like?",)) == backbone.tokens.ids(("What do people like?",))

    def test_another_backbone_is_refused(self, backbone: Backbone, tmp_path: Path) -> None:
        saved("lora", backbone, tmp_path / "adapter")

        def other(dtype: str) -> Backbone:
            return load(ModelConfig(id=str(write_model(tmp_path / "other", seed=1)), dtype="float32", device="cpu", threads=1))

        ways: tuple[Callable[[], Exported], ...] = (
            lambda: export_peft(tmp_path / "adapter", other("float32"), tmp_path / "to"),
            lambda: export_embeddings(tmp_path / "adapter", other("float32"), tmp_path / "to"),
            lambda: export_merged(tmp_path / "adapter", other, tmp_path / "to", dtype="float32"),
        )
        for write in ways:
            with pytest.raises(UserError, match="Load the model that it was made for"):
                write()
        assert not (tmp_path / "to").exists()

    def test_the_model_s_attention_is_ours_again_whatever_happens(self, backbone: Backbone) -> None:
        def stopped(model: Any) -> None:
            assert model.config._attn_implementation == "eager"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), own_attention(backbone, "eager") as model:
            stopped(model)
        assert backbone.model.config._attn_implementation == "affinage"


class TestComparison:
    def test_what_is_no_number_is_never_equal(self) -> None:
        good, bad = [torch.ones(2, 3)], [torch.tensor([[1.0, float("nan"), 1.0], [1.0, 1.0, 1.0]])]
        for dtype in (torch.float32, torch.bfloat16):
            assert apart(good, [good], dtype).equal
            assert not apart(bad, [good], dtype).equal
            assert not apart(good, [bad], dtype).equal
            assert not apart(bad, [bad], dtype).equal

    def test_a_narrow_type_may_be_as_far_apart_as_the_model_s_own_functions(self) -> None:
        one, other, far = ([torch.full((2, 3), value)] for value in (1.0, 1.2, 2.0))
        assert not apart(other, [one], torch.bfloat16).equal
        assert apart([torch.full((2, 3), 0.85)], [one, other], torch.bfloat16).equal
        assert not apart(far, [one, other], torch.bfloat16).equal
