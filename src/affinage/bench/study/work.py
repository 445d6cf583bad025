"""What both sides of a study's bench work on: one training per adapter, and the cohorts that ours are trained in."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import final

from pydantic import BaseModel, ConfigDict

from affinage import data
from affinage.backbone import tokens
from affinage.bench.material import Material, training_work
from affinage.bench.sides.ours import encoded
from affinage.bench.work import Question, Work, write_work
from affinage.config import MethodConfig, StudyConfig
from affinage.encode import Tokens
from affinage.records import MCQ, Encoded, Rendered, UserError
from affinage.store import write_atomically
from affinage.study.cohorts import Lockstep, fitting
from affinage.study.costs import Step
from affinage.study.engine import engine
from affinage.study.settle import this_machine
from affinage.study.sides import trained_frame
from affinage.train import batches

__all__ = ["Lesson", "StudyWork", "pool", "read_study", "study_work", "write_study"]


class _Record(BaseModel):
    """A frozen record that travels between processes; docstrings under fields say what they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@final
class Lesson(_Record):
    """The training of one adapter."""

    culture: str
    start: int
    """Lessons of one start begin with the same tensors, whatever their culture."""
    seed: int
    """Of the order of its questions."""
    work: Work
    """Its batches, as a peer takes them."""


@final
class StudyWork(_Record):
    """All adapters, and how ours are trained together."""

    lessons: tuple[Lesson, ...]
    members: int
    """Adapters of a cohort, at most."""
    nodes_per_pack: int | None
    """Budget of a training pack; None has a cohort's step be one pack."""

    @property
    def cohorts(self) -> tuple[tuple[int, ...], ...]:
        """Numbers of the lessons of each cohort."""
        numbers = range(len(self.lessons))
        return tuple(tuple(numbers[first : first + self.members]) for first in range(0, len(numbers), self.members))

    def in_type(self, dtype: str) -> StudyWork:
        """The same with the model in another type."""
        model = self.lessons[0].work.model.model_copy(update={"dtype": dtype})
        lessons = [each.model_copy(update={"work": each.work.model_copy(update={"model": model})}) for each in self.lessons]
        return self.model_copy(update={"lessons": tuple(lessons)})

    def alike(self, count: int, steps: int, nodes_per_pack: int | None) -> StudyWork:
        """One cohort of so many adapters that all read what the first one reads, for a few steps: each one's nodes are as many."""
        own = self.lessons[0].work
        training = own.training.model_copy(update={"steps": steps})
        lesson = self.lessons[0].model_copy(update={"work": own.model_copy(update={"training": training, "batches": own.batches[:steps]})})
        return self.model_copy(update={"lessons": (lesson,) * count, "members": count, "nodes_per_pack": nodes_per_pack})


def pool(work: Work) -> tuple[Question, ...]:
    """The questions of an adapter's training, each once."""
    return tuple({question.id: question for batch in work.batches for question in batch}.values())


def study_work(config: StudyConfig, method: str, adapters: int, steps: int, folder: Path) -> StudyWork:
    """Adapters of the first cultures, then of the same cultures from further starts.

    Args:
        config: model, data, splits, prompt and training; `model.cohort` and `model.nodes_per_pack` are settled for this machine, as when a
            study is planned, where it does not say them.
        method: a name of `material.SETTINGS`.
        adapters: how many.
        steps: of each adapter.
        folder: of the starts.

    Raises:
        UserError: data or model cannot be read, or a culture has too few questions.
    """
    # As in the other benches.
    training = config.training.model_copy(update={"loss": "answer", "weights": "rows", "orders": "fixed", "warmup": 0.0})
    config = config.model_copy(update={"training": training})
    dataset = data.load(config.data)
    split = data.make_splits(dataset, config.splits)[0]
    cultures = tuple(config.data.cultures or dataset.cultures)
    known = tokens(config.model)
    lessons, first = [], list[MCQ]()
    for number in range(adapters):
        start, place = divmod(number, len(cultures))
        culture = cultures[place]
        # A further start has its own order of the questions too.
        own = config.model_copy(update={"seed": config.seed + start})
        questions = _drawn(dataset.questions(trained_frame(dataset, split, culture, own)), own, steps)
        if not questions:
            raise UserError(f"split {split.name}", f"no question of {culture} to train on", "some", "Choose other cultures (`data.cultures`).")
        first = first or questions
        made = Material(own, culture, questions, (), known)
        work = training_work(made, method, training.questions_per_template, steps, folder / f"start-{start}")
        lessons.append(Lesson(culture=culture, start=start, seed=own.seed, work=_from_pool(work, own.seed)))
    chosen = _in_lockstep(config, lessons[0].work, first, known, adapters)
    return StudyWork(lessons=tuple(lessons), members=chosen.members, nodes_per_pack=chosen.nodes_per_pack)


def _in_lockstep(config: StudyConfig, work: Work, questions: Sequence[MCQ], tokens: Tokens, adapters: int) -> Lockstep:
    """How a study would train the adapters together on this machine; what the configuration sets itself holds.

    Args:
        config: model and prompt.
        work: one adapter's.
        questions: its own, whose batches stand for all.
        tokens: the model's tokenizer.
        adapters: how many there are.
    """
    model = config.model
    if model.cohort is not None and model.nodes_per_pack is not None:
        return Lockstep(model.cohort, model.nodes_per_pack)
    computing = engine()
    shape, _ = computing.describe(model)
    method = computing.resolve(MethodConfig(name=work.method, settings=work.settings), work.training)
    adapter = computing.adapter_of(method, shape)
    sides = computing.first_batches(questions, tokens, work.training, work.prompt, members=max(adapters, model.cohort or 1), seed=config.seed)

    def step(members: int, nodes_per_pack: int | None) -> Step:
        return computing.training_step(sides[:members], work.training.loss, work.prompt.score, adapter, nodes_per_pack=nodes_per_pack)

    return fitting(shape, model, step, this_machine(config, computing, shape), adapter=adapter, most=adapters)


def _drawn(questions: Sequence[MCQ], config: StudyConfig, steps: int) -> list[MCQ]:
    """The questions of the first steps, so that the others need not be tokenised."""
    if len(questions) < config.training.batch_size:
        return list(questions)
    stream = batches([_bare(question) for question in questions], config.training, config.seed, 0)
    drawn = {each.rendered.mcq.mcq_id: each.rendered.mcq for batch in islice(stream, steps) for each in batch}
    return list(drawn.values())


def _bare(question: MCQ) -> Encoded:
    """A question without token ids: the order of a training reads names only."""
    return Encoded(Rendered(question, "", (), "", ()), (), (), ())


def _from_pool(work: Work, seed: int) -> Work:
    """The work with the batches that a training on its own questions draws, as our side will."""
    questions = {question.id: question for question in pool(work)}
    drawn = islice(batches([encoded(question) for question in questions.values()], work.training, seed, 0), len(work.batches))
    return work.model_copy(update={"batches": tuple(tuple(questions[each.rendered.mcq.mcq_id] for each in batch) for batch in drawn)})


def write_study(folder: Path, work: StudyWork) -> Path:
    """Puts the whole into `study.json`, where our side reads it, and each lesson into `lesson-K.json`, where a peer does; returns the first."""
    for number, lesson in enumerate(work.lessons):
        write_work(folder / f"lesson-{number}.json", lesson.work)
    path = folder / "study.json"
    write_atomically(path, work.model_dump_json().encode())
    return path


def read_study(path: Path) -> StudyWork:
    """The work of a file that `write_study` wrote."""
    return StudyWork.model_validate_json(path.read_bytes())
