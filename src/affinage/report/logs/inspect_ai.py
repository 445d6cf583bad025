"""The form of Inspect (inspect_ai): one JSON log, version 2, per run and culture; `inspect view` shows them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from affinage import __version__
from affinage.report.logs.base import Answered, Asked

__all__ = ["files", "log"]

_VERSION = 2
_READINGS = {"choice": "best-scored option", "acc": "total log-probability", "acc_norm": "mean per character", "free": "greedy first token"}


def files(run: Sequence[Answered]) -> Iterator[tuple[str, str]]:
    """Path and content of every file of one run's tests; named as Inspect names its own."""
    for test in run:
        task = test.task.replace("_", "-")
        yield f"{test.finished.strftime('%Y-%m-%dT%H-%M-%S')}-00-00_{task}_{_id(test)}.json", json.dumps(log(test), indent=2, ensure_ascii=False)


def _id(test: Answered) -> str:
    """22 letters and digits, as an id of Inspect's has them; a function of the run and the culture."""
    return hashlib.sha256(f"{test.run.run}\n{test.culture}".encode()).hexdigest()[:22]


def log(test: Answered) -> dict[str, Any]:
    """The log of one test."""
    study, worker = test.study, test.run.provenance[-1] if test.run.provenance else {}
    when = test.finished.isoformat()
    commit = {"revision": {"type": "git", "origin": "", "commit": worker["commit"], "dirty": worker.get("dirty")}} if worker.get("commit") else {}
    scored = sum(bool(each.credit) for each in test.asked)
    return {
        "version": _VERSION,
        "status": "success",
        "eval": {
            "eval_id": _id(test),
            "run_id": hashlib.sha256(test.run.run.encode()).hexdigest()[:22],
            "created": when,
            "task": test.task,
            "task_id": _id(test),
            "task_version": 0,
            "task_args": test.facts,
            "dataset": {
                "name": study.config.data.source,
                "samples": len(test.asked),
                "sample_ids": [each.mcq_id for each in test.asked],
                "shuffled": False,
            },
            "model": f"affinage/{test.model}",
            "model_args": dict(study.plan.model),
            "config": {"epochs": 1, "log_samples": True},
            **commit,
            "packages": {"affinage": __version__},
            "metadata": {**test.facts, "culture": test.culture, "data_digest": study.plan.data.get("digest", "")},
        },
        "plan": {"name": "plan", "steps": [{"solver": "affinage", "params": {}}], "config": {}},
        "results": {"total_samples": len(test.asked), "completed_samples": scored, "scores": [_score(test, name, scored) for name in test.readings]},
        "stats": {"started_at": when, "completed_at": when, "model_usage": {}},
        "samples": [_sample(test, each) for each in test.asked],
    }


def _score(test: Answered, name: str, scored: int) -> dict[str, Any]:
    """One reading over all questions."""
    metrics = {"accuracy": test.mean(name), "accuracy_by_template": test.by_template(name)}
    return {
        "name": name,
        "scorer": name,
        "scored_samples": scored,
        "unscored_samples": len(test.asked) - scored,
        "params": {},
        "metrics": {key: {"name": key, "value": value, "params": {}} for key, value in metrics.items() if not math.isnan(value)},
        "metadata": {"what": _READINGS[name]},
    }


def _sample(test: Answered, each: Asked) -> dict[str, Any]:
    """One question. Options have letters in the source's order, whatever order they were shown in."""
    letters = [chr(ord("A") + place) for place in range(len(each.logprobs))]
    chosen = None if each.chosen is None else letters[each.chosen]
    right = chr(ord("A") + each.answer)
    unscored = {} if each.credit else {"error": {"message": each.state, "traceback": "", "traceback_ansi": ""}}
    message = {"role": "assistant", "content": chosen or "", "source": "generate"}
    return {
        "id": each.mcq_id,
        "epoch": 1,
        "input": each.text or each.mcq_id,
        "choices": list(each.options) if each.options else letters,
        "target": right,
        "messages": [],
        "output": {"model": test.model, "choices": [{"message": message, "stop_reason": "stop"}] if each.credit else []},
        "scores": {name: {"value": value, **({"answer": chosen} if chosen and name == "choice" else {})} for name, value in each.credit.items()},
        "metadata": {
            "template_id": each.template_id,
            "group": each.group,
            "topic": each.topic,
            "culture": test.culture,
            "orders": each.orders,
            "logprobs": list(each.logprobs),
        },
        "store": {},
        "events": [],
        "model_usage": {},
        "attachments": {},
        **unscored,
    }
