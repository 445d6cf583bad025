"""`affinage ask`."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from affinage.cli.fetch import fetch
from affinage.cli.flags import StudyFlag, composed, help_of, model_of, without_none
from affinage.cli.say import console, examples, say
from affinage.config import ModelConfig

if TYPE_CHECKING:
    from affinage.encode import Tokens
    from affinage.methods import Adapter

__all__ = ["add_to"]

_NARROW = 20
"""Fewest columns of a terminal in which an answer can be read beside another."""


def add_to(app: typer.Typer) -> None:
    """Puts the command into the whole."""
    app.command(
        short_help="Ask the model with and without an adapter.",
        epilog=examples(
            'affinage ask runs/demo/runs/lora/Spain/RUN/adapter "What do people eat for breakfast?"',
            'affinage ask ADAPTER "What do people drink at weddings?" --beside ADAPTER2      two cultures side by side',
        ),
    )(ask)


def ask(
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="The folder `adapter` of a finished run.")],
    question: Annotated[str, typer.Argument(metavar="QUESTION", help="The user's turn, as it is: without instruction and options.")],
    *,
    beside: Annotated[Path | None, typer.Option("--beside", metavar="ADAPTER2", help="Another adapter, in the place of the untouched model.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Where the adapter's model is, when it is not where it was: a name, hub id or folder.")
    ] = None,
    study: StudyFlag = None,
    dtype: Annotated[Literal["bfloat16", "float32"] | None, typer.Option("--dtype", help=help_of(ModelConfig, "dtype"))] = None,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Longest answer, in tokens.")] = 80,
) -> None:
    """Put a question to the model with and without an adapter, or with two adapters side by side.

    The question goes through the model's chat template; the most probable token is taken each time. Answers are for looking at, nothing is scored.
    """
    from affinage.adapters import load, read_card
    from affinage.backbone import load as load_backbone
    from affinage.generate import ask as opened
    from affinage.generate import generate

    folders = [adapter, *([beside] if beside is not None else [])]
    cards = [read_card(folder) for folder in folders]
    known = cards[0]
    of_card = model_of(known)
    of_card |= {"model.template_arguments": dict(known.template_arguments)} if known.template_arguments else {}
    config = composed(study, {**of_card, **without_none(model__id=model, model__dtype=dtype)}).model
    fetch(config.id)
    backbone = load_backbone(config)
    adapters: list[Adapter | None] = [load(folder, backbone, seen_may_be_unknown=True) for folder in folders]
    titles = [f"{card.method}, {card.culture or 'untrained'}" for card in cards]
    if beside is None:
        adapters, titles, cards = [None, *adapters], ["untouched", *titles], [*cards, *cards]
    asked = [opened(backbone.tokens, question, card.prompt, culture=card.culture) for card in cards]
    streams = [generate(backbone, each, ids, longest=tokens) for each, ids in zip(adapters, asked, strict=True)]
    _show(titles, streams, backbone.tokens)


def _show(titles: Sequence[str], streams: Sequence[Iterator[int]], tokens: Tokens) -> None:
    """The answers: side by side on a terminal as they come, one after the other elsewhere."""
    screen = console()
    aside = screen.is_terminal and screen.width >= _NARROW * len(titles)
    texts = ["" for _ in titles]
    with Live(console=screen, auto_refresh=False) if aside else nullcontext() as live:
        for place, stream in enumerate(streams):
            ids: list[int] = []
            for token in stream:
                ids.append(token)
                texts[place] = tokens.decode(ids).strip()
                if live is not None:
                    live.update(_columns(titles, texts), refresh=True)
            if not aside:
                say(f"{titles[place]}:\n{texts[place]}\n")


def _columns(titles: Sequence[str], texts: Sequence[str]) -> Table:
    """The answers so far, each under its title."""
    grid = Table(expand=True)
    for title in titles:
        grid.add_column(Text(title), ratio=1)
    grid.add_row(*map(Text, texts))
    return grid
