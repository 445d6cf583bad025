"""Attention on virtual tokens: the masses are the model's own attention weights, and measuring changes nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from affinage.analysis import AnalysisSettings, Subject, make
from affinage.analysis.attention import LAYERS, PLACES, spread, virtual_tokens
from affinage.backbone import Backbone
from affinage.backbone.kernels import STRIPS, kernel_of
from affinage.backbone.measured import measured
from affinage.methods import Adapter, registry
from affinage.pack import Branch, pack
from affinage.records import Encoded
from affinage.report import read_evidence
from affinage.report.attention import depths, section
from affinage.report.cells import Cells
from affinage.report.language import speaking
from affinage.scoring import option_branches
from affinage.store import read_analysis
from study_fakes import CLEAN
from tiny import PMI, TEXT, encode, questions
from trained_study import TESTED, shared_study
from trees import backbone_of, doors_of, placed, small

ADAPTERS: dict[str, dict[str, Any]] = {
    "prompt-tuning": {"length": 4},
    "p-tuning": {"root": (2,), "before_answer": (3,), "encoder": "mlp"},
    "prefix-tuning": {"length": 3},
    "adaptive-prefix": {"length": 3},
}


def adapter_of(backbone: Backbone, method: str) -> Adapter:
    found = registry.get(method)
    return found.build(found.settings.model_validate(ADAPTERS[method]), backbone, ("attention",))


@pytest.fixture(scope="module")
def asked(backbone: Backbone) -> list[Encoded]:
    return encode(backbone, questions("Atlantis", 3), TEXT)


def eager(backbone: Backbone, adapter: Adapter, branch: Branch) -> tuple[Tensor, Tensor]:
    """The model's own weights over one sequence, [L, heads, Q, K], and which keys are virtual tokens, [K]; prefix slots come first."""
    doors = adapter.doors()
    ids = torch.tensor(adapter.place(branch).ids[:-1])
    embedded = backbone.model.get_input_embeddings()(ids.clamp(min=0))
    if doors.vectors is not None:
        embedded = torch.where(ids[:, None] < 0, doors.vectors[(-1 - ids).clamp(min=0)], embedded)
    cache, slots = None, 0
    if doors.keys is not None and doors.values is not None:
        slots = doors.keys.shape[1]
        cache = DynamicCache(config=backbone.model.config)
        for layer, (key, value) in enumerate(zip(doors.keys, doors.values, strict=True)):
            cache.update(key.transpose(0, 1)[None], value.transpose(0, 1)[None], layer)
    # On a copy: asked for its weights, a model of transformers keeps hooks on its layers.
    model = copy.deepcopy(backbone.model)
    model.set_attn_implementation("eager")
    position = torch.arange(slots, slots + len(ids))[None]
    found = model(inputs_embeds=embedded[None], position_ids=position, past_key_values=cache, use_cache=cache is not None, output_attentions=True)
    return torch.cat(found.attentions), torch.cat([torch.ones(slots, dtype=torch.bool), ids < 0])


@pytest.mark.parametrize("method", ["prompt-tuning", "p-tuning", "prefix-tuning"])
def test_masses_are_the_weights_of_transformers_eager_attention(method: str, backbone: Backbone, asked: list[Encoded]) -> None:
    adapter = adapter_of(backbone, method)
    with torch.no_grad():
        found = spread(backbone, adapter, asked[0], "total")
        per_node: dict[tuple[str, tuple[int, ...]], tuple[Tensor, float]] = {}
        for branch in option_branches(asked[0], "total"):
            weights, virtual = eager(backbone, adapter, branch)
            placed_branch = adapter.place(branch)
            slots = len(virtual) - len(placed_branch.ids) + 1
            for at, token in enumerate(placed_branch.ids[:-1]):
                if token >= 0:
                    place = "answer" if at >= placed_branch.first - 1 else "question"
                    seen = virtual[: slots + at + 1].float().mean()
                    per_node[place, placed_branch.ids[: at + 1]] = (weights[:, :, at, virtual], float(seen))
    for number, place in enumerate(PLACES):
        own = [value for (where, _), value in per_node.items() if where == place]
        expected = torch.stack([weights for weights, _ in own]).mean(0).numpy()
        assert found.mass[number].shape == (2, 4, virtual_tokens(adapter))
        np.testing.assert_allclose(found.mass[number], expected, atol=1e-6)
        np.testing.assert_allclose(found.level[number], np.mean([level for _, level in own]), atol=1e-6)
        assert np.ptp(found.mass[number]) > 1e-3  # the weights differ between heads and tokens


