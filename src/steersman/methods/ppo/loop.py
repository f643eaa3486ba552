"""PPO, an iteration at a time:

    collect -> score -> advantage -> update

The loop is given its engine, scorer, actors, learner and keeper, and knows nothing of files or devices. A checkpoint is taken
between iterations only, so that what is in flight need not be saved: samples follow from seeds, seeds from the iteration.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from steersman.batches import TokenRow
from steersman.data.order import rows_of_step
from steersman.maths.kl import adaptive_coefficient, target_seeking_coefficient
from steersman.methods.ppo.advantage import advantage, explained_variance, mismatch
from steersman.methods.ppo.collect import Asking, Language, collect
from steersman.methods.ppo.health import verdicts
from steersman.methods.ppo.records import Experience, ExperienceBatch, Sample, Scored, Unit
from steersman.methods.ppo.roles import Actors
from steersman.methods.ppo.score import Reading, RunningScale, in_plain_numbers, score
from steersman.methods.ppo.update import PpoObjective, UpdateStats, update
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.scorer import Scorer
from steersman.rollout.engine import Engine
from steersman.settings.ppo import KlSettings, PpoSettings
from steersman.train.checkpoint import Snapshot, load_weight_tensors, take_snapshot
from steersman.train.core import Learner

Ending = Literal["finished", "converged", "KL limit", "stopped"]


@runtime_checkable
class Keeper(Protocol):
    """What keeps the run; see `train.loop.Keeper`, and samples besides."""

    def journal(self, row: Mapping[str, Any]) -> None: ...
    def save(self, step: int, snapshot: Snapshot) -> None: ...
    def save_best(self, step: int, snapshot: Snapshot, measure: str, value: float) -> None: ...
    def best_weights(self, step: int) -> Mapping[str, Any] | None: ...
    def stop_requested(self) -> bool: ...
    def show(self, step: int, numbers: Mapping[str, float]) -> None: ...
    def notice(self, words: str) -> None: ...
    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None: ...


@runtime_checkable
class TakesUpWeights(Protocol):
    """An engine that reads the trainer's own weights and must be told when they have changed."""

    def refresh(self, version: int) -> None: ...


@dataclass
class Memory:
    """What the loop remembers between iterations; saved with every checkpoint."""

    iteration: int = 0
    kl_coefficient: float = 0.0
    scale: RunningScale = field(default_factory=RunningScale)
    best_value: float | None = None
    best_iteration: int = 0
    measurements_since_best: int = 0
    samples: int = 0
    importance: bool = False
    told: list[str] = field(default_factory=list[str])
    held_out: dict[str, float] = field(default_factory=dict[str, float])

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(facts: Mapping[str, Any]) -> "Memory":
        return Memory(**{**facts, "scale": RunningScale(**facts["scale"])})


@dataclass(frozen=True)
class Parts:
    """Everything that the loop is given."""

    actors: Actors
    engine: Engine
    scorer: Scorer
    language: Language
    learner: Learner[Unit, ExperienceBatch]
    reading: Reading
    prompts: Sequence[Prompt]
    held_out: Sequence[Prompt]
    pretraining: Callable[[int], Sequence[TokenRow]] | None
    asking: Asking
    keeper: Keeper
    world: World


@dataclass(frozen=True)
class Outcome:
    ending: Ending
    iteration: int
    best_iteration: int
    held_out: Mapping[str, float]


@dataclass(frozen=True)
class Iteration:
    """One iteration's experience, its update and its journal row: what callers of the parts get back."""

    experience: Sequence[Experience]
    stats: UpdateStats
    row: Mapping[str, float]


