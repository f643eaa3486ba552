"""Estimates of the memory of a run's parts, in bytes, for float32 (or for `each` bytes per number).

They add up to the peak: the weights of each model, gradients, Adam's two moments, activations kept for the backward
pass, logits, and the KV cache of answers being generated. Gradients appear while activations are freed, and yet both
count: memory freed in small pieces stays with the process.
"""

from dataclasses import dataclass
from typing import Literal

from steersman.costs.shape import FUSED, Shape

Number = int | float
FLOAT = 4
# Share of the generation's memory that stays with the process during training (measured).
STAYS = 0.35
# Rows up to this length keep all their attention probabilities (see `models.row_attention.SHORT`).
SHORT = 160
# Logits per chunk, by device, and the minimum number of positions per chunk (see `maths.chunked_log_probs`).
LOGITS_PER_CHUNK, FEWEST_POSITIONS = {"cpu": 8 * 2**20, "cuda": 64 * 2**20}, 128


@dataclass(frozen=True, slots=True)
class Bytes:
    """Memory in bytes, by purpose."""

    weights: Number = 0
    adapters: Number = 0
    gradients: Number = 0
    optimiser: Number = 0
    activations: Number = 0
    logits: Number = 0
    key_value: Number = 0
    decoder: Number = 0
    libraries: Number = 0

    def rows(self) -> dict[str, Number]:
        return {name: getattr(self, name) for name in self.__slots__}

    @property
    def total(self) -> Number:
        return sum(self.rows().values())

    def __add__(self, other: "Bytes") -> "Bytes":
        return Bytes(*(mine + theirs for mine, theirs in zip(self.rows().values(), other.rows().values(), strict=True)))


# Bytes of each number of a moment; in 8 bits each block of 256 has a float32 scale.
MOMENT = {"float32": FLOAT, "8bit": 1 + FLOAT / 256}


def learning(parameters: int, states: str = "float32") -> Bytes:
    """Gradients (float32) and Adam's two moments of this many trained parameters."""
    return Bytes(gradients=FLOAT * parameters, optimiser=2 * MOMENT[states] * parameters)


def kept_a_token(shape: Shape, longest: int) -> Number:
    """Numbers that one layer keeps per token for the backward pass."""
    queries, keys = shape.heads * shape.size, shape.key_heads * shape.size
    probabilities = shape.heads * longest if longest <= SHORT else 2 * queries
    if shape.family in FUSED:
        return 2 * shape.hidden + 2 * queries + 2 * keys + 2 * shape.inner + probabilities
    # With transformers' own modules: the inputs of every matrix product, of both norms and of the operations between.
    middle = (4 if shape.gated else 2) * shape.inner
    return 6 * shape.hidden + 3 * queries + 4 * keys + middle + probabilities


def activations(shape: Shape, tokens: Number, longest: int, *, checkpointing: bool, read: Number = 1) -> Number:
    """Activations that all layers keep for a micro-batch of `tokens`. `read` is the share of tokens that the last layer
    computes fully."""
    a_layer = kept_a_token(shape, longest)
    if checkpointing:
        return FLOAT * tokens * (shape.hidden * shape.layers + a_layer)
    keys = 2 * shape.key_heads * shape.size + shape.hidden
    last = keys + read * (a_layer - keys) if shape.family in FUSED else a_layer
    return FLOAT * tokens * (a_layer * (shape.layers - 1) + last)


def at_work(shape: Shape, tokens: Number) -> Number:
    """Temporary memory of one layer during its backward pass."""
    return FLOAT * tokens * (3 * shape.inner + 4 * shape.hidden)


def logits(shape: Shape, positions: Number, *, device: str = "cpu", learns: bool = False) -> Number:
    """Two buffers of one chunk of logits. If a tied output layer is trained, also its gradient, before it is added to
    the embedding's."""
    chunk = max(FEWEST_POSITIONS, LOGITS_PER_CHUNK.get(device, LOGITS_PER_CHUNK["cpu"]) // shape.vocabulary)
    return FLOAT * (2.0 * min(chunk, positions) * shape.vocabulary + (shape.embedding if learns and shape.tied else 0))


def reading(shape: Shape, tokens: Number) -> Number:
    """Activations of a forward pass without gradients: those of one layer at a time."""
    widest = shape.size * (2 * shape.heads + 2 * shape.key_heads) + 3 * shape.inner + 4 * shape.hidden
    return FLOAT * tokens * widest


def libraries(kind: Literal["rows", "judged", "answers"]) -> Number:
    """Memory that libraries allocate on first use: threads, kernels, scratch space, the tokeniser, Python objects.

    Measured with models of almost no weights: for training on rows, on judgements, and on sampled answers.
    """
    return {"rows": 38e6, "judged": 47e6, "answers": 46e6}[kind]


def keys_and_values(shape: Shape, rows: int, capacity: int, *, each: int = FLOAT) -> Number:
    """The KV cache of `rows` sequences of up to `capacity` tokens."""
    return 2.0 * each * rows * capacity * shape.layers * shape.key_heads * shape.size