@pytest.mark.parametrize("method", ["prompt-tuning", "p-tuning", "prefix-tuning"])
def test_masses_on_virtual_tokens_and_text_sum_to_one(method: str, backbone: Backbone, asked: list[Encoded]) -> None:
    found = spread(backbone, adapter_of(backbone, method), asked[1], "total")
    np.testing.assert_allclose(found.mass.sum(-1) + found.text, 1, atol=1e-6)
    assert (found.mass[1] > 0).all()  # from the question nobody sees what stands before the answer


def test_closed_gates_take_mass_away(backbone: Backbone, asked: list[Encoded]) -> None:
    adapter = adapter_of(backbone, "adaptive-prefix")
    half = registry.get("adaptive-prefix").restore(
        registry.get("adaptive-prefix").settings.model_validate(ADAPTERS["adaptive-prefix"]),
        backbone.shape,
        {**adapter.final_tensors(), "scales": torch.zeros(2)},
    )
    opened, closed = (spread(backbone, each, asked[0], "total") for each in (adapter, half))
    assert opened.mass.sum(-1).min() > 1e-3
    assert closed.mass.max() == 0
    np.testing.assert_allclose(closed.level, opened.level)  # what a node sees does not depend on the gates


@pytest.mark.parametrize("kernel", ["strips", "buckets", "sdpa"])
def test_measuring_changes_no_logit_and_every_kernel_tells_the_same(kernel: str, backbone: Backbone, asked: list[Encoded]) -> None:
    for method in ("prompt-tuning", "prefix-tuning"):
        adapter = adapter_of(backbone, method)
        packed = pack([adapter.place(branch) for each in asked for branch in option_branches(each, "total")])
        told: dict[int, Tensor] = {}
        seeing = replace(backbone, kernel=measured(kernel_of(kernel), lambda layer, mass, level, told=told: told.update({layer: mass})))  # type: ignore[misc]
        plain = replace(backbone, kernel=kernel_of(kernel))
        with torch.no_grad(), seeing.logits(packed, [adapter.doors()]) as seen, plain.logits(packed, [adapter.doors()]) as expected:
            assert torch.equal(seen, expected)
        strips: dict[int, Tensor] = {}
        again = replace(backbone, kernel=measured(STRIPS, lambda layer, mass, level, told=strips: told.update({layer: mass})))  # type: ignore[misc]
        with torch.no_grad(), again.logits(packed, [adapter.doors()]):
            pass
        assert sorted(told) == [0, 1]
        for layer, mass in told.items():
            torch.testing.assert_close(mass, strips[layer], atol=1e-5, rtol=0)


def test_windows_caps_and_sinks_are_the_models(backbone: Backbone) -> None:
    windowed, config = small("gemma2")
    other = backbone_of(windowed, config)
    doors = doors_of(other, ["vectors"])
    told: dict[int, tuple[Tensor, Tensor]] = {}
    seeing = replace(other, kernel=measured(STRIPS, lambda layer, mass, level: told.update({layer: (mass, level)})))
    packed = pack([placed(Branch(tuple(range(5, 25)), 10), doors)])
    with torch.no_grad(), seeing.logits(packed, [doors]):
        pass
    last = {kind: told[layer][1][-1, :3].sum() for layer, kind in enumerate(config.layer_types)}
    assert float(last["sliding_attention"]) == 0  # a window of 5 does not reach the root
    assert float(last["full_attention"]) == pytest.approx(3 / packed.nodes)
    sinking, config = small("gpt_oss")
    other = backbone_of(sinking, config)
    doors = doors_of(other, ["vectors"])
    told.clear()
    seeing = replace(other, kernel=measured(STRIPS, lambda layer, mass, level: told.update({layer: (mass, level)})))
    with torch.no_grad(), seeing.logits(pack([placed(Branch(tuple(range(5, 25)), 10), doors)]), [doors]):
        pass
    total = told[0][0].sum(-1)
    assert (total < 1).all()  # sinks take the rest
    assert (total > 0).all()


