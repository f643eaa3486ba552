"""Saves PPO's policy and critic."""

from dataclasses import replace
from pathlib import Path

import torch

from steersman.execution.ending import Weights
from steersman.loading.language_model import load_language_model
from steersman.methods.ppo.actors import make_actors
from steersman.methods.ppo.critic import save_critic
from steersman.methods.ppo.roles import ModelActors
from steersman.models.language_model import LanguageModel
from steersman.settings.ppo import PpoSettings
from steersman.train.checkpoint import load_weight_tensors


def save_policy_and_critic(
    settings: PpoSettings,
    model: LanguageModel,
    actors: ModelActors,
    folder: Path,
    weights: Weights | None,
) -> None:
    """Save the policy in `folder`, and the critic (if there is one) beside it.

    `weights` are the gathered weights of a sharded model.
    """
    if weights is not None:
        model = replace(load_language_model(settings.model, torch.device("cpu")), tokeniser=model.tokeniser)
        actors = make_actors(settings, model)
        load_weight_tensors(actors, weights)
    model.save(folder)
    if actors.value_head is not None:
        save_critic(actors, actors.value_head, folder.parent / "critic")
