"""The only place that composes text: a question as one context and, per option, one continuation.

The user's turn, style `letters` (instruction and closing are values of `PromptConfig`; `text` has no list of options):

    What do people in Spain eat for breakfast? Answer with the letter of the right option only.
    A. pan con tomate
    B. congee

    Answer:

The whole conversation goes through the model's chat template once, with a sentinel as the assistant's text: what stands before the sentinel
is the context, what stands after it, up to and including the first stop token, ends every answer. So nothing is assumed about a template.

With the benchmark's JSON instruction the turn is the benchmark's own, character for character, and the answer is still the bare letter: the
benchmark reads a letter out of the JSON, and the letter is what can be scored in the same place for every model. That a model then wants to
begin with `{` is the cost of that wording, and is measured.

A question may come with an aid. Answered examples are earlier turns, put as the question is; facts stand above the question:

    What is known about Spain:
    - Breakfast is bread with tomato.

    What do people in Spain eat for breakfast? Answer with ...
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Protocol

from affinage import seeds
from affinage.config import PromptConfig
from affinage.records import MAXIMUM_OPTIONS, MCQ, NO_AID, Aid, Orders, Rendered, UserError, name_in_text

__all__ = ["JSON_INSTRUCTION", "LETTERS", "Chat", "orders", "render"]

LETTERS = ascii_uppercase[:MAXIMUM_OPTIONS]

JSON_INSTRUCTION = (
    'Without any explanation, choose only one from the given alphabet choices(e.g., A, B, C). Provide as JSON format: {"answer_choice":""}'
)
"""BLEnD's own wording."""

_INSTRUCTIONS = {
    "letters": "Answer with the letter of the right option only.",
    "text": "Answer in a few words, without any explanation.",
    "text-listed": "Answer with the text of the right option only.",
}

_HIDDEN_OPTION = "..."
"""What stands for every option's text where options are hidden."""

_PERMUTED = 4
"""All orders are asked of so many options at most: 24."""

_SENTINEL = "AssistantTextGoesHere"
"""Letters alone, so that no template trims or escapes it."""

_BETWEEN = "\n\n"
"""What ends an example in plain text."""

_PLAIN = "Set `prompt.chat: false` for plain text, or give the tokenizer another chat template."


class Chat(Protocol):
    """What a model's tokenizer says about conversations; `encode.Tokens` is the real one."""

    @property
    def name(self) -> str:
        """The tokenizer's name, for messages."""

    @property
    def stops(self) -> tuple[str, ...]:
        """Texts of the tokens that end a generation; the first is the tokenizer's own end-of-text token where it has one."""

    @property
    def start(self) -> str:
        """What the tokenizer puts before plain text (a beginning-of-text token), or nothing."""

    def conversation(self, messages: list[dict[str, str]]) -> str:
        """The whole conversation through the chat template, the assistant's text included, without a generation prompt."""


def orders(count: int, which: Orders) -> list[tuple[int, ...]] | list[None]:
    """The orders in which a question of `count` options is asked at evaluation; None stands for the order of `PromptConfig.options`.

    Raises:
        UserError: all orders of more than four options.
    """
    if which == "one":
        return [None]
    if which == "rotations":
        return [tuple((place + shift) % count for place in range(count)) for shift in range(count)]
    if count > _PERMUTED:
        todo = "Use `rotations`."
        raise UserError("evaluation.orders", f"all orders of a question with {count} options", f"at most {_PERMUTED} options", todo)
    return list(itertools.permutations(range(count)))


