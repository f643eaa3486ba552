"""An iteration's rows: plain numbers for the journal, and for some answers all quantities of each token."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from steersman.methods.ppo.advantage import alike, explained_variance
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.records import Experience, Scored
from steersman.methods.ppo.score import in_plain_numbers
from steersman.methods.ppo.update import UpdateStats
from steersman.rollout.language import Language

LOSSES = {"policy": "policy loss", "value": "value loss"}


def journal_row(
    experience: Sequence[Experience],
    stats: UpdateStats,
    memory: Memory,
    *,
    engine_mismatch: float,
    seconds: Mapping[str, float],
) -> dict[str, float]:
    """The iteration in plain numbers, before the memory counts it. Means over tokens are over answer tokens."""
    scored = [one.scored for one in experience]
    tokens = sum(one.tokens for one in experience)

    def over_tokens(of: Callable[[Scored], Any]) -> float:
        return float(torch.cat([of(one) for one in scored]).sum()) / tokens

    def over_answers(of: Callable[[Scored], float]) -> float:
        return sum(of(one) for one in scored) / len(scored)

    mean_score = over_answers(lambda one: one.score)
    return {
        "score": mean_score,
        "score deviation": over_answers(lambda one: (one.score - mean_score) ** 2) ** 0.5,
        "raw score": over_answers(lambda one: one.raw_score),
        **{f"score part {name}": value for name, value in in_plain_numbers([one.parts for one in scored]).items()},
        "KL to reference": over_answers(lambda one: one.sequence_kl),
        "KL coefficient": memory.kl_coefficient,
        "entropy": over_tokens(lambda one: one.entropies),
        **_of_the_critic(experience),
        "return": float(torch.cat([one.returns for one in experience]).sum()) / tokens,
        "answer length": tokens / len(scored),
        "ended with EOS": over_answers(lambda one: float(one.sample.rollout.finish_reason != "length")),
        **_of_groups(scored),
        **{LOSSES.get(name, name): value for name, value in stats.terms.items() if name != "entropy"},
        **stats.metrics,
        **({"ratio from 1, first minibatch": stats.first["ratio from 1"]} if stats.steps else {}),
        "gradient norm": stats.gradient_norm,
        "learning rate": stats.learning_rate,
        "optimiser steps": stats.steps,
        "skipped steps": stats.skipped,
        "update ended early": float(stats.stopped_early),
        "engine mismatch": engine_mismatch,
        "padding share": stats.padding_share,
        "answers so far": memory.samples + len(experience),
        "answer tokens per second": tokens / max(sum(seconds.values()), 1e-9),
        **{f"seconds to {name}": value for name, value in seconds.items()},
    }


def _of_the_critic(experience: Sequence[Experience]) -> dict[str, float]:
    """The critic's numbers; empty without a critic."""
    values = [one.scored.values for one in experience if one.scored.values is not None]
    if not values:
        return {}
    return {"value": float(torch.cat(values).mean()), "explained variance": explained_variance(experience)}


def _of_groups(scored: Sequence[Scored]) -> dict[str, float]:
    """The share of prompts whose answers all score alike; empty if each prompt has one answer."""
    same = dict(zip((one.sample.rollout.prompt for one in scored), alike(scored), strict=True))
    return {"prompts scored alike": sum(same.values()) / len(same)} if len(same) < len(scored) else {}


def sample_rows(experience: Sequence[Experience], language: Language, count: int) -> list[dict[str, Any]]:
    """`count` of the answers with all quantities of each token, as the token microscope shows them."""
    step = max(1, len(experience) // max(1, count))
    return [_sample_row(one, language) for one in experience[::step][:count]]


def held_out_rows(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """Answers to held-out prompts with their numbers. The first evaluation's are the initial model's."""
    return [
        {
            "prompt": one.sample.prompt.shown,
            "prompt_id": one.sample.prompt.id,
            "answer": one.sample.text,
            "finish": one.sample.rollout.finish_reason,
            "tokens": len(one.sample.rollout.ids),
            "seed": one.sample.rollout.seed,
            "score": round(one.raw_score, 6),
            "kl": round(one.sequence_kl, 6),
        }
        for one in scored
    ]


def _sample_row(one: Experience, language: Language) -> dict[str, Any]:
    scored, sample = one.scored, one.scored.sample
    columns = {
        "log_probs": scored.old_log_probs,
        "reference_log_probs": scored.reference_log_probs,
        "kl": scored.kl,
        "entropies": scored.entropies,
        **({} if scored.values is None else {"values": scored.values}),
        "rewards": one.rewards,
        "advantages": one.advantages,
        "returns": one.returns,
    }
    return {
        "prompt": sample.prompt.shown,
        "prompt_id": sample.prompt.id,
        "answer": sample.text,
        "finish": sample.rollout.finish_reason,
        "seed": sample.rollout.seed,
        "version": sample.rollout.version,
        "score": scored.score,
        "raw_score": scored.raw_score,
        "parts": dict(scored.parts),
        "ids": list(sample.rollout.ids),
        "offsets": [*sample.offsets] if sample.offsets else language.offsets_of(sample.rollout),
        **{name: [round(value, 6) for value in column.tolist()] for name, column in columns.items()},
    }
