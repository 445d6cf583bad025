"""Time and memory of one pack, from what it counts and from a machine's rates.

A pack of N nodes costs, in a model with P parameters in the linear modules of its L decoder layers, width H and V rows of the output layer:

* products: 2 P N floating-point operations forward. Backward, gradients flow to the input alone, since the weights are frozen: as many
  again (twice as many where the weights themselves are trained). The output layer is computed at the M nodes that predict something: 2 V H M,
  and again. On a CPU each product also reads and repacks its weight, however few the nodes;
* attention: strips are padded, so what counts is the padded pairs of queries and keys: 4 operations per pair and unit of width forward, and 8
  more backward;
* element-wise work (norms, gates, rotations, copies, gathering keys for strips, softmax), in bytes that move;
* calls: a fixed part per layer and per group of strips; on CUDA they overlap with the work, so that the longer of the two counts;
* the batch's way from sequences to a tree in Python, per sequence.

An optimiser step moves every trained value a number of times.

What a machine needs for each of these is measured (`measure`) or given by hand. The factors in between, named below, were fitted on
SmolLM2-135M in bfloat16 on one CPU core: nine training steps of 140 to 1,900 nodes (prompt-tuning, prefix-tuning, LoRA; answers as letters and as
texts) and three test sets, in processor time beside the machine's rates. Norms, attention's weights and the loss have become cheaper since: on one
core a step now takes 0.7 to 1.05 of what is told. They stay, for on two cores small operations do not run side by side as the rates' large ones do:
the demo's prompt-tuning took 0.94 of what they tell, its LoRA 1.44, testing 0.96, all of it 1.09 (and 1.30 of what factors fitted anew on one core
told). `bench/costs.py` measures the like and prints the fit. On CUDA nothing was measured yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from affinage.records import BackboneShape

if TYPE_CHECKING:
    from affinage.config import ModelConfig

__all__ = [
    "Adapter",
    "Counts",
    "Machine",
    "Rates",
    "Step",
    "bytes_of",
    "given_rates",
    "optimiser_seconds",
    "seconds_of",
    "state_bytes",
    "step_bytes",
    "step_seconds",
    "weight_bytes",
]

_NODE_PASSES = 2.0
"""Times that a node's values of one layer (what its linear modules give, and two norms in float32) move through memory, forward."""

_ATTENTION_PASSES = 13.0
"""Times that gathered keys and values, and scores in float32, move, forward."""

_LOGIT_PASSES = 12.0
"""Times that a logit, in the model's type and twice in float32, moves, forward."""

_CALLS, _CALLS_PER_GROUP = 160.0, 55.0
"""Operations of a layer, and of a group of strips in it, forward."""

_BACKWARD = 2.0
"""Element-wise work and calls of the backward pass, in multiples of the forward pass."""

_PER_BRANCH = 6e-5
"""Seconds of Python per sequence of a pack."""

_OPTIMISER_PASSES = 16
"""Times that a trained value moves in a step: gradient zeroed, its norm, AdamW's reads and writes of value, gradient and two moments."""

_PER_TRAINED_VALUE = 16
"""Bytes of a trained value: itself, its gradient and two moments, float32."""

_LOGIT_BYTES = 16
"""Bytes per logit beside the logit itself in the model's type: in float32 the logit, its logarithm's and both of their gradients."""

_QUANTISED = {"8bit": 1.0, "4bit": 0.5}
"""Bytes of a quantised weight; the scales beside it are left out."""

_SCATTERED = 1.1
"""What the process takes for what is kept: freed pieces lie between kept ones."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a machine needs for each kind of work with one model, in seconds."""

    weight: float
    """Per parameter of a product, however many nodes (read, repacked)."""
    product: float
    """Per parameter and node of a product: two operations."""
    batched: float
    """Per multiply-add of small batched products."""
    traffic: float
    """Per byte that element-wise work moves."""
    call: float
    """Per operation, however small."""
    overlapped: bool = False
    """Whether calls are made while earlier ones are still computed (CUDA)."""
    source: str = "given by hand"
    """Where these come from."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What a study runs on."""

    kind: str
    """`cpu` or `cuda`."""
    free: int
    """Bytes that this process may still take on the device, before the model is loaded."""
    rates: Rates


