"""PPO, an iteration at a time:

    collect -> score -> advantage -> update

The loop is given its engine, scorer, actors, learner and keeper, and knows nothing of files or devices. A checkpoint is taken
between iterations only, so that what is in flight need not be saved: samples follow from seeds, seeds from the iteration.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from steersman.batches import TokenRow
from steersman.errors import ServiceError
from steersman.maths.kl import adaptive_coefficient, target_seeking_coefficient
from steersman.methods.ppo.advantage import advantage, alike, mismatch
from steersman.methods.ppo.collect import Asking, collect, prompts_of_iteration
from steersman.methods.ppo.forward import ForwardSetup
from steersman.methods.ppo.journal_rows import journal_row, sample_rows
from steersman.methods.ppo.records import Experience, ExperienceBatch, Sample, Scored, Unit
from steersman.methods.ppo.roles import Actors
from steersman.methods.ppo.score import RunningScale, score
from steersman.methods.ppo.update import PpoObjective, UpdateStats, update
from steersman.methods.ppo.watched import Watch, act, finding_rows, numbers, seen, sentence, stops
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.scorer import Scorer, ahead_of
from steersman.rollout.engine import Engine, HoldsACopy, TakesUpWeights
from steersman.rollout.language import Language
from steersman.runs.old_names import under_new_names
from steersman.settings.ppo import KlSettings, PpoSettings
from steersman.train.checkpoint import Snapshot, load_weight_tensors, take_snapshot
from steersman.train.core import Learner
from steersman.train.profiling import phase
from steersman.watch.health import verdicts
from steersman.watch.records import WatchMemory, WatchReport

Ending = Literal["finished", "converged", "KL limit", "stopped by the watch", "stopped"]


@runtime_checkable
class Keeper(Protocol):
    """What keeps the run; see `train.loop.Keeper`, and samples besides."""

    def journal(self, row: Mapping[str, Any]) -> None: ...
    def save(self, step: int, snapshot: Snapshot) -> None: ...
    def save_best(self, step: int, snapshot: Snapshot, measure: str, value: float) -> None: ...
    def save_believed(self, step: int, snapshot: Snapshot) -> None:
        """Keep these weights until others are believed to be better."""
        ...

    def mark_best_again(self, step: int, measure: str, value: float) -> None: ...
    def best_weights(self, step: int) -> Mapping[str, Any] | None: ...
    def stop_requested(self) -> bool: ...
    def show(self, step: int, numbers: Mapping[str, float]) -> None: ...
    def notice(self, words: str) -> None: ...
    def samples(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None: ...
    def findings(self, rows: Sequence[Mapping[str, Any]]) -> None: ...


@dataclass
class Memory:
    """What the loop remembers between iterations; saved with every checkpoint."""

    kl_coefficient: float
    iteration: int = 0
    scale: RunningScale = field(default_factory=RunningScale)
    best_value: float | None = None
    best_iteration: int = 0
    measurements_since_best: int = 0
    samples: int = 0
    importance: bool = False
    reported: list[str] = field(default_factory=list[str])
    held_out: dict[str, float] = field(default_factory=dict[str, float])
    watch: WatchMemory = field(default_factory=WatchMemory)
    ending: Ending = "finished"
    """Why the run ended, if not by its budget: a run killed before its model was written ends the same way again."""

    def facts(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def of(facts: Mapping[str, Any]) -> "Memory":
        facts = under_new_names(facts)
        scale, watch = RunningScale(**facts["scale"]), WatchMemory(**facts.get("watch", {}))
        return Memory(**{**facts, "scale": scale, "watch": watch})


@dataclass(frozen=True)
class Parts:
    """Everything that the loop is given."""

    actors: Actors
    engine: Engine
    scorer: Scorer
    language: Language
    learner: Learner[Unit, ExperienceBatch]
    forward: ForwardSetup
    prompts: Sequence[Prompt]
    held_out: Sequence[Prompt]
    pretraining: Callable[[int], Sequence[TokenRow]] | None
    asking: Asking
    keeper: Keeper
    world: World
    watch: Watch | None = None


@dataclass(frozen=True)
class Outcome:
    ending: Ending
    iteration: int
    best_iteration: int
    held_out: Mapping[str, float]


@dataclass(frozen=True)
class Iteration:
    """One iteration's experience, its update and its journal row."""

    experience: Sequence[Experience]
    stats: UpdateStats
    row: Mapping[str, float]
    looked: WatchReport | None


