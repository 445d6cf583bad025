"""Token ids of questions, with small tokenizers of every kind and templates in the manner of the common ones."""

from __future__ import annotations

import datetime
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from affinage.config import PromptConfig
from affinage.encode import FIXED_DATE, Refusal, Tokens
from affinage.prompts import render
from affinage.records import Encoded, UserError
from samples import QUESTION

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]

TEXT = [
    "What do people in South Korea eat for breakfast? Answer with the letter of the right option only.",
    "A. rice B. bread and oil C. porridge D. cornflakes Answer: user assistant system",
    "Answer in a few words, without any explanation. Answer with the text of the right option only.",
    "one letter: A B C D or A B C D or A B C D",
]

MANY = [replace(QUESTION, mcq_id=f"food-{n}", question=f"{QUESTION.question[:-1]} number {n}?") for n in range(20)]

CHATML = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
LLAMA = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system message') }}{% elif m.role == 'user' %}"
    "{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
)
OLMO = (
    "{{ eos_token }}{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}"
    "{% if m.role == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
)
TRIMMING = CHATML.replace("m['content']", "(m['content'] | trim)")
THINKING = CHATML.replace("m['content'] +", "('' if m.role == 'user' or enable_thinking else '<think>\n\n</think>\n\n') + m['content'] +")
DATED = "{{ 'Today is ' + strftime_now('%d %b %Y') + '\n' }}" + CHATML
GLUED = "{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}"
TEMPLATES = {"chatml": CHATML, "llama": LLAMA, "olmo": OLMO, "trimming": TRIMMING, "thinking": THINKING, "dated": DATED}


def wrapped(tokenizer: Tokenizer, template: str | None) -> Any:
    kind = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", name_or_path="small")
    kind.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    kind.chat_template = template
    return kind


def byte_level(template: str | None = CHATML) -> Any:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(TEXT, trainer)
    return wrapped(tokenizer, template)


def metaspace(template: str | None = CHATML, *, bos: bool = False) -> Any:
    """Characters, pieces of `▁` with a letter, and the pieces `:A` to `:D`, which no letter-wise prompt wants."""
    characters = [chr(code) for code in range(33, 127)] + ["▁", "\n"]
    merges = [("▁", letter) for letter in "ABCDQrbpc"] + [(":", letter) for letter in "ABCD"]
    pieces = [*SPECIAL, *characters, *(left + right for left, right in merges)]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first", split=False)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return wrapped(tokenizer, template)


def words(template: str | None = CHATML) -> Any:
    vocabulary = sorted({word for text in TEXT for word in text.split()} | set("ABCD"))
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate([*SPECIAL, *vocabulary])}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return wrapped(tokenizer, template)


TOKENIZERS = {"byte-level": byte_level, "metaspace": metaspace, "words": words}


def only(outcome: Encoded | Refusal) -> Encoded:
    assert isinstance(outcome, Encoded), outcome
    return outcome


@pytest.mark.parametrize("style", ["letters", "text", "text-listed"])
@pytest.mark.parametrize("template", [*TEMPLATES, None])
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_ids_are_those_of_the_whole_text(kind: str, template: str | None, style: Any) -> None:
    tokenizer = TOKENIZERS[kind](TEMPLATES[template] if template else None)
    tokens = Tokens(tokenizer, [4])
    encoded, refused = tokens.encode_all(MANY, PromptConfig(style=style, chat=template is not None), seed=0)
    assert not refused
    assert [each.rendered.mcq for each in encoded] == MANY
    for each in encoded:
        rendered = each.rendered
        for answer, continuation, scored in zip(rendered.answers, each.continuation_ids, each.scored, strict=True):
            whole = tokenizer(rendered.context + answer + rendered.ending, add_special_tokens=False)["input_ids"]
            assert [*each.context_ids, *continuation] == whole
            if kind != "words":
                assert tokens.decode(continuation[:scored]).strip() == answer
            assert continuation[-1] in tokens.stop_ids
            assert not set(continuation[:-1]) & set(tokens.stop_ids)


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_letters_are_distinct_single_tokens(kind: str) -> None:
    each = only(Tokens(TOKENIZERS[kind](), [4]).encode(render(QUESTION, PromptConfig(), Tokens(TOKENIZERS[kind](), [4]), seed=0), letters=True))
    assert each.scored == (1, 1, 1, 1)
    assert len({ids[0] for ids in each.continuation_ids}) == 4


def test_what_follows_the_stop_token_is_not_encoded() -> None:
    tokens = Tokens(byte_level(CHATML), [4])
    each = only(tokens.encode(render(QUESTION, PromptConfig(), tokens, seed=0)))
    assert tokens.conversation([{"role": "user", "content": "x"}]).endswith("<|im_end|>\n"), "the template has white space after the stop"
    assert all(ids[-1] == 4 and len(ids) == 2 for ids in each.continuation_ids)


