"""The numbers of a PPO run in plain names, each with the range in which it usually stands and what it means outside.

The ranges are habits of healthy runs, not laws: a sentence is a place to look.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Healthy:
    low: float
    high: float
    below: str
    above: str


HEALTHY: dict[str, Healthy] = {
    "ratio from 1, first minibatch": Healthy(
        0.0,
        1e-4,
        "",
        "before anything was learned, new and old log-probabilities must be the same. Something changes the model between scoring "
        "and updating: dropout, another temperature, or other kernels",
    ),
    "KL to reference": Healthy(
        -0.5,
        20.0,
        "a KL far below zero cannot be: the engine samples from another distribution than the trainer measures (top-k, top-p, "
        "another temperature, or another tokeniser)",
        "the policy is far from where it began; scores out here are the reward model's guesses. Raise kl.coefficient, set kl.limit, or "
        "stop earlier",
    ),
    "engine mismatch": Healthy(
        0.0,
        0.02,
        "",
        "engine and trainer disagree about the probability of the same tokens; truncated importance weights now correct for it. Look "
        "at precision and at quantised or merged adapters",
    ),
    "entropy": Healthy(
        0.05,
        100.0,
        "the policy hardly chooses any more: answers will repeat each other. Raise update.entropy_coefficient or kl.coefficient, or "
        "lower the learning rate",
        "",
    ),
    "clip fraction": Healthy(
        0.0,
        0.35,
        "",
        "too many tokens move past the clip: the learning rate is high for this batch, or there are too many epochs",
    ),
    "KL to old policy": Healthy(
        0.0,
        0.1,
        "",
        "one update moves the policy far; lower the learning rate, or set update.target_kl to end updates early",
    ),
    "explained variance": Healthy(
        -0.5,
        1.0,
        "the value function is worse than a constant: raise value_learning_rate or update.value_coefficient, or wait",
        "",
    ),
    "ended with EOS": Healthy(
        0.5,
        1.0,
        "most answers are cut off at max_new_tokens: raise it, set score.missing_eos_penalty, or check the model's end token",
        "",
    ),
    "gradient norm": Healthy(
        0.0, 100.0, "", "gradients explode before clipping; lower the learning rate and look at the worst scores"
    ),
}


def verdicts(row: Mapping[str, float]) -> list[str]:
    """A sentence for each number of a journal row that is outside its healthy range."""
    found: list[str] = []
    for name, healthy in HEALTHY.items():
        value = row.get(name)
        if value is None:
            continue
        if value < healthy.low and healthy.below:
            found.append(f"{name} is {value:.4g} (usually above {healthy.low:g}): {healthy.below}")
        elif value > healthy.high and healthy.above:
            found.append(f"{name} is {value:.4g} (usually below {healthy.high:g}): {healthy.above}")
    return found
