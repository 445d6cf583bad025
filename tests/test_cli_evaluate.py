"""`affinage evaluate` on every kind of questions, with a tiny model."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from affinage import adapters
from affinage.adapters import AdapterCard
from affinage.backbone import Backbone
from affinage.cli import app
from affinage.cli.results import over_orders
from affinage.data import answer_sources, choice_sources, survey_sources
from affinage.data.sources.semeval2026 import SemEvalSettings
from affinage.distributions import js_similarity, option_distribution
from affinage.free_answers import ANSWER_SCHEMA
from affinage.methods import registry
from affinage.records import ItemScore
from affinage.store import read_scores
from tiny import TEXT, likes, questions, write_questions

RUN = CliRunner()
WORDS = ("snack", "dance", "river", "song", "coat", "school", "market", "winter", "horse", "letter", "doctor", "garden", "wedding", "island")


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is noted outside the test's folder."""
    monkeypatch.setenv("AFFINAGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def blend(tmp_path: Path) -> Path:
    """Fourteen templates of two cultures as BLEnD has them, one of them not asked in Spain; whatever is said contains some answer of Iran's."""
    folder = tmp_path / "blend"
    for name in ("annotations", "questions"):
        (folder / name).mkdir(parents=True)
    for culture in ("Spain", "Iran"):
        entries = {}
        for number, word in enumerate(WORDS):
            text = f"What is a common {word} in {culture}?"
            forms = list("abcdefghijklmnopqrstuvwxyz0123456789") if culture == "Iran" else [f"{word} nobody says"]
            idks = {"idk": 5 if (culture, number) == ("Spain", 3) else 0, "no-answer": 0, "not-applicable": 0}
            annotations = [
                {"answers": ["never"], "en_answers": [f"{word} never said"], "count": 4},
                {"answers": forms, "en_answers": forms, "count": 3},
            ]
            entries[f"Te-en-{number:02d}"] = {"question": text, "en_question": text, "annotations": annotations, "idks": idks}
        (folder / "annotations" / f"{culture}_data.json").write_text(json.dumps(entries), encoding="utf-8")
        rows = "".join(f"{place},{name},Food,English (US),q,q\n" for place, name in enumerate(entries))
        (folder / "questions" / f"{culture}_questions.csv").write_text(f",ID,Topic,Source,Question,Translation\n{rows}", encoding="utf-8")
    return folder


@pytest.fixture
def card(backbone: Backbone) -> AdapterCard:
    """An adapter that has seen two of the templates."""
    seen = frozenset({"Te-en-01", "Te-en-05"})
    settings = registry.get("lora").settings.model_validate({"rank": 2}).model_dump(mode="json")
    return AdapterCard("lora", settings, "Spain", "fold-0-of-2", seen, ("lora", "fold-0-of-2", 0, 7), TEXT, backbone.identity, "no data set's digest")


def saved(card: AdapterCard, backbone: Backbone, folder: Path) -> str:
    """An adapter's folder with that card."""
    method = registry.get(card.method)
    adapters.save(method.build(method.settings.model_validate(dict(card.settings)), backbone, ("k",)), folder / "adapter", card)
    return str(folder / "adapter")


def run(*arguments: str | Path, code: int = 0) -> Result:
    """A command's result, with the exit code that is expected."""
    result = RUN.invoke(app, ["evaluate", *map(str, arguments), "--set", "model.dtype=float32", "--set", "model.threads=1"])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def refused(*arguments: str | Path) -> str:
    """What stands on standard error; on standard output at most what computes, where the fault shows after that was said."""
    result = run(*arguments, code=2)
    assert all(line.startswith("Model ") for line in result.stdout.splitlines() if line), result.stdout
    return result.stderr


class TestShortAnswers:
    """Free words."""

    def test_scores_examples_and_file(self, blend: Path, tiny_folder: Path, tmp_path: Path) -> None:
        asked = ("--source", "blend-short", "--path", blend, "--model", tiny_folder, "--tokens", "6", "--out", tmp_path / "answers.parquet")
        output = run("none", *asked).stdout
        assert "none on 27 short questions of blend-short:" in output
        # Every answer of some letter is one of Iran's second-voted answers: 3 of 4 votes; none is one of Spain's.
        assert re.search(r"Iran +100\.0 +100\.0 to 100\.0 +100\.0 +75\.0 +14 of 14 templates +\d", output)
        assert re.search(r"Spain +0\.0 +0\.0 to 0\.0 +0\.0 +0\.0 +13 of 13 templates +\d", output)
        assert len(re.findall(r"^  annotators: \w+ never said \(4\), ", output, re.MULTILINE)) == 5
        assert output.count("counts as a (3)") == len(re.findall(r"^Te-en-\d\d_Iran: ", output, re.MULTILINE))
        assert "Left out" not in output, "nothing was seen"
        frame = pl.read_parquet(tmp_path / "answers.parquet")
        assert frame.schema == pl.Schema(ANSWER_SCHEMA)
        assert frame["tokens"].max() == 6
        assert frame.group_by("culture").agg(pl.col("weighted").mean()).sort("culture").rows() == [("Iran", 0.75), ("Spain", 0.0)]

    def test_the_same_questions_are_shown_for_every_adapter(self, blend: Path, card: AdapterCard, backbone: Backbone, tmp_path: Path) -> None:
        unseen = saved(replace(card, seen=frozenset()), backbone, tmp_path)
        shown = [
            re.findall(r"^Te-en-\d\d_\w+: ", run(who, "--source", "blend-short", "--path", blend, "--tokens", "2", *model).stdout, re.MULTILINE)
            for who, model in ((unseen, ()), ("none", ("--model", backbone.identity.id)))
        ]
        assert shown[0] == shown[1]
        assert len(shown[0]) == 5

    def test_seen_templates_are_left_out_and_counted(self, blend: Path, card: AdapterCard, backbone: Backbone, tmp_path: Path) -> None:
        adapter = saved(card, backbone, tmp_path)
        asked = ("--source", "blend-short", "--path", blend, "--culture", "Iran", "--tokens", "2", "--out", tmp_path / "a.parquet")
        output = run(adapter, *asked).stdout
        assert "Left out: 2 questions of templates that the adapter has seen." in output
        assert not set(pl.read_parquet(tmp_path / "a.parquet")["template_id"]) & card.seen
        assert "12 of 12 templates" in output
        message = refused(adapter, *asked, "--refuse-seen")
        assert "found 2 templates that it has seen in training: Te-en-01, Te-en-05;" in message
        everything = saved(replace(card, seen=frozenset(f"Te-en-{number:02d}" for number in range(14))), backbone, tmp_path / "all")
        assert "found only questions of templates that it has seen" in run(everything, *asked, code=2).stderr

    def test_a_limit_keeps_the_lowest_hashes_per_culture(self, blend: Path, tiny_folder: Path, tmp_path: Path) -> None:
        kept = []
        for limit in ("2", "3"):
            out = tmp_path / f"{limit}.parquet"
            asked = ("--source", "blend-short", "--path", blend, "--model", tiny_folder, "--tokens", "1", "--limit", limit, "--out", out)
            assert "too few templates" in run("none", *asked).stdout
            kept.append(set(pl.read_parquet(out)["question_id"]))
        assert [len(ids) for ids in kept] == [4, 6]
        assert kept[0] < kept[1]

    def test_a_study_s_settings_belong_to_its_own_source(self, blend: Path, tiny_folder: Path, tmp_path: Path) -> None:
        study = tmp_path / "study.yaml"
        study.write_text(
            f"model: {{id: {tiny_folder}}}\ndata: {{source: table, path: {blend}, settings: {{columns: {{question: q}}}}, cultures: [Iran]}}\n"
        )
        asked = ("--study", study, "--source", "blend-short", "--tokens", "1", "--limit", "1")
        assert "none on 1 short question of" in run("none", *asked).stdout
        assert "none on 1 short question of" in run("none", *asked, "--set", "data.settings.language=local").stdout
        assert "expected 'english' or 'local'" in refused("none", *asked, "--set", "data.settings.language=elvish")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--split", "1", "--side", "train"), "--side: found train for a source of short answers; expected it for multiple choice only."),
            (("--culture", "Spian"), "culture of blend-short: found 'Spian'"),
            (("--submission", "x.zip"), "--submission: found the source blend-short; expected one of semeval2026, semeval2026-short."),
        ],
    )
    def test_bad_input(self, blend: Path, tiny_folder: Path, arguments: tuple[str, ...], message: str) -> None:
        assert message in refused("none", "--source", "blend-short", "--path", blend, "--model", tiny_folder, *arguments)


