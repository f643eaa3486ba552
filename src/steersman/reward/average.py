"""Several reward models as one: the mean of their weights (WARM, Ramé et al. 2024, arXiv 2401.12187).

Models that began as one and learned from the same judgements in another order lie close enough together for the mean of their weights
to be a model. It answers as their ensemble nearly does, costs as much as one, and has forgotten most of what only one of them believed.
"""

import copy
from collections.abc import Sequence

import torch

from steersman.errors import ModelError
from steersman.models.reward_model import RewardModel


def average_weights(models: Sequence[RewardModel]) -> RewardModel:
    """A new model; its scale is not known before its scores are measured. The given ones stay as they are."""
    if len(models) < 2:
        raise ModelError(f"an average is over two reward models or more; seen {len(models)}")
    if any(model.adapter is not None for model in models):
        raise ModelError(
            "the mean of two adapters is not the adapter of the mean; average whole reward models: train the members without model.lora"
        )
    states = [model.state_dict() for model in models]
    first = states[0]
    for number, state in enumerate(states[1:], start=2):
        other = {name for name in {*first, *state} if name not in first or name not in state}
        other |= {name for name in first if name in state and first[name].shape != state[name].shape}
        if other:
            raise ModelError(
                f"model {number} has other weights than model 1, such as {min(other)}; expected reward models that began as one"
            )
    mean = {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in first.items()
    }
    averaged = copy.deepcopy(models[0])
    averaged.load_state_dict(mean)
    return averaged
