"""The model card, and an upload: what is printed first, what is refused, and what the hub is asked for."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import CommitInfo, HfApi, ModelCard, ModelCardData, RepoUrl
from huggingface_hub.errors import HfHubHTTPError, HFValidationError
from huggingface_hub.repocard import RepoCard

from affinage import adapters
from affinage.adapters import AdapterCard
from affinage.adapters.facts import Facts, backbone_terms, facts
from affinage.adapters.hub import prepare, push
from affinage.adapters.modelcard import Form, model_card
from affinage.backbone import Backbone, Identity
from affinage.data import choice_sources
from affinage.methods import registry
from affinage.records import UserError
from small_studies import BASE, CULTURES, SPLIT, Small
from tiny import LETTERS

OPEN = "starter"
CLOSED = "an unlicensed set"


def card(backbone: Backbone, **values: Any) -> AdapterCard:
    settings = registry.get("lora").settings.model_validate({"rank": 2}).model_dump(mode="json")
    made = AdapterCard(
        "lora", settings, "Spain", SPLIT, frozenset({"X1", "X2"}), ("lora", 0), LETTERS, backbone.identity, "digest of the data", sources=(OPEN,)
    )
    return replace(made, **values)


def saved(folder: Path, backbone: Backbone, **values: Any) -> Path:
    """A LoRA in a folder."""
    method = registry.get("lora")
    adapters.save(method.build(method.settings.model_validate({"rank": 2}), backbone, ("k",)), folder, card(backbone, **values))
    return folder


@pytest.fixture
def in_study(backbone: Backbone, tmp_path: Path) -> Path:
    """The adapter of a finished run of a small study: 18 of 24 right at home, 8 of 24 abroad, where the untouched model has 6."""
    study = Small(BASE, data={"name": OPEN, "citation": "Somebody, Questions, 2026", "restrictions": "Not for research."}).write(tmp_path / "study")
    plan = json.loads((study / "plan" / "plan.json").read_text())
    run = next(run["run"] for run in plan["runs"] if (run["label"], run["trained_culture"]) == ("lora", "Spain"))
    return saved(study / run / "adapter", backbone)


def front(page: str) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(page.split("---\n")[1])
    return values


class TestCard:
    def test_the_front_matter_is_what_the_hub_s_library_reads(self, backbone: Backbone) -> None:
        page = model_card(card(backbone), Facts((), "none known"), Form("peft", ""), base="org/name")
        read = ModelCard(page)  # complains of metadata that it cannot understand
        assert isinstance(read.data, ModelCardData)
        assert (read.data.base_model, read.data.library_name, read.data.pipeline_tag) == ("org/name", "peft", "text-generation")
        assert front(page)["base_model_relation"] == "adapter"
        assert set(read.data.tags or ()) == {"affinage", "lora", "culture"}
        assert RepoCard(str(read)).data.to_yaml() == read.data.to_yaml()

    def test_it_fills_in_no_licence(self, backbone: Backbone, in_study: Path) -> None:
        for known in (Facts((), "none known"), facts(in_study, card(backbone))):
            page = model_card(card(backbone), known, Form("peft", ""), base="org/name")
            assert "license" not in front(page)
            assert "No licence is filled in" in page

    @pytest.mark.parametrize("sources", [("blend",), (OPEN,), ("blend", "click"), ()])
    def test_it_says_what_a_culture_means_here(self, sources: tuple[str, ...], backbone: Backbone) -> None:
        text = " ".join(model_card(card(backbone, sources=sources), Facts((), ""), Form("peft", "")).split())
        for said in (
            '"Spain" is a label of a country or region',
            "describes no person",
            "may repeat stereotypes",
            "not for guessing or assigning anyone's culture",
        ):
            assert said in text
        for said in ("the majority of about five annotators", "four options and are in English", "the majority of a few annotators"):
            assert (said in text) == (sources == ("blend",)), said
        assert ("is what the data set says it is; see Terms." in text) == (sources != ("blend",))

    def test_it_says_whose_questions_were_trained_on(self, backbone: Backbone, tmp_path: Path) -> None:
        def text(name: str, **settings: Any) -> str:
            values = registry.get(name).settings.model_validate(settings).model_dump(mode="json")
            made = card(backbone, method=name, settings=values)
            return " ".join(model_card(made, facts(tmp_path, made), Form("affinage", "")).split())

        cultures = ("Spain", "Mexico", "Iran")
        alone, joint, out = text("lora"), text("lora-hyper", cultures=cultures), text("lora-hyper", cultures=cultures, held_out=("Spain",))
        assert "It was trained on multiple-choice questions of cultural common sense under the label `Spain`." in alone
        assert "part for the label `Spain` of one training on multiple-choice questions" in joint
        assert "under the labels Spain, Mexico, Iran:" in joint
        assert "of which no question was trained on (zero-shot)" in out
        assert "under the labels Mexico, Iran." in out
        assert "under the label `Spain`" not in joint + out

    def test_scores_stand_there_with_intervals_beside_the_untouched_model(self, backbone: Backbone, in_study: Path) -> None:
        known = facts(in_study, card(backbone))
        assert [line.culture for line in known.scores] == list(CULTURES)
        own, abroad = known.scores
        assert (own.own, abroad.own) == (True, False)
        assert own.untouched is not None
        assert own.gain is not None
        assert (own.accuracy.value, own.untouched.value, own.gain.value) == (0.75, 0.25, 0.5)
        assert own.gain.low is not None
        assert 0 < own.gain.low < 0.5
        page = model_card(card(backbone), known, Form("peft", ""))
        (row,) = [line for line in page.splitlines() if line.startswith("| Spain (its own) |")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1:3] == ["25.0", "75.0"]
        assert cells[4] == "+50.0"
        assert cells[3] == f"{100 * (own.accuracy.low or 0):.1f} to {100 * (own.accuracy.high or 0):.1f}"
        assert cells[6:] == ["24", "24"]

    def test_without_a_study_it_says_that_there_are_no_scores(self, backbone: Backbone, tmp_path: Path) -> None:
        known = facts(saved(tmp_path / "alone", backbone), card(backbone))
        assert known.scores == ()
        assert "None: no finished test of it is known." in model_card(card(backbone), known, Form("peft", ""))

    def test_terms_of_the_data_and_of_the_backbone_are_listed(self, backbone: Backbone, in_study: Path) -> None:
        made = replace(card(backbone), backbone=Identity("smollm2", "", "d" * 64))
        page = model_card(made, facts(in_study, made), Form("peft", ""))
        assert "* Backbone. SmolLM2-135M-Instruct: Apache-2.0, as its maker states it." in page
        assert f"* Data set {OPEN}. CC-BY-4.0. Somebody, Questions, 2026. Not for research." in page  # the study's words, not the source's
        assert "not known to Affinage" in backbone_terms("org/other")

    def test_unknown_templates_and_an_import_are_said(self, backbone: Backbone) -> None:
        made = card(backbone, seen=frozenset(), seen_known=False, imported="Imported from files of PEFT.")
        page = model_card(made, Facts((), ""), Form("peft", ""))
        assert "| seen templates | unknown: it must not be tested" in page
        assert "Imported from files of PEFT." in page

    @pytest.mark.parametrize("base", ["name", "a/b/c", "/home/me/model", "https://hub/a/b"])
    def test_a_base_model_that_is_no_hub_id(self, base: str, backbone: Backbone) -> None:
        with pytest.raises(UserError, match=r"--base-model: found .*; expected a hub id like org/name"):
            model_card(card(backbone), Facts((), ""), Form("peft", ""), base=base)

    def test_paths_of_this_machine_stay_out_of_the_card(self, backbone: Backbone) -> None:
        assert str(Path(backbone.identity.id).parent) not in model_card(
            card(backbone), Facts((), backbone_terms(backbone.identity.id)), Form("peft", "")
        )


@dataclass
class Hub:
    """Stands for the hub's client: keeps what it was asked for, and takes no argument that the real one does not."""

    refuses: Exception | None = None
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    sent: dict[str, bytes] = field(default_factory=dict)

    def _note(self, name: str, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        bound = inspect.signature(getattr(HfApi, name)).bind(self, *given, **named)
        self.asked.append((name, {key: value for key, value in bound.arguments.items() if key != "self"}))
        if self.refuses is not None:
            raise self.refuses

    def create_repo(self, *given: Any, **named: Any) -> RepoUrl:
        self._note("create_repo", given, named)
        return RepoUrl(f"https://huggingface.co/me/{given[0].rsplit('/', 1)[-1]}")

    def upload_folder(self, *given: Any, **named: Any) -> CommitInfo:
        self._note("upload_folder", given, named)
        self.sent = {path.name: path.read_bytes() for path in Path(named["folder_path"]).iterdir()}
        return CommitInfo(commit_url="https://huggingface.co/me/spain/commit/abc", commit_message="", commit_description="", oid="abc")


class TestUpload:
    def test_what_is_sent_is_what_was_prepared(self, backbone: Backbone, tmp_path: Path) -> None:
        folder, work, hub = saved(tmp_path / "adapter", backbone), tmp_path / "work", Hub()
        work.mkdir()
        made = prepare(folder, work, base="org/name")
        assert [name for name, _ in made.files] == ["README.md", "adapter_config.json", "adapter_model.safetensors", "affinage.json"]
        assert push(made, "me/spain", private=True, api=hub) == "https://huggingface.co/me/spain/commit/abc"  # type: ignore[arg-type]
        (first, create), (second, upload) = hub.asked
        assert (first, create) == ("create_repo", {"repo_id": "me/spain", "private": True, "exist_ok": True, "repo_type": "model"})
        assert (second, upload["repo_id"], upload["repo_type"]) == ("upload_folder", "me/spain", "model")
        assert hub.sent["README.md"].decode() == made.page
        assert hub.sent["adapter_model.safetensors"] == (folder / "adapter_model.safetensors").read_bytes()

    def test_no_path_of_this_machine_is_sent_and_the_adapter_still_loads(self, backbone: Backbone, tmp_path: Path) -> None:
        folder, work = saved(tmp_path / "adapter", backbone), tmp_path / "work"
        work.mkdir()
        parent = str(Path(backbone.identity.id).parent)
        assert any(parent in path.read_text() for path in folder.glob("*.json"))
        prepare(folder, work)
        assert not any(parent.encode() in path.read_bytes() for path in work.iterdir())
        adapters.load(work, backbone)

    def test_an_import_of_an_earlier_version_is_sent_without_its_places(self, backbone: Backbone, tmp_path: Path) -> None:
        place = backbone.identity.id
        said = f"names its base model '/home/somebody/base' without a revision. It was bound to {place} (another name), digest abc"
        work = tmp_path / "work"
        work.mkdir()
        made = prepare(saved(tmp_path / "adapter", backbone, imported=said), work)
        assert f"names its base model 'base' without a revision. It was bound to {Path(place).name} (another name), digest abc" in made.page
        assert not any(each in path.read_bytes() for path in work.iterdir() for each in (b"/home/somebody", str(Path(place).parent).encode()))

    def test_terms_that_forbid_it_are_refused_by_name(self, backbone: Backbone, tmp_path: Path) -> None:
        closed = [name for name in choice_sources if not choice_sources.get(name).terms.may_pass_on]
        assert closed, "some source forbids it"
        folder, work = saved(tmp_path / "adapter", backbone, sources=(OPEN, closed[0], CLOSED)), tmp_path / "work"
        work.mkdir()
        with pytest.raises(
            UserError, match=rf"(?s)data set {closed[0]}: found terms that do not let .*data set {CLOSED}: .*not known to Affinage"
        ) as caught:
            prepare(folder, work)
        assert f"data set {OPEN}" not in str(caught.value)
        assert list(work.iterdir()) == []

    def test_a_study_s_own_word_on_passing_on_counts(self, backbone: Backbone, tmp_path: Path) -> None:
        stated = {"name": OPEN, "passing_on": "files derived from it may not be uploaded or passed on"}
        study = Small(BASE, data=stated).write(tmp_path / "study")
        run = next(run["run"] for run in json.loads((study / "plan" / "plan.json").read_text())["runs"] if run["trained_culture"] == "Spain")
        work = tmp_path / "work"
        work.mkdir()
        with pytest.raises(UserError, match=f"data set {OPEN}: found terms that do not let"):
            prepare(saved(study / run / "adapter", backbone), work)

    def test_an_adapter_that_does_not_tell_its_data_is_refused(self, backbone: Backbone, tmp_path: Path) -> None:
        with pytest.raises(UserError, match=r"found no word on the data .*Import it again with --source NAME"):
            prepare(saved(tmp_path / "adapter", backbone, sources=()), tmp_path)
        with pytest.raises(UserError, match=r"found no word on the data .*"):  # of no one culture, and yet it has seen questions
            prepare(saved(tmp_path / "adapter", backbone, sources=(), culture=""), tmp_path)

    @pytest.mark.parametrize(
        "error",
        [ConnectionError("no route"), HFValidationError("Repo id must use alphanumeric chars"), OSError("401 Unauthorized")],
        ids=lambda error: type(error).__name__,
    )
    def test_a_hub_that_refuses_is_a_message(self, error: Exception, backbone: Backbone, tmp_path: Path) -> None:
        work = tmp_path / "work"
        work.mkdir()
        made = prepare(saved(tmp_path / "adapter", backbone), work)
        with pytest.raises(UserError, match=f"hub repository me/spain: found {error}; expected an upload that the hub takes"):
            push(made, "me/spain", private=False, api=Hub(error))  # type: ignore[arg-type]

    def test_an_error_of_our_own_is_not_hidden(self, backbone: Backbone, tmp_path: Path) -> None:
        work = tmp_path / "work"
        work.mkdir()
        made = prepare(saved(tmp_path / "adapter", backbone), work)
        with pytest.raises(ZeroDivisionError):
            push(made, "me/spain", private=False, api=Hub(ZeroDivisionError()))  # type: ignore[arg-type]

    def test_the_hub_s_errors_are_of_the_system_s(self) -> None:
        assert issubclass(HfHubHTTPError, OSError)