class TestSurvey:
    """No option is right."""

    def test_shares_beside_the_baselines(self, tiny_folder: Path, tmp_path: Path) -> None:
        config = survey_sources.get("globalopinionqa").sample(tmp_path)
        out = tmp_path / "scores.parquet"
        asked = ("--source", "globalopinionqa", "--path", config.path or "", "--model", tiny_folder, "--set", "prompt.style=text")
        output = run("none", *asked, "--culture", "Spain", "--out", out).stdout
        assert "Before its first use, the terms of this source:" in output
        assert "none on 2 questions of the survey globalopinionqa:" in output
        scores = read_scores(out)
        items = {item.question_id: item for item in survey_sources.get("globalopinionqa").read(config, None).items}
        likeness = [js_similarity(option_distribution(row["logprob"]), items[row["mcq_id"]].shares) for row in scores.iter_rows(named=True)]
        assert re.search(rf"Spain +{sum(likeness) / 2:.3f} +0\.\d\d\d +0\.\d\d\d +2 +1 +0", output)
        assert "Before its first use" not in run("none", *asked, "--limit", "1").stdout

    def test_short_answers_flags_are_refused(self, tmp_path: Path) -> None:
        config = survey_sources.get("globalopinionqa").sample(tmp_path)
        run("none", "--source", "globalopinionqa", "--path", config.path or "", "--tokens", "3", code=2)

    def test_scores_are_compared_as_the_prompt_says_over_all_orders(self) -> None:
        one = ItemScore("q", "t", "Spain", 0, (0, 1), (-2.0, -6.0), (1, 3), (2, 6), (-1.0, -4.0))
        other = replace(one, order=(1, 0), logprob=(-4.0, -3.0))
        assert over_orders([one, other], "total").row(0) == ("q", "Spain", [-3.0, -4.5], "scored")
        assert over_orders([one], "per-token")["logprob"].to_list() == [[-2.0, -2.0]]
        assert over_orders([one], "per-character")["logprob"].to_list() == [[-1.0, -1.0]]
        assert over_orders([one], "pmi")["logprob"].to_list() == [[-1.0, -2.0]]
        assert over_orders([one, replace(other, state="too long", logprob=())], "total").row(0) == ("q", "Spain", [], "too long")


