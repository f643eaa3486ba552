"""Stage 5: journal and samples are written; KL coefficient and engine are set for the next iteration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from steersman.methods.ppo.journal_rows import sample_rows
from steersman.methods.ppo.kl_controller import next_coefficient
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.parts import Parts, PpoKeeper
from steersman.methods.ppo.records import Experience
from steersman.methods.ppo.update import UpdateStats
from steersman.methods.ppo.watched import act, finding_rows, sentence
from steersman.rollout.engine import refresh
from steersman.settings.ppo import PpoSettings
from steersman.watch.health import in_effect, verdicts
from steersman.watch.records import WatchReport

SHOWN = ("score", "KL to reference", "answer tokens per second")
"""The numbers beside the progress bar."""


@dataclass(frozen=True)
class Iteration:
    """One iteration's experience, its update, its journal row, and what the watch reports about its answers."""

    experience: Sequence[Experience]
    stats: UpdateStats
    row: Mapping[str, float]
    report: WatchReport | None


def keep(parts: Parts, settings: PpoSettings, memory: Memory, done: Iteration) -> None:
    """Count the iteration, steer the KL coefficient, refresh the engine's weights, and log."""
    answers, held = len(done.experience), memory.warming_up(settings)
    memory.iteration += 1
    memory.samples += answers
    kl = done.row["KL to reference"]
    if not held:
        memory.kl_coefficient = next_coefficient(settings.kl, memory.kl_coefficient, kl, answers)
    if done.report is not None and parts.watch is not None:
        memory.kl_coefficient = act(done.report, parts.watch, memory.watch, memory.kl_coefficient)
    refresh(parts.engine, memory.iteration)
    log_iteration(parts, settings, memory, done)


def log_iteration(parts: Parts, settings: PpoSettings, memory: Memory, done: Iteration) -> None:
    """Write the journal row, samples and findings, and warn once about each number that leaves its healthy range."""
    keeper, step = parts.keeper, memory.iteration
    keeper.journal({"step": step, **done.row})
    keeper.samples(step, sample_rows(done.experience, parts.language, settings.samples_kept))
    keeper.show(step, {name: done.row[name] for name in SHOWN})
    for warning in verdicts(done.row, set(in_effect(settings.model_dump()))):
        name = warning.split(" is ")[0]
        if name not in memory.reported:
            memory.reported.append(name)
            keeper.notice(f"iteration {step}: {warning}")
    if done.report is not None and done.report.findings:
        _log_findings(keeper, step, done.report)


def _log_findings(keeper: PpoKeeper, step: int, report: WatchReport) -> None:
    keeper.findings(finding_rows(report))
    for finding in report.findings:
        keeper.notice(f"iteration {step}: {sentence(finding)}")
