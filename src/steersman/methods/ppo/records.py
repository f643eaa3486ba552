"""What flows through one iteration of PPO, a type for each stage, every field required:

    prompts -collect-> Sample -score-> Scored -advantage-> Experience -update-> UpdateStats

Token quantities are flat tensors over the answer's tokens, mostly slices of the batch's columns. Entry t belongs to the
answer's token t: the state *before* it, and the action of choosing it. They contain no padding, so no mean can include
it.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from steersman.batches import TokenBatch, TokenRow, pack_tokens, packs_on, pad_rows
from steersman.models.buckets import bucket_of
from steersman.models.together import move_together, shapes_of
from steersman.records import Prompt
from steersman.reward.scorer import Score
from steersman.rollout.batch import Rollout


@dataclass(frozen=True, slots=True)
class Sample:
    """A sampled answer: ids and log-probs from the engine, and the decoded text."""

    prompt: Prompt
    rollout: Rollout
    text: str
    row: TokenRow
    """Prompt and answer as input of the models; made once, since every epoch uses it. An environment's observations are
    in it too, between the turns that `rollout` holds, and are no targets."""
    given_score: Score | None = None
    """The environment's score; None if a scorer is to be asked."""
    offsets: tuple[tuple[int, int], ...] | None = None
    """Start and end of each sampled token in the text, where observations stand in it; else the language knows them."""
    turns: int = 1

    @property
    def lengths(self) -> tuple[int, ...]:
        return (len(self.row.ids),)


@dataclass(frozen=True, slots=True)
class Scored:
    """A sample with its score and token quantities. `raw_score` is the scorer's, `score` the one after normalisation,
    clipping and penalties. `old_log_probs` are the trainer's, of the weights that sampled. `kl` is the per-token
    estimate."""

    sample: Sample
    score: float
    raw_score: float
    parts: Mapping[str, float]
    token_rewards: Float[Tensor, " tokens"]
    old_log_probs: Float[Tensor, " tokens"]
    reference_log_probs: Float[Tensor, " tokens"]
    kl: Float[Tensor, " tokens"]
    entropies: Float[Tensor, " tokens"]
    values: Float[Tensor, " tokens"] | None
    """None without a critic."""
    taken_from_engine: bool = False
    """Whether log-probs, entropies and values are the engine's (see `forward`)."""

    @property
    def log_ratios(self) -> Float[Tensor, " tokens"]:
        """log policy(token) - log reference(token)."""
        return self.old_log_probs - self.reference_log_probs

    @property
    def sequence_kl(self) -> float:
        """log policy(answer) - log reference(answer), in nats: its mean over samples is the KL to the reference."""
        return float(self.log_ratios.sum())


@dataclass(frozen=True, slots=True)
class Experience:
    """A scored sample with advantages. `importance` corrects for an engine whose log-probs differ from the trainer's; 1
    otherwise."""

    scored: Scored
    rewards: Float[Tensor, " tokens"]
    advantages: Float[Tensor, " tokens"]
    returns: Float[Tensor, " tokens"]
    importance: Float[Tensor, " tokens"]

    @property
    def lengths(self) -> tuple[int, ...]:
        return self.scored.sample.lengths

    @property
    def tokens(self) -> int:
        return len(self.scored.sample.rollout.ids)


@dataclass(frozen=True, slots=True)
class ExperienceBatch:
    """A batch of answers and of rows of the pretraining mix. The flat tensors are over the batch's targets, row by row.

    `counts` is 1 for each target, and 0 for one that only fills up to a bucket; `answer_lengths` is the number of
    targets in its answer (1 for one that fills up).
    `answers_count` and `texts_count` are weights: 1, or 0 for a dummy row that keeps ranks in step (see `collate`).
    """

    answers: TokenBatch | None
    old_log_probs: Float[Tensor, " tokens"]
    reference_log_probs: Float[Tensor, " tokens"]
    old_values: Float[Tensor, " tokens"] | None
    advantages: Float[Tensor, " tokens"]
    returns: Float[Tensor, " tokens"]
    importance: Float[Tensor, " tokens"]
    counts: Float[Tensor, " tokens"]
    answer_lengths: Float[Tensor, " tokens"]
    raw_scores: Float[Tensor, " answers"]
    pretraining: TokenBatch | None
    answers_count: float
    texts_count: float
    in_bucket: bool = False
    """Whether the answers are packed into a bucket, so that many batches have the same shapes."""

    @property
    def positions(self) -> int:
        return sum(batch.positions for batch in (self.answers, self.pretraining) if batch is not None)

    @property
    def recordable(self) -> Hashable | None:
        """What one recording of a pass serves: batches in the same bucket, with rows up to the same bound."""
        rows = None if self.answers is None else self.answers.packed
        if not self.in_bucket or rows is None or self.pretraining is not None:
            return None
        return shapes_of(self), rows.bound