class TestChoice:
    """Multiple choice with --skip-seen; the rest is tested with a whole study."""

    def test_seen_templates_are_refused_or_left_out(self, card: AdapterCard, backbone: Backbone, tmp_path: Path) -> None:
        table = write_questions(tmp_path / "q.parquet", questions("Atlantis", 24, rule=likes("red")))
        splits = ("--set", "splits.kind=folds", "--set", "splits.folds=2", "--set", "splits.count=1", "--set", "splits.development=false")
        asked = ("--source", "table", "--path", table, "--culture", "Atlantis", *splits)
        run("none", *asked, "--model", backbone.identity.id, "--set", "prompt.style=text", "--out", tmp_path / "all.parquet")
        first, *others = read_scores(tmp_path / "all.parquet")["template_id"].to_list()
        adapter = saved(replace(card, seen=frozenset(others)), backbone, tmp_path)
        assert f"found {len(others)} templates that it has seen in training: t0" in refused(adapter, *asked)
        output = run(adapter, *asked, "--skip-seen", "--out", tmp_path / "rest.parquet").stdout
        assert f"Left out: {len(others)} questions of templates that the adapter has seen." in output
        assert read_scores(tmp_path / "rest.parquet")["template_id"].to_list() == [first]

    def test_a_flag_of_short_answers_is_refused(self) -> None:
        assert "--tokens: found 3 for a source of multiple choice; expected it for short answers only." in refused("none", "--tokens", "3")


