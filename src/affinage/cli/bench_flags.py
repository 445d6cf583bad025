"""Flags that several benches take, declared once, and what becomes of them: the study tree, where results go, the last lines of a command."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

import functools
import inspect
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, Protocol, TypeVar

import typer

from affinage.cli.fetch import fetch
from affinage.cli.flags import LimitFlag, ModelFlag, PathFlag, SetFlag, SourceFlag, StudyFlag, announce, assignments, composed, without_none
from affinage.cli.say import complain, say
from affinage.cli.terms import show_terms
from affinage.records import UserError
from affinage.registry import suggest

if TYPE_CHECKING:
    from affinage.bench.learning.trainings import Trainings
    from affinage.config import StudyConfig

__all__ = ["METHODS", "EveryFlag", "Given", "HeldOutFlag", "RepetitionsFlag", "SecondsFlag", "known", "typed", "with_given"]

INTERRUPTED = 130
"""Exit code of a command that the user stopped, as shells have it."""

METHODS = ("prompt-tuning", "prefix-tuning", "lora")
"""What is compared, each at one size."""

CultureFlag = Annotated[str | None, typer.Option("--culture", help="Whose questions. Default: the source's first culture, or all where it can be.")]
OutFlag = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the results.")]
NameFlag = Annotated[str | None, typer.Option("--name", help="Name of the result's files. Default: bench and device, e.g. train-cpu.")]
RepetitionsFlag = Annotated[int, typer.Option("--repetitions", min=1, help="How often what is timed is repeated, on both sides in turns.")]
EveryFlag = Annotated[int, typer.Option("--every", min=1, help="Steps of ours between measurements; the first ones are measured one by one.")]
SecondsFlag = Annotated[float, typer.Option("--seconds", min=0, help="Seconds of training at most, per training; then it stops there.")]
HeldOutFlag = Annotated[int, typer.Option("--held-out", min=1, help="Held-out questions per template of the development side, at most.")]


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
Write = Callable[[Kind, Path, str], tuple[Path, ...]]
"""Writes a result into a folder under a name: JSON, Markdown, pictures."""


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

    def config(self, *fixed: str) -> StudyConfig:
        """The study tree that says model, data and training; what it needs is fetched.

        Args:
            fixed: what the bench itself sets, as `KEY.PATH=VALUE`.

        Raises:
            UserError: faults in the values, or a model that cannot be had.
        """
        flags = without_none(model__id=self.model, data__source=self.source, data__path=self.path, limit=self.limit)
        overrides = {**assignments([*(self.setting or ()), *fixed]), **flags, **({} if self.culture is None else {"data.cultures": [self.culture]})}
        config = composed(self.study, overrides)
        show_terms(config.data.source)
        fetch(config.model.id)
        announce(config, self.study, overrides)
        return config

    def developing(self, held_out: int) -> StudyConfig:
        """The same for a bench that measures learning: on questions of the development side.

        Args:
            held_out: per template, at most.
        """
        return self.config("splits.side=development", f"evaluation.rows_per_template={held_out}")

    def keep(self, bench: str, result: Kind, write: Write[Kind]) -> tuple[Path, ...]:
        """Writes what is known; a bench that is interrupted keeps what it has found.

        Args:
            bench: its name, for the files' default name.
            result: so far.
            write: writes JSON and Markdown.
        """
        return write(result, self.out, self._named(bench, str(result.machine["device"])))

    def cells(self, bench: str, config: StudyConfig) -> Path:
        """The folder beside the results in which a bench keeps its finished trainings."""
        from affinage.bench.machine import device_of

        return self.out / f"{self._named(bench, device_of(config.model))}.cells"

    def _named(self, bench: str, device: str) -> str:
        return self.name or f"{bench}-{device.partition(':')[0]}"

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """What a bench says that is interrupted and begins anew the next time.

        Raises:
            typer.Exit: the user interrupted.
        """
        try:
            yield
        except KeyboardInterrupt:
            complain(f"Stopped. What was finished until then is in {self.out}; the same command begins anew.")
            raise typer.Exit(INTERRUPTED) from None

    def finish(self, bench: str, result: Kind, write: Write[Kind], *, todo: str) -> None:
        """Prints the result, where it is and what to do next; a failed comparison is a failed command.

        Args:
            bench: its name.
            result: the whole.
            write: writes it.
            todo: what to do next.

        Raises:
            typer.Exit: it failed.
        """
        page = self._told(bench, result, write)
        if result.failed:
            complain(f"Not all of it ran, or two sides were not equal: {page} says why.")
            raise typer.Exit(1)
        say(f"Next: {todo}")

    def finish_trainings(self, bench: str, result: Kind, trainings: Trainings, write: Write[Kind], *, cells: Path, todo: str) -> None:
        """The same for a bench that keeps its finished trainings.

        Args:
            bench: its name.
            result: the whole, or what there was when the user interrupted.
            trainings: what it is made of.
            write: writes it.
            cells: where they are kept.
            todo: what to do next.

        Raises:
            typer.Exit: a training failed, or the user interrupted.
        """
        page = self._told(bench, result, write)
        whole = f"{trainings.ended} of {trainings.planned} trainings are in {cells}"
        if trainings.interrupted:
            complain(f"Stopped. {whole}; the same command goes on from there.")
            raise typer.Exit(INTERRUPTED)
        if trainings.failed:
            complain(f"Some trainings broke: {page} says why. {whole}; the same command runs the others again.")
            raise typer.Exit(1)
        say(f"{whole}: the same command trains nothing anew, with more --seeds only those. Another --name begins anew.")
        say(f"Next: {todo}")

    def _told(self, bench: str, result: Kind, write: Write[Kind]) -> Path:
        """Writes and prints the result; returns the page's path."""
        record, page, *pictures = self.keep(bench, result, write)
        say(page.read_text(encoding="utf-8"))
        say(f"Written: {', '.join(map(str, (record, page, *pictures)))}")
        return page


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
