"""Frozen nouns that travel between the stations, and the one error that a user can mend.

Letters used for shapes everywhere: N packed nodes, B questions, C options, R adapters, P virtual tokens, L layers, H width,
K key/value heads, D head width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "BASELINES",
    "MCQ",
    "NO_AID",
    "Aid",
    "BackboneShape",
    "Encoded",
    "Fact",
    "Fault",
    "ItemScore",
    "Rendered",
    "ShortQuestion",
    "Split",
    "SurveyQuestion",
    "UserError",
    "name_in_text",
]

UNKNOWN_CULTURE = ""
"""`option_cultures` entry of an option whose culture the source does not tell."""

DUMMY_CULTURE = "dummy"
"""`option_cultures` entry of an option that was invented and is never right (BLEnD)."""

BASELINES = ("association", "memoriser", "elimination", "length", "rarity", "letter")
"""Programs without a language model that every result stands beside, in the order in which they are shown."""

MAXIMUM_OPTIONS = 26
"""A question has as many options as there are letters, at most."""


class UserError(Exception):
    """An error that the user can mend: printed without a traceback, exit code 2.

    Args:
        where: the file and line, flag, configuration path or object that is at fault.
        found: what stands there.
        expected: what should stand there.
        todo: what to do next.
    """

    def __init__(self, where: str, found: str, expected: str, todo: str) -> None:
        self.where, self.found, self.expected, self.todo = where, found, expected, todo
        super().__init__(f"{where}: found {found}; expected {expected}. {todo}")

    @classmethod
    def join(cls, errors: Iterable[UserError]) -> UserError:
        """One error that reports several faults together, each on its own line."""
        errors = list(errors)
        if len(errors) == 1:
            return errors[0]
        joined = cls.__new__(cls)
        joined.where = ", ".join(error.where for error in errors)
        joined.found = f"{len(errors)} faults"
        joined.expected = "none"
        joined.todo = "Mend each and run the command again."
        Exception.__init__(joined, "\n".join(str(error) for error in errors))
        return joined


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of a source that could not become a question; it is counted and reported, never silently dropped."""

    file: str
    """Path of the file, or the name of the shipped data set."""
    line: int
    """1-based line (text files) or row (tables) where the fault stands; 0 where the whole file is meant."""
    reason: str
    """One sentence: what was found and what was expected."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class MCQ:
    """One multiple-choice question about one culture."""

    mcq_id: str
    """Unique within the data set."""
    template_id: str
    """The question with the culture left open; the same id in every culture."""
    culture: str
    """Spelled as the source spells it, e.g. `South_Korea`."""
    topic: str
    """The source's topic, lower case."""
    question: str
    """The question's text, the culture named in it, without instruction and options."""
    options: tuple[str, ...]
    """2 to 26 distinct option texts in the source's order."""
    option_cultures: tuple[str, ...]
    """Per option the culture whose answer it is; `dummy` for an invented one; empty where the source does not tell."""
    answer: int
    """0-based index of the right option."""
    language: str = "en"
    """ISO 639 code of question and options."""


@dataclass(frozen=True, slots=True)
class ShortQuestion:
    """A question about one culture that is answered in a few free words."""

    question_id: str
    """Unique within the data set."""
    template_id: str
    """The question with the culture left open; the same id as that of the multiple-choice questions made from it."""
    culture: str
    """Spelled as the source spells it."""
    topic: str
    """The source's topic, lower case."""
    question: str
    """The question's text in `language`."""
    answers: tuple[tuple[str, ...], ...]
    """Per accepted answer all its forms in `language`; the most-voted answer first."""
    votes: tuple[int, ...]
    """Per accepted answer how many annotators gave it."""
    language: str = "en"
    """ISO 639 code of question and answers."""


@dataclass(frozen=True, slots=True)
class SurveyQuestion:
    """A question of a survey as one culture's respondents answered it; no option is right."""

    question_id: str
    """Unique within the data set."""
    template_id: str
    """The question, whoever is asked."""
    culture: str
    """Spelled as the source spells it."""
    topic: str
    """The source's topic, lower case."""
    question: str
    options: tuple[str, ...]
    """2 to 26 distinct option texts in the questionnaire's order."""
    shares: tuple[float, ...]
    """Per option the share of the culture's respondents that chose it; they sum to 1."""
    respondents: int = 0
    """How many answered; 0 where the source does not tell."""
    language: str = "en"
    """ISO 639 code of question and options."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence that somebody states about a culture."""

    fact_id: str
    """Unique within the data set."""
    culture: str
    """Spelled as the source spells it."""
    topic: str
    """The source's topic, lower case."""
    text: str
    weight: float = float("nan")
    """The source's own confidence or support; NaN where it tells none."""


@dataclass(frozen=True, slots=True)
class Split:
    """Which templates are trained on and which are tested on; the same for every culture."""

    name: str
    """Short and file-safe, e.g. `search-17-0.21` or `fold-0-of-2`; part of a run's path."""
    train_templates: frozenset[str]
    """Template ids of the training side."""
    test_templates: frozenset[str]
    """Template ids of the test side; disjoint from the training side, also by template group."""
    development_templates: frozenset[str] = frozenset()
    """Template ids of the fixed development side, on neither of the other two."""