def ppo(parts: Parts, settings: PpoSettings, memory: Memory) -> Outcome:
    """From the memory's iteration to convergence, the KL limit, the budget, or the wish to stop."""
    keeper, world = parts.keeper, parts.world
    ending: Ending = "finished"
    if memory.iteration == 0 and memory.best_value is None:
        memory.kl_coefficient = settings.kl.coefficient
        _evaluate(parts, settings, memory)
    while memory.iteration < settings.iterations:
        done = iterate(parts, settings, memory)
        last = memory.iteration == settings.iterations
        _tell(parts, settings, memory, done)
        if parts.held_out and (memory.iteration % settings.evaluation.every == 0 or last):
            _evaluate(parts, settings, memory)
        ending = _why_end(settings, memory, done)
        stopped = world.any(keeper.stop_requested()) and not last and ending == "finished"
        if memory.iteration % settings.run.checkpoint_every == 0 or last or stopped or ending != "finished":
            keeper.save(memory.iteration, take_snapshot(parts.learner, memory.facts(), world))
        if stopped:
            return Outcome("stopped", memory.iteration, memory.best_iteration, memory.held_out)
        if ending != "finished":
            break
    if settings.keep == "best" and memory.best_value is not None and memory.best_iteration != memory.iteration:
        best = keeper.best_weights(memory.best_iteration)
        if best is not None:
            load_weight_tensors(parts.learner.model, best)
    return Outcome(ending, memory.iteration, memory.best_iteration, memory.held_out)


def iterate(parts: Parts, settings: PpoSettings, memory: Memory) -> Iteration:
    """One iteration: the four stages, one after the other."""
    clock = _Clock()
    prompts = [
        parts.prompts[i]
        for i in rows_of_step(len(parts.prompts), settings.prompts_per_iteration, settings.run.seed, memory.iteration)
    ]
    samples = clock.time(
        "collect", lambda: collect(prompts, parts.engine, parts.language, parts.asking, iteration=memory.iteration)
    )
    scored = clock.time("score", lambda: _score(parts, settings, memory, samples))
    apart = mismatch(scored)
    memory.importance = apart > settings.update.mismatch_bound
    experience = advantage(
        scored,
        settings.advantage,
        kl_coefficient=memory.kl_coefficient,
        importance_cap=settings.update.importance_cap if memory.importance else None,
    )
    objective = PpoObjective(settings.update, settings.kl, settings.sampling.temperature)
    stats = clock.time(
        "update",
        lambda: update(
            parts.learner,
            experience,
            objective,
            seed=settings.run.seed,
            iteration=memory.iteration,
            pretraining=parts.pretraining,
        ),
    )
    memory.iteration += 1
    memory.samples += len(samples)
    row = journal_row(experience, stats, memory, apart, clock.seconds)
    memory.kl_coefficient = next_coefficient(settings.kl, memory.kl_coefficient, row["KL to reference"], len(samples))
    if isinstance(parts.engine, TakesUpWeights):
        parts.engine.refresh(memory.iteration)
    return Iteration(experience, stats, row)


def _score(parts: Parts, settings: PpoSettings, memory: Memory, samples: Sequence[Sample]) -> list[Scored]:
    return score(
        samples, parts.scorer, parts.actors, parts.language, parts.reading, settings.score, settings.kl, memory.scale
    )


def next_coefficient(settings: KlSettings, coefficient: float, measured: float, episodes: int) -> float:
    if settings.controller == "fixed":
        return coefficient
    # A KL measured by few samples may come out below zero; it then means: very near the reference.
    seen = max(measured, 1e-6)
    if settings.controller == "adaptive":
        return adaptive_coefficient(
            coefficient, seen, target=settings.target, horizon=settings.horizon, episodes=episodes
        )
    return target_seeking_coefficient(coefficient, seen, target=settings.target, rate=0.1, limit=2.0)


def journal_row(
    experience: Sequence[Experience], stats: UpdateStats, memory: Memory, apart: float, seconds: Mapping[str, float]
) -> dict[str, float]:
    """The iteration in plain numbers; every mean over tokens is over answer tokens."""
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
        "value": over_tokens(lambda one: one.values),
        "return": float(torch.cat([one.returns for one in experience]).sum()) / tokens,
        "explained variance": explained_variance(experience),
        "answer length": tokens / len(scored),
        "ended by themselves": over_answers(lambda one: float(one.sample.rollout.finish != "length")),
        "policy loss": stats.terms["policy"],
        "value loss": stats.terms["value"],
        **{name: value for name, value in stats.terms.items() if name not in ("policy", "value", "entropy")},
        **stats.metrics,
        "ratio from 1, first minibatch": stats.first["ratio from 1"],
        "gradient norm": stats.gradient_norm,
        "learning rate": stats.learning_rate,
        "optimiser steps": stats.steps,
        "skipped steps": stats.skipped,
        "update ended early": float(stats.stopped_early),
        "engine mismatch": apart,
        "padding share": stats.padding_share,
        "answers so far": memory.samples,
        "answer tokens per second": tokens / max(sum(seconds.values()), 1e-9),
        **{f"seconds to {name}": value for name, value in seconds.items()},
    }


