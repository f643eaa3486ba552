"""Weight averaging of reward models (WARM, Ramé et al. 2024, arXiv 2401.12187).

Models fine-tuned from the same weights on the same judgements in different orders are close enough for their weights to
be averaged. The average scores nearly like their ensemble, costs as much as one model, and loses most of the errors
that only one member had.
"""

import copy
from collections.abc import Sequence

import torch

from steersman.errors import ModelError
from steersman.models.reward_model import RewardModel


def average_weights(models: Sequence[RewardModel]) -> RewardModel:
    """A new model with the mean of the weights. Its score scale must still be measured; the members are unchanged."""
    if len(models) < 2:
        raise ModelError(f"an average is over two reward models or more; seen {len(models)}")
    if any(model.adapter is not None for model in models):
        raise ModelError(
            "the mean of two adapters is not the adapter of the mean; average whole reward models: train the members "
            "without model.lora"
        )
    states = [model.state_dict() for model in models]
    first = states[0]
    for number, state in enumerate(states[1:], start=2):
        other = {name for name in {*first, *state} if name not in first or name not in state}
        other |= {name for name in first if name in state and first[name].shape != state[name].shape}
        if other:
            raise ModelError(
                f"model {number} has other weights than model 1, such as {min(other)}; expected reward models "
                "fine-tuned from the same model"
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
