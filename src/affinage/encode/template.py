"""A chat template's arguments: which it reads, and a date that stands still in the place of today's."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from typing import Any

import jinja2
import jinja2.meta

from affinage.records import UserError
from affinage.registry import suggest

__all__ = ["FIXED_DATE", "clockless", "resolved", "template_of"]

FIXED_DATE = "2025-01-01"
"""What `strftime_now` tells a chat template, unless the study's template arguments say otherwise."""

_CLOCK = re.compile(r"""strftime_now\(\s*(?:format\s*=\s*)?(["'])(.*?)\1\s*\)""")
_GENERATION_TAGS = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
_PROVIDED = {"messages", "add_generation_prompt", "tools", "documents", "raise_exception"}
"""What a template reads that is not for the study to say; `strftime_now` is."""


def template_of(tokenizer: Any, name: str) -> str | None:
    """The tokenizer's chat template; the one named `default` where it has several.

    Args:
        tokenizer: a transformers tokenizer.
        name: what it is called in messages.

    Raises:
        UserError: it has several, none of them a `default`.
    """
    if not tokenizer.chat_template:
        return None
    try:
        return str(tokenizer.get_chat_template())
    except ValueError as error:
        raise UserError(f"chat template of {name}", str(error), "one template, or several with a `default`", "Name one of them `default`.") from None


def resolved(arguments: dict[str, str | int | bool], template: str | None, name: str) -> dict[str, str | int | bool]:
    """The arguments with thinking off and a fixed date where the template knows them.

    Args:
        arguments: those that the user gives.
        template: the chat template; None where there is none.
        name: the tokenizer's, for messages.

    Raises:
        UserError: a template that is no Jinja, arguments that it does not know, a date that is none, or a clock read in an unknown way.
    """
    known = _inputs(template, name) if template is not None else set()
    faults = [
        UserError(f"model.template_arguments.{unknown}", "an argument that the chat template does not read", "one that it reads", todo)
        for unknown in sorted(set(arguments) - known)
        for todo in [suggest(unknown, known) if known else "Remove it: the template reads none."]
    ]
    if faults:
        raise UserError.join(faults)
    if "enable_thinking" in known:
        arguments.setdefault("enable_thinking", False)
    if "strftime_now" in known:
        date = arguments.setdefault("strftime_now", FIXED_DATE)
        try:
            datetime.datetime.fromisoformat(str(date))
        except ValueError:
            raise UserError("model.template_arguments.strftime_now", repr(date), "a date like 2025-01-01", "Mend it.") from None
        if "strftime_now(" in _CLOCK.sub("", template or ""):
            raise UserError(f"chat template of {name}", "a date whose format is computed", "a literal format", "Give the tokenizer another template.")
    return dict(sorted(arguments.items()))


def _inputs(template: str, name: str) -> set[str]:
    """Names that the template reads from outside and that no tokenizer provides: its arguments."""
    environment = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"])
    try:
        # The `generation` tags mark text for training masks; plain Jinja does not know them.
        tree = environment.parse(_GENERATION_TAGS.sub("", template))
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"chat template of {name}", str(error), "a Jinja template", "Give the tokenizer another template.") from None
    read = jinja2.meta.find_undeclared_variables(tree)
    return {each for each in read if each not in _PROVIDED and not each.endswith("_token")}


def clockless(template: str, arguments: Mapping[str, str | int | bool]) -> str:
    """The template with today's date replaced by the fixed one.

    Args:
        template: the chat template.
        arguments: of `resolved`.
    """
    if "strftime_now" not in arguments:
        return template
    day = datetime.datetime.fromisoformat(str(arguments["strftime_now"]))
    return _CLOCK.sub(lambda call: json.dumps(day.strftime(call.group(2))), template)