def render(mcq: MCQ, config: PromptConfig, chat: Chat, *, seed: int, order: tuple[int, ...] | None = None, aid: Aid = NO_AID) -> Rendered:
    """A question as text.

    Options that are shown stand in the source's order, or in an order drawn from (`seed`, the question's id) alone. `answers[i]` belongs to
    source option i: the letter of the place where it is shown, or its text without surrounding white space (templates trim it too).

    With `config.chat` false the context is `chat.start`, the system message, the user's turn and one blank; a tokenizer that joins the blank
    to the answer gets it there (see `encode`). The ending is then the first of `chat.stops`: one token whatever the tokenizer, and what stops
    a tuned model's answer. A newline would tie the count of ending tokens to the tokenizer's white space.

    Args:
        mcq: the question.
        config: style, instruction, closing line, order, system message.
        chat: the model's side.
        seed: the study's seed.
        order: `order[place]` = source index of the option shown at that place. Default: as `config.options` says.
        aid: what the question comes with. An empty question (`pmi`) comes with the examples, but not with the facts: they are about it.

    Raises:
        UserError: an instruction or something hidden that does not fit the style, more options than letters, an example of the question's own
            template, or a chat template that hides, repeats or never ends the assistant's text.
    """
    own = [shot.mcq_id for shot in aid.shots if shot.template_id == mcq.template_id]
    if own:
        todo = "Take examples from the training side of the split."
        raise UserError(f"question {mcq.mcq_id}", f"an example of its own template {mcq.template_id}: {own[0]}", "examples of others", todo)
    asked = _asked(mcq, config, seed, order)
    before = [message for shot in aid.shots for message in _example(_asked(shot, config, seed, None), config)]
    turn = _turn(asked.question, asked, config, mcq.culture, aid.facts)
    context, ending = _cut(mcq.culture, [*before, _user(turn.text)], config, chat)
    made = Rendered(mcq, context, asked.answers, ending, asked.order, None, aid, *turn.places(context))
    if config.score != "pmi":
        return made
    turn = _turn("", asked, config, mcq.culture)
    empty, _ = _cut(mcq.culture, [*before, _user(turn.text)], config, chat)
    question, options = turn.places(empty)
    return replace(made, empty_context=empty, empty_question=question, empty_options=options)


@dataclass(frozen=True, slots=True)
class _Turn:
    """The user's turn."""

    text: str
    question: int
    """Where the question begins in it; with an empty one, what stands behind it."""
    options: int | None
    """Where the listed options begin; None where none are listed."""

    def places(self, context: str) -> tuple[int | None, int | None]:
        """Where both begin in a conversation that ends with this turn; templates trim a turn, and what they change otherwise is not found."""
        at = context.rfind(self.text.strip())
        if at < 0:
            return None, None
        at -= len(self.text) - len(self.text.lstrip())
        return at + self.question, None if self.options is None else at + self.options


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question's texts before they are put together."""

    mcq: MCQ
    question: str
    shown: list[str]
    """The listed options, each with its letter; empty where none are listed."""
    answers: tuple[str, ...]
    """Per option in the source's order."""
    order: tuple[int, ...]


def _asked(mcq: MCQ, config: PromptConfig, seed: int, order: tuple[int, ...] | None) -> _Asked:
    """A question's texts; the order of its options is drawn where it is not given."""
    listed = config.style != "text"
    count = len(mcq.options)
    if listed and count > len(LETTERS):
        raise UserError(f"question {mcq.mcq_id}", f"{count} options", f"at most {len(LETTERS)}", "Use the style `text`, which lists none.")
    if config.hide == "options" and config.style != "letters":
        todo = "Use the style `letters`: elsewhere the answer is an option's text, which the model reads when it is scored."
        raise UserError("prompt.hide", f"'options' with the style {config.style!r}", "the style letters", todo)
    if order is None:
        shuffled = listed and config.options == "shuffled"
        order = seeds.permutation(count, "options", seed, mcq.mcq_id) if shuffled else tuple(range(count))
    if config.style == "letters":
        places = sorted(range(count), key=order.__getitem__)
        answers = tuple(LETTERS[place] for place in places)
    else:
        answers = tuple(option.strip() for option in mcq.options)
    texts = [_HIDDEN_OPTION if config.hide == "options" else mcq.options[source] for source in order]
    shown = [f"{LETTERS[place]}. {text}" for place, text in enumerate(texts)] if listed else []
    question = f"Here stands a question about {name_in_text(mcq.culture)}." if config.hide == "question" else mcq.question
    return _Asked(mcq, question, shown, answers, order)


