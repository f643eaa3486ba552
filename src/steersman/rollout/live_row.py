"""One answer that a server generates: what it is asked for, and its tokens so far."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from steersman.rollout.batch import FinishReason
from steersman.rollout.engine import Sampling

Ended = FinishReason | Literal["cancelled", "failed"]
"""Why a row ended; `failed` is set by whoever steps the rows, after an error."""


class LiveToken(NamedTuple):
    """A sampled token. `log_prob` and `sampling_log_prob` are those of a `Rollout`. `plain_log_prob` is that of
    softmax(logits), with the likeliest tokens as `alternatives`; NaN and none unless the row wants them."""

    id: int
    log_prob: float
    sampling_log_prob: float
    version: int
    plain_log_prob: float
    alternatives: tuple[tuple[int, float], ...]


@dataclass(eq=False, slots=True)
class LiveRow:
    """One answer to be generated. `alternatives` is the number of likeliest tokens that are listed with each token;
    None: not even the token's own plain log-prob. With `ignore_end` EOS does not end it.

    `tokens` grows while it is generated, and `ended` is set after its last token. Anybody may set `cancelled`; the row
    then leaves before the next step.
    """

    prompt: tuple[int, ...]
    sampling: Sampling
    seed: int
    alternatives: int | None = None
    ignore_end: bool = False
    tokens: list[LiveToken] = field(default_factory=list[LiveToken])
    ended: Ended | None = None
    cancelled: bool = False

    @property
    def ids(self) -> list[int]:
        """The tokens generated so far."""
        return [token.id for token in self.tokens]
