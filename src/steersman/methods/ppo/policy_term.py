"""The policy loss of each answer token, by `update.policy_loss` and `update.ratio`: PPO, GSPO, CISPO."""

from jaxtyping import Float
from torch import Tensor

from steersman.maths.policy_loss import PolicyLoss, clipped_policy_loss, clipped_weight_loss
from steersman.maths.sequence_ratio import log_probs_of_answers
from steersman.methods.ppo.records import ExperienceBatch
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
