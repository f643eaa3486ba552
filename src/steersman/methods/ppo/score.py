"""Stage 2: samples -> scored samples. The scorer reads the text; policy, reference and critic the tokens.

Penalties come after normalisation, as in the code of the TL;DR reproduction (arXiv 2403.17031): an answer that was cut
off must not keep the score that its beginning earned.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.methods.ppo.distributed import checked_scores
from steersman.methods.ppo.forward import ForwardSetup, token_quantities
from steersman.methods.ppo.records import Sample, Scored
from steersman.methods.ppo.roles import Actors
from steersman.reward.scorer import Score, Scorer, SpanReward
from steersman.reward.shaping import overlong, spread_over_tokens
from steersman.rollout.language import Language
from steersman.settings.shaping import KlSettings, ShapingSettings


@dataclass
class RunningScale:
    """Running mean and variance of all scores so far (Welford's algorithm, merging whole batches)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: Sequence[float]) -> None:
        if not values:
            return
        count, mean = len(values), sum(values) / len(values)
        squares = sum((value - mean) ** 2 for value in values)
        total = self.count + count
        self.squares += squares + (mean - self.mean) ** 2 * self.count * count / total
        self.mean += (mean - self.mean) * count / total
        self.count = total

    @property
    def deviation(self) -> float:
        return math.sqrt(self.squares / self.count) if self.count > 1 and self.squares > 0 else 1.0


@dataclass(frozen=True)
class Scoring:
    """How answers are scored: the scorer, the models of the token quantities, and the settings of scores and KL.
    `longest` is the number of tokens at which answers were cut off."""

    scorer: Scorer
    actors: Actors
    language: Language
    forward: ForwardSetup
    settings: ShapingSettings
    kl: KlSettings
    longest: int


def score(samples: Sequence[Sample], scoring: Scoring, scale: RunningScale) -> list[Scored]:
    """The samples with everything that is needed before advantages. If scores are normalised, `scale` takes them in."""
    settings = scoring.settings
    # A scoring service may have begun with the answers while they were sampled, so the models come first.
    read = token_quantities(samples, scoring.actors, scoring.forward, scoring.kl)
    given = ask(scoring.scorer, samples)
    scores = shape(
        [found.value for found in given],
        [sample.rollout.finish_reason == "length" for sample in samples],
        settings,
        scale,
    )
    if settings.overlong_tokens is not None:
        last, most = settings.overlong_tokens, settings.overlong_penalty
        tokens = [len(sample.rollout.ids) for sample in samples]
        scores = [
            one - most * overlong(count, longest=scoring.longest, last=last)
            for one, count in zip(scores, tokens, strict=True)
        ]
    return [
        Scored(
            sample=sample,
            score=scores[i],
            raw_score=given[i].value,
            parts=given[i].parts,
            token_rewards=_span_rewards(given[i].spans, sample, scoring.language),
            old_log_probs=read[i].old_log_probs,
            reference_log_probs=read[i].reference_log_probs,
            kl=read[i].kl,
            entropies=read[i].entropies,
            values=read[i].values,
            taken_from_engine=read[i].taken_from_engine,
        )
        for i, sample in enumerate(samples)
    ]


def ask(scorer: Scorer, samples: Sequence[Sample]) -> list[Score]:
    return checked_scores(scorer, [(sample.prompt, sample.text) for sample in samples])


def shape(raw: Sequence[float], cut_off: Sequence[bool], settings: ShapingSettings, scale: RunningScale) -> list[float]:
    """The scores normalised, clipped, and less the penalty for answers without EOS."""
    if settings.normalise == "running":
        scale.add(raw)
    divisor = scale.deviation if settings.normalise == "running" else 1.0
    bound = math.inf if settings.clip is None else settings.clip
    penalty = settings.missing_eos_penalty or 0.0
    return [min(max(value / divisor, -bound), bound) - penalty * cut for value, cut in zip(raw, cut_off, strict=True)]


def _span_rewards(spans: Sequence[SpanReward], sample: Sample, language: Language) -> Tensor:
    """Token rewards for spans of the answer's text: a span's reward goes to the token in which it ends."""
    if not spans:
        return torch.zeros(len(sample.rollout.ids))
    return torch.tensor(spread_over_tokens(spans, language.offsets_of(sample.rollout)))


def in_plain_numbers(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each part of the scores over the answers that have it (members of an ensemble, weighted rewards)."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: sum(part[name] for part in parts if name in part) / sum(name in part for part in parts) for name in names
    }
