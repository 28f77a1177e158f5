"""Memory of a rank by part, as launchers/README.md derives it."""

from dataclasses import dataclass

from hybrid_dist.estimating.model_size import ModelSize

STRATEGIES = (
    "single",
    "ddp",
    "zero1",
    "zero2",
    "zero3",
    "fsdp2",
    "zero2-offload",
    "zero3-offload",
)
"""Names of launcher files, by the memory that they take."""
BUCKETS = 2 * 2 * 500_000_000
"""DeepSpeed's, for gradients and for weights, of 500 million numbers in 16 bits each."""
SAVED = {"autocast": 42, "cast": 34, "fp32": 66}
"""Bytes that a layer keeps for every token and unit of width, by precision: mixed by autocast, with
weights and activations in 16 bits, or in fp32."""
SAVED_IN_CHUNKS = 60
"""The same under autocast where a step has several chunks: 57 and 62 with chunks of 64 and 256
pairs on an H100 (benchmarks/results/h100-2026-11-26)."""
INPUTS = {"autocast": 4, "cast": 2, "fp32": 4}
"""Bytes of a layer's inputs, which are all that is kept with train.gradient_checkpointing."""
LOSS_ROWS = 512
"""Rows of logits in a strip."""


PARTS = {
    "states": "weights, gradients and AdamW's states",
    "casts": "autocast's 16-bit copies of the layers' matrices",
    "buckets": "DeepSpeed's buffers of gradients and weights",
    "sum": "the sum of gradients over chunks, in fp32",
    "average": "the moving average of the weights",
    "activations": "what layers keep for the backward pass, of the longest chunk",
    "loss": "vectors of all ranks, their gradients, and a strip of logits",
}


@dataclass(frozen=True)
class Memory:
    """Bytes by part."""

    parts: dict[str, float]
    """On the card."""
    host: float = 0.0
    """In main memory, of each rank."""

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Step:
    """What the memory of a step depends on beside the model."""

    chunks: int
    tokens: int
    """Of the heaviest chunk."""
    vectors: int
    """Vectors of all ranks that the loss holds, copies included."""
    candidates: int
    """Candidates of all ranks."""
    precision: str
    recompute_layers: bool = False
    """train.gradient_checkpointing."""
    average: bool = False
    """train.ema."""


def memory(size: ModelSize, strategy: str, world: int, step: Step) -> Memory:
    """Of each of `world` ranks."""
    weights, host = _weights(size, strategy, world, step.precision)
    parts = {"states": weights}
    kind = arithmetic(strategy, step.precision)
    if kind == "autocast":
        parts["casts"] = 2.0 * size.matrices
    if strategy.startswith("zero"):
        parts["buckets"] = float(BUCKETS)
    if step.chunks > 1:
        of_sum = 2 if strategy == "zero1" else 4
        parts["sum"] = float(of_sum * size.trained)
    if step.average:
        parts["average"] = 4.0 * size.parameters
    parts["activations"] = float(saved(size, kind, step) * step.tokens)
    parts["loss"] = float(2 * 4 * size.width * step.vectors + 3 * 4 * LOSS_ROWS * step.candidates)
    return Memory(parts, host)


def arithmetic(strategy: str, precision: str) -> str:
    """How numbers are kept: a key of SAVED."""
    if precision == "fp32":
        return "fp32"
    return "autocast" if strategy in ("single", "ddp") else "cast"


def saved(size: ModelSize, kind: str, step: Step) -> float:
    """Bytes of activations for a token."""
    of_layer = SAVED_IN_CHUNKS if kind == "autocast" and step.chunks > 1 else SAVED[kind]
    if step.recompute_layers:
        return (INPUTS[kind] * size.layers + of_layer) * size.width
    return of_layer * size.layers * size.width


def _weights(size: ModelSize, strategy: str, world: int, precision: str) -> tuple[float, float]:
    """Bytes of weights, gradients and AdamW's states: on the card, and in main memory."""
    trained, frozen = size.trained, size.parameters - size.trained
    whole, gathered = (4, 4) if precision == "fp32" else (2, 2)
    if strategy in ("single", "ddp"):
        return 16.0 * trained + 4.0 * frozen, 0.0
    states = 8 if precision == "fp32" else 12  # with an fp32 copy of 16-bit weights
    if strategy == "zero1":
        return (2 * whole + states / world) * trained + whole * frozen, 0.0
    if strategy == "zero2":
        return (whole + (whole + states) / world) * trained + whole * frozen, 0.0
    if strategy == "fsdp2":
        return (gathered + 16 / world) * trained + (gathered + 4 / world) * frozen, 0.0
    if strategy == "zero3":
        shared = (2 * whole + states) * trained + whole * frozen
        return gathered * size.parameters + shared / world, 0.0
    in_main_memory = (4 + states) * trained / world
    if strategy == "zero3-offload":
        in_main_memory += whole * size.parameters / world
    return float(gathered * size.parameters), in_main_memory
