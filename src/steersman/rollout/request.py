"""What one call of `generate` asks the native engine for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steersman.rollout.batch import Rollout
from steersman.rollout.engine import OnToken, Sampling
from steersman.rollout.stops import StopStrings


@dataclass(frozen=True, slots=True)
class Ticket:
    """A sample to be made: which, from which seed, and at most how many tokens."""

    prompt: int
    sample: int
    seed: int
    limit: int


@dataclass(frozen=True, slots=True)
class Ending:
    """What ends a sample, besides its length."""

    end_ids: tuple[int, ...]
    stops: StopStrings | None


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What one call of `generate` asks for: the samples to be made of each prompt, how they are drawn, and who hears of
    them. `with_token_info`: entropies come with the answers, and values where the decoder reads a value head."""

    prompts: Sequence[Sequence[int]]
    tickets: Sequence[Sequence[Ticket]]
    sampling: Sampling
    ending: Ending
    version: int
    on_token: OnToken | None
    on_answer: Callable[[Rollout], None] | None
    with_token_info: bool
