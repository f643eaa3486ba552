"""The request of one call of `generate`, as the native engine handles it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steersman.rollout.batch import Rollout
from steersman.rollout.engine import OnToken, Sampling
from steersman.rollout.stops import StopStrings


@dataclass(frozen=True, slots=True)
class Ticket:
    """A sample to be generated: its numbers, its seed, and its largest number of tokens."""

    prompt: int
    sample: int
    seed: int
    limit: int


@dataclass(frozen=True, slots=True)
class Ending:
    """EOS ids and stop strings, which end a sample before its largest number of tokens; and ids that are never
    drawn."""

    end_ids: tuple[int, ...]
    stops: StopStrings | None
    never_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Prompts, the samples of each, sampling settings and callbacks. With `with_token_info` answers come with
    entropies, and with values if the decoder has a value head."""

    prompts: Sequence[Sequence[int]]
    tickets: Sequence[Sequence[Ticket]]
    sampling: Sampling
    ending: Ending
    version: int
    on_token: OnToken | None
    on_answer: Callable[[Rollout], None] | None
    with_token_info: bool