@dataclass(frozen=True, slots=True)
class Adapter:
    """What of an adapter costs time and memory."""

    trained: int = 0
    """Its values."""
    virtual: int = 0
    """Its virtual tokens or prefix slots; a slot counts as a node, of which a cohort has few."""
    updates: bool = False
    """Whether it updates linear modules."""
    after_context: bool = False
    """Whether its virtual tokens stand behind the context."""
    weights: bool = False
    """Whether it trains the model's own weights, whose gradients are products too."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What of a pack costs time and memory."""

    nodes: int
    predicted: int
    """Nodes whose logits are read."""
    pairs: int
    """Queries times keys of all strips, padding and prefix slots counted."""
    queries: int
    """Gathered queries, padding counted."""
    keys: int
    """Gathered keys, padding and prefix slots counted."""
    groups: int
    """Groups of strips of similar length."""
    branches: int
    """Sequences."""


@dataclass(frozen=True, slots=True)
class Step:
    """One batch of each adapter of a cohort, or some questions that are tested, as packs."""

    packs: tuple[Counts, ...]
    questions: int
    read: tuple[Counts, ...] = ()
    """Packs of contexts that are read before them, without gradient."""


def given_rates(teraflops: float) -> Rates:
    """Rates by hand: every product at so many 10^12 operations a second, all else for nothing.

    Args:
        teraflops: what the machine reaches, not what its maker names.
    """
    pair = 2 / (teraflops * 1e12)
    return Rates(weight=0.0, product=pair, batched=pair, traffic=0.0, call=0.0, overlapped=True)


def seconds_of(pack: Counts, shape: BackboneShape, rates: Rates, *, width: int, training: bool, weights: bool = False) -> float:
    """Seconds of a pack, forward and, in training, backward.

    Args:
        pack: what it counts.
        shape: the model's.
        rates: the machine's.
        width: bytes of one value of the model's type.
        training: whether there is a backward pass.
        weights: whether the model's weights have gradients there too.
    """
    passes = (3 if weights else 2) if training else 1
    inner = linear_parameters(shape)
    outer = shape.vocabulary * shape.width
    products = passes * (rates.weight * (inner + outer) + rates.product * (inner * pack.nodes + outer * pack.predicted))
    attention = rates.batched * 2 * (3 if training else 1) * pack.pairs * attention_width(shape) * shape.layers
    of_nodes, of_strips = traffic_of(pack, shape, width)
    of_logits = pack.predicted * shape.vocabulary * (width + 8)
    again = 1 + (_BACKWARD if training else 0)
    elementwise = rates.traffic * again * (_NODE_PASSES * of_nodes + _ATTENTION_PASSES * of_strips + _LOGIT_PASSES * of_logits)
    calls = rates.call * calls_of(pack, shape) * again
    work = products + attention + elementwise
    return (max(work, calls) if rates.overlapped else work + calls) + (_PER_BRANCH * pack.branches if rates.call else 0.0)


def traffic_of(pack: Counts, shape: BackboneShape, width: int) -> tuple[float, float]:
    """Bytes of the values that a forward pass makes: of the nodes in every layer, and of attention's strips."""
    values = pack.nodes * (_outputs(shape) * width + 8 * shape.width * shape.layers)
    return values, shape.layers * _strip_bytes(pack, shape, width, per_score=4 + width)


