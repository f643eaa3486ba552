"""The interface of rollout engines: prompt token ids in, sampled answers with log-probs out.

`log_probs` are of the *unfiltered* distribution softmax(logits / temperature), which the trainer compares with;
`sampling_log_probs` are of the distribution that tokens are drawn from (with Q, repetition penalty, top-k, top-p and
min-p). Ids are never decoded and encoded again: what was sampled is what is scored and trained on.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, runtime_checkable

from torch import Tensor

from steersman.errors import DataError, UsageError
from steersman.rollout.batch import Rollout, RolloutBatch

OnToken = Callable[[int, int, int, float], None]
"""Called with each sampled token: prompt, sample, token id, log-prob. The tokens of one sample come in order."""


LEAST_TEMPERATURE = 1e-4
"""Below it, logits divided by the temperature lose their differences in float32, and then overflow."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are sampled. All fields but the first two are off by default.

    The order is that of transformers: repetition penalty, minimum length, temperature, top-k, top-p, min-p; tokens that
    tie with the last one kept are kept too. Temperature 0 takes the likeliest token; log-probabilities are then those
    at temperature 1, and the probability of the draw is 1. A sample never goes beyond the model's context: it ends
    there, with the finish reason "length".

    `q_beta` is the weight of the Q heads of a model that has them (see `models.q_heads`): tokens are drawn from
    policy * exp(q_beta * Q), to which the other settings apply. None is the model's own weight; 0 is the policy alone.
    """

    max_new_tokens: int
    temperature: float
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    min_new_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] = ()
    q_beta: float | None = None

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": (self.max_new_tokens >= 1, "at least 1"),
            "temperature": (
                self.temperature == 0 or LEAST_TEMPERATURE <= self.temperature < float("inf"),
                f"0 (greedy) or at least {LEAST_TEMPERATURE:g}",
            ),
            "top_k": (self.top_k >= 0, "0 (off) or the number of tokens to keep"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1 (off)"),
            "min_p": (0 <= self.min_p <= 1, "between 0 (off) and 1"),
            "repetition_penalty": (0 < self.repetition_penalty < float("inf"), "above 0; 1 is off"),
            "min_new_tokens": (0 <= self.min_new_tokens <= self.max_new_tokens, "between 0 and max_new_tokens"),
            "stop": (all(self.stop), "strings that are not empty"),
            "q_beta": (self.q_beta is None or 0 <= self.q_beta < float("inf"), "0 (the policy alone) or above"),
        }
        for name, (good, expected) in checks.items():
            if not good:
                raise UsageError(f"{name} is {getattr(self, name)!r}; expected {expected}")

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def logit_temperature(self) -> float:
        """The temperature of the log-probs: 1 for greedy sampling."""
        return self.temperature or 1.0

    @property
    def filtered(self) -> bool:
        """Whether tokens are drawn from another distribution than the one of `log_probs` (Q heads aside)."""
        neutral = (0, 1.0, 0.0, 1.0, 0)
        return (self.top_k, self.top_p, self.min_p, self.repetition_penalty, self.min_new_tokens) != neutral


def limit_of(context: int | None, prompt: Sequence[int], sampling: Sampling) -> int:
    """The largest number of tokens that an answer to this prompt can have, within the model's context."""
    return sampling.max_new_tokens if context is None else min(sampling.max_new_tokens, context - len(prompt))


@runtime_checkable
class Engine(Protocol):
    @property
    def version(self) -> int: ...

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: Sampling,
        *,
        samples: int = 1,
        seeds: Sequence[int] | int,
        on_token: OnToken | None = None,
    ) -> RolloutBatch:
        """`samples` answers to each prompt, in the order of the prompts. Seeds: one for each answer, or one for all."""
        ...

    def load_weights(self, state: Mapping[str, Tensor], version: int) -> None:
        """Answer with these weights from now on."""
        ...


@runtime_checkable
class TakesUpWeights(Protocol):
    """An engine that uses the trainer's own weights, and is told when they have changed."""

    def refresh(self, version: int) -> None: ...


@runtime_checkable
class HoldsACopy(Protocol):
    """An engine with its own copy of the weights."""

    def release(self) -> None:
        """Free the memory of the copy until the next `generate`."""
        ...


def refresh(engine: Engine, version: int) -> None:
    """Tell the engine that the trainer's weights have changed, if it uses them itself."""
    if isinstance(engine, TakesUpWeights):
        engine.refresh(version)


def release(engine: Engine) -> None:
    """Free the memory of the engine's copy of the weights, if it has one."""
    if isinstance(engine, HoldsACopy):
        engine.release()


@runtime_checkable
class TellsOfEach(Protocol):
    """An engine that reports each answer as soon as it is finished, while it samples the others."""

    on_answer: "Callable[[Rollout], None] | None"


def sample_seed(run_seed: int, step: int, prompt: str | int, sample: int) -> int:
    """The seed of one sample, a pure function of its place in the run: a resumed run samples the same."""
    name = "\x1f".join(str(part) for part in (run_seed, step, prompt, sample))
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big") >> 1


def seeds_for(seeds: Sequence[int] | int, prompts: int, samples: int) -> list[int]:
    """One seed for each sample, prompt by prompt."""
    if isinstance(seeds, int):
        return [sample_seed(seeds, 0, prompt, sample) for prompt in range(prompts) for sample in range(samples)]
    if len(seeds) != prompts * samples:
        raise UsageError(
            f"{len(seeds)} seeds for {prompts} prompts with {samples} samples each; expected {prompts * samples}, "
            "prompt by prompt, or one number from which all are derived"
        )
    if any(not -(2**63) <= seed < 2**63 for seed in seeds):
        raise UsageError(f"the seeds go from {min(seeds)} to {max(seeds)}; expected numbers that fit into 64 bits")
    return list(seeds)


def check_request(prompts: Sequence[Sequence[int]], samples: int, vocabulary: int | None, context: int | None) -> None:
    """Raise if no engine could answer the request."""
    if not prompts:
        raise DataError("there are no prompts to answer; give at least one")
    if samples < 1:
        raise UsageError(f"samples is {samples}; expected 1 or more answers to each prompt")
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise DataError(f"prompt {i} has no tokens; give at least one, such as the model's begin-of-text token")
        if vocabulary is not None and not 0 <= min(prompt) <= max(prompt) < vocabulary:
            raise DataError(
                f"prompt {i} holds the id {max(prompt) if max(prompt) >= vocabulary else min(prompt)}, and the model "
                f"has ids from 0 to {vocabulary - 1}; it was encoded with another tokeniser than the model's"
            )
        if context is not None and len(prompt) >= context:
            raise DataError(
                f"prompt {i} has {len(prompt)} tokens, and the model's context of {context} must hold the prompt and "
                "at least one new token; shorten the prompt, or choose a model with a longer context"
            )
