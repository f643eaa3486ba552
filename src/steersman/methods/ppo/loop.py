"""PPO, one iteration after another. An iteration has five stages:

    collect -> score -> advantage -> update -> keep

Each stage is a function in a file of its name. Checkpoints are taken between iterations only, so samples need not be
saved: they follow from their seeds, and seeds from the iteration's number.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from steersman.errors import ServiceError
from steersman.methods.ppo.advantage import advantage, engine_mismatch, worth_learning
from steersman.methods.ppo.clock import Clock
from steersman.methods.ppo.collect import collect, next_prompts
from steersman.methods.ppo.episodes import turns_of
from steersman.methods.ppo.evaluation import converged, evaluate, load_best, restore_best_of_watch, watch_answers
from steersman.methods.ppo.journal_rows import journal_row
from steersman.methods.ppo.keep import Iteration, keep
from steersman.methods.ppo.memory import Ending, Memory
from steersman.methods.ppo.parts import Parts
from steersman.methods.ppo.redraw import redraw, redrawn
from steersman.methods.ppo.score import score
from steersman.methods.ppo.update import PpoObjective, update
from steersman.methods.ppo.watched import facts_to_restore, numbers, stops
from steersman.reward.scorer import ahead_of
from steersman.rollout.engine import release
from steersman.settings.ppo import PpoSettings
from steersman.train.checkpoint import take_snapshot
from steersman.train.finite import check_result


def iterate(parts: Parts, settings: PpoSettings, memory: Memory) -> Iteration:
    """One iteration of PPO."""
    clock, facts = Clock(), facts_to_restore(parts.watch, memory)

    # 1. Collect: the policy answers the iteration's prompts.
    with clock.stage("collect"):
        prompts = next_prompts(parts.prompts, settings, memory)
        ahead = ahead_of(parts.scorer)
        samples = collect(prompts, parts.engine, parts.language, parts.asking, iteration=memory.iteration, ahead=ahead)

    # 2. Score: the scorer reads the texts; policy, reference and critic the tokens. The watch looks for reward hacking.
    with clock.stage("score"):
        scored = score(samples, parts.scoring(settings, memory), memory.scale)
        scored = redraw(parts, settings, memory, scored)
    with clock.stage("watch"):
        report = watch_answers(parts, memory, scored, facts)

    # 3. Advantage: the reward of each token (KL penalty, and the score on the last), compared with what was expected.
    mismatch = engine_mismatch(scored)
    memory.importance = mismatch > settings.update.mismatch_bound
    weights = settings.update if memory.importance else None
    experience = advantage(scored, settings.advantage, kl_coefficient=memory.kl_coefficient, importance=weights)

    # 4. Update: epochs of minibatches with the clipped losses. A GPU engine's copy of the weights makes room for it.
    release(parts.engine)
    with clock.stage("update"):
        stats = update(
            parts.learner,
            worth_learning(experience, settings.advantage),
            PpoObjective(settings.update, settings.kl, settings.sampling, policy_held=memory.warming_up(settings)),
            seed=settings.run.seed,
            iteration=memory.iteration,
            pretraining=parts.pretraining,
        )

    # 5. Keep: journal and samples are written; KL coefficient and engine are set for the next iteration.
    row = journal_row(experience, stats, memory, engine_mismatch=mismatch, seconds=clock.seconds)
    row |= {**redrawn(scored, settings), **turns_of(samples), **numbers(report)}
    done = Iteration(experience, stats, row, report)
    keep(parts, settings, memory, done)
    return done


@dataclass(frozen=True)
class PpoOutcome:
    """How a run ended: why, after how many iterations, and which iteration's weights it leaves."""

    ending: Ending
    iteration: int
    best_iteration: int
    held_out: Mapping[str, float]


def ppo(parts: Parts, settings: PpoSettings, memory: Memory) -> PpoOutcome:
    """Iterate until the budget, convergence, the KL limit, the watch or a stop request ends the run."""
    keeper, world = parts.keeper, parts.world

    def save() -> None:
        keeper.save(memory.iteration, take_snapshot(parts.learner, memory.facts(), world))

    if memory.iteration == 0 and memory.best_value is None:
        evaluate(parts, settings, memory)
    while memory.iteration < settings.iterations and memory.ending == "finished":
        before = memory.facts()
        try:
            done = iterate(parts, settings, memory)
        except ServiceError:
            # Scoring comes before any weight is changed, so the run can be resumed from here.
            vars(memory).update(vars(Memory.of(before)))
            save()
            raise
        memory.ending = _ending(settings, done)
        last = memory.iteration == settings.iterations
        over = last or memory.ending != "finished"
        if parts.held_out and (memory.iteration % settings.evaluation.every == 0 or over):
            evaluate(parts, settings, memory)
        if converged(settings, memory) and memory.ending == "finished":
            memory.ending = "converged"
        over = last or memory.ending != "finished"
        stopped = world.any(keeper.stop_requested()) and not over
        # Rank 0 decides by its clock, and all ranks take the snapshot.
        due = world.any(keeper.save_due())
        if memory.iteration % settings.run.checkpoint_every == 0 or due or over or stopped:
            save()
        if stopped:
            return PpoOutcome("stopped", memory.iteration, memory.best_iteration, memory.held_out)
    return _leave_weights(parts, settings, memory)


def _ending(settings: PpoSettings, done: Iteration) -> Ending:
    if stops(done.report):
        return "stopped by the watch"
    limit = settings.kl.limit
    return "KL limit" if limit is not None and done.row["KL to reference"] > limit else "finished"


def _leave_weights(parts: Parts, settings: PpoSettings, memory: Memory) -> PpoOutcome:
    """End the run with the weights that it is to leave: the last, the best, or those that the watch believes in."""
    best, held_out = memory.iteration, memory.held_out
    if memory.watch.restored and memory.watch.best_value is not None:
        restored = restore_best_of_watch(parts, settings, memory)
        if restored is not None:
            best, held_out = memory.watch.best_step, restored
    elif settings.keep == "best":
        best = memory.best_iteration
        if memory.best_value is not None and best != memory.iteration:
            load_best(parts, best)
    if best == memory.iteration or memory.best_value is None:
        check_result("objective", held_out.get("objective"), parts.learner.progress.bad_in_a_row)
    return PpoOutcome(memory.ending, memory.iteration, best, held_out)
