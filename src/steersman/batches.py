"""Token rows, and batches of them padded on the right.

A *row* is one sequence without padding. A *batch* is the model's input. `loss_mask[b, t]` is True where token t itself
is a target, that is, where its log-prob given the tokens before it enters the loss; position 0 never is.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from steersman.errors import DataError


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One sequence without padding, and which of its tokens are targets."""

    ids: Int[Tensor, "time"]
    loss_mask: Bool[Tensor, "time"]

    def __post_init__(self) -> None:
        if len(self.loss_mask) and bool(self.loss_mask[0]):
            raise DataError("the first token of a row cannot be a target, since no token precedes it; mask it out")

    @property
    def lengths(self) -> tuple[int, ...]:
        return (len(self.ids),)

    @property
    def targets(self) -> int:
        return int(self.loss_mask.sum())


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Rows padded on the right. With `segments`, a row holds several sequences one after another (packing).

    segments[b, t] counts 1, 2, … along the row and is 0 on padding. No token attends to another segment.
    """

    ids: Int[Tensor, "batch time"]
    loss_mask: Bool[Tensor, "batch time"]
    lengths: Int[Tensor, "batch"]
    segments: Int[Tensor, "batch time"] | None
    packed: "PackedRows | None" = None
    """The same rows without padding, where a GPU computes them so."""

    def to(self, device: torch.device | str) -> "TokenBatch":
        segments = None if self.segments is None else self.segments.to(device)
        packed = self.with_packed().packed if packs_on(device) and self.ids.device.type == "cpu" else self.packed
        packed = None if packed is None else packed.to(device)
        return TokenBatch(self.ids.to(device), self.loss_mask.to(device), self.lengths.to(device), segments, packed)

    def take(self, rows: Int[Tensor, "chosen"]) -> "TokenBatch":
        """A batch of these rows, without the columns that are padding in all of them."""
        lengths = self.lengths[rows]
        time = int(lengths.max()) if len(lengths) else 0
        segments = None if self.segments is None else self.segments[rows, :time]
        return TokenBatch(self.ids[rows, :time], self.loss_mask[rows, :time], lengths, segments)

    def with_packed(self) -> "TokenBatch":
        """The same batch, on the CPU, with its rows packed too."""
        return replace(self, packed=pack_tokens(self)) if self.packed is None and self.segments is None else self

    @property
    def attention_mask(self) -> Bool[Tensor, "batch time"]:
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths[:, None]

    @property
    def needed_positions(self) -> Int[Tensor, "batch"]:
        """Number of positions at the end of each row whose hidden states are needed, at least 1.

        They run from the position before the first target to the end of the row.
        """
        first = self.loss_mask.int().argmax(1)
        return torch.where(self.loss_mask.any(1), self.lengths - first + 1, 1)

    @property
    def real_tokens(self) -> int:
        return int(self.lengths.sum())

    @property
    def positions(self) -> int:
        """Number of positions the model computes, padding included."""
        return self.ids.numel()

    @property
    def padding_share(self) -> float:
        return 1.0 - self.real_tokens / max(1, self.positions)


@dataclass(frozen=True, slots=True)
class PackedRows:
    """The rows of a batch one behind the other, for a GPU, and every index that a forward pass and a loss need.

    All of it is computed on the CPU, so that a GPU is never asked for a size. Behind the rows there may be tokens,
    empty rows and targets that fill up to a shape (`Bucket`); nothing reads their results.
    """

    ids: Int[Tensor, " total"]
    positions: Int[Tensor, " total"]
    starts: Int[Tensor, " rows_and_end"]
    """The start of each row, then the end of the last one; int32, as attention's kernels take it."""
    longest: int
    """The length of the longest row."""
    places: Int[Tensor, " real"]
    """The padded batch's index (row * time + position) of each real token."""
    before: Int[Tensor, " targets"]
    """The index of the token whose hidden state predicts each target."""
    targets: Int[Tensor, " targets"]
    """The targets' token ids."""

    @property
    def bound(self) -> int:
        """An upper bound of the rows' lengths: a power of two, so that compiled code sees few values."""
        return bound_of(self.longest)

    def to(self, device: torch.device | str) -> "PackedRows":
        names = ("ids", "positions", "starts", "places", "before", "targets")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})