def _turn(question: str, asked: _Asked, config: PromptConfig, culture: str, facts: Sequence[str] = ()) -> _Turn:
    """The user's turn: facts where there are some, question and instruction, the options, a blank line and the closing line."""
    head = " ".join(part for part in (question.strip(), _instruction(config)) if part)
    # The benchmark has a blank line there, the study as it is described has none.
    between = "\n\n" if config.instruction == "json" else "\n"
    known = "".join((_filled(config.facts, culture, config), *(f"\n- {fact}" for fact in facts), "\n\n")) if facts else ""
    above = f"{known}{head}{between if head and asked.shown else ''}"
    closing = f"\n\n{config.closing}" if config.closing else ""
    return _Turn(above + "\n".join(asked.shown) + closing, len(known), len(above) if asked.shown else None)


def _example(asked: _Asked, config: PromptConfig) -> tuple[dict[str, str], dict[str, str]]:
    """A question and its right answer as two turns."""
    turn = _turn(asked.question, asked, config, asked.mcq.culture).text
    return _user(turn), {"role": "assistant", "content": asked.answers[asked.mcq.answer]}


def _user(turn: str) -> dict[str, str]:
    return {"role": "user", "content": turn}


def _filled(text: str, culture: str, config: PromptConfig) -> str:
    """A text of the study's with the culture named in it."""
    return text.replace("{culture}", dict(config.names).get(culture, name_in_text(culture)))


def _instruction(config: PromptConfig) -> str:
    """The sentence after the question."""
    if config.instruction is None:
        return _INSTRUCTIONS[config.style]
    if config.instruction == "json":
        if config.style != "letters":
            raise UserError("prompt.instruction", f"json with the style {config.style}", "the style letters", "It asks for a letter.")
        return JSON_INSTRUCTION
    return config.instruction.strip()


def _cut(culture: str, turns: Sequence[dict[str, str]], config: PromptConfig, chat: Chat) -> tuple[str, str]:
    """(context, ending) of a conversation in which the model is to speak after `turns`."""
    system = _filled(config.system, culture, config) if config.system is not None else None
    if not config.chat:
        beginning = f"{system}\n\n" if system else ""
        said = "".join(f"{turn['content']}{' ' if turn['role'] == 'user' else _BETWEEN}" for turn in turns)
        return f"{chat.start}{beginning}{said}", _stops(chat)[0]
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages += turns
    sentinel = _SENTINEL
    while any(sentinel in message["content"] for message in messages):
        sentinel += "Now"
    whole = chat.conversation([*messages, {"role": "assistant", "content": sentinel}])
    times = whole.count(sentinel)
    if times != 1:
        raise UserError(f"chat template of {chat.name}", f"the assistant's text {times} times", "it once, as it was given", _PLAIN)
    context, rest = whole.split(sentinel)
    return context, _ending(rest, chat)


def _ending(rest: str, chat: Chat) -> str:
    """What the template puts after the answer, up to and including the first stop token."""
    ends = [(rest.index(stop), -len(stop)) for stop in _stops(chat) if stop in rest]
    if not ends:
        stops = " or ".join(repr(stop) for stop in _stops(chat))
        raise UserError(f"chat template of {chat.name}", f"{rest!r} after the assistant's text", f"a stop token there: {stops}", _PLAIN)
    start, length = min(ends)
    return rest[: start - length]


def _stops(chat: Chat) -> tuple[str, ...]:
    if not chat.stops:
        raise UserError(f"tokenizer of {chat.name}", "no end-of-generation token", "at least one", "Give the model's generation_config one.")
    return chat.stops