def test_a_blank_moves_to_the_answer() -> None:
    tokens = Tokens(metaspace(LLAMA))
    rendered = render(QUESTION, PromptConfig(), tokens, seed=0)
    assert rendered.context.endswith("[/INST] ")
    each = only(tokens.encode(rendered, letters=True))
    assert tokens.decode(each.context_ids).endswith("[/INST]")
    assert [tokens.decode(ids).lstrip() for ids in each.continuation_ids] == [f"{letter} </s>" for letter in rendered.answers]
    assert each.scored == (1, 1, 1, 1)


def test_a_merge_over_the_edge_is_refused() -> None:
    tokens = Tokens(metaspace(GLUED))
    assert len(tokens.ids([":A"])[0]) < len(tokens.ids([":"])[0]) + len(tokens.ids(["A"])[0]), "the tokenizer does not merge"
    config = PromptConfig(style="text", options="source")
    answers = replace(QUESTION, options=("A", "rice", "C"), option_cultures=("",) * 3)
    encoded, refused = tokens.encode_all([QUESTION, answers], config, seed=0)
    assert [each.rendered.mcq for each in encoded] == [QUESTION]
    assert refused == [Refusal(answers, refused[0].reason)]
    assert refused[0].reason.endswith("Answer:' and the answer 'A' share a token")


def test_an_answer_and_its_ending_may_not_share_a_token() -> None:
    template = "{% for m in messages %}{{ '<s>' + m.content }}{% endfor %}{{ 'A</s>' }}"
    tokens = Tokens(metaspace(template))
    mcq = replace(QUESTION, options=("time 7:", "rice"), option_cultures=("", ""))
    outcome = tokens.encode(render(mcq, PromptConfig(style="text"), tokens, seed=0))
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "the answer 'time 7:' and its ending 'A</s>' share a token"


def test_letters_that_cannot_work_are_a_fault_of_the_setting() -> None:
    tokens = Tokens(metaspace(GLUED))
    message = r"letters A to D with the tokenizer of small: found the prompt's end .*Answer:' and the answer 'A' share a token"
    with pytest.raises(UserError, match=message):
        tokens.encode_all([QUESTION], PromptConfig(options="source"), seed=0)
    encoded, refused = tokens.encode_all([QUESTION], PromptConfig(closing="Answer: "), seed=0)
    assert len(encoded) == 1
    assert not refused


def test_letters_that_are_no_single_tokens() -> None:
    state = json.loads(byte_level().backend_tokenizer.to_str())
    state["model"]["merges"] = [merge for merge in state["model"]["merges"] if merge != ["Ġ", "B"]]
    with pytest.raises(UserError, match="letters A to D with the tokenizer of small: found the letter 'B' is 2 tokens; expected one distinct token"):
        Tokens(wrapped(Tokenizer.from_str(json.dumps(state)), LLAMA)).encode_all([QUESTION], PromptConfig(), seed=0)
    unknown = Tokenizer(models.WordLevel({piece: number for number, piece in enumerate(SPECIAL)}, unk_token="<unk>"))
    unknown.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    with pytest.raises(UserError, match=r"letters A to D with the tokenizer of small: found '[A-D]' and '[A-D]' have the same tokens"):
        Tokens(wrapped(unknown, CHATML), [4]).encode_all([QUESTION], PromptConfig(), seed=0)


def test_options_that_the_tokenizer_cannot_tell_apart_are_refused() -> None:
    mcq = replace(QUESTION, options=("kimchi", "tteok"), option_cultures=("", ""))
    tokens = Tokens(words(), [4])
    encoded, refused = tokens.encode_all([QUESTION, mcq], PromptConfig(style="text"), seed=0)
    assert len(encoded) == 1
    assert [each.reason for each in refused] == ["'kimchi' and 'tteok' have the same tokens"]


def test_an_empty_answer_and_a_control_token_are_refused() -> None:
    empty = replace(QUESTION, options=("rice", "  "), option_cultures=("", ""))
    smuggled = replace(QUESTION, options=("rice", "bread<|im_end|>"), option_cultures=("", ""))
    _, refused = Tokens(byte_level(), [4]).encode_all([empty, smuggled], PromptConfig(style="text"), seed=0)
    assert [each.reason for each in refused] == ["the answer '' has no token of its own", "its text holds the control token '<|im_end|>'"]


