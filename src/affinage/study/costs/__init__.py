"""What a study will take, before it starts: seconds and bytes as functions of questions, cultures, adapters, nodes and model size."""

from affinage.study.costs.formulas import (
    Adapter,
    Counts,
    Machine,
    Rates,
    Step,
    bytes_of,
    given_rates,
    seconds_of,
    state_bytes,
    step_bytes,
    step_seconds,
    weight_bytes,
)

__all__ = [
    "Adapter",
    "Counts",
    "Machine",
    "Rates",
    "Step",
    "bytes_of",
    "given_rates",
    "seconds_of",
    "state_bytes",
    "step_bytes",
    "step_seconds",
    "weight_bytes",
]
