"""Stage 3: scored samples -> experience. Reward of a token = -beta * KL, plus the score on the last token.

All estimators start from the same token rewards (`token_rewards`). Whitening is over all tokens of the whole batch,
from every process, and so are comparisons among the answers to one prompt.
"""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from steersman.extensions import PREFIX
from steersman.maths.group_advantages import all_alike
from steersman.maths.importance import importance_weights
from steersman.maths.masked import whiten
from steersman.methods.ppo.extension import extension_estimator
from steersman.methods.ppo.gae import gae
from steersman.methods.ppo.records import Experience, Scored
from steersman.methods.ppo.reinforce import reinforce
from steersman.methods.ppo.rloo_grpo import dr_grpo, grpo, rloo
from steersman.methods.ppo.token_rewards import Estimator, padded_token_rewards
from steersman.settings.advantage import AdvantageEstimator, AdvantageSettings
from steersman.settings.policy_update import UpdateSettings

ESTIMATORS: Mapping[AdvantageEstimator, Estimator] = {
    "gae": gae,
    "rloo": rloo,
    "grpo": grpo,
    "dr-grpo": dr_grpo,
    "reinforce++": reinforce,
}
"""Each returns advantages and returns of each token, padded like the token rewards."""


def advantage(
    scored: Sequence[Scored], settings: AdvantageSettings, *, kl_coefficient: float, importance: UpdateSettings | None
) -> list[Experience]:
    """Rewards, advantages and returns of each token. `importance` are the settings of importance weights; None
    where engine and trainer agree."""
    given = padded_token_rewards(scored, settings, kl_coefficient=kl_coefficient)
    ours: Estimator | None = ESTIMATORS.get(settings.estimator)  # pyright: ignore[reportArgumentType, reportCallIssue]
    advantages, returns = (ours or extension_estimator(settings.estimator.removeprefix(PREFIX)))(given, settings)
    if settings.whiten:
        advantages = whiten(advantages, given.mask, keep_mean=False)
    found: list[Experience] = []
    for i, one in enumerate(scored):
        length = len(one.kl)
        found.append(
            Experience(
                one,
                given.rewards[i, :length],
                advantages[i, :length],
                returns[i, :length],
                _importance(one, importance),
            )
        )
    return found


def worth_learning(experience: Sequence[Experience], settings: AdvantageSettings) -> list[Experience]:
    """The experience without prompts whose answers all score alike, if the settings leave those out (DAPO)."""
    if not settings.leave_out_equal:
        return list(experience)
    equal = alike([one.scored for one in experience])
    return [one for one, leave_out in zip(experience, equal, strict=True) if not leave_out]


def alike(scored: Sequence[Scored]) -> list[bool]:
    """For each answer, whether all answers to its prompt have the same score, so that none is better than another."""
    scores = torch.tensor([one.score + float(one.token_rewards.sum()) for one in scored])
    return all_alike(scores, torch.tensor([one.sample.rollout.prompt for one in scored])).tolist()


def engine_mismatch(scored: Sequence[Scored]) -> float:
    """Mean absolute difference between the engine's and the trainer's log-probs of the sampled tokens, over the answers
    whose log-probs the trainer computed itself."""
    read = [one for one in scored if not one.taken_from_engine]
    ours, engines = zip(*((one.old_log_probs, one.sample.rollout.log_probs) for one in read), strict=True)
    return float((torch.cat(ours) - torch.cat(engines)).abs().mean())


def explained_variance(experience: Sequence[Experience]) -> float:
    """1 - Var(return - value) / Var(return): 1 if values equal returns, 0 if they are no better than the mean."""
    returns = torch.cat([one.returns for one in experience])
    values = torch.cat([one.scored.values for one in experience if one.scored.values is not None])
    variance = returns.var(unbiased=False)
    return float(1 - (returns - values).var(unbiased=False) / variance) if float(variance) > 1e-12 else 0.0


def _importance(one: Scored, settings: UpdateSettings | None) -> Float[Tensor, " tokens"]:
    if settings is None:
        return torch.ones_like(one.old_log_probs)
    return importance_weights(
        one.old_log_probs,
        one.sample.rollout.log_probs,
        of_answer=settings.importance.startswith("sequence"),
        mask=settings.importance.endswith("mask"),
        floor=settings.importance_floor,
        cap=settings.importance_cap,
    )
