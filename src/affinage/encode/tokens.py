"""A tokenizer with what decides how questions are put to its model, and questions as its ids."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, final

import jinja2

from affinage.config import PromptConfig
from affinage.encode.cuts import Ids, Known, any_of, cut_at, joined
from affinage.encode.template import clockless, resolved, template_of
from affinage.prompts import LETTERS, orders, render
from affinage.records import MCQ, NO_AID, Aid, Encoded, Orders, Rendered, UserError

__all__ = ["Refusal", "Tokens"]

_BATCH = 20_000
"""Texts per call of the tokenizer: bounds the memory of its intermediate records."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A question that cannot be put to this model, and why; it is counted and reported, never scored as wrong."""

    mcq: MCQ
    reason: str


@final
class Tokens:
    """A tokenizer with what decides how questions are put to its model: stop tokens and template arguments.

    Args:
        tokenizer: a transformers tokenizer with a Rust backend.
        stop_ids: the ids that end a generation (`generation_config.eos_token_id`, one or several); the tokenizer's own
            end-of-text token is added.
        arguments: arguments of the chat template.

    Raises:
        UserError: no Rust backend, or arguments that the template does not know.
    """

    def __init__(self, tokenizer: Any, stop_ids: int | Iterable[int] | None = (), arguments: Mapping[str, str | int | bool] | None = None) -> None:
        self._tokenizer = tokenizer
        self.name = str(tokenizer.name_or_path) or type(tokenizer).__name__
        if not getattr(tokenizer, "is_fast", False):
            raise UserError(f"tokenizer of {self.name}", type(tokenizer).__name__, "one with a Rust backend (tokenizer.json)", "Convert it first.")
        given = (stop_ids,) if isinstance(stop_ids, int) else tuple(stop_ids or ())
        own = () if tokenizer.eos_token_id is None else (int(tokenizer.eos_token_id),)
        self.stop_ids: Ids = tuple(dict.fromkeys((*own, *given)))
        """Ids that end a generation, the tokenizer's own first."""
        self.stops: tuple[str, ...] = tuple(self.decode((stop,)) for stop in self.stop_ids)
        """Their texts."""
        self.template = template_of(tokenizer, self.name)
        """The chat template as the model's authors wrote it; None for a base model."""
        self.arguments = resolved(dict(arguments or {}), self.template, self.name)
        """Every argument that the template gets, those included that are set here: thinking off, a fixed date."""
        added = tokenizer.added_tokens_decoder.values()
        special = [token.content for token in added if token.special and token.content]
        self._control = any_of(special)
        self._cutting = any_of(self._independent(special))

    def save(self, folder: Path) -> None:
        """Writes the tokenizer's files, chat template included, as transformers reads them."""
        self._tokenizer.save_pretrained(folder)

    def conversation(self, messages: list[dict[str, str]]) -> str:
        """The whole conversation through the chat template, without a generation prompt.

        Raises:
            UserError: there is no chat template, or it refuses such a conversation (some take no system message).
        """
        where = f"chat template of {self.name}"
        if self.template is None:
            raise UserError(where, "none", "a chat template", "Set `prompt.chat: false` for plain text.")
        arguments = {name: value for name, value in self.arguments.items() if name != "strftime_now"}
        try:
            text = self._tokenizer.apply_chat_template(messages, chat_template=self._clockless, tokenize=False, **arguments)
        except jinja2.TemplateError as error:
            roles = ", ".join(message["role"] for message in messages)
            raise UserError(where, f"a refusal: {error}", f"a template that takes {roles}", "Change `prompt.system` or the arguments.") from None
        return str(text)

    @cached_property
    def start(self) -> str:
        """The text of what the tokenizer puts before plain text, usually its beginning-of-text token or nothing.

        Raises:
            UserError: no text gives the ids that the tokenizer's own special tokens give.
        """
        plain = "Question"
        wanted = list(self._tokenizer(plain)["input_ids"])
        bos = self._tokenizer.bos_token or ""
        for start in ("", bos, f"{bos} "):
            ids = list(self.ids((start + plain,))[0])
            if wanted[: len(ids)] == ids:
                return start
        raise UserError(f"tokenizer of {self.name}", f"{wanted} for {plain!r}", "a beginning-of-text token before it", "Use a chat template.")

    @cached_property
    def template_digest(self) -> str:
        """SHA-256 of the chat template, hexadecimal; of the empty text where there is none."""
        return hashlib.sha256((self.template or "").encode()).hexdigest()

    @cached_property
    def tokenizer_digest(self) -> str:
        """SHA-256 of everything that decides ids, hexadecimal; padding and truncation, which calls change, apart."""
        state = json.loads(self._tokenizer.backend_tokenizer.to_str())
        state.update(padding=None, truncation=None)
        return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of each text, nothing added."""
        return [tuple(ids) for ids in self._encoded(texts)["input_ids"]] if texts else []

    def _encoded(self, texts: Sequence[str]) -> Any:
        """The tokenizer's own record of texts, nothing added."""
        settings = {"add_special_tokens": False, "return_attention_mask": False, "padding": False, "truncation": False, "verbose": False}
        return self._tokenizer(list(texts), **settings)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids, special tokens included."""
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def encode(self, rendered: Rendered, *, letters: bool = False) -> Encoded | Refusal:
        """A rendered question as token ids.

        Args:
            rendered: the question as text.
            letters: its answers are letters, each of which must then be one token of its own.
        """
        return self._encode_each((rendered,), letters)[0]

    def encode_all(
        self,
        questions: Sequence[MCQ],
        config: PromptConfig,
        *,
        seed: int,
        asked: Orders = "one",
        aid: Callable[[MCQ], Aid] = lambda mcq: NO_AID,
    ) -> tuple[list[Encoded], list[Refusal]]:
        """Questions as token ids, in their order, and those that cannot be put to this model.

        Args:
            questions: what to encode.
            config: how they are put.
            seed: the study's seed.
            asked: in which orders of its listed options each question is put; the orders of a question stand side by side. A question that
                is refused in one order is refused.
            aid: question -> the examples and facts that it comes with.

        Raises:
            UserError: a faulty prompt or template, letters that are no single tokens of this tokenizer, or orders of options that
                are not listed.
        """
        if asked != "one" and config.style == "text":
            raise UserError("evaluation.orders", f"{asked!r} with the style 'text', which lists no options", "'one'", "Use another `prompt.style`.")
        letters = config.style == "letters"
        if letters and questions:
            self._check_letters(max(len(question.options) for question in questions), config)
        put = [orders(len(question.options), asked) for question in questions]
        rendered = [
            render(question, config, self, seed=seed, order=order, aid=given)
            for question, own in zip(questions, put, strict=True)
            for given in (aid(question),)
            for order in own
        ]
        outcomes = iter(self._encode_each(rendered, letters))
        encoded: list[Encoded] = []
        refused: list[Refusal] = []
        for own in put:
            of_question = list(itertools.islice(outcomes, len(own)))
            faults = [each for each in of_question if isinstance(each, Refusal)]
            if faults:
                refused.append(faults[0])
            else:
                encoded += [each for each in of_question if isinstance(each, Encoded)]
        return encoded, refused

    def _check_letters(self, count: int, config: PromptConfig) -> None:
        """Refuses a tokenizer that cannot say `count` letters with one token each after this prompt."""
        options = tuple(f"option {number}" for number in range(1, count + 1))
        probe = MCQ("probe", "probe", "US", "", "Which one?", options, ("",) * count, 0)
        outcome = self.encode(render(probe, config, self, seed=0), letters=True)
        if isinstance(outcome, Refusal):
            todo = "Use the style `text`, or another `prompt.closing`."
            raise UserError(f"letters A to {LETTERS[count - 1]} with the tokenizer of {self.name}", outcome.reason, "one distinct token each", todo)

    def _encode_each(self, rendered: Sequence[Rendered], letters: bool) -> list[Encoded | Refusal]:
        """Each rendered question as ids, or the reason why not."""
        empties = [
            replace(each, context=each.empty_context, question=each.empty_question, options=each.empty_options, empty_context=None)
            for each in rendered
            if each.empty_context is not None
        ]
        everything = [*rendered, *empties]
        cuts = [cut_at(self._cutting, each) for each in everything]
        known = Known()
        for each in everything:
            known.wanted.setdefault(each.context, set()).update(place for place in (each.question, each.options) if place is not None)
        self._learn(known, (text for cut in cuts for text in cut.texts()))
        outcomes = [joined(each, cut, known) for each, cut in zip(everything, cuts, strict=True)]
        again = [at for at, outcome in enumerate(outcomes) if isinstance(outcome, str) and cuts[at].tail.endswith(" ")]
        moved = [cuts[at].moved() for at in again]
        self._learn(known, (text for cut in moved for text in cut.texts()))
        for at, cut in zip(again, moved, strict=True):
            outcomes[at] = joined(everything[at], cut, known)
        empty = iter(outcomes[len(rendered) :])
        return [
            self._judged(each, outcome, next(empty) if each.empty_context is not None else None, letters)
            for each, outcome in zip(rendered, outcomes[: len(rendered)], strict=True)
        ]

    def _learn(self, known: Known, texts: Iterable[str]) -> None:
        """Adds the ids of texts that are not known yet, and the tokens of the characters that are asked for in them."""
        new = [text for text in dict.fromkeys(texts) if text not in known.ids]
        for first in range(0, len(new), _BATCH):
            batch = new[first : first + _BATCH]
            encoded = self._encoded(batch)
            known.ids.update((text, tuple(ids)) for text, ids in zip(batch, encoded["input_ids"], strict=True))
            known.tokens.update(
                ((text, place), encoded.char_to_token(row, place)) for row, text in enumerate(batch) for place in known.wanted.get(text, ())
            )

    def _judged(self, rendered: Rendered, outcome: Encoded | str, empty: Encoded | str | None, letters: bool) -> Encoded | Refusal:
        """The outcome, unless its ids cannot be scored."""
        texts = (rendered.mcq.question, *rendered.mcq.options, *rendered.aid.texts())
        control = next((found.group() for found in map(self._control.search, texts) if found), None)
        if control is not None:
            return Refusal(rendered.mcq, f"its text holds the control token {control!r}")
        for each in (outcome, empty):
            if isinstance(each, str):
                return Refusal(rendered.mcq, each)
            reason = self._unscorable(each, letters) if each else None
            if reason is not None:
                return Refusal(rendered.mcq, reason)
        assert isinstance(outcome, Encoded)
        return replace(outcome, empty=empty) if isinstance(empty, Encoded) else outcome

    def _unscorable(self, encoded: Encoded, letters: bool) -> str | None:
        """Why the options' ids cannot be told apart, or do not end."""
        answers = encoded.rendered.answers
        seen: dict[Ids, str] = {}
        for answer, ids, scored in zip(answers, encoded.continuation_ids, encoded.scored, strict=True):
            if ids[-1] not in self.stop_ids:
                return f"the ending {encoded.rendered.ending!r} is not encoded as a stop token"
            if letters and scored != 1:
                return f"the letter {answer!r} is {scored} tokens"
            other = seen.setdefault(ids, answer)
            if other != answer:
                return f"{other!r} and {answer!r} have the same tokens"
        return None

    @cached_property
    def _clockless(self) -> str:
        """The chat template with today's date replaced by the fixed one."""
        assert self.template is not None
        return clockless(self.template, self.arguments)

    def _independent(self, special: Sequence[str]) -> set[str]:
        """The special tokens at which text is cut before anything else happens to it; each is tried."""
        parts = self.ids([token + " A b\n" for token in special])
        independent = set(special)
        for before in ("A b", "A b "):
            head, *wholes = self.ids([before, *(before + token + " A b\n" for token in special)])
            independent &= {token for token, part, whole in zip(special, parts, wholes, strict=True) if head + part == whole}
        return independent