class TestSubmission:
    """Answers as SemEval-2026 Task 7 takes them."""

    @pytest.fixture
    def short(self, tmp_path: Path) -> Path:
        """The task's short questions."""
        folder = tmp_path / "semeval"
        folder.mkdir()
        answer_sources.get("semeval2026-short").sample(folder)
        return folder

    def test_short_answers(self, short: Path, tiny_folder: Path, tmp_path: Path) -> None:
        out, archive = tmp_path / "answers.parquet", tmp_path / "answers.zip"
        asked = ("--source", "semeval2026-short", "--path", short, "--model", tiny_folder, "--tokens", "3")
        assert f"Submission: {archive}" in run("none", *asked, "--out", out, "--submission", archive).stdout
        with zipfile.ZipFile(archive) as content:
            (name,) = content.namelist()
            header, *rows = content.read(name).decode().splitlines()
        assert header == "id\tprediction"
        said = {row["question_id"]: " ".join(row["answer"].split()) or "?" for row in pl.read_parquet(out).iter_rows(named=True)}
        assert dict(row.split("\t") for row in rows) == said
        assert "expected a path that ends in .zip" in refused("none", *asked, "--submission", tmp_path / "x.tsv")

    def test_choices(self, tiny_folder: Path, tmp_path: Path) -> None:
        config = choice_sources.get("semeval2026").sample(tmp_path)
        out, archive = tmp_path / "scores.parquet", tmp_path / "choices.zip"
        asked = ("--source", "semeval2026", "--path", config.path or "", "--model", tiny_folder, "--set", "prompt.style=text")
        run("none", *asked, "--out", out, "--submission", archive)
        with zipfile.ZipFile(archive) as content:
            header, *rows = content.read(content.namelist()[0]).decode().splitlines()
        assert header.split("\t") == ["id", "A", "B", "C", "D"]
        best = {row["mcq_id"]: row["logprob"].index(max(row["logprob"])) for row in read_scores(out).iter_rows(named=True)}
        assert {row.split("\t")[0]: row.split("\t")[1:].index("1") for row in rows} == best
        assert len(best) == len(choice_sources.get("semeval2026").read(config, SemEvalSettings()))
        assert "a submission answers all questions" in refused("none", *asked, "--submission", archive, "--side", "train")

    def test_who_has_seen_blend_may_not_submit(self, short: Path, card: AdapterCard, backbone: Backbone, tmp_path: Path) -> None:
        asked = ("--source", "semeval2026-short", "--path", short, "--tokens", "1", "--submission", tmp_path / "x.zip")
        assert "templates with ids of BLEnD's: Te-en-01, Te-en-05" in refused(saved(card, backbone, tmp_path / "seen"), *asked)

    def test_an_adapter_must_say_what_it_was_trained_on(self, short: Path, card: AdapterCard, backbone: Backbone, tmp_path: Path) -> None:
        asked = ("--source", "semeval2026-short", "--path", short, "--tokens", "1", "--submission", tmp_path / "x.zip")
        silent = saved(replace(card, seen=frozenset({"t001"}), sources=()), backbone, tmp_path / "silent")
        assert "1 seen templates and no word on their source" in refused(silent, *asked)
        barred = saved(replace(card, seen=frozenset({"t001"}), sources=("table", "blend")), backbone, tmp_path / "barred")
        assert "training data of blend" in refused(barred, *asked)
        other = saved(replace(card, seen=frozenset({"t001"}), sources=("fork",)), backbone, tmp_path / "other")
        assert "Submission: " in run(other, *asked).stdout
