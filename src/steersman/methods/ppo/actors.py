"""PPO's models in the layout of the settings, and their sharding over processes."""

import copy

import torch
from torch import nn

from steersman.errors import UsageError
from steersman.methods.ppo.critic import head_from, own_critic
from steersman.methods.ppo.roles import ModelActors
from steersman.models.adapters import add_lora, set_trainable
from steersman.models.backbone import Backbone, layers_of
from steersman.models.heads import ValueHead
from steersman.models.language_model import LanguageModel
from steersman.parallel.shard import shard
from steersman.parallel.world import World
from steersman.settings.ppo import PpoSettings

CRITIC = "value"


def make_actors(settings: PpoSettings, model: LanguageModel, reference: Backbone | None = None) -> ModelActors:
    """Policy, critic and reference in the layout of the settings; no critic where the estimator needs none.

    `reference` is frozen and stands in place of a copy of the initial policy.
    """
    backbone = model.backbone
    head = _head(settings, backbone) if settings.advantage.has_critic else None
    if settings.layout.startswith("adapters"):
        own = settings.layout == "adapters-own-critic"
        lora = settings.model.lora
        assert lora is not None
        assert model.adapter is not None
        if own:
            add_lora(backbone, CRITIC, rank=lora.rank, alpha=lora.alpha, dropout=lora.dropout, targets=lora.targets)
        set_trainable(backbone, [model.adapter, CRITIC] if own else [model.adapter])
        return ModelActors(
            backbone,
            head,
            policy_adapter=model.adapter,
            value_adapter=CRITIC if own else None,
            critic=None,
            frozen=None,
        )
    dtype = torch.bfloat16 if settings.compute.reference_dtype == "bfloat16" else None
    frozen = frozen_copy(backbone, dtype) if reference is None else _in_dtype(reference, dtype)
    critic = None
    if settings.layout == "separate":
        critic, head = own_critic(settings.critic, backbone)
    return ModelActors(backbone, head, policy_adapter=None, value_adapter=None, critic=critic, frozen=frozen)


def frozen_copy(backbone: Backbone, dtype: torch.dtype | None) -> Backbone:
    """A copy that does not learn. With a dtype its weights are made in it, without a copy in the model's own first."""
    known: dict[int, object] = {}
    if dtype is not None:
        # deepcopy takes these in place of copies of the parameters
        known = {id(p): nn.Parameter(p.detach().to(dtype), requires_grad=False) for p in backbone.parameters()}
    return copy.deepcopy(backbone, known).requires_grad_(False).eval()


def _in_dtype(reference: Backbone, dtype: torch.dtype | None) -> Backbone:
    if dtype is not None:
        for parameter in reference.parameters():
            parameter.data = parameter.data.to(dtype)
    return reference.requires_grad_(False).eval()


def _head(settings: PpoSettings, backbone: Backbone) -> ValueHead:
    """The head of a critic on the policy's base; that of layout=separate comes with its own model."""
    if settings.critic == "policy" or settings.layout == "separate":
        return ValueHead(backbone.hidden_size).to(backbone.device)
    return head_from(settings.critic, backbone)


def shard_actors(actors: ModelActors, world: World) -> Backbone:
    """Shard policy, critic and reference over the processes. Returns the whole policy for the engine: with several
    processes a copy, which is not trained itself."""
    if world.size == 1:
        return actors.backbone
    if actors.frozen is not None and actors.frozen.dtype != actors.backbone.dtype:
        raise UsageError(
            f"compute.reference_dtype gives the reference {actors.frozen.dtype} weights beside a policy of "
            f"{actors.backbone.dtype}, and several processes shard models of one dtype together; leave it at policy"
        )
    plain = copy.deepcopy(actors.backbone)
    actors.sharded = True
    models = [model for model in (actors.backbone, actors.critic, actors.frozen) if model is not None]
    layers = [layer for model in models for layer in layers_of(model)]
    shard(actors, layers, ("policy", "reference", "exact_kl", "pretraining"), world)
    return plain