def ppo(parts: Parts, settings: PpoSettings, memory: Memory) -> Outcome:
    """From the memory's iteration to convergence, the KL limit, the budget, or the wish to stop."""
    keeper, world = parts.keeper, parts.world
    if memory.iteration == 0 and memory.best_value is None:
        _evaluate(parts, settings, memory)
    while memory.iteration < settings.iterations and memory.ending == "finished":
        try:
            done = iterate(parts, settings, memory)
        except ServiceError:
            # Answers are scored before anything is changed by them, so the run can go on from here.
            keeper.save(memory.iteration, take_snapshot(parts.learner, memory.facts(), world))
            raise
        memory.ending = _too_far(settings, done)
        last = memory.iteration == settings.iterations
        log_iteration(parts, settings, memory, done)
        over = last or memory.ending != "finished"
        if parts.held_out and (memory.iteration % settings.evaluation.every == 0 or over):
            _evaluate(parts, settings, memory)
        if _converged(settings, memory) and memory.ending == "finished":
            memory.ending = "converged"
        over = last or memory.ending != "finished"
        stopped = world.any(keeper.stop_requested()) and not over
        if memory.iteration % settings.run.checkpoint_every == 0 or over or stopped:
            keeper.save(memory.iteration, take_snapshot(parts.learner, memory.facts(), world))
        if stopped:
            return Outcome("stopped", memory.iteration, memory.best_iteration, memory.held_out)
    if memory.watch.restored and memory.watch.best_value is not None:
        return _restored(parts, settings, memory)
    if settings.keep == "best" and memory.best_value is not None and memory.best_iteration != memory.iteration:
        _go_back(parts, memory.best_iteration)
    # Whichever measured best, these are the last weights unless the best were asked for.
    best = memory.best_iteration if settings.keep == "best" else memory.iteration
    return Outcome(memory.ending, memory.iteration, best, memory.held_out)


def _go_back(parts: Parts, iteration: int) -> bool:
    """Put the weights of an earlier iteration back; whether they were there."""
    # Written by one process, read by all; what one of them cannot read none may load.
    parts.world.barrier()
    weights = parts.keeper.best_weights(iteration)
    if parts.world.any(weights is None) or weights is None:
        return False
    load_weight_tensors(parts.learner.model, weights)
    return True


def _restored(parts: Parts, settings: PpoSettings, memory: Memory) -> Outcome:
    """The end of a run whose watch asked for its best weights: they are put back and measured."""
    best, value = memory.watch.best_step, memory.watch.best_value
    assert value is not None
    if not _go_back(parts, best):
        return Outcome(memory.ending, memory.iteration, memory.iteration, memory.held_out)
    parts.keeper.mark_best_again(best, "what the watch believes", value)
    parts.keeper.notice(f"the weights of iteration {best}, the best by what the watch believes, are restored")
    if isinstance(parts.engine, TakesUpWeights):
        parts.engine.refresh(memory.iteration + 1)
    held_out = _measure(parts, settings, memory) if parts.held_out else memory.held_out
    return Outcome(memory.ending, memory.iteration, best, held_out)


def iterate(parts: Parts, settings: PpoSettings, memory: Memory) -> Iteration:
    """One iteration: the four stages, one after the other."""
    clock, before = _Clock(), memory.facts() if parts.watch is not None and parts.watch.restores else {}
    chosen = prompts_of_iteration(
        len(parts.prompts), settings.prompts_per_iteration, seed=settings.run.seed, iteration=memory.iteration
    )
    prompts = [parts.prompts[i] for i in chosen]
    asked = (prompts, parts.engine, parts.language, parts.asking)
    samples = clock.time("collect", lambda: collect(*asked, iteration=memory.iteration, ahead=ahead_of(parts.scorer)))
    scored = clock.time("score", lambda: _score(parts, settings, memory, samples))
    looked = clock.time("watch", lambda: _look(parts, memory, scored, before))
    engine_mismatch = mismatch(scored)
    memory.importance = engine_mismatch > settings.update.mismatch_bound
    experience = advantage(
        scored,
        settings.advantage,
        kl_coefficient=memory.kl_coefficient,
        importance_cap=settings.update.importance_cap if memory.importance else None,
    )
    objective = PpoObjective(settings.update, settings.kl, settings.sampling)
    same = alike(scored) if settings.advantage.leave_out_equal else [False] * len(scored)
    if isinstance(parts.engine, HoldsACopy):
        # Its copy of the weights is not needed until they have changed, and an update needs the memory.
        parts.engine.release()
    stats = clock.time(
        "update",
        lambda: update(
            parts.learner,
            [one for one, equal in zip(experience, same, strict=True) if not equal],
            objective,
            seed=settings.run.seed,
            iteration=memory.iteration,
            pretraining=parts.pretraining,
        ),
    )
    memory.iteration += 1
    memory.samples += len(samples)
    row = journal_row(
        experience,
        stats,
        kl_coefficient=memory.kl_coefficient,
        answers_so_far=memory.samples,
        engine_mismatch=engine_mismatch,
        seconds=clock.seconds,
    )
    row.update(numbers(looked))
    memory.kl_coefficient = next_coefficient(settings.kl, memory.kl_coefficient, row["KL to reference"], len(samples))
    if looked is not None and parts.watch is not None:
        memory.kl_coefficient = act(looked, parts.watch, memory.watch, memory.kl_coefficient)
    if isinstance(parts.engine, TakesUpWeights):
        parts.engine.refresh(memory.iteration)
    return Iteration(experience, stats, row, looked)


