"""An engine without a model: its answers come from a table or a function. For trying out rewards, and for tests.

It follows the rules of an engine: ids from the tokeniser, EOS, stop strings, `max_new_tokens`.
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
    """An answer and the log-prob of each of its tokens, EOS included; None means 0 for all."""

    text: str
    log_probs: tuple[float, ...] | None = None


Script = (
    Mapping[str, str | ScriptedAnswer | Sequence[str | ScriptedAnswer]] | Callable[[str, int], str | ScriptedAnswer]
)
"""Prompt text -> answer, or several answers for the samples in turn; or a function of prompt text and sample index."""


class ScriptedEngine:
    def __init__(self, script: Script, *, tokeniser: Tokeniser, end_id: int, version: int = 0) -> None:
        self.script, self.tokeniser, self.end_id = script, tokeniser, end_id
        self._version = version

    @property
    def version(self) -> int:
        return self._version

    def load_weights(self, state: Mapping[str, Tensor], version: int) -> None:
        """A script has no weights; only the version is stored."""
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
                f"the scripted answer {answer.text!r} has {len(ids)} tokens with EOS, and {len(log_probs)} "
                "log-probs were given; give one for each token, or none"
            )
        count, finish = self._cut(ids, sampling, stops)
        kept = torch.tensor(log_probs[:count])
        return Rollout(i, n, prompt, tuple(ids[:count]), kept, kept, finish, seed, self._version)

    def _cut(self, ids: list[int], sampling: Sampling, stops: StopStrings | None) -> tuple[int, FinishReason]:
        """The number of tokens after which an engine would have ended the answer, and the reason."""
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
                f"the script has no answer to the prompt {prompt!r} (it has {len(self.script)}, such as {known}); "
                "add it, or give a function of the prompt"
            )
        if not isinstance(found, str | ScriptedAnswer):
            found = found[n % len(found)]
        return found if isinstance(found, ScriptedAnswer) else ScriptedAnswer(found)
