"""Side effects: what is read from files, what is measured, and how the report says it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
import torch

from affinage.analysis import AnalysisSettings, Subject, make
from affinage.analysis.side_effects import ITEMS, WINDOW, form_of_answers, letter_tokens, log_likelihoods, text_branches
from affinage.analysis.side_material import Material, neutral_passages, neutral_set, stereotype_pairs
from affinage.backbone import Backbone
from affinage.evaluate import evaluate
from affinage.methods import registry
from affinage.records import UserError
from affinage.report import read_evidence
from affinage.report.cells import Cells
from affinage.report.language import speaking
from affinage.report.side_effects import effects, section
from affinage.stats import clustered
from affinage.store import read_analysis, score_frame
from affinage.store.scores import SCORE_SCHEMA
from study_fakes import CLEAN
from tiny import LETTERS, encode, questions
from trained_study import TESTED, shared_study

PAIRS = "more,less,kind\n" + "".join(f"red boat {n} is late,blue boat {n} is late,{'a' if n % 2 else 'b'}\n" for n in range(12))


def written(folder: Path, text: str, name: str = "file.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# Files ------------------------------------------------------------------------------------------------------------------------------------


def test_the_shipped_questions_and_passages_are_enough_for_intervals() -> None:
    shipped = Material.of(AnalysisSettings())
    assert len({each.template_id for each in shipped.questions}) == len(shipped.questions) >= 40
    assert len(shipped.passages) >= 12
    assert shipped.pairs == ()
    few, fewer = (Material.of(AnalysisSettings(limit=limit)) for limit in (8, 5))
    assert len(few.questions) == len(few.passages) == 8
    assert set(fewer.questions) < set(few.questions)
    assert few.digest != fewer.digest


def test_questions_of_a_file_have_their_right_option_at_drawn_places(tmp_path: Path) -> None:
    lines = "".join(f"What is {n} plus 1?,{n + 1},{n},{n + 2},{n + 3 if n % 2 else ''}\n" for n in range(30))
    found = neutral_set(written(tmp_path, "question,answer,wrong,wrong_2,wrong_3\n" + lines))
    assert [each.options[each.answer] for each in found] == [str(n + 1) for n in range(30)]
    assert [len(each.options) for each in found] == [4 if n % 2 else 3 for n in range(30)]
    assert {each.answer for each in found} == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("question,answer,wrong\nWhat?,a,\n", r"file.csv:2: found no wrong option"),
        ("question,answer,wrong\nWhat?,a,b\nWho?,a,a\n", r"file.csv:3: found an option twice"),
        ("question,answer,wrong\nWhat?,,b\n", r"file.csv:2: found an empty question or answer"),
        ("question,answer,wrong\nWhat?,a,b\nWhat?,a,b\n", r"file.csv:3: found the question of line 2 again"),
        ("question,right\nWhat?,a\n", r"no column answer"),
        ("question,answer,wrong\n", r"found no question"),
    ],
)
def test_a_faulty_file_of_questions_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        neutral_set(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("more,less\nA b,A b\n", r"file.csv:2: found the same sentence twice"),
        ("more,less\nA b,A c\n,A c\n", r"file.csv:3: found an empty sentence"),
        ("sent_more,sent_less\nA b,A c\n", r"no column more, less"),
        ("more,less\n", r"found no pair"),
    ],
)
def test_a_faulty_file_of_pairs_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        stereotype_pairs(written(tmp_path, text))


def test_passages_stand_between_blank_lines(tmp_path: Path) -> None:
    assert neutral_passages(written(tmp_path, "One two\nthree.\n \n\nFour.\n", "text.txt")) == ("One two three.", "Four.")
    for text, says in (("\n\n", "found no text"), ("A.\n\nA.\n", "a passage twice")):
        with pytest.raises(UserError, match=says):
            neutral_passages(written(tmp_path, text, "text.txt"))


# Measures ---------------------------------------------------------------------------------------------------------------------------------


def test_log_likelihoods_are_those_of_the_model_alone(backbone: Backbone) -> None:
    texts = ["A red boat.", "a blue hat or a stone, like people in Atlantis", "tree"]
    parts = text_branches(backbone.tokens, texts)
    found = log_likelihoods(backbone, None, [branch for _, branch in parts], 64)
    for value, text in zip(found, texts, strict=True):
        ids = torch.tensor([[backbone.tokens.stop_ids[0], *backbone.tokens.ids([text])[0]]])
        backbone.model.set_attn_implementation("eager")
        try:
            with torch.no_grad():
                logprobs = backbone.model(ids).logits.float().log_softmax(-1)[0, :-1]
        finally:
            backbone.model.set_attn_implementation("affinage")
        assert value == pytest.approx(float(logprobs.gather(1, ids[0, 1:, None]).sum()), rel=1e-5)  # every token, the first one too


def test_long_texts_are_cut_and_no_token_is_lost(backbone: Backbone) -> None:
    text = " ".join("red" for _ in range(WINDOW + 40))
    parts = text_branches(backbone.tokens, ["hat", text])
    assert [place for place, _ in parts[:2]] == [0, 1]
    assert {place for place, _ in parts[2:]} == {1}
    assert sum(len(branch.ids) - branch.first for place, branch in parts if place) == len(backbone.tokens.ids([text])[0])


@pytest.mark.parametrize("settings", [{"before_question": (2,)}, {"before_options": (2,)}, {"before_answer": (2,)}, {"root": (2,)}])
def test_virtual_tokens_of_every_place_stand_before_the_text(backbone: Backbone, settings: dict[str, tuple[int]]) -> None:
    method = registry.get("p-tuning")
    adapter = method.build(method.settings.model_validate({"encoder": "mlp", **settings}), backbone, ("side",))
    branches = [branch for _, branch in text_branches(backbone.tokens, ["A red boat.", "hat"])]
    assert (log_likelihoods(backbone, adapter, branches, 64) != log_likelihoods(backbone, None, branches, 64)).all()


def test_an_answer_is_invalid_where_its_first_token_is_no_letter_of_the_question() -> None:
    rows = [
        ("a", [0, 1], 7, 0.9, "scored"),  # B of two
        ("b", [0, 1], 9, 0.5, "scored"),  # D of two: no letter of this question
        ("c", [0, 1, 2, 3], 9, 0.7, "scored"),
        ("d", [0, 1], 6, 0.4, "scored"),
        ("d", [1, 0], 50, 0.2, "scored"),
        ("e", [0, 1], -1, None, "refused"),
    ]
    schema = {name: SCORE_SCHEMA[name] for name in ("mcq_id", "order", "greedy_token", "letter_mass", "state")}
    scores = pl.DataFrame(rows, schema=schema, orient="row").with_columns(template_id="mcq_id")
    found = {(what, item): value for what, item, _, value in form_of_answers(scores, (6, 7, 8, 9)).iter_rows()}
    assert [found["invalid", item] for item in "abcde"] == [0, 1, 0, 0.5, None]
    assert [found["mass", item] for item in "abcde"] == pytest.approx([0.9, 0.5, 0.7, 0.3, None])


def test_letters_are_those_of_the_study_s_prompt_and_a_right_free_answer_is_valid(backbone: Backbone) -> None:
    asked = encode(backbone, questions("Atlantis", 12), LETTERS)
    frame = pl.DataFrame({"options": [list(each.rendered.mcq.options) for each in asked]})
    plan = SimpleNamespace(tokens=backbone.tokens, dataset=SimpleNamespace(frame=frame))
    letters = letter_tokens(cast(Any, SimpleNamespace(plan=plan, prompt=LETTERS, cultures=("Atlantis",))))
    for each in asked:
        assert tuple(each.continuation_ids[source][0] for source in each.rendered.order) == letters
    scores = score_frame(evaluate(backbone, None, asked, prompt=LETTERS))
    liked = scores.with_columns(greedy_token=pl.when(pl.int_range(pl.len()) < 5).then(letters[2]).otherwise("greedy_token"))
    found = form_of_answers(liked, letters).filter(pl.col("what") == "invalid")["value"].to_list()
    assert found == [0.0 if token in letters else 1.0 for token in liked["greedy_token"]]
    assert 0 in found
    assert 1 in found


# A study ----------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("side effects") / "runs"
    shutil.copytree(shared_study(tmp_path_factory), folder)
    return folder


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> AnalysisSettings:
    pairs = written(tmp_path_factory.mktemp("pairs"), PAIRS)
    return AnalysisSettings(only=("side-effects",), limit=12, stereotypes=pairs)


@pytest.fixture(scope="module")
def items(out: Path, settings: AnalysisSettings) -> pl.DataFrame:
    subject = replace(Subject.of(out, settings), standing=CLEAN)
    assert make(subject)[0].tables == ("items",)
    read = read_analysis(subject.record.folder, "side-effects")
    assert read is not None
    return read[1]["items"]


def test_every_adapter_is_measured_beside_the_untouched_model(out: Path, settings: AnalysisSettings, items: pl.DataFrame) -> None:
    assert items.columns == list(ITEMS)
    assert items.null_count().sum_horizontal()[0] == 0
    counts = dict(items.group_by("what").len().iter_rows())
    adapters = 4 * 3  # methods, cultures
    assert counts == {"own": adapters * TESTED, "neutral": adapters * 12, "text": adapters * 12, "stereotypes": adapters * 12}
    moved = items.group_by("what").agg((pl.col("value") != pl.col("before")).any()).filter("value")
    assert {"own", "text"} <= set(moved["what"])
    subject = replace(Subject.of(out, settings), standing=CLEAN)
    (run,) = subject.runs("lora")[:1]
    sums = -log_likelihoods(
        subject.backbone, subject.adapter(run), [b for _, b in text_branches(subject.plan.tokens, Material.of(settings).passages)], 512
    )
    own = items.filter((pl.col("run") == run.run) & (pl.col("what") == "text"))
    np.testing.assert_allclose(own["value"], sums, rtol=1e-6)


def test_what_is_there_is_not_measured_again_unless_a_file_has_changed(out: Path, items: pl.DataFrame, tmp_path: Path) -> None:
    shutil.copytree(out, tmp_path / "runs")
    pairs = written(tmp_path, PAIRS)  # the same content elsewhere

    def made(limit: int) -> bool:
        settings = AnalysisSettings(only=("side-effects",), limit=limit, stereotypes=pairs)
        return make(replace(Subject.of(tmp_path / "runs", settings), standing=CLEAN))[0].now

    assert not made(12)
    assert made(1)
    written(tmp_path, PAIRS.replace("red", "grey"))
    assert made(1)
    pairs.unlink()
    with pytest.raises(UserError, match="Check the path given to --stereotypes"):
        made(1)


def test_neutral_questions_are_scored_as_evaluate_scores_them(out: Path, settings: AnalysisSettings, items: pl.DataFrame) -> None:
    subject = replace(Subject.of(out, settings), standing=CLEAN)
    (run,) = subject.runs("prompt-tuning")[:1]
    encoded, _ = subject.plan.tokens.encode_all(Material.of(settings).questions, subject.prompt, seed=subject.record.config.seed)
    scores = score_frame(subject.engine.evaluate(subject.backbone, subject.adapter(run), encoded, [], prompt=subject.prompt))
    right = [float(np.argmax(values) == answer) for values, answer in zip(scores["logprob"], scores["answer"], strict=True)]
    own = items.filter((pl.col("run") == run.run) & (pl.col("what") == "neutral"))
    assert own["value"].to_list() == right


def test_effects_are_clustered_differences_and_ratios_of_perplexities(items: pl.DataFrame) -> None:
    found = {(each.label, each.what, each.kind): each for each in effects(items)}
    rows = items.filter((pl.col("label") == "lora") & (pl.col("what") == "own"))
    by_hand = clustered(rows.with_columns(difference=pl.col("value") - pl.col("before"), cell="run", weight=1 / 3), credit="difference")
    own = found["lora", "own", ""].difference
    assert (own.value, own.low, own.high) == pytest.approx((by_hand.value, by_hand.low, by_hand.high))
    text = items.filter((pl.col("label") == "lora") & (pl.col("what") == "text"))
    sums = text.group_by("run").agg(pl.col("value", "before", "weight").sum())
    per_token = {name: sums[name] / sums["weight"] for name in ("value", "before")}
    effect = found["lora", "text", ""]
    assert effect.after.value == pytest.approx(per_token["value"].mean())
    assert effect.difference.value == pytest.approx((per_token["value"] - per_token["before"]).mean())
    assert effect.difference.value != 0
    # Leaving out one passage at a time, from the definition.
    passages = text["group"].unique().to_list()
    without = [
        float(rest.select((((pl.col("value") - pl.col("before")).sum() / pl.col("weight").sum()).over("run")).mean()).item())
        for left in passages
        for rest in [text.filter(pl.col("group") != left)]
    ]
    error = np.sqrt((len(passages) - 1) / len(passages) * ((np.array(without) - effect.difference.value) ** 2).sum())
    assert effect.difference.error == pytest.approx(error)
    assert found["lora", "stereotypes", "a"].difference.low is None  # six pairs
    assert found["lora", "stereotypes", ""].difference.effective == pytest.approx(12)


def test_the_report_shows_the_gain_beside_each_side_effect(out: Path, items: pl.DataFrame) -> None:
    cells = Cells(read_evidence(out))
    found = section(cells)
    assert found is not None
    assert len(found.tables) == 4
    assert [len(row) for row in found.tables[0].rows] == [7] * 6
    assert found.tables[0].rows[2][3].startswith("× ")
    assert "Blodgett" in found.text
    assert found.tables[0].notes
    assert found.frames[0][1].filter(pl.col("run") == "").height == 4 * 6
    with speaking("fr"):
        french = section(cells)
        assert french is not None
        assert french.tables[0].rows != found.tables[0].rows


def test_a_difference_whose_interval_holds_zero_is_not_worded(out: Path, items: pl.DataFrame) -> None:
    still = items.with_columns(value="before")
    assert all(not (each.difference.above or each.difference.below) for each in effects(still))
    shifted = items.with_columns(value=pl.when(pl.col("what") == "text").then(pl.col("before") + pl.col("weight") * 0.1).otherwise("before"))
    assert {each.what for each in effects(shifted) if each.difference.above} == {"text"}
