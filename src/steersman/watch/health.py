"""Usual ranges of the metrics of a PPO run, and what a value outside means.

The ranges are typical of healthy runs, not limits: a sentence says where to look. It may depend on a setting:
`{kl.limit|set kl.limit|lower kl.limit}` is the second part if the setting is off, else the third.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_CHOICE = re.compile(r"\{([\w.]+)\|([^|}]*)\|([^|}]*)\}")


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
        "before the first gradient step new and old log-probs must be equal. Something changes the model between "
        "rollout and update: dropout, another temperature, or other kernels",
    ),
    "KL to reference": Healthy(
        -0.5,
        20.0,
        "a KL far below zero is impossible: the engine samples from another distribution than the trainer measures "
        "(top-k, top-p, another temperature, or another tokeniser)",
        "the policy is far from the reference, where the reward model's scores are unreliable. Raise kl.coefficient, "
        "{kl.limit|set kl.limit|lower kl.limit}, or stop earlier",
    ),
    "engine mismatch": Healthy(
        0.0,
        0.02,
        "",
        "engine and trainer give different log-probs for the same tokens; truncated importance weights correct for it "
        "now. Check the precision, and quantised or merged adapters",
    ),
    "entropy": Healthy(
        0.05,
        100.0,
        "the policy is nearly deterministic: answers will repeat each other. Raise update.entropy_coefficient or "
        "kl.coefficient, or lower the learning rate",
        "",
    ),
    "clip fraction": Healthy(
        0.0,
        0.35,
        "",
        "too many tokens are clipped: the learning rate is high for this batch, or there are too many epochs",
    ),
    "KL to old policy": Healthy(
        0.0,
        0.1,
        "",
        "one update moves the policy far; lower the learning rate, or "
        "{update.target_kl|set update.target_kl to end updates early|lower update.target_kl}",
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
        "most answers are cut off at max_new_tokens: raise it, "
        "{score.missing_eos_penalty|set score.missing_eos_penalty|raise score.missing_eos_penalty}, or check the "
        "model's EOS token",
        "",
    ),
    "gradient norm": Healthy(
        0.0, 100.0, "", "gradients explode before clipping; lower the learning rate and check the lowest scores"
    ),
}


def in_effect(settings: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The dotted names of the settings of a recipe that are not off (none, 0 or false)."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from in_effect(value, f"{prefix}{name}.")
        elif value not in (None, 0, False, "none"):
            yield f"{prefix}{name}"


def advice(words: str, settings: Collection[str]) -> str:
    """What a number outside its range means, for a run in which these settings are in effect."""
    return _CHOICE.sub(lambda found: found[3] if found[1] in settings else found[2], words)


def verdicts(row: Mapping[str, float], settings: Collection[str] = ()) -> list[str]:
    """A sentence for each number of a journal row that is outside its healthy range. `settings` are in effect."""
    sentences: list[str] = []
    for name, healthy in HEALTHY.items():
        value = row.get(name)
        if value is None:
            continue
        if value < healthy.low and healthy.below:
            sentences.append(
                f"{name} is {value:.4g} (usually above {healthy.low:g}): {advice(healthy.below, settings)}"
            )
        elif value > healthy.high and healthy.above:
            sentences.append(
                f"{name} is {value:.4g} (usually below {healthy.high:g}): {advice(healthy.above, settings)}"
            )
    return sentences
