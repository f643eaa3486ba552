"""Stage 2: samples -> scored samples. The scorer reads the text; policy, reference and critic the tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.methods.ppo.distributed import checked_scores
from steersman.methods.ppo.forward import ForwardSetup, token_quantities
from steersman.methods.ppo.records import Sample, Scored
from steersman.methods.ppo.roles import Actors
from steersman.methods.ppo.shaping import Answered, RunningScale, shape
from steersman.reward.scorer import Score, Scorer, SpanReward
from steersman.reward.shaping import spread_over_tokens
from steersman.rollout.language import Language
from steersman.settings.shaping import KlSettings, ShapingSettings


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
    if settings.normalise == "running":
        scale.add([found.value for found in given])
    answers = [
        Answered(found.value, sample.rollout.finish_reason == "length", len(sample.rollout.ids))
        for found, sample in zip(given, samples, strict=True)
    ]
    scores = shape(answers, settings, scale, longest=scoring.longest)
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
    """The environment's scores, or the scorer's."""
    given = [sample.given_score for sample in samples if sample.given_score is not None]
    if samples and len(given) == len(samples):
        return given
    return checked_scores(scorer, [(sample.prompt, sample.text) for sample in samples])


def _span_rewards(spans: Sequence[SpanReward], sample: Sample, language: Language) -> Tensor:
    """Token rewards for spans of the answer's text: a span's reward goes to the token in which it ends."""
    if not spans:
        return torch.zeros(len(sample.rollout.ids))
    return torch.tensor(spread_over_tokens(spans, sample.offsets or language.offsets_of(sample.rollout)))


def in_plain_numbers(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each part of the scores over the answers that have it (members of an ensemble, weighted rewards)."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: sum(part[name] for part in parts if name in part) / sum(name in part for part in parts) for name in names
    }