def test_pmi_looks_at_the_question_alone(backbone: Backbone) -> None:
    (each,) = encode(backbone, questions("Atlantis", 1), PMI)
    (plain,) = encode(backbone, questions("Atlantis", 1), TEXT)
    adapter = adapter_of(backbone, "prompt-tuning")
    np.testing.assert_array_equal(spread(backbone, adapter, each, "pmi").mass, spread(backbone, adapter, plain, "total").mass)


def test_an_adapter_without_virtual_tokens_has_no_spread(backbone: Backbone, asked: list[Encoded]) -> None:
    lora = registry.get("lora")
    with pytest.raises(ValueError, match="method lora has no virtual tokens"):
        spread(backbone, lora.build(lora.settings(), backbone, ("x",)), asked[0], "total")


# A study ---------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_study(tmp_path_factory)


@pytest.fixture(scope="module")
def layers(out: Path) -> pl.DataFrame:
    subject = replace(Subject.of(out, AnalysisSettings(only=("attention",))), standing=CLEAN)
    assert make(subject)[0].tables == ("layers",)
    read = read_analysis(subject.record.folder, "attention")
    assert read is not None
    return read[1]["layers"]


def test_a_study_is_looked_at_adapter_by_adapter(layers: pl.DataFrame) -> None:
    assert layers.columns == list(LAYERS)
    assert set(layers["label"]) == {"prompt-tuning", "prefix-tuning"}
    assert layers["mcq_id"].n_unique() == 3 * TESTED
    assert layers.height == 2 * 3 * 2 * TESTED * 2 * 2  # methods, cultures, states, questions, places, layers
    assert layers.null_count().sum_horizontal()[0] == 0
    assert (layers["trained_culture"] == layers["culture"]).all()
    for label, tokens in (("prompt-tuning", 3), ("prefix-tuning", 2)):
        own = layers.filter(pl.col("label") == label)
        assert set(own["tokens"].list.len()) == {tokens}
        assert set(own["heads"].list.len()) == {4}
        np.testing.assert_allclose(own["tokens"].list.sum(), own["share"], atol=1e-9)
        np.testing.assert_allclose(own["heads"].list.mean(), own["share"], atol=1e-9)


def test_the_report_shows_shares_with_intervals_in_both_languages(out: Path, layers: pl.DataFrame) -> None:
    cells = Cells(read_evidence(out))
    found = section(cells)
    assert found is not None
    (table,) = found.tables
    both = layers.filter((pl.col("label") == "prompt-tuning") & (pl.col("place") == "answer"))
    by_hand, before = (both.filter(pl.col("state") == state) for state in ("trained", "start"))
    (depth,) = [d for d in depths(layers, {"prompt-tuning": [(0, 1)]}) if d.place == "answer"]
    assert depth.share.value == pytest.approx(float(str(by_hand["share"].mean())))
    assert depth.times == pytest.approx(float(str(by_hand["share"].mean())) / float(str(by_hand["level"].mean())))
    assert depth.start is not None
    assert depth.start.value == pytest.approx(float(str(before["share"].mean())))
    assert depth.start.value != depth.share.value
    assert depth.share.low is not None
    assert depth.share.questions == 3 * TESTED
    assert depth.share.templates == TESTED
    assert len(table.rows[0]) == len(table.header)
    for picture in found.pictures:
        assert picture.draw().axes
    with speaking("fr"):
        french = section(cells)
        assert french is not None
        assert french.tables[0].header != table.header
        for picture in french.pictures:
            picture.draw()
