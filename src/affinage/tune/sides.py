"""The validation side of a search: templates that no trial is trained on, and that no test ever saw."""

from __future__ import annotations

from affinage.data import Dataset, template_groups
from affinage.records import Split, UserError
from affinage.study.sides import validation_templates

__all__ = ["check_sides", "validation_split"]


def validation_split(dataset: Dataset, split: Split, *, share: float, seed: int, development: bool) -> Split:
    """What a search on a split trains on, and what it chooses by (as the test side of the split that it returns).

    The validation side is cut from the training side (`validation_templates`). Where the split tests the development side, everything happens
    there: trials are trained on one part of it and chosen by the other, so what is found has seen no template that any split tests.

    Args:
        dataset: the questions.
        split: of the study.
        share: of the template groups of the side that is cut.
        seed: the study's.
        development: whether the split's test side is the development side.

    Raises:
        UserError: the side that is cut has fewer than two template groups.
    """
    if development:
        split = Split(split.name, split.test_templates, frozenset(), frozenset())
    chosen = validation_templates(dataset, split, share=share, seed=seed)
    inner = Split(f"{split.name}-validation", split.train_templates - chosen, chosen, split.development_templates)
    check_sides(dataset, inner, split)
    return inner


def check_sides(dataset: Dataset, inner: Split, split: Split) -> None:
    """Refuses a validation side that shares a template group with what trials are trained on, with the test side or with the development side.

    Args:
        dataset: the questions.
        inner: the search's sides.
        split: of the study.

    Raises:
        UserError: naming the sides and the first templates.
    """
    group_of = template_groups(dataset)
    groups = {group_of[template] for template in inner.test_templates}
    others = {"trials' training": inner.train_templates, "test": split.test_templates, "development": split.development_templates}
    faults = []
    for name, side in others.items():
        shared = sorted(template for template in side if group_of[template] in groups)
        if shared:
            found = f"{len(shared)} templates that are on the {name} side too: {', '.join(shared[:5])}"
            faults.append(UserError(f"validation side of split {split.name}", found, "none", "Cut it from the training side alone."))
    if faults:
        raise UserError.join(faults)