Unit = Experience | TokenRow
"""What is dealt into minibatches: an answer with its advantages, or a row of the pretraining mix."""


@dataclass(frozen=True)
class Collation:
    """How units become a batch. With `both_kinds`, a batch without answers or without texts gets a dummy row of weight
    0: ranks that share a sharded model must run the same forward passes. With `buckets`, packed answers are filled up
    to one of few shapes, so that passes can be recorded; the batch then stays on the CPU.
    """

    pad_id: int
    device: torch.device
    pad_multiple: int = 1
    both_kinds: bool = False
    buckets: bool = False

    def __call__(self, units: Sequence[Unit]) -> ExperienceBatch:
        """The batch, made on the CPU and moved in one copy."""
        batch = self.on_cpu(units)
        return batch if self.buckets else move_together(batch, self.device)

    def on_cpu(self, units: Sequence[Unit]) -> ExperienceBatch:
        answers = [unit for unit in units if isinstance(unit, Experience)]
        texts = [unit for unit in units if isinstance(unit, TokenRow)]
        values = [unit.scored.values for unit in answers if unit.scored.values is not None]
        rows = [unit.scored.sample.row for unit in answers]
        idle = [TokenRow(torch.full((2,), self.pad_id), torch.tensor([False, True]))] if self.both_kinds else []
        lengths = [row.targets for row in rows or idle]
        batch = self._padded(rows or idle)
        in_bucket = self.buckets and batch is not None and batch.packed is not None and not texts
        if in_bucket and batch is not None:
            batch = _in_bucket(batch)
        packed = None if batch is None else batch.packed
        more = 0 if packed is None else len(packed.targets) - sum(lengths)

        def flat(parts: Sequence[Tensor]) -> Tensor:
            found = torch.cat(list(parts)) if parts else torch.zeros(sum(lengths))
            return pad(found, (0, more)) if more else found

        each = torch.tensor(lengths, dtype=torch.float32)
        return ExperienceBatch(
            batch,
            flat([unit.scored.old_log_probs for unit in answers]),
            flat([unit.scored.reference_log_probs for unit in answers]),
            flat(values) if len(values) == len(answers) else None,
            flat([unit.advantages for unit in answers]),
            flat([unit.returns for unit in answers]),
            flat([unit.importance for unit in answers]),
            flat([torch.ones(sum(lengths))]),
            pad(each.repeat_interleave(torch.tensor(lengths, dtype=torch.long)), (0, more), value=1.0),
            torch.tensor([unit.scored.raw_score for unit in answers] or [0.0] * len(idle)),
            self._padded(texts or idle),
            float(bool(answers)),
            float(bool(texts)),
            in_bucket,
        )

    def _padded(self, rows: Sequence[TokenRow]) -> TokenBatch | None:
        if not rows:
            return None
        batch = pad_rows(rows, pad_id=self.pad_id, pad_multiple=self.pad_multiple)
        return batch.with_packed() if packs_on(self.device) else batch


def _in_bucket(batch: TokenBatch) -> TokenBatch:
    """The batch with its rows packed into a bucket. The padded tensors, whose shapes vary, are left out."""
    packed = pack_tokens(batch, bucket_of(batch))
    packed = replace(packed, places=packed.places[:0])
    return TokenBatch(batch.ids[:0, :0], batch.loss_mask[:0, :0], batch.lengths[:0], None, packed)


def collate(
    units: Sequence[Unit], *, pad_id: int, device: torch.device, pad_multiple: int, both_kinds: bool = False
) -> ExperienceBatch:
    return Collation(pad_id, device, pad_multiple, both_kinds)(units)
