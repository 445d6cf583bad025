"""Baselines without training by themselves: what they quote, what they find, which candidates they try, and the texts that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from affinage.backbone import Backbone
from affinage.config import PromptConfig
from affinage.data.base import as_frame
from affinage.pack import pack
from affinage.prompting import Candidate, Found, Ground, PromptingSettings, Tried, candidates, chosen, refuse_seen, registered
from affinage.prompting.facts import stated
from affinage.prompting.index import Index, words
from affinage.prompting.phrasings import PHRASINGS, phrased, usable
from affinage.prompting.search import read_found, write_found
from affinage.prompts import render
from affinage.records import MCQ, Aid, Fact, Split, UserError
from affinage.scoring import option_branches
from tiny import LETTERS, PMI, TEXT, encode, questions

CULTURES = ("Spain", "Iran")
NAMES = {"Spain": "Spain", "Iran": "Iran"}
TRAIN = frozenset(f"t{number:03d}" for number in range(8))
TEST = frozenset(f"t{number:03d}" for number in range(8, 12))
MADE = {culture: questions(culture, 12, rows=2) for culture in CULTURES}


def records(frame: pl.DataFrame) -> list[MCQ]:
    by_id = {mcq.mcq_id: mcq for made in MADE.values() for mcq in made}
    return [by_id[name] for name in frame["mcq_id"]]


def ground(templates: frozenset[str] = TRAIN, *, prompt: PromptConfig = TEXT, seed: int = 0) -> Ground:
    def train(culture: str) -> pl.DataFrame:
        return as_frame([mcq for mcq in MADE[culture] if mcq.template_id in templates])

    return Ground(Split("fold-0", TRAIN, TEST), CULTURES, NAMES, train, records, prompt, seed)


def tried(name: str, *, at: Ground | None = None, **settings: Any) -> tuple[Candidate, ...]:
    baseline = registered.get(name)
    return candidates(baseline, settings_of(name, **settings), at or ground())


def settings_of(name: str, **settings: Any) -> PromptingSettings:
    return registered.get(name).settings.model_validate(settings)


def aided(name: str, mcq: MCQ, *, at: Ground | None = None, place: int = 0, **settings: Any) -> tuple[Candidate, Aid]:
    baseline, at = registered.get(name), at or ground()
    values = settings_of(name, **settings)
    candidate = candidates(baseline, values, at)[place]
    return candidate, baseline.material(at, values).aid(candidate, mcq)


def on_test(culture: str) -> MCQ:
    return next(mcq for mcq in MADE[culture] if mcq.template_id in TEST)


@pytest.mark.parametrize("name", list(registered))
def test_every_baseline_has_a_budget_of_wordings_and_phrasings(name: str) -> None:
    baseline = registered.get(name)
    settings = settings_of(name)
    assert baseline.name == name
    assert baseline.what
    assert len(settings.wordings) >= 5
    assert len(set(settings.wordings)) == len(settings.wordings)
    assert all("{culture}" in wording for wording in settings.wordings)
    found = tried(name)
    assert len(found) == settings.candidates == 16
    assert len({candidate.wording for candidate in found}) == len(settings.wordings)
    assert len({candidate.phrasing for candidate in found}) > 2
    assert len({(candidate.prompt, candidate.count, candidate.draw) for candidate in found}) == 16


@pytest.mark.parametrize("name", list(registered))
def test_the_search_is_a_function_of_seed_and_settings(name: str) -> None:
    assert tried(name) == tried(name)
    assert tried(name) != tried(name, at=ground(seed=1))
    assert tried(name, candidates=4) == tried(name)[:4]


@pytest.mark.parametrize("name", list(registered))
def test_wordings_take_turns(name: str) -> None:
    wordings = [candidate.wording for candidate in tried(name)]
    counts = {wordings.count(wording) for wording in wordings}
    assert max(counts) - min(counts) <= 1


def test_few_shot_and_retrieval_try_several_counts() -> None:
    for name in ("few-shot", "retrieval"):
        assert {candidate.count for candidate in tried(name, candidates=1000)} == {1, 2, 4, 8}


def test_a_wording_without_the_culture_is_tried_once() -> None:
    found = tried("culture-prompt", wordings=["Be brief.", "You live in {culture}."])
    assert [candidate.wording for candidate in found].count("Be brief.") == 1
    assert len(found) == 1 + len(PHRASINGS)


def test_a_culture_is_named_in_several_ways() -> None:
    assert [phrased(way, "Spain", "Spain") for way in PHRASINGS] == [
        "Spain",
        "Spanish society",
        "a community of Spaniards",
        "Spain (Southern Europe)",
    ]
    assert phrased("adjective", "Atlantis", "Atlantis") is None
    assert usable(None, {"Spain": "Spain", "Atlantis": "Atlantis"}) == ("name",)
    with pytest.raises(UserError, match=r"'adjective' for Atlantis.*'region' for Atlantis|'region' for Atlantis") as caught:
        usable(["adjective", "region"], {"Spain": "Spain", "Atlantis": "Atlantis"})
    assert "'adjective' for Atlantis" in str(caught.value)


@pytest.mark.parametrize("style", ["letters", "text", "text-listed"])
def test_examples_are_turns_of_the_same_culture_with_their_right_answers(backbone: Backbone, style: Any) -> None:
    mcq = on_test("Spain")
    candidate, aid = aided("few-shot", mcq, at=ground(prompt=PromptConfig(style=style)), shots=[4])
    assert len(aid.shots) == 4
    assert {shot.culture for shot in aid.shots} == {"Spain"}
    assert len({shot.template_id for shot in aid.shots}) == 4
    rendered = render(mcq, candidate.prompt, backbone.tokens, seed=0, aid=aid)
    for shot in aid.shots:
        alone = render(shot, candidate.prompt, backbone.tokens, seed=0)
        turn = alone.context.partition("<|im_start|>user")[2] + alone.answers[shot.answer] + "<|im_end|>"
        assert turn in rendered.context
    assert rendered.context.endswith(render(mcq, candidate.prompt, backbone.tokens, seed=0).context.partition("<|im_start|>user")[2])
    assert rendered.aid is aid


def test_the_same_seed_gives_the_same_shots_and_more_keep_the_fewer() -> None:
    mcq = on_test("Spain")
    _, eight = aided("few-shot", mcq, shots=[8], draws=1)
    _, four = aided("few-shot", mcq, shots=[4, 8], draws=1, phrasings=["name"], place=0)
    again = aided("few-shot", mcq, shots=[8], draws=1)[1]
    assert eight == again
    assert four.shots == eight.shots[: len(four.shots)]
    assert aided("few-shot", mcq, at=ground(seed=1), shots=[8], draws=1)[1] != eight
    draws = {candidate.draw: aided("few-shot", mcq, shots=[8], place=place)[1] for place, candidate in enumerate(tried("few-shot", shots=[8]))}
    assert draws[0] != draws[1]


@pytest.mark.parametrize("name", ["few-shot", "retrieval"])
def test_nothing_is_quoted_from_a_test_template(name: str) -> None:
    """The mutation: a training side into which a test template has slipped."""
    baseline = registered.get(name)
    assert baseline.material(ground(), settings_of(name)).seen == TRAIN
    with pytest.raises(ValueError, match="would quote the test templates \\['t008'\\]"):
        baseline.material(ground(TRAIN | {"t008"}), settings_of(name))


def test_an_example_of_the_questions_own_template_is_refused(backbone: Backbone) -> None:
    first, second = (mcq for mcq in MADE["Spain"] if mcq.template_id == "t000")
    render(first, TEXT, backbone.tokens, seed=0, aid=Aid(shots=(on_test("Spain"),)))
    with pytest.raises(UserError, match=f"an example of its own template t000: {second.mcq_id}"):
        render(first, TEXT, backbone.tokens, seed=0, aid=Aid(shots=(second,)))


def test_questions_of_a_culture_share_their_examples_in_the_tree(backbone: Backbone) -> None:
    asked = [mcq for mcq in MADE["Spain"] if mcq.template_id in TEST]
    baseline = registered.get("few-shot")
    settings = settings_of("few-shot", shots=[4], draws=1)
    candidate, material = candidates(baseline, settings, ground())[0], baseline.material(ground(), settings)
    encoded, refused = backbone.tokens.encode_all(asked, candidate.prompt, seed=0, aid=lambda mcq: material.aid(candidate, mcq))
    assert not refused
    plain = encode(backbone, asked, candidate.prompt)
    with_shots, without = (pack([branch for each in some for branch in option_branches(each, "total")]).nodes for some in (encoded, plain))
    shots = len(encoded[0].context_ids) - len(plain[0].context_ids)
    assert shots > 50
    assert with_shots == without + shots


def test_examples_in_plain_text_follow_one_another(backbone: Backbone) -> None:
    mcq = on_test("Spain")
    prompt = PromptConfig(style="letters", chat=False, options="source")
    _, aid = aided("few-shot", mcq, at=ground(prompt=prompt), shots=[2])
    rendered = render(mcq, prompt, backbone.tokens, seed=0, aid=aid)
    parts = rendered.context.removeprefix(backbone.tokens.start).split("\n\nAnswer:")
    assert [part[:2] for part in parts[1:]] == [f" {'ABCD'[shot.answer]}" for shot in aid.shots] + [" "]


def test_an_empty_question_keeps_the_examples_but_not_the_facts(backbone: Backbone) -> None:
    mcq, shot = on_test("Spain"), next(mcq for mcq in MADE["Spain"] if mcq.template_id in TRAIN)
    empty = render(mcq, PMI, backbone.tokens, seed=0, aid=Aid((shot,), ("A planted fact.",))).empty_context
    assert empty is not None
    assert shot.question in empty
    assert "planted" not in empty
    assert mcq.question not in empty


def test_facts_stand_above_the_question_under_a_line_that_names_the_culture(backbone: Backbone) -> None:
    prompt = LETTERS.model_copy(update={"facts": "Known of {culture}:", "names": (("Spain", "Spanish society"),)})
    context = render(on_test("Spain"), prompt, backbone.tokens, seed=0, aid=Aid(facts=("One.", "Two."))).context
    assert "user\nKnown of Spanish society:\n- One.\n- Two.\n\nWhat do people in Spain" in context
    iran = render(on_test("Iran"), prompt, backbone.tokens, seed=0, aid=Aid(facts=("One.",))).context
    assert "Known of Iran:" in iran


def test_a_control_token_in_a_fact_refuses_the_question(backbone: Backbone) -> None:
    fact = Aid(facts=("All is well.<|im_end|>",))
    encoded, refused = backbone.tokens.encode_all([on_test("Spain")], TEXT, seed=0, aid=lambda mcq: fact)
    assert not encoded
    assert "control token '<|im_end|>'" in refused[0].reason


FACTS = (
    Fact("a", "Spanish", "", "Spanish families eat breakfast late, with bread and tomato."),
    Fact("b", "Iran", "", "In Iran, people eat bread and cheese for breakfast."),
    Fact("c", "", "", "In Spain, children play a game with stones."),
    Fact("d", "", "", "Everywhere, people eat breakfast in the morning; breakfast is breakfast."),
)


def test_bm25_finds_a_planted_fact_and_puts_the_cultures_own_first() -> None:
    index = Index(FACTS, NAMES)
    text = "What do families eat for breakfast?"
    assert index.find(text, "Spain", 1, others=True) == (FACTS[0].text,)
    assert index.find(text, "Iran", 1, others=True) == (FACTS[1].text,)
    assert index.find("Which games do children play?", "Spain", 1, others=True) == (FACTS[2].text,), "a lemma is found in its other forms"
    three = index.find(text, "Spain", 3, others=True)
    assert three[0] == FACTS[0].text
    assert set(three[1:]) == {FACTS[1].text, FACTS[3].text}
    assert index.find(text, "Spain", 3, others=False) == (FACTS[0].text,)
    assert index.find("Quidditch", "Spain", 3, others=True) == ()
    assert words("Children's GAMES")[0] == "child"


def test_a_culture_is_recognised_however_a_source_spells_it() -> None:
    spelt = ("South_Korea", "South Korea", "South Korean", "Koreans", "")
    facts = [
        Fact(str(place), culture, "", f"Tea number {place} is drunk in {'Spain' if culture else 'Korea'}.") for place, culture in enumerate(spelt)
    ]
    facts += [Fact("other", culture, "", "Tea is drunk in South Korea.") for culture in ("Spain", "North Korea")]
    found = Index(facts, {"South_Korea": "South Korea", "North_Korea": "North Korea", "US": "the US"}).find(
        "Which tea is drunk?", "South_Korea", 10, others=False
    )
    assert sorted(found) == [fact.text for fact in facts[:5]]


def test_longer_names_of_other_cultures_are_not_shorter_ones_of_this() -> None:
    names = {"South_Korea": "South Korea", "North_Korea": "North Korea", "US": "the US"}
    facts = [
        Fact("a", "", "", "Tea is drunk in North Korea."),
        Fact("b", "African American", "", "Tea is drunk in America."),
        Fact("c", "American", "", "Tea is drunk here."),
    ]
    index = Index(facts, names)
    assert index.find("tea", "South_Korea", 3, others=False) == ()
    assert index.find("tea", "North_Korea", 3, others=False) == (facts[0].text,)
    assert index.find("tea", "US", 3, others=False) == (facts[2].text,)


def test_lines_of_a_text_file_are_facts(tmp_path: Path) -> None:
    file = tmp_path / "facts.txt"
    file.write_text("In Spain, the planted lantern hangs low.\n\n  In Iran, tea is poured high. \n", encoding="utf-8")
    found, terms = stated("lines", str(file))
    assert [fact.text for fact in found] == ["In Spain, the planted lantern hangs low.", "In Iran, tea is poured high."]
    assert terms is None
    mcq = replace(on_test("Spain"), question="Where does the lantern hang in Spain?")
    candidate, aid = aided("retrieval", mcq, facts="lines", path=str(file), counts=[1])
    assert aid.facts == ("In Spain, the planted lantern hangs low.",)
    assert candidate.count == 1
    settings = settings_of("retrieval", facts="lines", path=str(file))
    stamp = registered.get("retrieval").stamp(settings)
    assert registered.get("retrieval").material(ground(), settings).seen == frozenset()
    stated.cache_clear()
    file.write_text("Another fact.\n", encoding="utf-8")
    assert registered.get("retrieval").stamp(settings) != stamp


@pytest.mark.parametrize(
    ("source", "content", "message"),
    [("lines", "\n \n", "no line with text"), ("lines", None, "expected a text file"), ("mangoo", "x", "Did you mean 'mango'")],
)
def test_facts_that_are_not_there_are_a_fault(tmp_path: Path, source: str, content: str | None, message: str) -> None:
    file = tmp_path / "facts.txt"
    file.write_text(content or "", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        stated(source, None if content is None else str(file))


def test_the_training_sides_answers_are_facts() -> None:
    mcq = next(mcq for mcq in MADE["Spain"] if mcq.template_id in TRAIN)
    _, aid = aided("retrieval", replace(mcq, template_id="t008"), counts=[1])
    assert aid.facts == (f"{mcq.question} {mcq.options[mcq.answer]}",)


def outcome(accuracies: Sequence[float], seen: frozenset[str] = TRAIN) -> Found:
    results = tuple(Tried(f"w{place}", "name", 0, 0, value, {"Spain": value}, 0, 0.5) for place, value in enumerate(accuracies))
    return Found("few-shot", "development", "k", len(results), 10, seen, results)


def test_the_best_is_chosen_of_equals_the_first() -> None:
    assert chosen(outcome([0.2, 0.5, 0.5, 0.4]).tried) == 1


def test_a_search_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    found = outcome([0.25, 0.5])
    write_found(tmp_path / "search.json", found)
    assert read_found(tmp_path / "search.json") == found
    (tmp_path / "search.json").write_text('{"format": 1, "tried": [{}]}', encoding="utf-8")
    with pytest.raises(UserError, match="a damaged search"):
        read_found(tmp_path / "search.json")


def test_a_baseline_is_not_tested_on_what_it_has_seen() -> None:
    refuse_seen(outcome([0.5]), TEST)
    with pytest.raises(UserError, match="baseline few-shot: found 1 templates that it has seen: t003"):
        refuse_seen(outcome([0.5]), {"t003", "t009"})
