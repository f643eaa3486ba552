"""An engine without a model: answers from a table or a function. For trying one's own rewards, and for tests.

It keeps the rules of an engine: ids from the tokeniser, an end token, stop strings, the largest number of tokens.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.errors import DataError
from steersman.rollout.batch import FinishReason, Rollout, RolloutBatch
from steersman.rollout.engine import OnToken, Sampling, check_request, seeds_for
from steersman.rollout.stops import StopStrings
from steersman.text.tokeniser import Tokeniser, decode


@dataclass(frozen=True, slots=True)
class ScriptedAnswer:
    """An answer and the log-probability of each of its tokens, the end token included; None means 0 for all."""

    text: str
    log_probs: tuple[float, ...] | None = None


Script = (
    Mapping[str, str | ScriptedAnswer | Sequence[str | ScriptedAnswer]] | Callable[[str, int], str | ScriptedAnswer]
)
"""Prompt text -> answer, or several that the samples take in turn; or a function of prompt text and sample index."""


class ScriptedEngine:
    def __init__(self, script: Script, *, tokeniser: Tokeniser, end_id: int, version: int = 0) -> None:
        self.script, self.tokeniser, self.end_id = script, tokeniser, end_id
        self._version = version

    @property
    def version(self) -> int:
        return self._version

    def load_weights(self, state: Mapping[str, Tensor], version: int) -> None:
        """A script has no weights; the version is taken over."""
        self._version = version

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seeds: Sequence[int] | int,
        on_token: OnToken | None = None,
    ) -> RolloutBatch:
        check_request(prompts, samples, None, None)
        each = seeds_for(seeds, len(prompts), samples)
        stops = StopStrings(self.tokeniser, sampling.stop) if sampling.stop else None
        rollouts: list[Rollout] = []
        for i, prompt in enumerate(prompts):
            for n in range(samples):
                rollouts.append(self._answer(i, n, tuple(prompt), each[i * samples + n], sampling, stops))
                if on_token is not None:
                    for token, log_prob in zip(rollouts[-1].ids, rollouts[-1].log_probs.tolist(), strict=True):
                        on_token(i, n, token, log_prob)
        return RolloutBatch.of(rollouts)

    def _answer(
        self, i: int, n: int, prompt: tuple[int, ...], seed: int, sampling: Sampling, stops: StopStrings | None
    ) -> Rollout:
        answer = self._look_up(decode(self.tokeniser, prompt), n)
        ids = [*self.tokeniser(answer.text, add_special_tokens=False)["input_ids"], self.end_id]
        log_probs = answer.log_probs or (0.0,) * len(ids)
        if len(log_probs) != len(ids):
            raise DataError(
                f"the scripted answer {answer.text!r} has {len(ids)} tokens with its end token, and {len(log_probs)} "
                "log-probabilities were given; give one for each token, or none"
            )
        count, finish = self._cut(ids, sampling, stops)
        kept = torch.tensor(log_probs[:count])
        return Rollout(i, n, prompt, tuple(ids[:count]), kept, kept, finish, seed, self._version)

    def _cut(self, ids: list[int], sampling: Sampling, stops: StopStrings | None) -> tuple[int, FinishReason]:
        """How many of the tokens an engine would have drawn before it ended the answer, and why it did."""
        for count in range(1, min(len(ids), sampling.max_new_tokens) + 1):
            token = ids[count - 1]
            if token == self.end_id:
                return count, "end"
            if count > sampling.min_new_tokens and token in sampling.stop_ids:
                return count, "stop"
            if stops is not None and count >= sampling.min_new_tokens and stops.found(ids[:count]):
                return count, "stop"
        return sampling.max_new_tokens, "length"

    def _look_up(self, prompt: str, n: int) -> ScriptedAnswer:
        if callable(self.script):
            found = self.script(prompt, n)
        elif prompt in self.script:
            found = self.script[prompt]
        else:
            known = ", ".join(repr(text) for text in list(self.script)[:3]) or "none"
            raise DataError(
                f"the script has no answer to the prompt {prompt!r} (it knows {len(self.script)}, such as "
                f"{known}); add it, "
                "or give a function of the prompt"
            )
        if not isinstance(found, str | ScriptedAnswer):
            found = found[n % len(found)]
        return found if isinstance(found, ScriptedAnswer) else ScriptedAnswer(found)
