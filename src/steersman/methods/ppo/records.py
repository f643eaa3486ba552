"""What flows through one iteration of PPO, a type for each stage, every field required:

    prompts -collect-> Sample -score-> Scored -advantage-> Experience -update-> UpdateStats

Token quantities are flat tensors over the answer's tokens, mostly slices of the batch's columns. Entry t belongs to the
answer's token t: the state *before* it, and the action of choosing it. They contain no padding, so no mean can include
it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.batches import TokenBatch, TokenRow, pad_rows
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

    `answers_count` and `texts_count` are weights: 1, or 0 for a dummy row that keeps ranks in step (see `collate`).
    """

    answers: TokenBatch | None
    old_log_probs: Float[Tensor, " tokens"]
    reference_log_probs: Float[Tensor, " tokens"]
    old_values: Float[Tensor, " tokens"] | None
    advantages: Float[Tensor, " tokens"]
    returns: Float[Tensor, " tokens"]
    importance: Float[Tensor, " tokens"]
    raw_scores: Float[Tensor, " answers"]
    pretraining: TokenBatch | None
    answers_count: float
    texts_count: float

    @property
    def positions(self) -> int:
        return sum(batch.positions for batch in (self.answers, self.pretraining) if batch is not None)


Unit = Experience | TokenRow
"""What is dealt into minibatches: an answer with its advantages, or a row of the pretraining mix."""


def collate(
    units: Sequence[Unit], *, pad_id: int, device: torch.device, pad_multiple: int, both_kinds: bool = False
) -> ExperienceBatch:
    """Units into one batch. With `both_kinds`, a batch without answers or without texts gets a dummy row of weight 0:
    ranks that share a sharded model must run the same forward passes."""
    answers = [unit for unit in units if isinstance(unit, Experience)]
    texts = [unit for unit in units if isinstance(unit, TokenRow)]
    values = [unit.scored.values for unit in answers if unit.scored.values is not None]
    rows = [unit.scored.sample.row for unit in answers]
    idle = [TokenRow(torch.full((2,), pad_id), torch.tensor([False, True]))] if both_kinds else []
    tokens = sum(row.targets for row in rows or idle)

    def flat(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts)).to(device) if parts else torch.zeros(tokens, device=device)

    def padded(rows: Sequence[TokenRow]) -> TokenBatch | None:
        return pad_rows(rows, pad_id=pad_id, pad_multiple=pad_multiple).to(device) if rows else None

    return ExperienceBatch(
        padded(rows or idle),
        flat([unit.scored.old_log_probs for unit in answers]),
        flat([unit.scored.reference_log_probs for unit in answers]),
        flat(values) if len(values) == len(answers) else None,
        flat([unit.advantages for unit in answers]),
        flat([unit.returns for unit in answers]),
        flat([unit.importance for unit in answers]),
        torch.tensor([unit.scored.raw_score for unit in answers] or [0.0] * len(idle), device=device),
        padded(texts or idle),
        float(bool(answers)),
        float(bool(texts)),
    )
