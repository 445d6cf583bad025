"""Methods that one run trains for several cultures: what they share, and one culture's part handed on as an adapter of its own.

A study plans one run per culture, as for every method. The runs of such a method that have the same settings are trained as one: each step reads a
batch of every culture, under that culture's part, and one optimiser moves what they share. Each run then puts its culture's part into its folder.
A culture that is held out is tested like the others, but none of its questions are trained on: zero-shot.
"""

from __future__ import annotations

import copy
from abc import ABC
from typing import Literal, TypeVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from affinage.backbone import Backbone
from affinage.methods.base import Adapter, Key, Settings, linear, normal, parameter
from affinage.methods.prefixes import refuse_uneven_heads
from affinage.records import BackboneShape, UserError, name_in_text
from affinage.registry import suggest

__all__ = ["CodedSettings", "CultureCode", "Shared", "TogetherSettings", "code_count", "settled", "some", "start_code", "taught"]


class TogetherSettings(Settings):
    """Which cultures; a method's settings add their own."""

    cultures: tuple[str, ...] = ()
    """Cultures that the run serves. Default: all of the study, filled in when it is planned."""


class CodedSettings(TogetherSettings):
    """For methods that tell cultures apart by a vector, and so can serve a culture that they were not trained on."""

    held_out: tuple[str, ...] | Literal["each"] = ()
    """Cultures none of whose questions are trained on, e.g. `[Spain]`. `each`: every culture in its turn, one training for each."""
    source: Literal["description", "code"] = "description"
    """What a culture's vector is made from: a text about it as the frozen model reads it, or a trained code (of a held-out culture: the trained
    ones' mean)."""
    description: str = "People in {culture}"
    """The text of a culture."""
    descriptions: dict[str, str] = Field(default_factory=dict)
    """Culture -> a text of its own instead."""
    code: int = Field(64, ge=1)
    """c, width of the vector."""


Own = TypeVar("Own", bound=TogetherSettings)


def settled(method: str, settings: Own, cultures: tuple[str, ...], culture: str | None) -> Own:
    """The settings of one culture's run in a study.

    Args:
        method: its name, for messages.
        settings: as the study has them.
        cultures: studied ones.
        culture: the run's; None for the untrained start.

    Raises:
        UserError: cultures that are not studied, a run of a culture that is not served, or nobody left to train on.
    """
    served = settings.cultures or cultures
    _known(f"method {method}: cultures", served, cultures)
    if culture is not None and culture not in served:
        raise UserError(f"method {method}: cultures", ", ".join(served), f"every studied culture, {culture} too", "Name it, or leave `cultures` out.")
    values: dict[str, tuple[str, ...]] = {"cultures": served}
    if isinstance(settings, CodedSettings):
        out = settings.held_out if settings.held_out != "each" else () if culture is None else (culture,)
        _known(f"method {method}: held_out", out, served)
        if not set(served) - set(out):
            raise UserError(f"method {method}: held_out", ", ".join(out), "at least one other culture to train on", "Study more, or hold out fewer.")
        values["held_out"] = out
    return settings.model_copy(update=values)


def _known(where: str, named: tuple[str, ...], cultures: tuple[str, ...]) -> None:
    """Refuses names of cultures that are not among those."""
    strange = [name for name in named if name not in cultures]
    if strange:
        raise UserError(where, repr(strange[0]), "a culture of the study", suggest(strange[0], cultures))


def taught(settings: TogetherSettings) -> tuple[str, ...]:
    """Cultures whose questions a run is trained on, once its settings are those of a study."""
    out = settings.held_out if isinstance(settings, CodedSettings) and settings.held_out != "each" else ()
    return tuple(culture for culture in settings.cultures if culture not in out)


def some(method: str, cultures: tuple[str, ...]) -> tuple[str, ...]:
    """The cultures, of which there is one at least.

    Raises:
        UserError: there is none: nobody has filled them in.
    """
    if not cultures:
        raise UserError(f"method {method}", "no culture to serve", "one at least", "Set `settings.cultures`; a study fills them in.")
    return cultures