def test_pmi_encodes_the_same_answers_after_an_empty_question() -> None:
    tokens = Tokens(byte_level(), [4])
    encoded, _ = tokens.encode_all(MANY, PromptConfig(style="text", score="pmi"), seed=0)
    for each in encoded:
        assert each.empty is not None
        assert each.empty.empty is None
        assert each.empty.continuation_ids == each.continuation_ids
        assert tokens.decode(each.empty.context_ids) == each.rendered.empty_context
        assert each.empty.context_ids != each.context_ids
    plain, _ = tokens.encode_all(MANY, PromptConfig(style="text"), seed=0)
    assert all(each.empty is None for each in plain)


def test_one_alone_is_one_of_many() -> None:
    tokens = Tokens(byte_level(LLAMA))
    config = PromptConfig(style="text", score="pmi")
    encoded, _ = tokens.encode_all(MANY, config, seed=0)
    assert encoded == [tokens.encode(render(question, config, tokens, seed=0)) for question in MANY]


def test_a_question_is_put_in_each_order_that_is_asked_for() -> None:
    tokens = Tokens(byte_level(), [4])
    encoded, refused = tokens.encode_all(MANY[:2], PromptConfig(), seed=0, asked="rotations")
    assert not refused
    assert [each.rendered.mcq.mcq_id for each in encoded] == ["food-0"] * 4 + ["food-1"] * 4
    assert [each.rendered.order for each in encoded[:4]] == [(0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2)]
    assert len({each.context_ids for each in encoded[:4]}) == 4
    with pytest.raises(UserError, match=r"evaluation\.orders: found 'all' with the style 'text'"):
        tokens.encode_all(MANY[:1], PromptConfig(style="text"), seed=0, asked="all")


def test_a_question_that_is_refused_in_one_order_is_refused_once() -> None:
    tokens = Tokens(byte_level(), [4])
    bad = replace(QUESTION, mcq_id="bad", question="What is <|im_end|> here?")
    encoded, refused = tokens.encode_all([MANY[0], bad, MANY[1]], PromptConfig(), seed=0, asked="all")
    assert len(encoded) == 48
    assert [each.mcq.mcq_id for each in refused] == ["bad"]


def test_stop_tokens_are_the_tokenizers_and_the_models() -> None:
    assert Tokens(byte_level(CHATML), 4).stops == ("</s>", "<|im_end|>")
    assert Tokens(byte_level(CHATML), [4, 2]).stop_ids == (2, 4)
    with pytest.raises(UserError, match=r"chat template of small: found '<\|im_end\|>\\n' after .* a stop token there: '</s>'"):
        Tokens(byte_level(CHATML), None).encode_all([QUESTION], PromptConfig(), seed=0)


def test_a_stop_text_that_is_no_stop_token_is_refused() -> None:
    tokens = Tokens(metaspace(CHATML.replace("<|im_end|>\\n", "<|im_end|>")), [4])
    rendered = render(QUESTION, PromptConfig(), tokens, seed=0)
    outcome = tokens.encode(replace(rendered, ending="<|im_end|>."))
    assert isinstance(outcome, Refusal)
    assert outcome.reason == "the ending '<|im_end|>.' is not encoded as a stop token"


def test_thinking_is_off_and_said_so() -> None:
    tokens = Tokens(byte_level(THINKING), [4])
    assert tokens.arguments == {"enable_thinking": False}
    assert render(QUESTION, PromptConfig(), tokens, seed=0).context.endswith("<think>\n\n</think>\n\n")
    on = Tokens(byte_level(THINKING), [4], {"enable_thinking": True})
    assert render(QUESTION, PromptConfig(), on, seed=0).context.endswith("<|im_start|>assistant\n")


def test_the_date_is_fixed_and_said_so() -> None:
    tokenizer = byte_level(DATED)
    messages = [{"role": "user", "content": "x"}]
    year = str(datetime.datetime.now().astimezone().year)
    assert year in tokenizer.apply_chat_template(messages, tokenize=False), "the template does not insert today's date"
    tokens = Tokens(tokenizer, [4])
    assert tokens.arguments == {"strftime_now": FIXED_DATE}
    assert tokens.conversation(messages).startswith("Today is 01 Jan 2025\n")
    assert Tokens(tokenizer, [4], {"strftime_now": "1999-12-31"}).conversation(messages).startswith("Today is 31 Dec 1999\n")


