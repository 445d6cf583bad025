"""An adapter on its way to the hub: what would be uploaded, whose terms it stands under, and the upload."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from affinage.adapters.disk import CARD, CONFIG, TENSORS, AdapterCard, read_card
from affinage.adapters.facts import Facts, facts
from affinage.adapters.modelcard import PAGE, Form, model_card
from affinage.adapters.place import public
from affinage.records import UserError
from affinage.store import read_json, write_atomically, write_json

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["Upload", "prepare", "push"]


@dataclass(frozen=True, slots=True)
class Upload:
    """What would be uploaded."""

    folder: Path
    card: AdapterCard
    known: Facts
    page: str
    """The model card's text."""

    @property
    def files(self) -> tuple[tuple[str, int], ...]:
        """Name and size in bytes of each file."""
        return tuple((path.name, path.stat().st_size) for path in sorted(self.folder.iterdir()))


def prepare(folder: Path, work: Path, *, base: str | None = None) -> Upload:
    """Puts what would be uploaded into an empty folder: the adapter, its two configurations and a fresh model card. Paths of this machine stay here.

    Args:
        folder: the adapter's, or an export of it.
        work: an empty folder.
        base: hub id of the backbone.

    Raises:
        UserError: no adapter there, or terms that forbid it or are not known (all such data sets together).
    """
    card = read_card(folder)
    known = facts(folder, card)
    _refuse_terms(folder, card, known)
    shown = replace(card, backbone=replace(card.backbone, id=base or public(card.backbone.id)), imported=_without_folders(card))
    config = read_json(folder / CONFIG)
    for name in (TENSORS, CARD):
        if not (folder / name).is_file():
            raise UserError(str(folder / name), "no such file", "a whole adapter", "Copy or train it again.")
    shutil.copyfile(folder / TENSORS, work / TENSORS)
    if config.get("peft_type"):
        config["base_model_name_or_path"] = shown.backbone.id
    write_json(work / CONFIG, config)
    write_json(work / CARD, {**read_json(folder / CARD), "backbone": shown.backbone.as_dict(), "imported": shown.imported})
    page = model_card(shown, known, Form("peft" if config.get("peft_type") else "affinage", ""), base=base)
    write_atomically(work / PAGE, page.encode())
    return Upload(work, shown, known, page)


def _without_folders(card: AdapterCard) -> str:
    """What is said of an import; earlier versions wrote the places of the models into it."""
    named = re.search(r"names its base model '([^']*)'", card.imported)
    places = (card.backbone.id, *(named.groups() if named else ()))
    return reduce(lambda text, place: text.replace(place, public(place)), places, card.imported)


def _refuse_terms(folder: Path, card: AdapterCard, known: Facts) -> None:
    """An adapter is derived from its data: what may not be passed on stays here.

    Raises:
        UserError: naming each data set that forbids it, or that it does not tell its data.
    """
    if not known.terms and (card.culture or card.seen):
        raise UserError(
            f"adapter {folder}",
            "no word on the data that it was trained on",
            "the names of its data sets, whose terms decide whether it may be passed on",
            "Import it again with --source NAME.",
        )
    faults = [
        UserError(
            f"data set {terms.name}",
            f"terms that do not let files derived from it be passed on ({terms.licence})",
            "terms that do",
            "Keep the adapter here; whoever has the data can train it again.",
        )
        for terms in known.terms
        if not terms.may_pass_on
    ]
    if faults:
        raise UserError.join(faults)


def push(upload: Upload, repository: str, *, private: bool, api: HfApi | None = None) -> str:
    """Uploads what was prepared, as one commit; a repository that is not there yet is made.

    Args:
        upload: of `prepare`.
        repository: `name` or `organisation/name`.
        private: whether a new repository is.
        api: how the hub is reached. Default: as huggingface_hub is set up on this machine.

    Returns:
        The address of the commit.

    Raises:
        UserError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub import HfApi  # noqa: PLC0415  (only an upload needs the hub's client)

    hub = api or HfApi()
    try:
        place = hub.create_repo(repository, private=private, exist_ok=True, repo_type="model")
        commit = hub.upload_folder(
            repo_id=place.repo_id,
            folder_path=upload.folder,
            repo_type="model",
            commit_message=f"{upload.card.method} for {upload.card.culture or 'no culture'}, by Affinage {upload.card.version}",
        )
    except Exception as error:
        if not _of_hub(error):
            raise
        said = " ".join(str(error).split())[:300]
        raise UserError(f"hub repository {repository}", said, "an upload that the hub takes", "Check the name and `hf auth whoami`.") from None
    return commit.commit_url


def _of_hub(error: Exception) -> bool:
    """Whether an error tells of the hub, the network or the repository's name: its client has its own errors and hands on those of its transport."""
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    return isinstance(error, (OSError, HFValidationError)) or type(error).__module__.split(".")[0].startswith("httpx")