class Shared(Adapter, ABC):
    """Tensors that serve several cultures; it is read under one of them, and `under` gives it as the others read it.

    Args:
        shape: of the backbone.
        cultures: those that it serves; it is read under the first.
    """

    def __init__(self, shape: BackboneShape, cultures: tuple[str, ...]) -> None:
        super().__init__(shape)
        self.cultures, self.culture = cultures, some(self.method, cultures)[0]
        self._parts: dict[str, Shared] = {self.culture: self}

    @final
    def under(self, culture: str) -> Shared:
        """The same tensors, read under another of its cultures; the same object whenever it is asked for.

        Raises:
            UserError: it does not serve the culture.
        """
        if culture not in self.cultures:
            served = f"about {', '.join(self.cultures)}"
            raise UserError(f"adapter of method {self.method}", f"questions about {culture}", served, "Train it on them.")
        if culture not in self._parts:
            part = copy.copy(self)  # of the module itself: parameters stay the same objects
            part.culture = culture
            self._parts[culture] = part
        self._parts[culture].draw = self.draw
        return self._parts[culture]


@final
class CultureCode(nn.Module):
    """A vector per culture: a linear map of what the frozen model makes of a text about it, or a trained table.

    Args:
        cultures: those that are served.
        trained: those that it is trained on.
        features: [C, F], fixed, for a map; None for a table.
        weight: [c, F] of the map, or [T, c], the table.
        bias: [c] of the map.
    """

    def __init__(
        self, cultures: tuple[str, ...], trained: tuple[str, ...], *, features: Tensor | None, weight: Tensor, bias: Tensor | None = None
    ) -> None:
        super().__init__()
        self.served, self.trained, self.features = cultures, trained, features
        self.weight = parameter(weight)
        self.bias = None if bias is None else parameter(bias)

    def of(self, culture: str) -> Tensor:
        """[c]; with a table the mean of the trained ones for a culture that it was not trained on."""
        if self.features is not None:
            return nn.functional.linear(self.features[self.served.index(culture)].to(self.weight.device), self.weight, self.bias)
        return self.weight[self.trained.index(culture)] if culture in self.trained else self.weight.mean(0)


def code_count(method: str, settings: CodedSettings, shape: BackboneShape) -> int:
    """Trained values of the vectors: c * (K*D + 1) with descriptions, c * T with codes of T trained cultures.

    Raises:
        UserError: codes of no culture.
    """
    return settings.code * (_features(shape) + 1 if settings.source == "description" else len(some(method, taught(settings))))


def start_code(method: str, settings: CodedSettings, backbone: Backbone, key: Key) -> CultureCode:
    """The vectors at their start; every code of a table begins with the same values.

    Raises:
        UserError: a description without words, or a model whose keys and values differ in width.
    """
    trained = taught(settings)
    if settings.source == "code":
        row = normal((1, settings.code), f"{method} code", *key)
        return CultureCode(settings.cultures, trained, features=None, weight=row.expand(len(trained), -1))
    refuse_uneven_heads(method, backbone.shape)
    read = torch.stack([_read(method, settings, culture, backbone) for culture in settings.cultures])
    own = read[[settings.cultures.index(culture) for culture in trained]]
    centre = own.mean(0) if len(own) > 1 else torch.zeros_like(own[0])
    spread = (own - centre).square().mean().sqrt()
    if not spread > 0:
        todo = "Put `{culture}` into `description`."
        raise UserError(f"method {method}: descriptions", "the same text for every culture", "texts that differ", todo)
    start = linear(settings.code, _features(backbone.shape), f"{method} code", *key)
    return CultureCode(settings.cultures, trained, features=(read - centre) / spread, weight=start[:, :-1], bias=start[:, -1])


def _features(shape: BackboneShape) -> int:
    """F = K*D."""
    return shape.kv_heads * shape.head_width


def _read(method: str, settings: CodedSettings, culture: str, backbone: Backbone) -> Tensor:
    """What the frozen model makes of a culture's text, [K*D]: the mean over its tokens of the values of the middle layer.

    Values carry no position, and the middle of a model is where names have become what they stand for.
    """
    text = settings.descriptions.get(culture, settings.description).replace("{culture}", name_in_text(culture))
    ids = backbone.tokens.ids((text,))[0]
    if not ids:
        raise UserError(f"method {method}: description", repr(text), "a text with at least one token", f"Describe {culture}.")
    _, values = backbone.keys_values(ids)
    return values[backbone.shape.layers // 2].flatten(1).mean(0)
