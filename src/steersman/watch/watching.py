"""The watch for reward hacking: checks each iteration's answers, and reports verdicts with evidence and actions.

Nothing here depends on models, files or ranks. The held-out scorer and the features are passed in, and actions are
returned by name.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steersman.reward.scorer import Item, Scorer
from steersman.watch.baseline import Baseline, baseline
from steersman.watch.detectors.collapse import COLLAPSE
from steersman.watch.detectors.detector import Detector, DetectorInput
from steersman.watch.detectors.disagreement import DISAGREEMENT
from steersman.watch.detectors.distance import KL
from steersman.watch.detectors.entropy import ENTROPY
from steersman.watch.detectors.fall import FALL
from steersman.watch.detectors.gap import GAP
from steersman.watch.detectors.length import LENGTH
from steersman.watch.detectors.novelty import NOVELTY
from steersman.watch.detectors.outliers import OUTLIERS
from steersman.watch.detectors.repetition import REPETITION
from steersman.watch.detectors.spread import SPREAD
from steersman.watch.detectors.takeover import TAKEOVER
from steersman.watch.latent import Features, Usual
from steersman.watch.records import Action, Evidence, Finding, IterationAnswers, WatchedAnswer, WatchMemory, WatchReport

DETECTORS = (GAP, FALL, DISAGREEMENT, KL, LENGTH, REPETITION, ENTROPY, NOVELTY, TAKEOVER, OUTLIERS, SPREAD, COLLAPSE)
NEWEST = 0.5
"""The weight of the newest value in the exponential moving averages."""
SMOOTHED = ("gap", "fall")
"""Detectors of moving averages: one value outside the limit is enough."""
REPEATED: frozenset[Action] = frozenset({"raise-kl"})
"""Actions that may be repeated while the value stays outside its limit."""


@dataclass(frozen=True)
class WatchPlan:
    """The watch's settings: limits, actions and how often to check. A detector without a limit is off. `more` are
    detectors beside ours."""

    limits: Mapping[str, float]
    action: Action
    actions: Mapping[str, Action]
    patience: int
    held_out_every: int
    held_out_answers: int
    evidence: int
    pessimism: float
    more: Sequence[Detector] = ()

    def action_of(self, detector: str) -> Action:
        return self.actions.get(detector, self.action)

    @property
    def restores(self) -> bool:
        return "restore" in (self.action_of(name) for name in self.limits)


@dataclass(frozen=True)
class Watcher:
    """Checks answers by all detectors.

    `features` returns the reward model's features of the answers scored last, or None. `agree` makes numbers computed
    on several ranks bit-identical, so that all ranks take the same actions.
    """

    plan: WatchPlan
    held_out: Scorer | None
    features: Callable[[], Features | None]
    agree: Callable[[dict[str, float]], dict[str, float]]

    def look(self, answers: Sequence[WatchedAnswer], memory: WatchMemory, *, iteration: int) -> WatchReport:
        """Check the answers that the policy gave after `iteration` iterations."""
        second = self._held_out_scores(answers, iteration)
        features = self.features()
        if features is not None and len(features) != len(answers):
            features = None
        if memory.baseline is None:
            first = IterationAnswers(answers, second, [])
            memory.baseline = baseline(first, None if features is None else Usual.of(features)).facts()
        known = Baseline.from_facts(memory.baseline)
        unusual = [] if features is None or known.usual is None else known.usual.unusual(features)
        current = IterationAnswers(answers, second, unusual)
        raw_gains = self.agree(_gains(current, known))
        gains = {name: _smoothed(memory, name, value) for name, value in raw_gains.items()}
        held_out = gains.get("held-out gain")
        if held_out is not None:
            memory.peak = held_out if memory.peak is None else max(memory.peak, held_out)
        inputs = DetectorInput(current, known, gains.get("gain"), held_out, memory.peak)
        measured = self.agree(
            {
                d.name: value
                for d in (*DETECTORS, *self.plan.more)
                if (value := d.measure(inputs)) is not None and math.isfinite(value)
            }
        )
        best = self._best(gains, measured, memory, current, iteration)
        # The first iteration's answers are the reference's own.
        findings = self._findings(inputs, measured, memory, iteration) if iteration else []
        actions: list[Action] = list(dict.fromkeys(finding.action for finding in findings))
        return WatchReport({**gains, **measured}, findings, actions, best)

    def _held_out_scores(self, answers: Sequence[WatchedAnswer], iteration: int) -> dict[int, float]:
        """The held-out scorer's scores of evenly spaced answers; of all answers in the first iteration (baseline)."""
        if self.held_out is None or iteration % self.plan.held_out_every:
            return {}
        count = len(answers) if iteration == 0 else min(self.plan.held_out_answers, len(answers))
        indices = sorted({round(i * len(answers) / count) for i in range(count)})
        items: list[Item] = [(answers[i].prompt, answers[i].text) for i in indices]
        return dict(zip(indices, (score.value for score in self.held_out.score(items)), strict=True))

    def _best(
        self,
        gains: Mapping[str, float],
        measured: Mapping[str, float],
        memory: WatchMemory,
        current: IterationAnswers,
        step: int,
    ) -> bool:
        """Whether these answers are the best so far: by the held-out scorer, or else by the ensemble's mean minus
        `pessimism` standard deviations."""
        if not self.plan.restores:
            return False
        if self.held_out is not None:
            value = gains.get("held-out gain")
        else:
            lower = [a.parts["mean"] - self.plan.pessimism * a.parts["std"] for a in current.answers]
            value = self.agree({"sure": _smoothed(memory, "sure", float(np.mean(lower)))})["sure"]
        if value is None or (memory.best_value is not None and value <= memory.best_value):
            return False
        memory.best_value, memory.best_step = value, step
        return True

    def _findings(
        self, inputs: DetectorInput, measured: Mapping[str, float], memory: WatchMemory, iteration: int
    ) -> list[Finding]:
        found: list[Finding] = []
        for detector in (*DETECTORS, *self.plan.more):
            limit, value = self.plan.limits.get(detector.name), measured.get(detector.name)
            if limit is None or value is None:
                continue
            if not detector.outside(value, limit):
                memory.strikes.pop(detector.name, None)
                continue
            strikes = memory.strikes.get(detector.name, 0) + 1
            memory.strikes[detector.name] = strikes
            action = self.plan.action_of(detector.name)
            needed = looks_needed(detector.name, self.plan.patience)
            again = action in REPEATED and strikes % self.plan.patience == 0
            if strikes < needed or (detector.name in memory.reported and not again):
                continue
            if detector.name not in memory.reported:
                memory.reported.append(detector.name)
            verdict = detector.verdict(inputs, value)
            evidence = _evidence(detector, inputs, self.plan.evidence)
            found.append(Finding(iteration + 1, detector.name, value, limit, verdict, action, evidence))
        return found


