"""Tables as LaTeX, for the package `booktabs`."""

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


def table(content: Table) -> str:
    """A floating table; caption and label are the table's title, text and key."""
    lines = [
        f"% {content.key}.tex, written by affinage report; needs \\usepackage{{booktabs}} and \\usepackage[T1]{{fontenc}}",
        r"\begin{table}",
        r"\centering",
        r"\small",
        rf"\caption{{{_text(_NUMBER.sub('', content.title))}. {_text(content.text)}}}",
        rf"\label{{tab:{content.key}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(content.header) - 1)}}}",
        r"\toprule",
        _line(content.header),
        r"\midrule",
    ]
    for place, row in enumerate(content.rows):
        if place in content.rules and place:
            lines.append(r"\midrule")
        lines.append(_line(row))
    notes = [rf"\par\smallskip {_text(note)}" for note in content.notes]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", *notes, r"\end{table}", ""])


def _line(cells: Iterable[str]) -> str:
    """One line of the table; a head that begins with blanks is indented."""
    return " & ".join((r"\quad " if cell.startswith("  ") else "") + _text(cell.strip()) for cell in cells) + r" \\"


def _text(text: str) -> str:
    """Plain text as LaTeX."""
    return text.translate(_ESCAPES)
