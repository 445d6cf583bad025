"""Tables as LaTeX, for the packages `booktabs` and `adjustbox`."""

from __future__ import annotations

import re
from collections.abc import Iterable

from affinage.report.table import Table

__all__ = ["table"]

_NUMBER = re.compile(r"^Table(?:au)? \d+\. ")
"""LaTeX numbers its tables itself."""

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "−": "$-$",
        "–": "--",
        "`": "'",
        "\u00a0": "~",
        "\u202f": r"\,",
        "±": r"$\pm$",
        "×": r"$\times$",
        "≥": r"$\geq$",
        "≤": r"$\leq$",
        "→": r"$\rightarrow$",
        "«": r"\guillemotleft{}",
        "»": r"\guillemotright{}",
    }
)

_SCRIPTS = "% It has letters that pdfLaTeX's T1 fonts lack: use LuaLaTeX or XeLaTeX with a font of that script."

_LATIN = 0x17F
"""The last letter of Latin Extended-A, which T1 fonts have."""


def table(content: Table) -> str:
    """A floating table; caption and label are the table's title, text and key.

    A table wider than the page is shrunk to it, and its notes are one paragraph, since a float must fit on one page.
    """
    lines = [
        f"% {content.key}.tex, written by affinage report; needs \\usepackage{{booktabs,adjustbox}} and \\usepackage[T1]{{fontenc}}",
        *([_SCRIPTS] if _beyond_latin(content) else []),
        r"\begin{table}",
        r"\centering",
        r"\small",
        rf"\caption{{{_text(_NUMBER.sub('', content.title))}. {_text(content.text)}}}",
        rf"\label{{tab:{content.key}}}",
        r"\begin{adjustbox}{max width=\textwidth}",
        rf"\begin{{tabular}}{{l{'r' * (len(content.header) - 1)}}}",
        r"\toprule",
        _line(content.header),
        r"\midrule",
    ]
    for place, row in enumerate(content.rows):
        if place in content.rules and place:
            lines.append(r"\midrule")
        lines.append(_line(row))
    notes = [r"\par\smallskip{\raggedright\footnotesize", *map(_text, content.notes), r"\par}"] if content.notes else []
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{adjustbox}", *notes, r"\end{table}", ""])


def _line(cells: Iterable[str]) -> str:
    """One line of the table; a head that begins with blanks is indented."""
    return " & ".join((r"\quad " if cell.startswith("  ") else "") + _text(cell.strip()) for cell in cells) + r" \\"


def _text(text: str) -> str:
    """Plain text as LaTeX."""
    return text.translate(_ESCAPES)


def _beyond_latin(content: Table) -> bool:
    """Whether a letter of the table is of another script than Latin."""
    return any(letter.isalpha() and ord(letter) > _LATIN for row in (content.header, *content.rows, content.notes) for cell in row for letter in cell)
