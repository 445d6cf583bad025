"""Who can be compared: our side and its peers, each loaded in its own process by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

from affinage.records import UserError
from affinage.registry import Registry, suggest

if TYPE_CHECKING:
    from affinage.bench.sides.base import EvaluationSide, TrainingSide
    from affinage.bench.work import Work

__all__ = ["EXACT", "OURS", "Kind", "Side", "candidates", "load_side", "peers", "require", "sides"]

Kind = Literal["train", "eval"]
Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Side:
    """One way of doing the work."""

    what: str
    """One line for tables' notes: how it is set up."""
    kind: Kind
    place: str
    """`module:class` below `affinage.bench.sides`."""
    needs: tuple[str, ...] = ()
    """Modules that must be installed."""
    tuned: tuple[Options, ...] = ()
    """Set-ups of which the fastest is taken; empty: it runs as it comes."""
    low_rank: tuple[Options, ...] = ()
    """Further set-ups that make a difference for low-rank updates in bfloat16 only."""


OURS: Mapping[Kind, str] = {"train": "affinage", "eval": "affinage-eval"}
"""Our side of each bench."""

EXACT: Mapping[Kind, tuple[str, Options]] = {
    "train": ("peft-loop-tuned", {"attention": "eager", "precise": True}),
    "eval": ("peft-eval", {"precise": True}),
}
"""The side and its set-up that computes in float64, where float32 of two sides is too far apart to judge."""

sides: Registry[Side] = Registry("side of the bench")

_KERNELS = ({"attention": "sdpa"}, {"attention": "eager"})
_BATCHES = ({"batch_size": 4}, {"batch_size": 16}, {"batch_size": 64})

sides.add("affinage", Side("a step of `affinage train`: one token tree per batch", "train", "ours:OurTraining"))
sides.add(
    "peft-loop",
    Side(
        "PEFT in a plain torch loop as it comes: padded to the longest of the batch, the model's own loss over all logits, default attention",
        "train",
        "peft_loop:PeftLoop",
        ("peft",),
    ),
)
sides.add(
    "peft-loop-tuned",
    Side(
        "PEFT in a torch loop at its best: padded to the longest of the batch, output layer at the answers only, the faster of sdpa and eager "
        "(for LoRA in bfloat16 also with autocast), compiled where ours is",
        "train",
        "peft_loop:TunedPeftLoop",
        ("peft",),
        tuned=_KERNELS,
        low_rank=tuple({**kernel, "autocast": True} for kernel in _KERNELS),
    ),
)
sides.add(
    "trainer",
    Side(
        "Hugging Face Trainer over PEFT with its defaults, padded to the longest of the batch",
        "train",
        "trainer:HubTrainer",
        ("peft", "accelerate"),
    ),
)
sides.add(
    "trl",
    Side(
        "TRL's SFTTrainer over PEFT with its defaults, loss on completions only", "train", "sft:SftTrainer", ("trl", "peft", "accelerate", "datasets")
    ),
)
sides.add("affinage-eval", Side("`affinage evaluate`: packs of token trees", "eval", "ours:OurEvaluation"))
sides.add(
    "peft-eval",
    Side("PEFT and transformers, one forward a question (its options side by side, padded)", "eval", "peft_evaluation:PeftEvaluation", ("peft",)),
)
sides.add(
    "lm-eval",
    Side(
        "lm-evaluation-harness, hf backend, with its defaults (batch size 1): one forward a question for letters, one per option for texts",
        "eval",
        "harness:Harness",
        ("lm_eval", "peft"),
    ),
)
sides.add(
    "lm-eval-tuned",
    Side(
        "lm-evaluation-harness, hf backend, at the fastest of batch sizes 4, 16 and 64",
        "eval",
        "harness:Harness",
        ("lm_eval", "peft"),
        tuned=_BATCHES,
    ),
)
sides.add(
    "generate",
    Side(
        "`generate` of transformers over PEFT, greedy, one new token, one question at a time; letters only, and the letter is all that it tells",
        "eval",
        "generate:Generate",
        ("peft",),
    ),
)
sides.add(
    "generate-tuned",
    Side(
        "the same in batches of like lengths, at the fastest of at most 4, 16 and 64 questions (prompt-tuning: of equal lengths, since PEFT puts "
        "the virtual tokens before the padding)",
        "eval",
        "generate:Generate",
        ("peft",),
        tuned=_BATCHES,
    ),
)


def peers(kind: Kind) -> tuple[str, ...]:
    """Names of whom our side can be compared with."""
    return tuple(name for name in sides if sides.get(name).kind == kind and name != OURS[kind])


def require(names: Iterable[str], kind: Kind) -> None:
    """Refuses peers that are unknown or not installed.

    Raises:
        UserError: all of them together, each with what to install.
    """
    faults = []
    for name in names:
        if name not in peers(kind):
            faults.append(UserError("--peer", repr(name), f"a peer of `affinage bench {kind}`", suggest(name, peers(kind))))
            continue
        missing = [module for module in sides.get(name).needs if find_spec(module) is None]
        if missing:
            todo = "Install the bench's peers (pip install 'affinage[bench]'), or name others with --peer."
            faults.append(UserError(f"peer {name}", f"no {', '.join(missing)}", "it installed", todo))
    if faults:
        raise UserError.join(faults)


def candidates(name: str, method: str, dtype: str) -> Sequence[Options]:
    """The set-ups of a side among which the fastest is found; one empty set-up for a side that runs as it comes."""
    side = sides.get(name)
    return (*side.tuned, *(side.low_rank if method == "lora" and dtype == "bfloat16" else ())) or ({},)


def load_side(name: str, work: Work, options: Options) -> TrainingSide | EvaluationSide:
    """The side, its model loaded, in this process."""
    module, _, kind = sides.get(name).place.partition(":")
    loaded: TrainingSide | EvaluationSide = getattr(import_module(f"{__name__}.{module}"), kind)(work, **options)
    return loaded
