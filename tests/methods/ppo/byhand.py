"""Samples, scored samples and experience written down by hand."""

from collections.abc import Sequence

import torch

from steersman.methods.ppo.records import Experience, Sample, Scored
from steersman.records import Prompt
from steersman.rollout.batch import FinishReason, Rollout


def sample(
    tokens: int,
    *,
    prompt_tokens: int = 2,
    log_probs: Sequence[float] | None = None,
    finish: FinishReason = "end",
    group: int = 0,
) -> Sample:
    """An answer of so many tokens; `log_probs` are the engine's, `group` is the place of its prompt."""
    said = torch.tensor(log_probs or [-1.0] * tokens)
    rollout = Rollout(
        group, 0, tuple(range(1, prompt_tokens + 1)), tuple(range(5, 5 + tokens)), said, said, finish, seed=0, version=0
    )
    return Sample(Prompt(text="?"), rollout, "answer", rollout.row)


def scored(
    *,
    kl: Sequence[float],
    values: Sequence[float] | None,
    score: float,
    spans: Sequence[float] | None = None,
    old: Sequence[float] | None = None,
    engine: Sequence[float] | None = None,
    log_ratios: Sequence[float] | None = None,
    group: int = 0,
) -> Scored:
    """Token by token: the KL estimate, the value (None: no critic), rewards within the answer, the trainer's and the
    engine's log-probability. The log-ratios are the estimates (k1) unless they are given."""
    count = len(kl)
    said = torch.tensor(old or [-1.0] * count)
    return Scored(
        sample=sample(count, log_probs=engine or said.tolist(), group=group),
        score=score,
        raw_score=score,
        parts={},
        token_rewards=torch.tensor(spans or [0.0] * count),
        old_log_probs=said,
        reference_log_probs=said - torch.tensor(log_ratios or kl),
        kl=torch.tensor(kl),
        entropies=torch.zeros(count),
        values=None if values is None else torch.tensor(values),
    )


def experience(
    *,
    advantages: Sequence[float],
    returns: Sequence[float],
    values: Sequence[float] | None,
    old: Sequence[float],
    importance: Sequence[float] | None = None,
) -> Experience:
    count = len(advantages)
    return Experience(
        scored(kl=[0.0] * count, values=values, score=0.0, old=old),
        torch.zeros(count),
        torch.tensor(advantages),
        torch.tensor(returns),
        torch.tensor(importance or [1.0] * count),
    )