def looks_needed(detector: str, patience: int) -> int:
    """The number of consecutive checks that a detector must be outside its limit."""
    return 1 if detector in SMOOTHED else patience


def _gains(current: IterationAnswers, known: Baseline) -> dict[str, float]:
    """Both scorers' gains over the reference's answers, on the answers that both have scored."""
    if not current.held_out or known.held_out is None:
        return {}
    scores = [current.answers[i].score for i in current.held_out]
    held_out_scores = list(current.held_out.values())
    return {
        "gain": known.score.gain(float(np.mean(scores))),
        "held-out gain": known.held_out.gain(float(np.mean(held_out_scores))),
    }


def _smoothed(memory: WatchMemory, name: str, value: float) -> float:
    before = memory.smooth.get(name)
    memory.smooth[name] = value if before is None else NEWEST * value + (1 - NEWEST) * before
    return memory.smooth[name]


def _evidence(detector: Detector, inputs: DetectorInput, count: int) -> tuple[Evidence, ...]:
    """The answers with the highest numbers, each text once."""
    numbers, answers = detector.evidence_scores(inputs), inputs.current.answers
    order = sorted((i for i in range(len(answers)) if math.isfinite(numbers[i])), key=lambda i: -numbers[i])
    found: dict[tuple[str, str], Evidence] = {}
    for i in order:
        answer, held_out = answers[i], inputs.current.held_out.get(i)
        new = Evidence(answer.prompt.shown, answer.text, answer.score, held_out, float(numbers[i]))
        found.setdefault((new.prompt, new.answer), new)
    return tuple(found.values())[:count]
