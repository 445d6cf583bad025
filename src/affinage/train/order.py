"""Which questions stand in which batch, and what each weighs: functions of the questions and a seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from affinage.config import TrainingConfig
from affinage.records import Encoded
from affinage.seeds import uniform, uniforms

__all__ = ["batches", "by_culture", "mixed_batches", "template_weights"]


def batches(
    encoded: Sequence[Encoded], training: TrainingConfig, seed: int, first: int, again: Callable[[int], Sequence[Encoded]] | None = None
) -> Iterator[list[Encoded]]:
    """Batches of steps first, first + 1, ...; a function of (questions, seed, step) alone, so a resumed run needs no generator's state.

    Each epoch has its own order, in which `questions_per_template` questions of one template stand side by side.

    Args:
        encoded: the training questions.
        training: batch size and order.
        seed: of the order.
        first: the first step, from 0.
        again: epoch -> the same questions, encoded anew for it (`training.orders: fresh`). Default: they stay as they are.
    """
    done = first * training.batch_size
    epoch, skip = divmod(done, len(encoded))
    waiting: list[Encoded] = []
    while True:
        asked = encoded if again is None else again(epoch)
        waiting += _order(asked, training.questions_per_template, seed, epoch)[skip:]
        epoch, skip = epoch + 1, 0
        while len(waiting) >= training.batch_size:
            yield waiting[: training.batch_size]
            waiting = waiting[training.batch_size :]


def by_culture(encoded: Sequence[Encoded]) -> dict[str, list[Encoded]]:
    """Culture -> its questions, in their order."""
    sides: dict[str, list[Encoded]] = {}
    for each in encoded:
        sides.setdefault(each.rendered.mcq.culture, []).append(each)
    return sides


def mixed_batches(
    encoded: Sequence[Encoded], training: TrainingConfig, seed: int, first: int, again: Callable[[int], Sequence[Encoded]] | None = None
) -> Iterator[list[Encoded]]:
    """For an adapter that serves several cultures: in each step the batch that each culture would have alone, one after the other.

    Arguments as `batches`.
    """
    streams = []
    for culture, own in by_culture(encoded).items():
        anew = None if again is None else lambda epoch, culture=culture, again=again: by_culture(again(epoch))[culture]
        streams.append(batches(own, training, seed, first, anew))
    while True:
        yield [each for stream in streams for each in next(stream)]


def _order(encoded: Sequence[Encoded], together: int, seed: int, epoch: int) -> list[Encoded]:
    """One epoch's order."""
    draw = uniforms((seed, "order", epoch), (each.rendered.mcq.mcq_id for each in encoded))
    if together == 1:
        return [encoded[i] for i in sorted(range(len(encoded)), key=lambda i: draw[i])]
    templates: dict[str, list[int]] = {}
    for i in sorted(range(len(encoded)), key=lambda i: draw[i]):
        templates.setdefault(encoded[i].rendered.mcq.template_id, []).append(i)
    groups = [own[at : at + together] for own in templates.values() for at in range(0, len(own), together)]
    groups.sort(key=lambda group: uniform(seed, "groups", epoch, encoded[group[0]].rendered.mcq.mcq_id))
    return [encoded[i] for group in groups for i in group]


def template_weights(encoded: Iterable[Encoded]) -> dict[str, float]:
    """Per template the weight of each of its questions with which all templates count the same; the mean over the questions is 1."""
    counts = Counter(each.rendered.mcq.template_id for each in encoded)
    return {template: counts.total() / (len(counts) * count) for template, count in counts.items()}
