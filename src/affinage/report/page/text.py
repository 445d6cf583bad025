"""Plain text of the report as HTML: what was said stays text, whatever stands in a culture's or a method's name."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

__all__ = ["inline", "paragraphs"]

_CODE = re.compile(r"`([^`]+)`")
_BOLD = re.compile(r"\*\*([^*]+)\*\*")


def inline(text: str) -> Markup:
    """One line of text; `words in backquotes` are code, **words between stars** strong, and a percent sign keeps to its number.

    Args:
        text: plain text; everything that HTML would read is escaped.
    """
    found = str(escape(text))
    found = found.replace(" %", "\u00a0%")
    found = _BOLD.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", found))
    return Markup(found)


def paragraphs(text: str) -> Markup:
    """Paragraphs set apart by an empty line; one whose lines begin with `* ` or `- ` is a list.

    Args:
        text: plain text.
    """
    parts = []
    for block in filter(None, (part.strip() for part in text.split("\n\n"))):
        lines = [line.strip() for line in block.splitlines()]
        if all(line.startswith(("* ", "- ")) for line in lines):
            items = "".join(f"<li>{inline(line[2:])}</li>" for line in lines)
            parts.append(f"<ul>{items}</ul>")
        else:
            parts.append(f"<p>{inline(' '.join(lines))}</p>")
    return Markup("\n".join(parts))
