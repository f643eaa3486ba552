"""Settings of an environment -> how episodes are played, and how long they may become."""

from dataclasses import replace

from steersman.errors import UsageError
from steersman.methods.ppo.episodes import Playing
from steersman.models.backbone import Backbone
from steersman.parallel.world import World
from steersman.reward.environment import PLACE, load_environment
from steersman.rollout.engine import Sampling
from steersman.rollout.language import room_for_prompts
from steersman.settings.ppo import PpoSettings


def playing_of(settings: PpoSettings, world: World) -> Playing | None:
    """None without an environment."""
    chosen = settings.environment
    if chosen is None:
        return None
    unfinished = chosen.unfinished_score if settings.scorer.path == PLACE else None
    return Playing(load_environment(chosen.path), chosen.max_turns, unfinished, world)


def room_for_episodes(settings: PpoSettings, backbone: Backbone, sampling: Sampling) -> int | None:
    """The longest prompt that leaves room for all turns and the observations between them."""
    chosen = settings.environment
    if chosen is None:
        return room_for_prompts(backbone, sampling)
    longest = chosen.max_turns * sampling.max_new_tokens + (chosen.max_turns - 1) * chosen.observation_tokens
    room = room_for_prompts(backbone, replace(sampling, max_new_tokens=longest))
    if room is not None and room < 1:
        raise UsageError(
            f"{chosen.max_turns} turns of sampling.max_new_tokens={sampling.max_new_tokens} and what stands between "
            f"them may take {longest:,} tokens, and the model's context is {backbone.context_length:,}; lower "
            "environment.max_turns, environment.observation_tokens or sampling.max_new_tokens"
        )
    return room
