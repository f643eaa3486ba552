"""How good the policy is, and which weights were the best: by held-out prompts, and by what the watch believes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from steersman.methods.ppo.collect import collect
from steersman.methods.ppo.held_out import HeldOut
from steersman.methods.ppo.journal_rows import held_out_rows
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.parts import Parts
from steersman.methods.ppo.records import Scored
from steersman.methods.ppo.score import score
from steersman.methods.ppo.watched import seen
from steersman.rollout.engine import refresh
from steersman.settings.ppo import PpoSettings
from steersman.train.checkpoint import load_weight_tensors, take_snapshot
from steersman.watch.records import WatchReport


def evaluate(parts: Parts, settings: PpoSettings, memory: Memory) -> None:
    """Measure the policy on held-out prompts, journal it, and save the weights if they are the best so far.

    The best evaluation is judged again by the running scale and the KL coefficient of now: after either has changed,
    two objectives of different times cannot be compared.
    """
    if not parts.held_out:
        return
    scored = answer_held_out(parts, settings, memory)
    memory.held_out, found = measure(scored, settings, memory)
    value = memory.held_out["objective"]
    if memory.best_held_out is not None:
        memory.best_value = objective(memory.best_held_out, settings, memory)
    better = memory.best_value is None or value > memory.best_value
    if better:
        memory.best_value, memory.best_held_out = value, found
        memory.best_iteration, memory.measurements_since_best = memory.iteration, 0
    elif memory.iteration > settings.value_warmup:
        memory.measurements_since_best += 1
    numbers = {f"held-out {name}": number for name, number in memory.held_out.items()}
    parts.keeper.journal({"step": memory.iteration, **numbers, "best held-out objective": memory.best_value})
    parts.keeper.held_out_answers(memory.iteration, held_out_rows(scored))
    if better and settings.keep == "best":
        snapshot = take_snapshot(parts.learner, memory.facts(), parts.world)
        parts.keeper.save_best(memory.iteration, snapshot, "objective", value)


def answer_held_out(parts: Parts, settings: PpoSettings, memory: Memory) -> Sequence[Scored]:
    """Scored answers to held-out prompts, sampled with the same seeds every time. The running scale does not change."""
    asking, prompts = replace(parts.asking, samples=1, purpose="held-out"), parts.held_out
    samples = collect(prompts[: settings.evaluation.prompts], parts.engine, parts.language, asking, iteration=0)
    return score(samples, parts.scoring(settings, memory), replace(memory.scale))


def measure(scored: Sequence[Scored], settings: PpoSettings, memory: Memory) -> tuple[dict[str, float], HeldOut]:
    """Means over answers to held-out prompts, and what they are computed from."""
    found = HeldOut.of(scored)
    return {
        "score": sum(found.scores) / len(scored),
        "shaped score": _shaped(found, settings, memory),
        "KL to reference": found.kl,
        "objective": objective(found, settings, memory),
        "answer length": sum(len(one.kl) for one in scored) / len(scored),
        "ended with EOS": 1 - sum(found.cut_off) / len(scored),
    }, found


def objective(found: HeldOut, settings: PpoSettings, memory: Memory) -> float:
    """What PPO maximises, of an evaluation: the mean shaped score less the present KL coefficient times the KL."""
    return _shaped(found, settings, memory) - memory.kl_coefficient * found.kl


def _shaped(found: HeldOut, settings: PpoSettings, memory: Memory) -> float:
    return found.shaped(settings.score, memory.scale, longest=settings.sampling.max_new_tokens)


def converged(settings: PpoSettings, memory: Memory) -> bool:
    """Whether `evaluation.patience` measurements in a row were no better than the best."""
    patience = settings.evaluation.patience
    return patience is not None and memory.measurements_since_best >= patience


def watch_answers(
    parts: Parts, memory: Memory, scored: Sequence[Scored], facts: Mapping[str, Any]
) -> WatchReport | None:
    """Show the watch the answers, and save the weights that gave them if it believes them to be the best so far.
    `facts` is the loop's state when the iteration began, saved with them: a run resumed from there repeats the
    iteration."""
    if parts.watch is None:
        return None
    report = parts.watch.look(seen(scored), memory.watch, iteration=memory.iteration)
    if report.best:
        parts.keeper.save_believed(memory.iteration, take_snapshot(parts.learner, facts, parts.world))
    return report


def load_best(parts: Parts, iteration: int) -> bool:
    """Load the weights that were saved at an earlier iteration; returns whether they could be read."""
    # Process 0 wrote them and all read them; if one cannot, none may load them.
    parts.world.barrier()
    weights = parts.keeper.best_weights(iteration)
    if parts.world.any(weights is None) or weights is None:
        return False
    load_weight_tensors(parts.learner.model, weights)
    return True


def restore_best_of_watch(parts: Parts, settings: PpoSettings, memory: Memory) -> Mapping[str, float] | None:
    """Load the weights that the watch believes to be the best. Returns their measurements on held-out prompts, or None
    if they cannot be read."""
    best, value = memory.watch.best_step, memory.watch.best_value
    assert value is not None
    if not load_best(parts, best):
        return None
    parts.keeper.mark_best_again(best, "what the watch believes", value)
    parts.keeper.notice(f"the weights of iteration {best}, the best by what the watch believes, are restored")
    refresh(parts.engine, memory.iteration + 1)
    if not parts.held_out:
        return memory.held_out
    return measure(answer_held_out(parts, settings, memory), settings, memory)[0]