@dataclass(frozen=True, slots=True)
class Aid:
    """What a question comes with beside the study's own words: answered examples before it, facts above it."""

    shots: tuple[MCQ, ...] = ()
    """Questions with their right answers, as earlier turns of the conversation; none of the question's own template."""
    facts: tuple[str, ...] = ()
    """One sentence each, above the question."""

    def texts(self) -> Iterator[str]:
        """Every text that comes from outside."""
        for shot in self.shots:
            yield from (shot.question, *shot.options)
        yield from self.facts


NO_AID = Aid()


@dataclass(frozen=True, slots=True)
class Rendered:
    """A question as text: one context, one continuation per option, cut from one rendering of the conversation."""

    mcq: MCQ
    context: str
    """Everything before the assistant's answer."""
    answers: tuple[str, ...]
    """Per option (source order) the assistant's answer: a letter, or the option's text."""
    ending: str
    """What the chat template puts after the answer, up to and including the stop token; no white space after it."""
    order: tuple[int, ...]
    """`order[place]` = source index of the option that is shown at that place (A is place 0)."""
    empty_context: str | None = None
    """The context with an empty question, for `pmi`; None when the score does not need it."""
    aid: Aid = NO_AID
    """What the question came with."""
    question: int | None = None
    """Place in `context` of the question's first character; None where a template changed the user's turn."""
    options: int | None = None
    """Place in `context` of the first listed option; None where none are listed."""
    empty_question: int | None = None
    """`question` in `empty_context`."""
    empty_options: int | None = None
    """`options` in `empty_context`."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A question as token ids."""

    rendered: Rendered
    context_ids: tuple[int, ...]
    continuation_ids: tuple[tuple[int, ...], ...]
    """Per option (source order): the ids of the answer and of the ending."""
    scored: tuple[int, ...]
    """Per option: how many of the continuation's ids, from the first, carry the answer (the rest is the ending)."""
    empty: Encoded | None = None
    """The same answers after an empty question, for `pmi`."""
    question: int | None = None
    """Index in `context_ids` of the token with the question's first character; None where that is not known."""
    options: int | None = None
    """Index in `context_ids` of the token with which the listed options begin; None where none are listed."""


@dataclass(frozen=True, slots=True)
class ItemScore:
    """What the model said about one question in one order of its options; every number of a report comes from these.

    An item that could not be scored keeps its place: `state` says why and the scores are empty.
    """

    mcq_id: str
    template_id: str
    culture: str
    answer: int
    """0-based index (source order) of the right option."""
    order: tuple[int, ...]
    """`order[place]` = source index of the option shown there."""
    logprob: tuple[float, ...]
    """Per option (source order): natural log-probability of the answer's tokens (of the letter, or of the option's text)."""
    tokens: tuple[int, ...]
    """Per option: number of tokens of the answer."""
    characters: tuple[int, ...]
    """Per option: number of characters of the answer."""
    empty_logprob: tuple[float, ...] = ()
    """Per option: log-probability after an empty question; empty unless the score is `pmi`."""
    letter_mass: float | None = None
    """Sum of the letters' probabilities at the answer's first token; None where no letters are asked for."""
    greedy_token: int = -1
    """The most probable first token over the whole vocabulary."""
    greedy_probability: float = float("nan")
    free: bool | None = None
    """Whether the greedy first token is the right letter; None where no letters are asked for."""
    state: str = "scored"
    """`scored`, or the reason why it is not."""


@dataclass(frozen=True, slots=True)
class BackboneShape:
    """The numbers of a model that methods need; read from its configuration, never from its weights."""

    layers: int
    """L, decoder layers."""
    width: int
    """H, width of the residual stream and of the input embeddings."""
    kv_heads: int
    """K, key/value heads per layer."""
    head_width: int
    """D, width of one head's keys and values; K*D need not be H."""
    vocabulary: int
    """V, rows of the input embedding."""
    linears: tuple[tuple[str, int, int], ...] = field(default=(), repr=False)
    """Plain linear modules inside the decoder layers: (dotted name, inputs, outputs)."""
    weights: tuple[tuple[str, tuple[int, ...]], ...] = field(default=(), repr=False)
    """Every weight of the model: (dotted name, size); a tied one stands there once, under its first name."""
    parameters: int = 0
    """Frozen parameters, each tied tensor counted once."""
    uniform_heads: bool = True
    """Whether every layer has its own keys and values of width K*D each."""
    refusal: str = ""
    """Why keys and values cannot be prefixed (where `uniform_heads` is False)."""


_WITH_ARTICLE = {"US": "the US", "UK": "the UK"}


def name_in_text(culture: str) -> str:
    """A culture's name as a sentence uses it: underscores become blanks, "the US", "the UK"."""
    return _WITH_ARTICLE.get(culture, culture.replace("_", " "))


Style = Literal["letters", "text", "text-listed"]
Orders = Literal["one", "rotations", "all"]
Score = Literal["total", "per-token", "per-character", "pmi"]
