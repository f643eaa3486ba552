"""The request of one call of `generate`, as the native engine handles it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steersman.errors import UsageError
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import OnToken, Sampling
from steersman.rollout.stops import StopStrings
from steersman.text.tokeniser import Tokeniser


@dataclass(frozen=True, slots=True)
class Ticket:
    """A sample to be generated: its numbers, its seed, and its largest number of tokens."""

    prompt: int
    sample: int
    seed: int
    limit: int


@dataclass(frozen=True, slots=True)
class Ending:
    """The EOS ids of a model (`text.tokeniser.end_ids`), the ids that are never drawn (a PAD of its own), and the
    tokeniser, which is needed for stop strings only."""

    end_ids: Sequence[int]
    never_ids: Sequence[int] = ()
    tokeniser: Tokeniser | None = None

    def stops(self, sampling: Sampling) -> StopStrings | None:
        if not sampling.stop:
            return None
        if self.tokeniser is None:
            raise UsageError(
                f"the stop strings {sampling.stop!r} are found in decoded text, and this engine has no tokeniser; "
                "make it with one, or give stop_ids"
            )
        return StopStrings(self.tokeniser, sampling.stop)


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
