"""The command `affinage`: its groups of commands, its exit codes, and what must stand in the environment before torch is imported.

Exit codes: 0 done; 1 something ran and failed; 2 something for the user to mend, said without a traceback; 130 interrupted.
"""

from __future__ import annotations

import os
from typing import Annotated, Any, final

import typer
from typer.core import TyperGroup

from affinage import __version__
from affinage.cli import adapters, analyse, ask, bench, compare, data, demo, doctor, evaluate, logs, models, report, single, study, tune
from affinage.cli.say import complain, examples
from affinage.records import UserError

__all__ = ["app", "main"]

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "passive",  # threads that spin while they wait take the cores from whoever shares the machine
    "GOMP_SPINCOUNT": "10000",  # ... but falling asleep after each small operation costs more than the operation: a step took 1.6 times as long
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "true",  # else a warning in every process that forks after it has tokenised
}
"""Set where the user has not: read by the libraries when they are imported."""


@final
class _Root(TyperGroup):
    """The outermost group: the one place where an error becomes a message and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            return super().invoke(ctx)
        except UserError as error:
            complain(str(error))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            complain("Stopped.")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="affinage",
    cls=_Root,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples(
        "affinage demo                                       the main job on a small model, about a quarter of an hour on two cores",
        "affinage study run my-study.yaml --out runs/mine    a study; the same command again continues it",
        "affinage report runs/mine                           its tables and figures",
        'affinage ask ADAPTER "What do people eat for breakfast?"',
        "affinage data ls                                    where questions come from",
        "affinage params --model smollm2 --method lora       how much a method trains",
    ),
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"affinage {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Teach a frozen language model a culture with a few hundred kilobytes, and test whether it learned the culture or the test.

    Exit codes: 0 done, 1 a run failed, 2 something to mend (said on standard error), 130 interrupted. OMP_WAIT_POLICY is set to `passive`
    and GOMP_SPINCOUNT to 10000 unless you set them; AFFINAGE_CACHE names the folder of fetched models.
    """


for _group in (demo, study, tune, analyse, report, compare, logs, ask, single, evaluate, adapters, models, data, bench, doctor):
    _group.add_to(app)


def main() -> None:
    """The entry point of the command `affinage` and of `python -m affinage`."""
    app(prog_name="affinage")
