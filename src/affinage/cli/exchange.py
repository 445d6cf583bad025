"""`affinage adapters import` and `affinage adapters push`: adapters from PEFT, and adapters to the hub."""

# ruff: noqa: PLC0415  (what a command needs takes seconds to import, `--help` needs none of it)

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from affinage.cli.fetch import fetch
from affinage.cli.flags import SetFlag, assignments, composed, help_of, without_none
from affinage.cli.say import examples, say
from affinage.config import ModelConfig
from affinage.records import UserError

if TYPE_CHECKING:
    from affinage.adapters.hub import Upload

__all__ = ["AdapterArgument", "BaseFlag", "adapter_folder", "add_to"]

AdapterArgument = Annotated[Path, typer.Argument(metavar="ADAPTER|RUN", help="The folder `adapter` of a run, or the run's folder.")]
BaseFlag = Annotated[
    str | None,
    typer.Option("--base-model", metavar="HUB_ID", help="The backbone's hub id, for other tools and the card, where it was loaded otherwise."),
]


def add_to(group: typer.Typer) -> None:
    """Puts the commands into `affinage adapters`."""
    group.command(
        "import",
        epilog=examples(
            "affinage adapters import path/to/peft-adapter --culture Spain --seen none --source starter --to mine/spain",
            "affinage adapters import path/to/peft-adapter --model smollm2 --culture Iran --seen ids.txt --to mine/iran --set prompt.style=text",
        ),
    )(import_adapter)
    group.command(
        epilog=examples(
            "affinage adapters push runs/demo/runs/lora/Spain/RUN --repo me/spain-lora       a dry run: the card, the files, the terms",
            "affinage adapters push runs/demo/runs/lora/Spain/RUN --repo me/spain-lora --private --yes",
        )
    )(push)


def adapter_folder(place: Path) -> Path:
    """The adapter's folder of an adapter or a run."""
    return place / "adapter" if (place / "adapter").is_dir() else place


def import_adapter(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that PEFT wrote: adapter_config.json and adapter_model.safetensors.")],
    culture: Annotated[str, typer.Option("--culture", help="The culture that it was trained on, spelled as in your data.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A new folder.")],
    *,
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model that it belongs to: a name, hub id or folder. Default: the base model that its files name."),
    ] = None,
    revision: Annotated[str | None, typer.Option("--revision", help=help_of(ModelConfig, "revision"))] = None,
    seen: Annotated[
        str | None,
        typer.Option(
            "--seen",
            metavar="FILE|none",
            help="Template ids that it was trained or chosen on, one on each line, or `none`. Left out: unknown, and it is tested on nothing.",
        ),
    ] = None,
    source: Annotated[
        list[str] | None, typer.Option("--source", help="A data set that it was trained on. May be repeated; an upload asks for it.")
    ] = None,
    setting: SetFlag = None,
) -> None:
    """Take an adapter that was trained elsewhere with PEFT: prompt-tuning, p-tuning, prefix-tuning or plain LoRA, of old and new releases.

    The adapter is bound to the model's identity. Only that its tensors fit is checked: PEFT's files do not tell which weights it was trained on, nor
    on which questions.
    """
    from affinage.adapters.peft_in import Told, import_peft, read_peft_folder
    from affinage.backbone import describe

    found = read_peft_folder(folder)
    name = model or found.base
    if not name:
        raise UserError(f"{folder}", "no name of a base model in its files", "one, or --model", "Say which model it belongs to.")
    own = found.revision if name == found.base else None  # a revision of one model names nothing in another
    config = composed(None, {**assignments(setting), **without_none(model__id=name, model__revision=revision or own)})
    fetch(name)
    shape, identity = describe(config.model)
    card = import_peft(found, shape, identity, Told(culture, _seen_templates(seen), tuple(source or ()), config.prompt), to)
    say(card.imported)
    if not card.seen_known:
        say("Seen templates: unknown. It can be asked, exported and looked at; `affinage evaluate` refuses it until --seen says what it has seen.")
    say(f"{card.method} for {culture}: {to}")
    say(f"Next: affinage doctor {to}")


def _seen_templates(seen: str | None) -> frozenset[str] | None:
    """The ids of `--seen`; None where it was not given.

    Raises:
        UserError: no such file, or nothing in it.
    """
    if seen is None or seen == "none":
        return None if seen is None else frozenset()
    try:
        ids = frozenset(line.strip() for line in Path(seen).read_text(encoding="utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--seen {seen}", str(error), "a text file with one template id on each line, or `none`", "Check the path.") from None
    if not ids:
        raise UserError(f"--seen {seen}", "an empty file", "one template id on each line, or `none`", "Say --seen none where it has seen none.")
    return ids


def push(
    adapter: AdapterArgument,
    repository: Annotated[str, typer.Option("--repo", metavar="NAME", help="`name` or `organisation/name` on the hub; made where it is not there.")],
    *,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Upload. Without it nothing leaves this machine.")] = False,
    base: BaseFlag = None,
) -> None:
    """Print what would be uploaded to the hub, and under which terms; with --yes, upload it.

    Refused where the terms of the data forbid passing on what is derived from it, or where the adapter does not tell its data. No licence is
    filled in: choose one that the terms allow and set it on the repository.
    """
    from affinage.adapters.hub import prepare
    from affinage.adapters.hub import push as upload

    with TemporaryDirectory() as work:
        made = prepare(adapter_folder(adapter), Path(work), base=base)
        _shown(made, repository, private=private)
        if not yes:
            say("Nothing was uploaded. The same command with --yes uploads it.")
            return
        say(f"Uploaded: {upload(made, repository, private=private)}")


def _shown(made: Upload, repository: str, *, private: bool) -> None:
    """What an upload would pass on."""
    say(made.page)
    say("---")
    for terms in made.known.terms:
        say(f"Terms of the data set {terms.name}: {terms.licence}. {terms.restrictions}".rstrip())
    say(f"Terms of the backbone: {made.known.backbone_terms}.")
    say(f"To {repository} ({'private' if private else 'public'} where it is new):")
    for name, size in made.files:
        say(f"  {name}  {size:,} bytes")
