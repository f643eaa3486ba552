"""PPO's side of the watch: it is shown each iteration's answers, and what it asks for is done."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.records import Scored
from steersman.reward.conservative import BEFORE
from steersman.reward.scorer import Scorer
from steersman.watch.records import Finding, WatchedAnswer, WatchMemory, WatchReport


@runtime_checkable
class Watch(Protocol):
    """Looks for reward hacking while the policy learns."""

    @property
    def restores(self) -> bool:
        """Whether the run may be told to restore its best weights, which are therefore kept."""
        ...

    def look(self, answers: Sequence[WatchedAnswer], memory: WatchMemory, *, iteration: int) -> WatchReport: ...

    def paying(self, scorer: Scorer, memory: WatchMemory) -> Scorer:
        """The scorer whose scores are the rewards from now on."""
        ...

    def raised(self, coefficient: float) -> float:
        """A higher KL coefficient."""
        ...


def seen(scored: Sequence[Scored]) -> list[WatchedAnswer]:
    """The answers as the watch looks at them."""
    return [
        WatchedAnswer(
            one.sample.prompt,
            one.sample.text,
            len(one.kl),
            one.sample.rollout.finish_reason != "length",
            one.parts.get(BEFORE, one.raw_score),
            one.parts,
            one.sequence_kl,
            float(one.entropies.mean()) if len(one.entropies) else 0.0,
        )
        for one in scored
    ]


def facts_to_restore(watch: Watch | None, memory: Memory) -> Mapping[str, Any]:
    """The loop's state before the iteration, if the watch may restore its weights; empty otherwise."""
    return memory.facts() if watch is not None and watch.restores else {}


def numbers(report: WatchReport | None) -> dict[str, float]:
    """The watch's numbers in the iteration's journal row."""
    return {} if report is None else {f"watch {name}": value for name, value in report.numbers.items()}


def finding_rows(report: WatchReport) -> list[Mapping[str, Any]]:
    return [asdict(finding) for finding in report.findings]


def act(report: WatchReport, watch: Watch, memory: WatchMemory, coefficient: float) -> float:
    """Do what the watch asks for from the next iteration on; returns the KL coefficient. Ending the run is left to the
    loop."""
    if "conservative" in report.actions:
        memory.conservative = True
    if "restore" in report.actions:
        memory.restored = True
    return watch.raised(coefficient) if "raise-kl" in report.actions else coefficient


def stops(report: WatchReport | None) -> bool:
    return report is not None and any(action in ("stop", "restore") for action in report.actions)


def sentence(finding: Finding) -> str:
    """A finding for people, with what is done about it."""
    done = {
        "warn": "",
        "raise-kl": ". The KL coefficient is raised",
        "conservative": ". From now on the ensemble's scores are taken conservatively",
        "stop": ". The run ends here",
        "restore": ". The run ends here, and the best weights are restored",
    }[finding.action]
    return f"watch, {finding.detector} {finding.value:.3g} (limit {finding.limit:g}): {finding.verdict}{done}"