def _score(parts: Parts, settings: PpoSettings, memory: Memory, samples: Sequence[Sample]) -> list[Scored]:
    longest = settings.sampling.max_new_tokens
    scorer = parts.scorer if parts.watch is None else parts.watch.paying(parts.scorer, memory.watch)
    given = (scorer, parts.actors, parts.language, parts.forward)
    return score(samples, *given, settings.score, settings.kl, memory.scale, longest=longest)


def _look(parts: Parts, memory: Memory, scored: Sequence[Scored], before: Mapping[str, Any]) -> WatchReport | None:
    """Show the watch the answers. The weights that gave them are kept if there are none better, with what the loop remembered when the
    iteration began: a run resumed from there does it again."""
    if parts.watch is None:
        return None
    looked = parts.watch.look(seen(scored), memory.watch, iteration=memory.iteration)
    if looked.best:
        parts.keeper.save_believed(memory.iteration, take_snapshot(parts.learner, before, parts.world))
    return looked


def next_coefficient(settings: KlSettings, coefficient: float, measured: float, episodes: int) -> float:
    if settings.controller == "fixed":
        return coefficient
    # A KL measured by few samples may come out below zero; it then means: very near the reference.
    seen = max(measured, 1e-6)
    if settings.controller == "adaptive":
        # At most a fifth of the coefficient at once, also where one iteration holds more answers than the horizon.
        counted = min(episodes, max(1, int(settings.horizon)))
        return adaptive_coefficient(
            coefficient, seen, target=settings.target, horizon=settings.horizon, episodes=counted
        )
    return target_seeking_coefficient(coefficient, seen, target=settings.target, rate=0.1, limit=2.0)


def log_iteration(parts: Parts, settings: PpoSettings, memory: Memory, done: Iteration) -> None:
    """Journal the iteration, keep samples, and say once what is outside its healthy range."""
    row = {"step": memory.iteration, **done.row}
    parts.keeper.journal(row)
    parts.keeper.samples(memory.iteration, sample_rows(done.experience, parts.language, settings.samples_kept))
    brief = {name: row[name] for name in ("score", "KL to reference", "answer tokens per second")}
    parts.keeper.show(memory.iteration, brief)
    for words in verdicts(done.row):
        name = words.split(" is ")[0]
        if name not in memory.reported:
            memory.reported.append(name)
            parts.keeper.notice(f"iteration {memory.iteration}: {words}")
    if done.looked is not None and done.looked.findings:
        parts.keeper.findings(finding_rows(done.looked))
        for finding in done.looked.findings:
            parts.keeper.notice(f"iteration {memory.iteration}: {sentence(finding)}")


def _too_far(settings: PpoSettings, done: Iteration) -> Ending:
    if stops(done.looked):
        return "stopped by the watch"
    limit = settings.kl.limit
    return "KL limit" if limit is not None and done.row["KL to reference"] > limit else "finished"


def _converged(settings: PpoSettings, memory: Memory) -> bool:
    patience = settings.evaluation.patience
    return patience is not None and memory.measurements_since_best >= patience


def _measure(parts: Parts, settings: PpoSettings, memory: Memory) -> dict[str, float]:
    """Answers to held-out prompts, always with the same seeds: score, KL, and the objective that PPO maximises."""
    asking, prompts = Asking(parts.asking.sampling, 1, settings.run.seed, "held-out"), parts.held_out
    samples = collect(prompts[: settings.evaluation.prompts], parts.engine, parts.language, asking, iteration=0)
    scored = _score(parts, settings, replace(memory, scale=replace(memory.scale)), samples)
    mean_score = sum(one.raw_score for one in scored) / len(scored)
    kl = sum(one.sequence_kl for one in scored) / len(scored)
    return {
        "score": mean_score,
        "KL to reference": kl,
        "objective": mean_score - settings.kl.coefficient * kl,
        "answer length": sum(len(one.kl) for one in scored) / len(scored),
        "ended with EOS": sum(one.sample.rollout.finish_reason != "length" for one in scored) / len(scored),
    }


def _evaluate(parts: Parts, settings: PpoSettings, memory: Memory) -> None:
    if not parts.held_out:
        return
    memory.held_out = _measure(parts, settings, memory)
    value = memory.held_out["objective"]
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
        with phase(stage):
            done = work()
        self.seconds[stage] = time.perf_counter() - started
        return done
