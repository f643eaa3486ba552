"""Settings of an environment, in which the model takes several turns before it is scored."""

from typing import Literal

from pydantic import Field

from steersman.settings.base import Settings


class EnvironmentSettings(Settings):
    path: str
    """file.py:Class, an object with `reset` and `step`; see docs/environments.md."""
    max_turns: int = Field(default=4, ge=1)
    """Turns of the model in one episode, each of at most sampling.max_new_tokens."""
    observation_tokens: int = Field(default=256, ge=0)
    """Longer observations are cut to so many tokens."""
    role: Literal["user", "tool"] = "user"
    """The role of an observation in the chat template. Has no effect on plain prompts."""
    unfinished_score: float = 0.0
    """With scorer=environment: the score of an episode that did not end within max_turns."""