@pytest.mark.parametrize(
    ("template", "arguments", "message"),
    [
        (THINKING, {"enable_thinkng": True}, r"template_arguments\.enable_thinkng: found an argument .* Did you mean 'enable_thinking'\?"),
        (CHATML, {"a": 1, "b": 2}, r"template_arguments\.a: .*\n.*template_arguments\.b: .* Remove it: the template reads none\."),
        (DATED, {"strftime_now": "yesterday"}, r"template_arguments\.strftime_now: found 'yesterday'; expected a date like 2025-01-01"),
        (DATED.replace("'%d %b %Y'", "form"), {}, "chat template of small: found a date whose format is computed"),
        ("{% for m in messages %}", {}, "chat template of small: found .*; expected a Jinja template"),
        (None, {"enable_thinking": False}, "Remove it: the template reads none"),
    ],
)
def test_bad_arguments(template: str | None, arguments: dict[str, str | int | bool], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Tokens(byte_level(template), [4], arguments)


def test_a_template_that_takes_no_system_message() -> None:
    tokens = Tokens(byte_level(LLAMA))
    with pytest.raises(UserError, match=r"chat template of small: found a refusal: no system message; .*takes system, user, assistant"):
        tokens.encode_all([QUESTION], PromptConfig(system="Be brief."), seed=0)


def test_no_template_and_no_rust_backend() -> None:
    with pytest.raises(UserError, match=r"chat template of small: found none; .*`prompt\.chat: false`"):
        Tokens(byte_level(None)).encode_all([QUESTION], PromptConfig(), seed=0)

    class Slow:
        is_fast = False
        name_or_path = "slow"

    with pytest.raises(UserError, match="tokenizer of slow: found Slow; expected one with a Rust backend"):
        Tokens(Slow())


def test_plain_text_begins_as_the_tokenizer_would_begin_it() -> None:
    assert Tokens(metaspace(None)).start == ""
    tokenizer = metaspace(None, bos=True)
    tokens = Tokens(tokenizer)
    # A blank after <s>: this kind of tokenizer puts one before the first word of a text.
    assert tokens.start == "<s> "
    each = only(tokens.encode(render(QUESTION, PromptConfig(chat=False), tokens, seed=0), letters=True))
    assert list(each.context_ids) == tokenizer(each.rendered.context.removeprefix("<s> ").rstrip())["input_ids"]
    assert each.context_ids.count(1) == 1


def test_digests_follow_what_they_name() -> None:
    tokens, other = Tokens(byte_level(CHATML), [4]), Tokens(byte_level(LLAMA), [4])
    assert tokens.template_digest != other.template_digest
    assert tokens.tokenizer_digest == other.tokenizer_digest != Tokens(metaspace()).tokenizer_digest
    assert len(tokens.tokenizer_digest) == len(tokens.template_digest) == 64
    padded = byte_level(CHATML)
    padded(["a", "b c d"], truncation=True, max_length=2)
    assert padded.backend_tokenizer.truncation is not None
    assert Tokens(padded, [4]).tokenizer_digest == tokens.tokenizer_digest


def test_a_tokenizer_with_several_templates() -> None:
    several = byte_level()
    several.chat_template = {"default": CHATML, "other": OLMO}
    assert Tokens(several, [4]).template == CHATML
    several.chat_template = {"one": CHATML, "other": OLMO}
    with pytest.raises(UserError, match=r"chat template of small: found .* expected one template, or several with a `default`"):
        Tokens(several, [4])


def test_a_special_token_that_swallows_blanks_is_no_place_to_cut() -> None:
    tokenizer = byte_level(CHATML.replace("<|im_start|>", "<turn>").replace("'<turn>'", "' <turn>'"))
    tokenizer.add_special_tokens({"additional_special_tokens": [AddedToken("<turn>", lstrip=True, special=True)]})
    assert tokenizer("a <turn>", add_special_tokens=False)["input_ids"] == tokenizer("a<turn>", add_special_tokens=False)["input_ids"]
    tokens = Tokens(tokenizer, [4])
    each = only(tokens.encode(render(QUESTION, PromptConfig(), tokens, seed=0), letters=True))
    for answer, continuation in zip(each.rendered.answers, each.continuation_ids, strict=True):
        whole = tokenizer(each.rendered.context + answer + each.rendered.ending, add_special_tokens=False)["input_ids"]
        assert [*each.context_ids, *continuation] == whole


def test_the_answers_of_many_questions_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = Tokens(byte_level(), [4])
    given: list[str] = []
    encode = Tokens._encoded

    def noted(self: Tokens, texts: list[str]) -> Any:
        given.extend(texts)
        return encode(self, texts)

    monkeypatch.setattr(Tokens, "_encoded", noted)
    encoded, _ = tokens.encode_all(MANY, PromptConfig(style="text", score="pmi"), seed=0)
    assert len(encoded) == len(MANY)
    # Per question its context; once the empty context, their tail, the ending, and four answers.
    assert len(given) == len(set(given)) == len(MANY) + 3 + 4


def test_thousands_of_questions_take_seconds() -> None:
    tokens = Tokens(byte_level(), [4])
    questions = [replace(QUESTION, mcq_id=str(n), question=f"What do people eat on day {n}?") for n in range(4_000)]
    started = time.perf_counter()
    encoded, _ = tokens.encode_all(questions, PromptConfig(style="text", score="pmi"), seed=0)
    assert len(encoded) == 4_000
    assert time.perf_counter() - started < 10
