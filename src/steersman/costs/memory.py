"""How many bytes the parts of a run take, in float32 (or what `each` says a number takes).

What is added up is what is alive at the widest moment; the largest pieces are the weights of each role, gradients and the two
moments of Adam, what the layers keep for the backward pass, logits, and the keys and values of answers in the making. Gradients
come as activations go, and yet both count: what is given back in small pieces stays with the process.
"""

from dataclasses import dataclass
from typing import Literal

from steersman.costs.shape import FUSED, Shape

Number = int | float
FLOAT = 4
# What stays with the process of the memory that answers were made in, while it learns from them (measured).
STAYS = 0.35
# Rows whose attention probabilities are kept whole (see `models.row_attention.SHORT`).
SHORT = 160
# Logits in one chunk by device, and the fewest positions (see `maths.chunked_log_probs`).
LOGITS_PER_CHUNK, FEWEST_POSITIONS = {"cpu": 8 * 2**20, "cuda": 64 * 2**20}, 128


@dataclass(frozen=True, slots=True)
class Bytes:
    """Memory by what it is for."""

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


def learning(parameters: int) -> Bytes:
    """Gradients and Adam's two moments of so many weights, which stay in float32."""
    return Bytes(gradients=FLOAT * parameters, optimiser=2 * FLOAT * parameters)


def kept_a_token(shape: Shape, longest: int) -> Number:
    """Numbers that one layer keeps of one token for the backward pass."""
    queries, keys = shape.heads * shape.size, shape.key_heads * shape.size
    probabilities = shape.heads * longest if longest <= SHORT else 2 * queries
    if shape.family in FUSED:
        return 2 * shape.hidden + 2 * queries + 2 * keys + 2 * shape.inner + probabilities
    # By transformers' own modules: inputs of every product, of both norms and of what stands between.
    middle = (4 if shape.gated else 2) * shape.inner
    return 6 * shape.hidden + 3 * queries + 4 * keys + middle + probabilities


def activations(shape: Shape, tokens: Number, longest: int, *, checkpointing: bool, read: Number = 1) -> Number:
    """What all layers keep of a micro-batch of so many tokens. `read` is the share of the tokens that the last layer computes whole."""
    a_layer = kept_a_token(shape, longest)
    if checkpointing:
        return FLOAT * tokens * (shape.hidden * shape.layers + a_layer)
    keys = 2 * shape.key_heads * shape.size + shape.hidden
    last = keys + read * (a_layer - keys) if shape.family in FUSED else a_layer
    return FLOAT * tokens * (a_layer * (shape.layers - 1) + last)


def at_work(shape: Shape, tokens: Number) -> Number:
    """What the layer at work makes besides while it goes backward."""
    return FLOAT * tokens * (3 * shape.inner + 4 * shape.hidden)


def logits(shape: Shape, positions: Number, *, device: str = "cpu", learns: bool = False) -> Number:
    """Two buffers of a chunk; and where the output layer learns, its gradient beside that of the embedding before they are added."""
    chunk = max(FEWEST_POSITIONS, LOGITS_PER_CHUNK.get(device, LOGITS_PER_CHUNK["cpu"]) // shape.vocabulary)
    return FLOAT * (2.0 * min(chunk, positions) * shape.vocabulary + (shape.embedding if learns and shape.tied else 0))


def reading(shape: Shape, tokens: Number) -> Number:
    """What a micro-batch takes that nothing is kept of: one layer at a time."""
    widest = shape.size * (2 * shape.heads + 2 * shape.key_heads) + 3 * shape.inner + 4 * shape.hidden
    return FLOAT * tokens * widest


def libraries(kind: Literal["rows", "judged", "answers"]) -> Number:
    """What the libraries set up when they first compute: threads, kernels, their scratch space, tokeniser, and Python's own objects.
    Measured, with models that have next to no weights: for learning from rows, from judgements, and from answers of one's own."""
    return {"rows": 38e6, "judged": 47e6, "answers": 46e6}[kind]


def keys_and_values(shape: Shape, rows: int, capacity: int, *, each: int = FLOAT) -> Number:
    return 2.0 * each * rows * capacity * shape.layers * shape.key_heads * shape.size
