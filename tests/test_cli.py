"""What the command says: help with examples, messages with exit codes, no traceback, no torch for help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from affinage import __version__
from affinage.cli import app
from affinage.cli.flags import assignments, composed, setting_names
from affinage.cli.say import duration
from affinage.config import StudyConfig
from affinage.records import UserError
from tiny import questions, write_questions

RUN = CliRunner()


def commands(group: typer.Typer, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every command and group, by its words."""
    yield path
    for command in group.registered_commands:
        assert command.callback is not None
        yield (*path, command.name or command.callback.__name__.replace("_", "-"))
    for inner in group.registered_groups:
        assert inner.typer_instance is not None
        assert inner.name is not None
        yield from commands(inner.typer_instance, (*path, inner.name))


def refused(*arguments: str) -> str:
    """The message of a command that the user has to mend; without a traceback, with exit code 2."""
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""
    return result.stderr


@pytest.mark.parametrize("path", list(commands(app)), ids=" ".join)
def test_every_help_has_examples_that_begin_with_the_command(path: tuple[str, ...]) -> None:
    result = RUN.invoke(app, [*path, "--help"])
    assert result.exit_code == 0, result.output
    examples = result.output.partition("Example")[2].splitlines()[1:]
    assert examples, "no examples"
    assert all(line.strip().startswith(" ".join(("affinage", *path))) or "=" in line.split()[0] for line in examples)


def test_the_commands_of_the_issue_are_there() -> None:
    wanted = {"demo", "report", "ask", "train", "evaluate", "params", "study run", "study plan"}
    wanted |= {"data build", "data show", "data splits", "data ls", "models ls", "models pull"}
    assert wanted <= {" ".join(path) for path in commands(app)}


def test_help_mirrors_the_docstrings_of_the_configuration() -> None:
    flat = " ".join(RUN.invoke(app, ["study", "run", "--help"]).output.split())
    assert " ".join((StudyConfig.model_fields["limit"].description or "nothing").split()) in flat


def test_version() -> None:
    assert RUN.invoke(app, ["--version"]).output == f"affinage {__version__}\n"


def test_help_imports_neither_torch_nor_polars() -> None:
    code = "import sys; sys.argv = ['affinage', '--help']\ntry:\n import affinage.cli; affinage.cli.main()\nexcept SystemExit: pass\n"
    code += "sys.exit(sum(name in sys.modules for name in ('torch', 'transformers', 'polars', 'scipy')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Usage: affinage" in done.stdout


def test_the_module_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "affinage", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: affinage ")


def test_bad_input_ends_with_code_2_and_no_traceback_in_a_real_process() -> None:
    done = subprocess.run([sys.executable, "-m", "affinage", "study", "plan", "papr"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "study: found 'papr'; expected a YAML file or a preset. Did you mean 'paper'?\n"


def test_several_unknown_keys_are_reported_together_each_on_its_line(tmp_path: Path) -> None:
    study = tmp_path / "mine.yaml"
    study.write_text("modle: {id: smollm2}\ntraining: {stepz: 3, rate: fast}\nprompt: {style: letter}\n")
    lines = refused("study", "plan", str(study)).splitlines()
    assert len(lines) == 4
    assert any("modle" in line and "Did you mean 'model'?" in line for line in lines)
    assert any("training.stepz" in line and "Did you mean 'steps'?" in line for line in lines)
    assert any("training.rate" in line and "'fast'" in line for line in lines)
    assert any("prompt.style" in line and "'letter'" in line for line in lines)


def test_an_unknown_culture_has_a_nearest_one(tmp_path: Path) -> None:
    path = write_questions(tmp_path / "q.parquet", questions("Atlantis", 4))
    message = refused("data", "splits", "--source", "table", "--path", str(path), "--set", "data.cultures=[Atlantys, Atlantis]")
    assert message == "culture of table: found 'Atlantys'; expected a culture of the source. Did you mean 'Atlantis'?\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("params", "--model", "smollm", "--method", "lora"), "Did you mean 'smollm2'?"),
        (("params", "--model", "smollm2", "--method", "lorra"), "method: found 'lorra'; expected a known method. Did you mean 'lora'?"),
        (("params", "--model", "smollm2", "--method", "lora", "--preset", "papers"), "Did you mean 'paper'?"),
        (("params", "--model", "smollm2", "--method", "lora", "--set", "rnk=8"), "Did you mean 'rank'?"),
        (("params", "--model", "smollm2", "--method", "lora", "--set", "rank"), "--set: found 'rank'; expected KEY.PATH=VALUE."),
        (("data", "splits", "--source", "starterr"), "Did you mean 'starter'?"),
        (("data", "show", "nothing-like-it"), "expected the id of a question. For instance "),
        (("data", "build", "no/such/folder", "--out", "x.parquet"), "no/such/folder: found no such file or folder"),
        (("models", "pull", "smollm"), "catalogue model: found 'smollm'; expected a known catalogue model. Did you mean 'smollm2'?"),
        (("models", "ls", "--type", "lama"), "--type: found 'lama'; expected a model type of transformers. Did you mean "),
        (("report", "no/such/study"), "no/such/study"),
        (("ask", "no/such/adapter", "What?"), "no/such/adapter: found no readable affinage.json; expected an adapter's folder."),
        (("evaluate", "none", "--culture", "Spain", "--split", "3"), "--split: found 3; expected 0 to 2."),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_bad_input_has_its_message(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments)


def test_values_of_set_are_yaml() -> None:
    values = assignments(["training.rate=1e-4", "data.cultures=[Spain, Iran]", "prompt.system=null", "limit=3"])
    assert values == {"training.rate": "1e-4", "data.cultures": ["Spain", "Iran"], "prompt.system": None, "limit": 3}
    config = composed(None, values)
    assert config.training.rate == 1e-4
    assert config.data.cultures == ("Spain", "Iran")
    assert set(setting_names(config)) == set(values)


def test_set_reports_all_its_faults() -> None:
    with pytest.raises(UserError) as caught:
        assignments(["rate", "a.b=[1", "=3"])
    assert len(str(caught.value).splitlines()) == 3


def test_a_flag_inside_a_value_that_another_flag_sets_is_refused() -> None:
    with pytest.raises(UserError, match="which another flag sets as a whole"):
        composed(None, {"training": 3, "training.rate": 1})


def test_what_is_set_as_a_whole_is_named_as_a_whole() -> None:
    config = composed(None, {"splits": StudyConfig().splits.model_dump(), "training.rate": 1e-4})
    assert list(setting_names(config)) == ["splits", "training.rate"]


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
