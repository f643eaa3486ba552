"""Learning what people prefer: Bradley-Terry over judged pairs, with margins, ties, soft labels, rankings and thumbs.

Every answer of a prompt goes through the model once, and all its pairs count together 1 (InstructGPT, arXiv 2203.02155,
section 3.5: the pairs of one ranking in different batches make the model overfit in one epoch).
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
    """A reward model with all that learns in it: with an adapter, the shared base is no part of the reward model itself."""

    def __init__(self, base: Backbone | None, reward: RewardModel) -> None:
        super().__init__()
        self.base = base
        self.reward = reward

    def scores(self, batch: TokenBatch) -> Float[Tensor, "batch"]:
        return self.reward.scores(batch)

    def scores_by_head(self, batch: TokenBatch) -> Float[Tensor, "batch heads"]:
        return self.reward.scores_by_head(batch)


@dataclass(frozen=True)
class Preference:
    """`use_margin` makes a pair that was judged "much better" want a larger gap (Llama 2, arXiv 2307.09288, section 3.2.2).

    `centring` pulls the scores of each pair towards a common zero (Eisenstein et al., arXiv 2312.09244): pairs alone fix
    scores only up to a constant, and PPO's value function has to learn that constant.
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
        # equal scores are half right, as in `evaluate`
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