@dataclass(frozen=True, slots=True)
class Bucket:
    """The sizes that a packed batch is filled up to; None for the smallest that suit the kernels."""

    tokens: int
    rows: int
    targets: int


# The bound of the row length is at least this.
SHORTEST_BOUND = 64
# Without a given shape, tokens are filled up to a multiple of this, which suits the matrix kernels.
MULTIPLE = 16


def bound_of(longest: int) -> int:
    return max(SHORTEST_BOUND, 1 << max(0, longest - 1).bit_length())


def pack_tokens(batch: TokenBatch, bucket: Bucket | None = None) -> PackedRows:
    """The rows of a batch on the CPU, packed. Tokens that fill up to the shape are rows of their own, of token 0."""
    lengths = batch.lengths.tolist()
    longest, real = max(lengths, default=0), sum(lengths)
    total = -(-real // MULTIPLE) * MULTIPLE if bucket is None else bucket.tokens
    filling = [min(bound_of(longest), total - real - done) for done in range(0, total - real, bound_of(longest))]
    empty = 0 if bucket is None else bucket.rows - len(lengths) - len(filling)
    mask = batch.loss_mask & batch.attention_mask
    targets = batch.ids[mask]
    more = 0 if bucket is None else bucket.targets - len(targets)
    if total < real or empty < 0 or more < 0:
        raise DataError(
            f"{len(lengths)} rows of {real} tokens with {len(targets)} targets do not fit {bucket}; a bucket must have "
            "room for all of them"
        )
    ends = torch.tensor([0, *lengths, *filling, *[0] * empty], dtype=torch.int32).cumsum(0, dtype=torch.int32)
    row, position = batch.attention_mask.nonzero(as_tuple=True)
    return PackedRows(
        ids=pad(batch.ids[batch.attention_mask], (0, total - real)),
        positions=torch.cat([position, *(torch.arange(n) for n in filling)]),
        starts=ends,
        longest=longest,
        places=row * batch.ids.shape[1] + position,
        before=pad(mask[batch.attention_mask].nonzero().squeeze(1) - 1, (0, more)),
        targets=pad(targets, (0, more)),
    )


_packs_on_cpu = False


@contextmanager
def packing_on_cpu() -> Generator[None]:
    """Context manager: batches on a CPU are packed and computed as on a GPU, for tests and for counting."""
    global _packs_on_cpu
    before, _packs_on_cpu = _packs_on_cpu, True
    try:
        yield
    finally:
        _packs_on_cpu = before


def packs_on(device: torch.device | str) -> bool:
    """Whether batches for this device are packed: on a GPU."""
    return _packs_on_cpu or torch.device(device).type == "cuda"


def pad_rows(rows: Sequence[TokenRow], *, pad_id: int, pad_multiple: int = 1) -> TokenBatch:
    """A batch as wide as the longest row, rounded up to a multiple: kernels are cached by shape."""
    if not rows:
        raise DataError("cannot make a batch of no rows")
    time = max(len(row.ids) for row in rows)
    time = -(-time // pad_multiple) * pad_multiple
    ids = pad_sequence([row.ids for row in rows], batch_first=True, padding_value=pad_id)
    loss_mask = pad_sequence([row.loss_mask for row in rows], batch_first=True)
    more = (0, time - ids.shape[1])
    lengths = torch.tensor([len(row.ids) for row in rows])
    return TokenBatch(pad(ids, more, value=pad_id), pad(loss_mask, more), lengths, None)


def pack_rows(rows: Sequence[TokenRow], *, pad_id: int, capacity: int) -> TokenBatch:
    """A batch of packed rows of at most `capacity` tokens (first fit, longest first)."""
    too_long = max(len(row.ids) for row in rows)
    if too_long > capacity:
        raise DataError(
            f"a row of {too_long} tokens does not fit a packed row of {capacity}; raise the capacity or cut the rows"
        )
    bins: list[list[TokenRow]] = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: -len(row.ids)):
        fitting = next((i for i, left in enumerate(room) if left >= len(row.ids)), None)
        if fitting is None:
            bins.append([row])
            room.append(capacity - len(row.ids))
        else:
            bins[fitting].append(row)
            room[fitting] -= len(row.ids)
    joined = [TokenRow(torch.cat([r.ids for r in b]), torch.cat([r.loss_mask for r in b])) for b in bins]
    batch = pad_rows(joined, pad_id=pad_id)
    segments = torch.zeros_like(batch.ids)
    for i, members in enumerate(bins):
        marks = [torch.full((len(row.ids),), s + 1) for s, row in enumerate(members)]
        segments[i, : batch.lengths[i]] = torch.cat(marks)
    return TokenBatch(batch.ids, batch.loss_mask, batch.lengths, segments)


@dataclass(frozen=True, slots=True)
class AnswerGroup:
    """The answers to one prompt and the judged pairs among them. It is never split over micro-batches.

    Each answer goes through the model once, whatever its number of pairs. `target` is the probability that `first` is
    the better of the pair, `margin` how much better (0 if not given), `weight` the pair's weight: 1 for a single pair,
    1/C(K,2) in a ranking of K. `thumbed` are the answers judged alone (thumb up or down) and `approval` their labels: 1
    for a thumb up, 0 for a thumb down.
    """

    rows: tuple[TokenRow, ...]
    first: Int[Tensor, "pair"]
    second: Int[Tensor, "pair"]
    target: Float[Tensor, "pair"]
    margin: Float[Tensor, "pair"]
    weight: Float[Tensor, "pair"]
    thumbed: Int[Tensor, "thumb"]
    approval: Float[Tensor, "thumb"]

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(len(row.ids) for row in self.rows)


@dataclass(frozen=True, slots=True)
class PairBatch:
    """All answers of some groups in one token batch; pairs and thumbs are indices into it."""

    tokens: TokenBatch
    first: Int[Tensor, "pair"]
    second: Int[Tensor, "pair"]
    target: Float[Tensor, "pair"]
    margin: Float[Tensor, "pair"]
    weight: Float[Tensor, "pair"]
    thumbed: Int[Tensor, "thumb"]
    approval: Float[Tensor, "thumb"]

    @property
    def positions(self) -> int:
        return self.tokens.positions

    def to(self, device: torch.device | str) -> "PairBatch":
        pairs = (self.first, self.second, self.target, self.margin, self.weight, self.thumbed, self.approval)
        return PairBatch(self.tokens.to(device), *(t.to(device) for t in pairs))


def pad_groups(groups: Sequence[AnswerGroup], *, pad_id: int, pad_multiple: int = 1) -> PairBatch:
    """All answers of all groups in one token batch, with the pairs' indices shifted to match."""
    tokens = pad_rows([row for group in groups for row in group.rows], pad_id=pad_id, pad_multiple=pad_multiple)
    starts = torch.tensor([0, *(len(group.rows) for group in groups[:-1])]).cumsum(0)
    placed = list(zip(groups, starts, strict=True))
    return PairBatch(
        tokens,
        torch.cat([group.first + start for group, start in placed]),
        torch.cat([group.second + start for group, start in placed]),
        torch.cat([group.target for group in groups]),
        torch.cat([group.margin for group in groups]),
        torch.cat([group.weight for group in groups]),
        torch.cat([group.thumbed + start for group, start in placed]),
        torch.cat([group.approval for group in groups]),
    )


@dataclass(frozen=True, slots=True)
class StepRow:
    """An answer whose steps' last tokens are the targets, and a label for each: 1 right, 0 wrong."""

    row: TokenRow
    labels: Float[Tensor, " steps"]

    @property
    def lengths(self) -> tuple[int, ...]:
        return self.row.lengths


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A text as tokens, and the index of its class."""

    row: TokenRow
    label: int

    @property
    def lengths(self) -> tuple[int, ...]:
        return self.row.lengths


@dataclass(frozen=True, slots=True)
class LabelledBatch:
    tokens: TokenBatch
    labels: Int[Tensor, "batch"]

    @property
    def positions(self) -> int:
        return self.tokens.positions


def pad_labelled(rows: Sequence[LabelledRow], *, pad_id: int, pad_multiple: int = 1) -> LabelledBatch:
    tokens = pad_rows([labelled.row for labelled in rows], pad_id=pad_id, pad_multiple=pad_multiple)
    return LabelledBatch(tokens, torch.tensor([labelled.label for labelled in rows]))


@dataclass(frozen=True, slots=True)
class RewardedRow:
    """A prompt with an answer, and the reward of each token of the answer."""

    row: TokenRow
    rewards: Float[Tensor, " targets"]

    @property
    def lengths(self) -> tuple[int, ...]:
        return self.row.lengths
