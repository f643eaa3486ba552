"""What the loop has to do with the watch: show it each iteration's answers, do what it asks for, keep what it believes to be best."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol, runtime_checkable

from steersman.methods.ppo.records import Scored
from steersman.reward.conservative import BEFORE
from steersman.reward.scorer import Scorer
from steersman.watch.records import Finding, WatchedAnswer, WatchMemory, WatchReport


@runtime_checkable
class Watch(Protocol):
    """Looks for reward hacking while the policy learns."""

    @property
    def restores(self) -> bool:
        """Whether the best weights may be asked for, and are therefore kept."""
        ...

    def look(self, answers: Sequence[WatchedAnswer], memory: WatchMemory, *, iteration: int) -> WatchReport: ...

    def paying(self, scorer: Scorer, memory: WatchMemory) -> Scorer:
        """The scorer as it is to be believed from now on."""
        ...

    def raised(self, coefficient: float) -> float:
        """A higher price of the KL."""
        ...


def seen(scored: Sequence[Scored]) -> list[WatchedAnswer]:
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


def numbers(looked: WatchReport | None) -> dict[str, float]:
    """For the iteration's journal row."""
    return {} if looked is None else {f"watch {name}": value for name, value in looked.numbers.items()}


def finding_rows(looked: WatchReport) -> list[Mapping[str, Any]]:
    return [asdict(finding) for finding in looked.findings]


def act(looked: WatchReport, watch: Watch, memory: WatchMemory, coefficient: float) -> float:
    """Do what takes effect from the next iteration on; the price of the KL from then on. Stopping is the loop's own business."""
    if "conservative" in looked.actions:
        memory.conservative = True
    if "restore" in looked.actions:
        memory.restored = True
    return watch.raised(coefficient) if "raise-kl" in looked.actions else coefficient


def stops(looked: WatchReport | None) -> bool:
    return looked is not None and any(action in ("stop", "restore") for action in looked.actions)


def sentence(finding: Finding) -> str:
    """A finding for people, with what is done about it."""
    done = {
        "warn": "",
        "raise-kl": ". The price of the KL is raised",
        "conservative": ". From now on the ensemble is believed less",
        "stop": ". The run ends here",
        "restore": ". The run ends here, and the best weights are restored",
    }[finding.action]
    return f"watch, {finding.detector} {finding.value:.3g} (limit {finding.limit:g}): {finding.verdict}{done}"
