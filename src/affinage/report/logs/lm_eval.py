"""The form of lm-evaluation-harness (0.4): per model a `results_DATE.json`, per task a `samples_TASK_DATE.jsonl`.

Its fields are those that `EvaluationTracker.save_results_aggregated` and `save_results_samples` write, for tasks of the kind `multiple_choice`.
What it computes from a normal approximation over rows (`..._stderr`) is `N/A`: rows of one template are not independent, and a report has the
interval over template groups.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from affinage import __version__
from affinage.report.logs.base import Answered, Asked

__all__ = ["files", "folder", "results", "sample", "task"]

_HIGHER = True


def folder(test: Answered) -> str:
    """The folder of a run: its name as the harness makes a model's name a folder's."""
    return re.sub(r"[\"<>:/|\\?*\[\]]+", "__", test.model)


def task(test: Answered) -> str:
    """The task's name, of letters, digits and underscores: the harness reads it off the file's name."""
    return re.sub(r"\W", "_", test.task)


def _date(test: Answered) -> str:
    """The date in a file's name; no underscore, which ends the task's name."""
    return test.finished.strftime("%Y-%m-%dT%H-%M-%S.000000")


def files(run: Sequence[Answered]) -> Iterator[tuple[str, str]]:
    """Path and content of every file of one run's tests."""
    place = f"{folder(run[0])}"
    for test in run:
        lines = (json.dumps(sample(number, each, test), ensure_ascii=False) for number, each in enumerate(test.asked))
        yield f"{place}/samples_{task(test)}_{_date(test)}.jsonl", "".join(f"{line}\n" for line in lines)
    yield f"{place}/results_{_date(run[0])}.json", json.dumps(results(run), indent=2, ensure_ascii=False)


def sample(number: int, each: Asked, test: Answered) -> dict[str, Any]:
    """One line of a samples file. `arguments` name question and option (by letter, in the source's order, without texts), not the whole prompt."""
    options = each.options or tuple(chr(ord("A") + place) for place in range(len(each.logprobs)))
    question = each.text or each.mcq_id
    right = each.credit.get("free")
    greedy = [str(right == 1.0) if place == each.answer and right is not None else "None" for place in range(len(each.logprobs))]
    pairs = [[str(value), known] for value, known in zip(each.logprobs, greedy, strict=True)]
    doc = {
        "mcq_id": each.mcq_id,
        "template_id": each.template_id,
        "group": each.group,
        "topic": each.topic,
        "culture": test.culture,
        "answer": each.answer,
        "orders": each.orders,
        "state": each.state,
        **({} if each.text is None else {"question": each.text, "options": list(options)}),
    }
    return {
        "doc_id": number,
        "doc": doc,
        "target": str(each.answer),
        "arguments": {f"gen_args_{place}": {"arg_0": question, "arg_1": option} for place, option in enumerate(options)},
        "resps": [[pair] for pair in pairs],
        "filtered_resps": pairs,
        "filter": "none",
        "metrics": list(each.credit),
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": _hash(question),
        "target_hash": _hash(str(each.answer)),
        **each.credit,
    }


def results(run: Sequence[Answered]) -> dict[str, Any]:
    """The results file of one run."""
    first = run[0]
    study, worker = first.study, first.run.provenance[-1] if first.run.provenance else {}
    by_task = {task(test): test for test in run}
    numbers = {
        name: {
            "alias": name,
            **{f"{reading},none": test.mean(reading) for reading in test.readings},
            **{f"{reading}_stderr,none": "N/A" for reading in test.readings},
            **{f"{reading}_by_template,none": test.by_template(reading) for reading in test.readings},
        }
        for name, test in by_task.items()
    }
    config = {"output_type": "multiple_choice", "num_fewshot": 0, "repeats": 1, "dataset_path": study.config.data.source}
    return {
        "results": numbers,
        "group_subtasks": {name: [] for name in by_task},
        "configs": {name: {"task": name, **config, "metadata": {"version": __version__, **test.facts}} for name, test in by_task.items()},
        "versions": dict.fromkeys(by_task, __version__),
        "n-shot": dict.fromkeys(by_task, 0),
        "higher_is_better": {name: dict.fromkeys(_metrics(test), _HIGHER) for name, test in by_task.items()},
        "n-samples": {
            name: {"original": len(test.asked), "effective": sum(bool(each.credit) for each in test.asked)} for name, test in by_task.items()
        },
        "config": {"model": "affinage", "model_args": dict(study.plan.model), "limit": study.config.limit, "bootstrap_iters": 0},
        "git_hash": worker.get("commit"),
        "date": first.finished.timestamp(),
        "task_hashes": {name: _task_hash(test) for name, test in by_task.items()},
        "model_source": "affinage",
        "model_name": first.model,
        "model_name_sanitized": folder(first),
        "system_instruction": study.config.prompt.system,
        "chat_template_sha": study.plan.model.get("chat_template"),
        "total_evaluation_time_seconds": None,
    }


def _metrics(test: Answered) -> tuple[str, ...]:
    """Names of a task's numbers."""
    return (*test.readings, *(f"{reading}_by_template" for reading in test.readings))


def _task_hash(test: Answered) -> str:
    """As the harness makes it of its samples' three hashes."""
    lines = [sample(number, each, test) for number, each in enumerate(test.asked)]
    return _hash("".join(line["doc_hash"] + line["prompt_hash"] + line["target_hash"] for line in lines))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