def _strip_bytes(pack: Counts, shape: BackboneShape, width: int, *, per_score: int) -> float:
    """Bytes of one layer's strips: gathered keys, values and queries in the model's type, and every head's scores at `per_score` bytes each."""
    gathered = 2 * pack.keys * shape.kv_heads * shape.head_width * width + pack.queries * attention_width(shape) * width
    return gathered + pack.pairs * (attention_width(shape) // shape.head_width) * per_score


def calls_of(pack: Counts, shape: BackboneShape) -> float:
    """Operations of a forward pass."""
    return shape.layers * (_CALLS + _CALLS_PER_GROUP * pack.groups)


def optimiser_seconds(trained: int, rates: Rates) -> float:
    """Seconds of one optimiser step.

    Args:
        trained: values of the adapter.
        rates: the machine's.
    """
    return rates.traffic * 4 * _OPTIMISER_PASSES * trained


def bytes_of(
    pack: Counts,
    shape: BackboneShape,
    *,
    width: int,
    training: bool,
    adapter: Adapter,
    members: int = 1,
    recomputed: bool = False,
) -> int:
    """Largest bytes of a pack beside the model: what the forward pass keeps for the backward pass, the logits, and the adapters' own.

    Kept per layer and node: two norms' inputs in float32, and of a gated feed-forward three of its four inner values; for attention the
    gathered queries, keys and values and 4 bytes a score, its float32 value (where weights are a plain softmax, the weight alone is kept,
    in bfloat16 half of that). Methods that update linear modules keep what goes into these. A plain multiple of the layer's width (16.3
    values per node: 33 bytes per unit of width in bfloat16) misses attention's part and the logits, which depend on the strips and on the
    answers. Norms that are computed in fewer passes (`backbone.norms`) keep half of what is told for them in bfloat16. All in all it tells
    1.4 to 1.7 times of what autograd kept in the nine steps by which times were fitted; some of that is the logits' gradients, which come later.

    Args:
        pack: the largest of a step.
        shape: the model's.
        width: bytes of one value of the model's type.
        training: whether a backward pass follows; without one a layer's values are gone when the next begins.
        adapter: each of the cohort's.
        members: of the cohort.
        recomputed: whether layers are computed again in the backward pass (gradient checkpointing).
    """
    layers = max(1, shape.layers)
    attention = attention_width(shape) + 2 * shape.kv_heads * shape.head_width
    feed_forward = max(0.0, _outputs(shape) / layers - attention - 2 * shape.width)
    per_node = 8 * shape.width + 1.5 * width * feed_forward
    if training and (adapter.updates or adapter.weights):
        # The inputs of queries, keys and values are one tensor, so are those of a gate and its partner.
        per_node += width * (2 * shape.width + attention_width(shape) + feed_forward / 2)
    # What training keeps of a score is its float32 value or its weight; without a backward pass both are there at once.
    layer = pack.nodes * per_node + _strip_bytes(pack, shape, width, per_score=4 if training else 4 + width)
    if not training:
        kept = layer
    elif recomputed:
        kept = layers * pack.nodes * shape.width * width + layer
    else:
        kept = layers * layer
    logits = pack.predicted * shape.vocabulary * (width + (_LOGIT_BYTES if training else 8))
    # Trained weights are added to the frozen ones in each pass: their sums and the sums' gradients, in the model's type.
    sums = shape.parameters * width * (2 if training else 1) if adapter.weights else 0
    return int(_SCATTERED * (kept + logits) + sums + (members * adapter.trained * _PER_TRAINED_VALUE if training else 4 * adapter.trained))


def linear_parameters(shape: BackboneShape) -> int:
    """Parameters that every node is multiplied with: those of the plain linear modules; without any (GPT-2's), all but the embedding."""
    inside = sum(inputs * outputs for _, inputs, outputs in shape.linears)
    return inside or max(0, shape.parameters - shape.vocabulary * shape.width)


def weight_bytes(shape: BackboneShape, model: ModelConfig) -> int:
    """Bytes of the frozen weights: quantised ones of the linear modules in the decoder layers, all others in the model's type."""
    width = 2 if model.dtype == "bfloat16" else 4
    inside = sum(inputs * outputs for _, inputs, outputs in shape.linears)
    return int((shape.parameters - inside) * width + inside * _QUANTISED.get(model.quantisation, width))


def attention_width(shape: BackboneShape) -> int:
    """Query heads times their width, read off the module that takes the heads' results; H where none is called so."""
    ends = ("o_proj", "out_proj", "dense", "wo")
    return next((inputs for name, inputs, _ in shape.linears if name.endswith(ends) and inputs % shape.head_width == 0), shape.width)


def step_seconds(step: Step, shape: BackboneShape, rates: Rates, *, width: int, adapter: Adapter, members: int) -> float:
    """Seconds of a training step of a whole cohort, optimisers included."""
    passes = sum(seconds_of(pack, shape, rates, width=width, training=True, weights=adapter.weights) for pack in step.packs)
    passes += sum(seconds_of(pack, shape, rates, width=width, training=False) for pack in step.read)
    return passes + members * optimiser_seconds(adapter.trained, rates)


def step_bytes(step: Step, shape: BackboneShape, **known: Any) -> int:
    """Bytes of the pack that needs most (`bytes_of`), with the states of its contexts where they are computed apart."""
    apart = max((state_bytes(pack.nodes, shape, width=known["width"]) for pack in step.read), default=0)
    return max((bytes_of(pack, shape, **known) for pack in step.packs), default=0) + apart


def state_bytes(nodes: float, shape: BackboneShape, *, width: int) -> int:
    """Bytes of the keys and values of so many nodes in all layers, 2 * L * K * D values each.

    Args:
        nodes: of token trees, so that what contexts share counts once.
        shape: the model's.
        width: bytes of one value of the model's type.
    """
    return int(2 * shape.layers * shape.kv_heads * shape.head_width * width * nodes)


def _outputs(shape: BackboneShape) -> float:
    """Values that the linear modules of all layers give a node; about nine times the width where there are no plain ones."""
    return sum(outputs for _, _, outputs in shape.linears) or 9.0 * shape.width * shape.layers
