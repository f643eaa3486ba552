"""Stage 2: samples -> scored samples. The scorer reads the text; policy, reference and value function read the tokens.

The penalties come after normalisation, as in the TL;DR code (science: an answer that was cut off must not keep a score that was
earned by its beginning).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor

from steersman.batches import TokenBatch, TokenRow
from steersman.maths.kl import k1, k2, k3
from steersman.methods.ppo.collect import Language
from steersman.methods.ppo.records import Sample, Scored
from steersman.methods.ppo.roles import Actors
from steersman.methods.ppo.together import asked
from steersman.parallel.world import World
from steersman.reward.scorer import Score, Scorer, SpanReward
from steersman.reward.shaping import overlong, spread_over_tokens
from steersman.settings.ppo import KlSettings, ShapingSettings
from steersman.train.plan import deal, micro_batches


@dataclass(frozen=True)
class Reading:
    """How the models are run over samples: padding, micro-batches, precision, temperature of the log-probabilities, and the
    processes that read together."""

    temperature: float
    token_budget: int
    pad: Callable[[Sequence[TokenRow]], TokenBatch]
    precision: Callable[[], AbstractContextManager[object]]
    world: World


@dataclass
class RunningScale:
    """Mean and variance of all scores so far (Welford, in the form that merges whole batches)."""

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


def score(
    samples: Sequence[Sample],
    scorer: Scorer,
    actors: Actors,
    language: Language,
    reading: Reading,
    settings: ShapingSettings,
    kl: KlSettings,
    scale: RunningScale,
    *,
    longest: int,
) -> list[Scored]:
    """Everything that is known of the samples before advantages. `scale` is brought up to date if scores are normalised; `longest`
    is the number of tokens at which answers were cut off."""
    given = ask(scorer, samples)
    scores = shape(
        [found.value for found in given], [sample.rollout.finish == "length" for sample in samples], settings, scale
    )
    if settings.overlong_tokens is not None:
        last, most = settings.overlong_tokens, settings.overlong_penalty
        tokens = [len(sample.rollout.ids) for sample in samples]
        scores = [
            one - most * overlong(count, longest=longest, last=last) for one, count in zip(scores, tokens, strict=True)
        ]
    read = read_tokens(samples, actors, reading, kl)
    scored: list[Scored] = []
    for i, sample in enumerate(samples):
        old, reference, per_token, entropies, values = read[i]
        scored.append(
            Scored(
                sample=sample,
                score=scores[i],
                raw_score=given[i].value,
                parts=given[i].parts,
                token_rewards=_span_rewards(given[i].spans, sample, language),
                old_log_probs=old,
                reference_log_probs=reference,
                kl=per_token,
                entropies=entropies,
                values=values,
            )
        )
    return scored


def ask(scorer: Scorer, samples: Sequence[Sample]) -> list[Score]:
    return asked(scorer, [(sample.prompt, sample.text) for sample in samples])


def shape(raw: Sequence[float], cut_off: Sequence[bool], settings: ShapingSettings, scale: RunningScale) -> list[float]:
    """Normalised, clipped, and less the penalty for answers that did not end by themselves."""
    if settings.normalise == "running":
        scale.add(raw)
    divisor = scale.deviation if settings.normalise == "running" else 1.0
    bound = math.inf if settings.clip is None else settings.clip
    penalty = settings.missing_eos_penalty or 0.0
    return [min(max(value / divisor, -bound), bound) - penalty * cut for value, cut in zip(raw, cut_off, strict=True)]


Read = tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]


def read_tokens(samples: Sequence[Sample], actors: Actors, reading: Reading, kl: KlSettings) -> list[Read]:
    """Old log-probabilities, the reference's, the KL estimate, entropies and values (if there is a critic), for each sample's own
    tokens."""
    world = reading.world
    places = {id(sample): i for i, sample in enumerate(samples)}
    groups = micro_batches(deal(samples, world.size)[world.rank], reading.token_budget, packed=False)
    read: list[Sample] = []
    columns: list[Tensor] = []
    kinds = 5
    with torch.no_grad():
        # Sharded models work in lockstep: whoever has fewer micro-batches goes along with some that count nothing.
        for n in range(world.max(len(groups))):
            group = groups[n] if n < len(groups) else [samples[0]]
            batch = reading.pad([sample.row for sample in group])
            with reading.precision():
                log_probs, entropies, values = actors.policy(batch, temperature=reading.temperature, with_entropy=True)
                reference = actors.reference(batch, temperature=reading.temperature)
                estimate = _estimate(actors, batch, log_probs, reference, reading.temperature, kl)
            assert entropies is not None
            together = (log_probs, reference, estimate, entropies, *([] if values is None else [values]))
            kinds = len(together)
            if n < len(groups):
                read += group
                columns.append(torch.stack([column.float().cpu() for column in together]))
    found: dict[int, Read] = {}
    mine = torch.cat([torch.zeros(kinds, 0), *columns], dim=1)
    for theirs, quantities in world.exchange(([places[id(sample)] for sample in read], mine)):
        parts = quantities.split([len(samples[i].rollout.ids) for i in theirs], dim=1)
        for i, own in zip(theirs, parts, strict=True):
            found[i] = (own[0], own[1], own[2], own[3], own[4] if len(own) > 4 else None)
    return [found[i] for i in range(len(samples))]


def _estimate(
    actors: Actors, batch: TokenBatch, log_probs: Tensor, reference: Tensor, temperature: float, kl: KlSettings
) -> Tensor:
    if kl.estimator in ("full", "top_k"):
        return actors.exact_kl(batch, temperature=temperature, top_k=kl.top_k if kl.estimator == "top_k" else None)
    return {"k1": k1, "k2": k2, "k3": k3}[kl.estimator](log_probs, reference)


def _span_rewards(spans: Sequence[SpanReward], sample: Sample, language: Language) -> Tensor:
    """Rewards for stretches of the answer's text, each paid at the token in which the stretch ends."""
    if not spans:
        return torch.zeros(len(sample.rollout.ids))
    return torch.tensor(spread_over_tokens(spans, language.offsets_of(sample.rollout)))


def in_plain_numbers(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each part of the scores over the answers that have it (members of an ensemble, weighted rewards)."""
    names = dict.fromkeys(name for part in parts for name in part)
    return {
        name: sum(part[name] for part in parts if name in part) / sum(name in part for part in parts) for name in names
    }
