"""From prompts to ids and from ids to text, for a model or for a toy."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from steersman.models.backbone import Backbone
from steersman.records import Prompt
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Sampling
from steersman.rollout.stops import answer_text
from steersman.text.observation import Role, encode_observation
from steersman.text.template import encode_prompt
from steersman.text.tokeniser import decode


@runtime_checkable
class Language(Protocol):
    """Encodes prompts and decodes answers: a tokeniser with its chat template, or the alphabet of a toy."""

    def encode(self, prompt: Prompt) -> Sequence[int]: ...

    def text_of(self, rollout: Rollout) -> str: ...

    def offsets_of(self, rollout: Rollout) -> list[tuple[int, int]]:
        """Start and end of each token of the answer in its text, in characters."""
        ...


@dataclass(frozen=True)
class ModelLanguage:
    """A model's tokeniser and chat template. Encoded prompts are remembered."""

    tokeniser: Any
    stop: tuple[str, ...]
    role: Role = "user"
    """The role of an environment's observation in the chat template."""
    observation_tokens: int = 0
    known: dict[Any, tuple[int, ...]] = field(default_factory=dict[Any, tuple[int, ...]])

    def encode(self, prompt: Prompt) -> Sequence[int]:
        # The key is the prompt's content, not its id: ids come from files, where two prompts may share one.
        key = (prompt.text, prompt.messages, prompt.continued)
        if key not in self.known:
            self.known[key] = tuple(encode_prompt(self.tokeniser, prompt))
        return self.known[key]

    def encode_observation(self, prompt: Prompt, text: str, ended_by: int) -> Sequence[int]:
        """The ids between two turns of the model, the first of which ended with the token `ended_by`."""
        return encode_observation(
            self.tokeniser, prompt, text, role=self.role, ended_by=ended_by, longest=self.observation_tokens
        )

    def text_of(self, rollout: Rollout) -> str:
        return answer_text(self.tokeniser, rollout, self.stop)

    def offsets_of(self, rollout: Rollout) -> list[tuple[int, int]]:
        ends = [len(decode(self.tokeniser, rollout.ids[: i + 1])) for i in range(len(rollout.ids))]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def room_for_prompts(backbone: Backbone, sampling: Sampling) -> int | None:
    """The longest prompt that leaves room for a whole answer."""
    return None if backbone.context_length is None else backbone.context_length - sampling.max_new_tokens
