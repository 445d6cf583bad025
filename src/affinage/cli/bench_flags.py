"""Flags that every bench takes, declared once, and what becomes of them: the study tree, and where results go."""

from __future__ import annotations

import functools
import inspect
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, Protocol, TypeVar

import typer

from affinage.cli.fetch import fetch
from affinage.cli.flags import LimitFlag, ModelFlag, PathFlag, SetFlag, SourceFlag, StudyFlag, announce, assignments, composed, without_none
from affinage.cli.say import say
from affinage.cli.terms import show_terms
from affinage.records import UserError
from affinage.registry import suggest

if TYPE_CHECKING:
    from affinage.config import StudyConfig

__all__ = ["METHODS", "Given", "known", "typed", "with_given"]

METHODS = ("prompt-tuning", "prefix-tuning", "lora")
"""What is compared, each at one size."""

CultureFlag = Annotated[str | None, typer.Option("--culture", help="Whose questions. Default: the source's first culture, or all where it can be.")]
OutFlag = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")]
NameFlag = Annotated[str | None, typer.Option("--name", help="Name of the result's files. Default: bench and device, e.g. train-cpu.")]


class Found(Protocol):
    """A bench's result."""

    @property
    def machine(self) -> Mapping[str, Any]:
        """What it ran on."""
        ...

    @property
    def failed(self) -> bool:
        """Whether a comparison failed for a reason of ours."""
        ...


Kind = TypeVar("Kind", bound=Found)
Name = TypeVar("Name", bound=str)
Own = ParamSpec("Own")
Write = Callable[[Kind, Path, str], tuple[Path, Path]]
"""Writes a result into a folder under a name: JSON and Markdown."""


@dataclass(frozen=True, slots=True)
class Given:
    """Which model and questions, and where the results go."""

    model: ModelFlag = None
    source: SourceFlag = None
    path: PathFlag = None
    culture: CultureFlag = None
    study: StudyFlag = None
    setting: SetFlag = None
    limit: LimitFlag = None
    out: OutFlag = Path("bench/results")
    name: NameFlag = None

    def config(self) -> StudyConfig:
        """The study tree that says model, data and training; what it needs is fetched.

        Raises:
            UserError: faults in the values, or a model that cannot be had.
        """
        flags = without_none(model__id=self.model, data__source=self.source, data__path=self.path, limit=self.limit)
        overrides = {**assignments(self.setting), **flags, **({} if self.culture is None else {"data.cultures": [self.culture]})}
        config = composed(self.study, overrides)
        show_terms(config.data.source)
        fetch(config.model.id)
        announce(config, self.study, overrides)
        return config

    def keep(self, bench: str, result: Kind, write: Write[Kind]) -> tuple[Path, Path]:
        """Writes what is known; a bench that is interrupted keeps what it has found.

        Args:
            bench: its name, for the files' default name.
            result: so far.
            write: writes JSON and Markdown.
        """
        device = str(result.machine["device"]).partition(":")[0]
        return write(result, self.out, self.name or f"{bench}-{device}")

    def finish(self, bench: str, result: Kind, write: Write[Kind]) -> None:
        """Prints the result; a failed comparison is a failed command.

        Raises:
            typer.Exit: it failed.
        """
        record, page = self.keep(bench, result, write)
        say(page.read_text(encoding="utf-8"))
        say(f"Written: {record}, {page}")
        if result.failed:
            raise typer.Exit(1)


def with_given(command: Callable[Concatenate[Given, Own], None]) -> Callable[..., None]:
    """Gives a command, whose first parameter is `Given`, the flags of that record after its own."""
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    shared = inspect.signature(Given, eval_str=True).parameters

    @functools.wraps(command)
    def called(*args: Own.args, **values: Own.kwargs) -> None:
        given = Given(**{name: values.pop(name) for name in shared})  # type: ignore[arg-type]  # the command line has filled them in
        command(given, *args, **values)

    flags = [*own, *(flag.replace(kind=inspect.Parameter.KEYWORD_ONLY) for flag in shared.values())]
    called.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]  # what typer reads
    called.__annotations__ = {flag.name: flag.annotation for flag in flags}
    return called


def known(flag: str, given: Sequence[str], names: Sequence[Name]) -> list[Name]:
    """The given names, each of which must be known.

    Raises:
        UserError: those that are not, all together.
    """
    faults = [UserError(flag, repr(name), "a known one", suggest(name, names)) for name in given if name not in names]
    if faults:
        raise UserError.join(faults)
    return [name for each in given for name in names if name == each]


def typed() -> str:
    """The command as it was typed."""
    return shlex.join(["affinage", *sys.argv[1:]])
