"""Initialising PPO's critic (from the policy, a reward model, or a value head trained by TRL), and saving it."""

import copy
from pathlib import Path

import torch
from torch import Tensor

from steersman.errors import ModelError, UsageError
from steersman.methods.ppo.roles import ModelActors
from steersman.models.adapters import save_adapter
from steersman.models.backbone import Backbone, layers_of
from steersman.models.files import write_notes
from steersman.models.heads import ValueHead, save_heads
from steersman.models.loading import load_causal
from steersman.models.reward_model import load_reward_model, trunk_of
from steersman.runs.model_folder import finished_model_folder

TRL = "trl:"
# The names that trl's AutoModelForCausalLMWithValueHead gives its head.
TRL_WEIGHT, TRL_BIAS = "v_head.summary.weight", "v_head.summary.bias"


def own_critic(start: str, policy: Backbone) -> tuple[Backbone, ValueHead]:
    """A critic that is a model of its own. Initialised from a reward model, it predicts that model's score from the
    start."""
    if start == "policy":
        return trunk_of(copy.deepcopy(policy)), ValueHead(policy.hidden_size).to(policy.device)
    if start.startswith(TRL):
        critic, head = _from_trl(Path(start.removeprefix(TRL)).expanduser(), policy)
    else:
        reward = load_reward_model(finished_model_folder(start), dtype=policy.dtype, device=policy.device)
        head = ValueHead(reward.backbone.hidden_size).to(policy.device)
        head.start_from(reward.head, mean=reward.scale.mean, std=reward.scale.std)
        critic = reward.backbone
    # A reward model of the same base may have one more row: a PAD of its own.
    if critic.vocabulary - policy.vocabulary not in (0, 1):
        raise UsageError(
            f"the critic {start} has a vocabulary of {critic.vocabulary} tokens and the policy one of "
            f"{policy.vocabulary}; they must be the same. Use critic=policy, or a model made from the same base"
        )
    return critic, head


def head_from(start: str, policy: Backbone) -> ValueHead:
    """A value head on the policy's own trunk, initialised as a reward model's head: after the same base and fine-tuning
    the two trunks are alike, and the value of an answer's last state begins near its score."""
    reward = load_reward_model(finished_model_folder(start), dtype=policy.dtype, device=policy.device)
    theirs, ours = _shape_of(reward.backbone), _shape_of(policy)
    if theirs != ours:
        raise UsageError(
            f"critic={start} gives its head to the policy's trunk, so both must come from one base; the reward model "
            f"is {_told(theirs)} and the policy {_told(ours)}. Use critic=policy, or layout=separate"
        )
    head = ValueHead(policy.hidden_size).to(policy.device)
    head.start_from(reward.head, mean=reward.scale.mean, std=reward.scale.std)
    return head


def _shape_of(backbone: Backbone) -> tuple[str, int, int, int]:
    return backbone.family, len(layers_of(backbone)), backbone.hidden_size, backbone.vocabulary


def _told(shape: tuple[str, int, int, int]) -> str:
    family, layers, width, vocabulary = shape
    return f"a {family} of {layers} layers, width {width} and {vocabulary} tokens"


def _from_trl(folder: Path, policy: Backbone) -> tuple[Backbone, ValueHead]:
    """Trunk and value head of a folder that TRL's AutoModelForCausalLMWithValueHead.save_pretrained wrote."""
    found = _value_head_tensors(folder)
    critic = trunk_of(load_causal(folder, dtype=policy.dtype, device=policy.device))
    head = ValueHead(critic.hidden_size).to(policy.device)
    with torch.no_grad():
        head.weight.copy_(found[TRL_WEIGHT])
        head.bias.copy_(found[TRL_BIAS])
    return critic, head


def _value_head_tensors(folder: Path) -> dict[str, Tensor]:
    from safetensors import safe_open

    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(str(path), framework="pt") as file:
            names = {TRL_WEIGHT, TRL_BIAS} & set(file.keys())
            found.update({name: file.get_tensor(name) for name in names})
    if len(found) < 2:
        pickled = " (its .bin files are pickles, which are not opened: save it again as safetensors)"
        raise ModelError(
            f"{folder} holds no {TRL_WEIGHT} and {TRL_BIAS} in its safetensors files; expected a folder that TRL's "
            "AutoModelForCausalLMWithValueHead saved" + (pickled if any(folder.glob("*.bin")) else "")
        )
    return found


def save_critic(actors: ModelActors, head: ValueHead, folder: Path) -> None:
    """Save the critic: its value head, and its own trunk or adapter if it has one."""
    folder.mkdir(parents=True, exist_ok=True)
    if actors.critic is not None:
        actors.critic.trunk.save_pretrained(folder)
    elif actors.value_adapter is not None:
        save_adapter(actors.backbone, actors.value_adapter, folder)
    save_heads({"value": head}, folder)
    write_notes(folder, {"kind": "critic", "family": actors.backbone.family, "trunk": _trunk_of(actors)})


def _trunk_of(actors: ModelActors) -> str:
    if actors.critic is not None:
        return "own model"
    return "own adapter" if actors.value_adapter is not None else "the policy's"