def sample_rows(experience: Sequence[Experience], language: Language, count: int) -> list[dict[str, Any]]:
    """Some of the answers with all that is known of each token: what the token microscope shows."""
    step = max(1, len(experience) // max(1, count))
    return [_sample_row(one, language) for one in experience[::step][:count]]


def _sample_row(one: Experience, language: Language) -> dict[str, Any]:
    scored, sample = one.scored, one.scored.sample
    columns = {
        "log_probs": scored.old_log_probs,
        "reference_log_probs": scored.reference_log_probs,
        "kl": scored.kl,
        "entropies": scored.entropies,
        "values": scored.values,
        "rewards": one.rewards,
        "advantages": one.advantages,
        "returns": one.returns,
    }
    return {
        "prompt": sample.prompt.shown,
        "prompt_id": sample.prompt.id,
        "answer": sample.text,
        "finish": sample.rollout.finish,
        "seed": sample.rollout.seed,
        "version": sample.rollout.version,
        "score": scored.score,
        "raw_score": scored.raw_score,
        "parts": dict(scored.parts),
        "ids": list(sample.rollout.ids),
        "offsets": language.offsets_of(sample.rollout),
        **{name: [round(float(value), 6) for value in column] for name, column in columns.items()},
    }


def _tell(parts: Parts, settings: PpoSettings, memory: Memory, done: Iteration) -> None:
    """Journal the iteration, keep samples, and say once what is outside its healthy range."""
    row = {"step": memory.iteration, **done.row}
    parts.keeper.journal(row)
    parts.keeper.samples(memory.iteration, sample_rows(done.experience, parts.language, settings.samples_kept))
    brief = {name: row[name] for name in ("score", "KL to reference", "answer tokens per second")}
    parts.keeper.show(memory.iteration, brief)
    for words in verdicts(done.row):
        name = words.split(" is ")[0]
        if name not in memory.told:
            memory.told.append(name)
            parts.keeper.notice(f"iteration {memory.iteration}: {words}")


def _why_end(settings: PpoSettings, memory: Memory, done: Iteration) -> Ending:
    if settings.kl.limit is not None and done.row["KL to reference"] > settings.kl.limit:
        return "KL limit"
    patience = settings.evaluation.patience
    if patience is not None and memory.measurements_since_best >= patience:
        return "converged"
    return "finished"


def _evaluate(parts: Parts, settings: PpoSettings, memory: Memory) -> None:
    """Answers to held-out prompts, always with the same seeds: score, KL, and the objective that PPO maximises."""
    if not parts.held_out:
        return
    prompts = parts.held_out[: settings.evaluation.prompts]
    asking = Asking(parts.asking.sampling, 1, settings.run.seed, "held-out")
    samples = collect(prompts, parts.engine, parts.language, asking, iteration=0)
    untouched = RunningScale(**asdict(memory.scale))
    scored = score(
        samples, parts.scorer, parts.actors, parts.language, parts.reading, settings.score, settings.kl, untouched
    )
    mean_score = sum(one.raw_score for one in scored) / len(scored)
    kl = sum(one.sequence_kl for one in scored) / len(scored)
    value = mean_score - settings.kl.coefficient * kl
    memory.held_out = {
        "score": mean_score,
        "KL to reference": kl,
        "objective": value,
        "answer length": sum(len(one.kl) for one in scored) / len(scored),
        "ended by themselves": sum(one.sample.rollout.finish != "length" for one in scored) / len(scored),
    }
    better = memory.best_value is None or value > memory.best_value
    if better:
        memory.best_value, memory.best_iteration, memory.measurements_since_best = value, memory.iteration, 0
    else:
        memory.measurements_since_best += 1
    parts.keeper.journal(
        {"step": memory.iteration, **{f"held-out {name}": number for name, number in memory.held_out.items()}}
    )
    if better and settings.keep == "best":
        parts.keeper.save_best(
            memory.iteration, take_snapshot(parts.learner, memory.facts(), parts.world), "objective", value
        )


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def time(self, stage: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        done = work()
        self.seconds[stage] = time.perf_counter() - started
        return done
