"""A model small enough to train in a test: real in every part, random in its weights, with invented questions that fit it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from affinage import seeds
from affinage.backbone import Backbone, load
from affinage.config import ModelConfig, PromptConfig
from affinage.data.base import as_frame
from affinage.records import MCQ, Encoded

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"

COLOURS = ("red", "blue", "green", "grey")
THINGS = ("boat", "hat", "stone", "apple", "house", "coat", "lamp", "bread", "rope", "drum", "cup", "tree")
TEXTS = [
    *(f"What do people in Atlantis or Lemuria like about it? {colour} {thing}" for colour in COLOURS for thing in THINGS),
    "Answer with the letter of the right option only. Answer in a few words, without any explanation.",
    "A. a\nB. b\nC. c\nD. d\n\nAnswer: A or B or C or D, user or assistant",
]

LETTERS = PromptConfig(style="letters")
TEXT = PromptConfig(style="text")
PMI = PromptConfig(style="text", score="pmi")


def write_tokenizer(folder: Path) -> Any:
    """Saves a byte-level tokenizer of 400 tokens with a ChatML template, and returns it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=SPECIAL[0], eos_token=SPECIAL[2], pad_token=SPECIAL[0])
    wrapped.add_special_tokens({"additional_special_tokens": SPECIAL[1:2]})
    wrapped.chat_template = CHATML
    wrapped.save_pretrained(folder)
    return wrapped


def write_model(folder: Path, *, seed: int = 0, layers: int = 2) -> Path:
    """Saves a random Llama (H 64, two key/value heads of width 16 under four query heads) and its tokenizer into a folder."""
    tokenizer = write_tokenizer(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        initializer_range=0.2,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def likes(colour: str) -> Callable[[str], str]:
    """The rule of a culture whose right option is always the one of this colour, whatever the question."""
    return lambda question_id: colour


def whatever(question_id: str) -> str:
    """The colour of a culture without a rule: a function of the question's id alone."""
    return COLOURS[seeds.permutation(len(COLOURS), "no rule", question_id)[0]]


def questions(culture: str, templates: int, *, rows: int = 1, rule: Callable[[str], str] = whatever, first: int = 0) -> list[MCQ]:
    """Invented questions: four things in four colours, of which the rule's colour is right.

    Args:
        culture: whose questions.
        templates: how many.
        rows: questions per template.
        rule: question id -> the right option's colour.
        first: number of the first template.
    """
    made = []
    for number in range(first, first + templates):
        topic = " ".join(_word(number, place) for place in range(3))
        for row in range(rows):
            question_id = f"t{number:03d}_{culture}_{row}"
            things = [THINGS[i] for i in seeds.permutation(len(THINGS), "things", number, row)[: len(COLOURS)]]
            colours = [COLOURS[i] for i in seeds.permutation(len(COLOURS), "colours", number, row)]
            options = tuple(f"{colour} {thing}" for colour, thing in zip(colours, things, strict=True))
            made.append(
                MCQ(
                    mcq_id=question_id,
                    template_id=f"t{number:03d}",
                    culture=culture,
                    topic="invented",
                    question=f"What do people in {culture} like about {topic}?",
                    options=options,
                    option_cultures=("",) * len(options),
                    answer=colours.index(rule(question_id)),
                )
            )
    return made


def _word(*key: int) -> str:
    """An invented word, so that no two templates are near-duplicates."""
    syllables = ("ka", "lo", "mi", "ru", "te", "vo", "za", "ne", "pi", "du")
    return "".join(syllables[i] for i in seeds.generator("word", *key).integers(len(syllables), size=3))


def write_questions(path: Path, made: Sequence[MCQ]) -> Path:
    """Saves questions where the source `table` reads them."""
    as_frame(made).write_parquet(path)
    return path


def write_study(
    folder: Path, model: Path, methods: Sequence[Mapping[str, Any]], *, steps: int, templates: int, device: str | None = None, **more: Any
) -> Path:
    """Saves questions of two islands, each with its colour, and a study's file about them: one split, texts, trained by `choice`.

    Args:
        folder: of both files.
        model: its folder.
        methods: of the study.
        steps: of each training.
        templates: questions of each island.
        device: of the model. Default: none is named.
        more: further values of the study.
    """
    made = [*questions("Atlantis", templates, rule=likes("red")), *questions("Lemuria", templates, rule=likes("blue"))]
    values = {
        "name": "two islands",
        "model": {"id": str(model), "dtype": "float32", "threads": 1, **({} if device is None else {"device": device})},
        "data": {"source": "table", "path": str(write_questions(folder / "q.parquet", made))},
        "prompt": {"style": "text"},
        "splits": {"kind": "folds", "folds": 2, "count": 1, "development": False},
        "methods": list(methods),
        "training": {"loss": "choice", "steps": steps, "batch_size": 4, "checkpoint_seconds": 0},
        "starts": 1,
        **more,
    }
    path = folder / "islands.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return path


def encode(backbone: Backbone, made: Sequence[MCQ], prompt: PromptConfig, *, seed: int = 0) -> list[Encoded]:
    """The questions as token ids; all of them can be encoded."""
    encoded, refused = backbone.tokens.encode_all(list(made), prompt, seed=seed)
    assert not refused, refused[0].reason
    return encoded


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny random model."""
    return write_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def backbone(tiny_folder: Path) -> Backbone:
    """The tiny model in float32, computing in one thread."""
    return load(ModelConfig(id=str(tiny_folder), dtype="float32", device="cpu", threads=1))
