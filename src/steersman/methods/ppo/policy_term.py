"""The policy loss of each answer token, by `update.policy_loss` and `update.ratio`: PPO, GSPO, CISPO. And VAPO's
likelihood loss on right answers."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from steersman.maths.policy_loss import PolicyLoss, clipped_policy_loss, clipped_weight_loss
from steersman.maths.sequence_ratio import log_probs_of_answers
from steersman.methods.ppo.records import Experience, ExperienceBatch
from steersman.settings.policy_update import UpdateSettings


def policy_loss(log_probs: Float[Tensor, " tokens"], batch: ExperienceBatch, settings: UpdateSettings) -> PolicyLoss:
    """Loss and ratio of each token. A dummy batch of weight 0 is one answer like any other."""
    assert batch.answers is not None
    if settings.ratio != "token":
        lengths = batch.answers.loss_mask.sum(1)
        log_probs = log_probs_of_answers(
            log_probs, batch.old_log_probs, lengths, mean=settings.ratio == "sequence_mean"
        )
    high = settings.clip if settings.clip_high is None else settings.clip_high
    given = (log_probs, batch.old_log_probs, batch.advantages)
    if settings.policy_loss == "cispo":
        return clipped_weight_loss(*given, clip_low=settings.clip, clip_high=high)
    return clipped_policy_loss(*given, clip_low=settings.clip, clip_high=high, dual_clip=settings.dual_clip)


def positive_tokens(answers: Sequence[Experience], settings: UpdateSettings) -> float:
    """The number of tokens in right answers, over which `positive_loss` is a mean."""
    return float(sum(one.tokens for one in answers if one.scored.raw_score > settings.positive_above))


def positive_loss(
    log_probs: Float[Tensor, " tokens"], batch: ExperienceBatch, settings: UpdateSettings
) -> Float[Tensor, ""]:
    """-log policy, summed over the tokens of right answers (VAPO, arXiv 2504.05118)."""
    assert batch.answers is not None
    lengths = batch.answers.loss_mask.sum(1)
    right = (batch.raw_scores > settings.positive_above).repeat_interleave(lengths, output_size=len(log_probs))
    return -(log_probs * right).sum() * batch.answers_count
