"""The validation side of a split: templates of its training side that no trial is trained on, and that no test ever saw."""

from __future__ import annotations

from affinage import seeds
from affinage.data import Dataset, template_groups
from affinage.records import Split, UserError

__all__ = ["check_sides", "validation_split"]


def validation_split(dataset: Dataset, split: Split, *, share: float, seed: int, development: bool) -> Split:
    """What a search on a split trains on, and what it chooses by (as the test side of the split that it returns).

    The validation side is the share of the training side's template groups with the smallest u(seed, group): a function of seed and group,
    the same for every method and culture. Where the split tests the development side, that is where settings are chosen, and its training side
    stays whole.

    Args:
        dataset: the questions.
        split: of the study.
        share: of the training side's template groups.
        seed: the study's.
        development: whether the split's test side is the development side.

    Raises:
        UserError: the training side has fewer than two template groups.
    """
    if development:
        return split
    group_of = template_groups(dataset)
    groups = sorted({group_of[template] for template in split.train_templates})
    if len(groups) < 2:
        found = f"{len(groups)} template groups on the training side"
        raise UserError(f"split {split.name}", found, "at least two, one to learn from and one to choose by", "Use more templates.")
    order = sorted(groups, key=lambda group: (seeds.uniform("validation side", seed, group), group))
    held_out = set(order[: min(len(groups) - 1, max(1, round(share * len(groups))))])
    chosen = frozenset(template for template in split.train_templates if group_of[template] in held_out)
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
