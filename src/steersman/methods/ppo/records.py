"""What flows through one iteration of PPO, a type for each stage, every field required:

    prompts -collect-> Sample -score-> Scored -advantage-> Experience -update-> UpdateStats

Token-level quantities stand in flat tensors over the answer's tokens: entry t belongs to the answer's token t, that is,
to the state *before* it and the action of saying it. There is no padding in them, so no mean can run over padding by
mistake.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.batches import TokenBatch, TokenRow, pad_rows
from steersman.records import Prompt
from steersman.rollout.batch import Rollout


@dataclass(frozen=True, slots=True)
class Sample:
    """An answer that was sampled: ids and log-probabilities as the engine gave them, and the text that people would
    read."""

    prompt: Prompt
    rollout: Rollout
    text: str
    row: TokenRow
    """Prompt and answer as the models read them; made once, since every epoch reads it again."""

    @property
    def lengths(self) -> tuple[int, ...]:
        return (len(self.rollout.prompt_ids) + len(self.rollout.ids),)


@dataclass(frozen=True, slots=True)
class Scored:
    """`score` is what PPO is paid for the whole answer (after penalty, normalisation and clipping), `raw_score` what
    the scorer said. `old_log_probs` are the trainer's own under the weights that sampled. `kl` is the per-token
    estimate in use."""

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
    """None: there is no critic."""
    taken_from_engine: bool = False
    """Whether log-probabilities, entropies and values are what the engine knew already (see `reading`)."""

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
    """What the update learns from. `importance` corrects for an engine whose probabilities are not the trainer's; 1
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
    """Answers to learn from, and rows of the pretraining mix. The flat tensors follow the batch's targets, row by row.

    `answers_count` and `texts_count` are 1, or 0 for a row that only keeps processes in step (see `collate`).
    """

    answers: TokenBatch | None
    old_log_probs: Float[Tensor, " tokens"]
    reference_log_probs: Float[Tensor, " tokens"]
    old_values: Float[Tensor, " tokens"] | None
    advantages: Float[Tensor, " tokens"]
    returns: Float[Tensor, " tokens"]
    importance: Float[Tensor, " tokens"]
    pretraining: TokenBatch | None
    answers_count: float
    texts_count: float

    @property
    def positions(self) -> int:
        return sum(batch.positions for batch in (self.answers, self.pretraining) if batch is not None)


Unit = Experience | TokenRow
"""What an update is made of: an answer with its advantages, or a row of the pretraining mix."""


def collate(
    units: Sequence[Unit], *, pad_id: int, device: torch.device, pad_multiple: int, both_kinds: bool = False
) -> ExperienceBatch:
    """Units into one batch. `both_kinds` gives a batch that lacks answers or texts a row that counts nothing: processes
    that share out a model must ask it for the same things, whatever each of them was dealt."""
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
        padded(texts or idle),
        float(bool(answers)),
        float(bool(texts)),
    )
