"""The reference study's numbers under ours, where the cultures match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from affinage.report import reference
from affinage.report.cells import Cells
from affinage.report.evidence import Kind
from affinage.report.table import Table, cell_text
from affinage.report.words import slug, zero_shot

__all__ = ["beside_the_study", "study_number"]


def beside_the_study(cells: Cells) -> Iterator[Table]:
    """The reference study's numbers under ours, by row, for the cultures that both have."""
    evidence = cells.evidence
    ours = [culture for culture in evidence.cultures if reference.known(culture)]
    study = [name for name in map(reference.known, ours) if name is not None]
    if not ours:
        return
    header = ("", *study)
    text = (
        f"Ours: best-scored option, by row. Theirs: {reference.SOURCE} (whether by the best letter or by generated text is not stated). Another "
        "model or other data is another quantity: compare directions, not levels."
    )
    rows = [
        ("ours: untouched", *_plain(cells, evidence.untouched, ours)),
        ("study: untouched", *(study_number(reference.UNTOUCHED[name]) for name in study)),
    ]
    rules = []
    both = [(label, evidence.method(label)) for label in evidence.labels if evidence.method(label) in reference.METHODS]
    for label, method in both:
        rules.append(len(rows))
        out = evidence.held_out(label)
        cell = {culture: _plain(cells, (label, culture), [culture])[0] for culture in ours if culture in evidence.trained(label)}
        own = tuple("" if culture not in cell else zero_shot(cell[culture]) if culture in out else cell[culture] for culture in ours)
        rows.append((f"ours: {label}, own culture", *own))
        rows.append((f"study: {method}, own culture", *(study_number(reference.PAIRS[method][name][name]) for name in study)))
    rules.append(len(rows))
    rows.append(("study: format control", *(study_number(reference.FORMAT_CONTROL[name]) for name in study)))
    yield Table("reference-1-own-culture", "Beside the reference study: own culture", text, header, tuple(rows), tuple(rules))
    for label, method in both:
        rows, rules = [], []
        for culture, name in zip(ours, study, strict=True):
            rules.append(len(rows))
            if culture in evidence.trained(label):
                head = f"ours: {name}"
                rows.append((zero_shot(head) if culture in evidence.held_out(label) else head, *_plain(cells, (label, culture), ours)))
            rows.append((f"study: {name}", *(study_number(reference.PAIRS[method][name][tested]) for tested in study)))
        title = f"Beside the reference study: {label}, every pair"
        yield Table(f"reference-{slug(label)}", title, text, ("trained on", *study), tuple(rows), tuple(rules[1:]))


def _plain(cells: Cells, kind: Kind, tested: Sequence[str]) -> tuple[str, ...]:
    """Our cells by row in the best-option reading."""
    return tuple(cell_text(cells.cell(kind, culture, "choice", "row")) for culture in tested)


def study_number(number: reference.Number) -> str:
    """A number as the study prints it."""
    return f"{number[0]:.2f} ({number[1]:.2f})"
