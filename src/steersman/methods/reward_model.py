"""Reward model training: Bradley-Terry over judged pairs, with margins, ties, soft labels, rankings and thumbs.

Each answer of a prompt goes through the model once, and a ranking's pairs have a total weight of 1 (InstructGPT, arXiv
2203.02155, section 3.5: with the pairs of a ranking in different batches the model overfits within one epoch).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from steersman.batches import AnswerGroup, PairBatch, TokenBatch
from steersman.maths.preference_loss import approval_loss, centring_penalty, pair_loss
from steersman.models.backbone import Backbone
from steersman.models.reward_model import RewardModel
from steersman.train.objective import Sums, Term


class Trainee(nn.Module):
    """A reward model with all its trainable parts.

    With an adapter, the shared base is not part of the reward model itself.
    """

    def __init__(self, base: Backbone | None, reward: RewardModel) -> None:
        super().__init__()
        self.base = base
        self.reward = reward

    def scores(self, batch: TokenBatch) -> Float[Tensor, "batch"]:
        return self.reward.scores(batch)

    def step_logits(self, batch: TokenBatch) -> Float[Tensor, " steps"]:
        return self.reward.step_logits(batch)

    def scores_by_head(self, batch: TokenBatch) -> Float[Tensor, "batch heads"]:
        return self.reward.scores_by_head(batch)


@dataclass(frozen=True)
class Preference:
    """The objective of reward models.

    `use_margin`: a pair judged "much better" needs a larger gap (Llama 2, arXiv 2307.09288, section 3.2.2). `centring`:
    coefficient of a penalty that pulls scores towards zero (Eisenstein et al., arXiv 2312.09244). Pairs alone determine
    scores only up to a constant, which PPO's value function would have to learn.
    """

    use_margin: bool
    centring: float

    def weights(self, units: Sequence[AnswerGroup]) -> Mapping[str, float]:
        pairs = float(sum(len(unit.first) for unit in units))
        thumbs = float(sum(len(unit.thumbed) for unit in units))
        preference = float(sum(float(unit.weight.sum()) for unit in units))
        return {"preference": preference, "approval": thumbs, "centring": pairs}

    def __call__(self, model: Trainee, batch: PairBatch) -> Sums:
        scores = model.scores(batch.tokens)
        margin = batch.margin if self.use_margin else batch.margin * 0
        first, second = scores[batch.first], scores[batch.second]
        losses = pair_loss(scores, batch.first, batch.second, batch.target, margin, batch.weight)
        approval = approval_loss(scores[batch.thumbed], batch.approval)
        gap = (first - second).detach()
        decided = batch.target != 0.5
        # equal scores count as half right, as in `evaluate`
        right = (gap.sign() * (batch.target - 0.5).sign() / 2 + 0.5) * decided
        return Sums(
            {
                "preference": Term(losses.sum(), 1.0),
                "approval": Term(approval.sum(), 1.0),
                "centring": Term(centring_penalty(first, second, eta=1.0).sum(), self.centring),
            },
            {
                "accuracy": (float(right.sum()), float(decided.sum())),
                "gap": (float(gap.abs().sum()), float(len(gap))),
                "score": (float(scores.detach().sum()), float(len(scores))),
            },
        )
