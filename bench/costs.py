"""Measures training steps and tests beside what `affinage.study.costs` says of them, and prints the fit of its factors anew.

    OMP_NUM_THREADS=1 python bench/costs.py
    python bench/costs.py --model smollm2 --device cuda

On a CPU it counts processor time of one thread, which other processes disturb little; on CUDA the clock. With SmolLM2 and the shipped questions
it takes about a minute.
"""

# ruff: noqa: T201  (a script prints)

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.optimize import lsq_linear

from affinage import backbone, data
from affinage.config import DataConfig, MethodConfig, ModelConfig, PromptConfig, TrainingConfig
from affinage.evaluate import evaluate
from affinage.methods import resolve
from affinage.study.costs import Counts, Rates, bytes_of, formulas, measure, sample, seconds_of
from affinage.train import Batch, batches, cohort_losses

STEPS = (
    ("text", "choice", 4, "prompt-tuning", 8),
    ("text", "choice", 4, "prompt-tuning", 32),
    ("text", "choice", 4, "lora", 32),
    ("text", "choice", 4, "prompt-tuning", 96),
    ("text", "choice", 1, "prompt-tuning", 16),
    ("letters", "answer", 1, "prompt-tuning", 4),
    ("letters", "answer", 1, "prompt-tuning", 16),
    ("letters", "answer", 1, "prefix-tuning", 16),
    ("letters", "answer", 4, "lora", 48),
)
"""Style, loss, questions per template, method, batch size."""

TESTS = (("text", 100), ("letters", 48), ("text", 500))
"""Style, questions."""

FACTORS = ("_NODE_PASSES", "_ATTENTION_PASSES", "_CALLS", "_LOGIT_PASSES")


def main() -> None:
    """Prints measured and predicted seconds, counted and predicted bytes, and the factors that fit best."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    config = ModelConfig(id=given.model, device=given.device, threads=1)
    clock = time.perf_counter if given.device.startswith("cuda") else time.process_time
    measure.time = SimpleNamespace(perf_counter=clock)  # type: ignore[attr-defined, assignment]  # the rates by the same clock
    loaded = backbone.load(config)
    dataset = data.load(DataConfig())
    asked = dataset.questions(dataset.select(cultures=("South_Korea",)).frame)
    seconds, packs, kinds, rates = [], [], [], []
    for style, loss, together, name, size in STEPS:
        prompt, training = PromptConfig(style=style), TrainingConfig(loss=loss, batch_size=size, questions_per_template=together)
        method = resolve(MethodConfig(name=name), training)
        adapter = method.build(loaded, (name, "costs", 0, 0))
        batch = next(batches(loaded.tokens.encode_all(asked, prompt, seed=0)[0], training, 0, 0))
        about = sample.adapter_of(method, loaded.shape)
        sides = sample.first_batches(asked, loaded.tokens, training, prompt, members=1, seed=0)
        laid = sample.training_step(sides, loss, prompt.score, about, nodes_per_pack=None)
        rates.append(measure.measure(loaded.shape, config))
        step = lambda: cohort_losses(loaded, [Batch(adapter, batch)], loss, "total")  # noqa: E731, B023
        seconds.append(_fastest(step, clock))
        packs.append(laid.packs)
        kinds.append(
            (f"{name}, {style}, {size}", True, _kept(loaded, step), bytes_of(laid.packs[0], loaded.shape, width=2, training=True, adapter=about))
        )
    for style, size in TESTS:
        prompt = PromptConfig(style=style)
        near = sorted(asked, key=lambda mcq: (mcq.template_id, mcq.mcq_id))[:size]
        encoded = loaded.tokens.encode_all(near, prompt, seed=0)[0]
        sample.TESTED = size
        laid = sample.testing_step(near, loaded.tokens, prompt, formulas.Adapter(), nodes_per_pack=4096, seed=0, asked="one")
        seconds.append(_fastest(lambda: evaluate(loaded, None, encoded, prompt=prompt), clock))  # noqa: B023
        packs.append(laid.packs)
        kinds.append((f"test, {style}, {size}", False, 0, 0))
    medians = [float(np.median([getattr(each, name) for each in rates])) for name in ("weight", "product", "batched", "traffic", "call")]
    weight, product, batched, traffic, call = medians
    middle = Rates(weight, product, batched, traffic, call, overlapped=given.device.startswith("cuda"))
    print(middle)
    for took, laid_out, (name, training_pass, kept, told) in zip(seconds, packs, kinds, strict=True):
        predicted = sum(seconds_of(pack, loaded.shape, middle, width=2, training=training_pass) for pack in laid_out)
        nodes = sum(pack.nodes for pack in laid_out)
        print(f"{name:30} {nodes:6} nodes {took:7.2f} s, predicted {predicted:7.2f}; kept {kept / 1e9:5.2f} GB, told {told / 1e9:5.2f}")
    _fit(seconds, packs, [kind[1] for kind in kinds], lambda pack, training: seconds_of(pack, loaded.shape, middle, width=2, training=training))


def _fit(took: list[float], packs: list[tuple[Counts, ...]], training: list[bool], seconds: Callable[[Counts, bool], float]) -> None:
    """Least squares of relative errors over the factors, each times its seconds at 1; the products' rates stay as measured."""

    def at(**values: float) -> Any:
        before = {name: getattr(formulas, name) for name in (*FACTORS, "_CALLS_PER_GROUP")}
        for name in before:
            setattr(formulas, name, values.get(name, 0.0))
        total = np.array([sum(seconds(pack, passes) for pack in laid) for laid, passes in zip(packs, training, strict=True)])
        for name, value in before.items():
            setattr(formulas, name, value)
        return total / np.array(took)

    alone = at()
    # What a group of strips calls is held at a third of what a layer calls.
    parts = [at(**{name: 1.0, **({"_CALLS_PER_GROUP": 1 / 3} if name == "_CALLS" else {})}) - alone for name in FACTORS]
    found = lsq_linear(np.stack(parts, axis=1), 1 - alone, bounds=([1, 1, 10, 1], [30, 30, 600, 12]))
    print("fit:", ", ".join(f"{name} {value:.3g}" for name, value in zip(FACTORS, found.x, strict=True)))
    print("relative errors in percent:", np.round(100 * (np.stack(parts, axis=1) @ found.x - (1 - alone))).astype(int).tolist())


def _fastest(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """The faster of two."""
    times = []
    for _ in range(2):
        began = clock()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(clock() - began)
    return min(times)


def _kept(loaded: backbone.Backbone, step: Callable[[], object]) -> int:
    """Bytes that autograd keeps of a step, each storage once, weights left out."""
    storages: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        step()
    frozen = {parameter.untyped_storage().data_ptr() for parameter in loaded.model.parameters()}
    return sum(size for pointer, size in storages.items() if pointer not in frozen)


if __name__ == "__main__":
    main()
