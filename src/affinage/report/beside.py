"""The reference study's numbers under ours, where the cultures match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from affinage.report import reference
from affinage.report.cells import Cells
from affinage.report.evidence import Kind
from affinage.report.language import say
from affinage.report.table import Table, cell_text
from affinage.report.words import number, slug, zero_shot

__all__ = ["beside_the_study", "study_number"]


def beside_the_study(cells: Cells) -> Iterator[Table]:
    """The reference study's numbers under ours, by row, for the cultures that both have."""
    evidence = cells.evidence
    ours = [culture for culture in evidence.cultures if reference.known(culture)]
    study = [name for name in map(reference.known, ours) if name is not None]
    if not ours:
        return
    header = ("", *study)
    text = say(
        "Ours: best-scored option, by row. Theirs: {source} (whether by the best letter or by generated text is not stated). Another model or other "
        "data is another quantity: compare directions, not levels.",
        source=say("Le Bellier (RECITAL 2026), OLMo-7B-Instruct on BLEnD, accuracy by row"),
    )
    rows = [
        (say("ours: untouched"), *_plain(cells, evidence.untouched, ours)),
        (say("study: untouched"), *(study_number(reference.UNTOUCHED[name]) for name in study)),
    ]
    rules = []
    both = [(label, evidence.method(label)) for label in evidence.labels if evidence.method(label) in reference.METHODS]
    for label, method in both:
        rules.append(len(rows))
        out = evidence.held_out(label)
        cell = {culture: _plain(cells, (label, culture), [culture])[0] for culture in ours if culture in evidence.trained(label)}
        own = tuple("" if culture not in cell else zero_shot(cell[culture]) if culture in out else cell[culture] for culture in ours)
        rows.append((say("ours: {label}, own culture", label=label), *own))
        rows.append((say("study: {method}, own culture", method=method), *(study_number(reference.PAIRS[method][name][name]) for name in study)))
    rules.append(len(rows))
    rows.append((say("study: format control"), *(study_number(reference.FORMAT_CONTROL[name]) for name in study)))
    yield Table("reference-1-own-culture", say("Beside the reference study: own culture"), text, header, tuple(rows), tuple(rules))
    for label, method in both:
        rows, rules = [], []
        for culture, name in zip(ours, study, strict=True):
            rules.append(len(rows))
            if culture in evidence.trained(label):
                head = say("ours: {name}", name=name)
                rows.append((zero_shot(head) if culture in evidence.held_out(label) else head, *_plain(cells, (label, culture), ours)))
            rows.append((say("study: {name}", name=name), *(study_number(reference.PAIRS[method][name][tested]) for tested in study)))
        title = say("Beside the reference study: {label}, every pair", label=label)
        yield Table(f"reference-{slug(label)}", title, text, (say("trained on"), *study), tuple(rows), tuple(rules[1:]))


def _plain(cells: Cells, kind: Kind, tested: Sequence[str]) -> tuple[str, ...]:
    """Our cells by row in the best-option reading."""
    return tuple(cell_text(cells.cell(kind, culture, "choice", "row")) for culture in tested)


def study_number(theirs: reference.Number) -> str:
    """A number as the study prints it."""
    mean, deviation = theirs
    return f"{number(mean, '.2f')} ({number(deviation, '.2f')})"
