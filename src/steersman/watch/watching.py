"""The watch: looks at each iteration's answers, says what is wrong in plain words with the answers that show it, and what to do.

Nothing here knows of models, files or processes: the second opinions come in as arguments, and what is to be done goes out as words.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steersman.reward.scorer import Item, Scorer
from steersman.watch.baseline import Baseline, baseline
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

DETECTORS = (GAP, FALL, DISAGREEMENT, KL, LENGTH, REPETITION, ENTROPY, NOVELTY, TAKEOVER, OUTLIERS, SPREAD)
NEWEST = 0.5
"""The weight of the newest look in what is smoothed."""
SMOOTHED = ("gap", "fall")
"""Detectors whose numbers hold several looks already: one outside the limit is enough."""
REPEATED: frozenset[Action] = frozenset({"raise-kl"})
"""What may help once more where once was not enough."""


@dataclass(frozen=True)
class Plan:
    """How to watch. A detector without a limit is off."""

    limits: Mapping[str, float]
    action: Action
    actions: Mapping[str, Action]
    patience: int
    held_out_every: int
    held_out_answers: int
    evidence: int
    pessimism: float

    def action_of(self, detector: str) -> Action:
        return self.actions.get(detector, self.action)

    @property
    def restores(self) -> bool:
        return "restore" in (self.action_of(name) for name in self.limits)


@dataclass(frozen=True)
class Watcher:
    """`features` gives the reward model's features of the answers scored last, or None. `agree` makes numbers that were computed in
    several processes the same in all, to the bit, so that all do the same."""

    plan: Plan
    held_out: Scorer | None
    features: Callable[[], Features | None]
    agree: Callable[[dict[str, float]], dict[str, float]]

    def look(self, answers: Sequence[WatchedAnswer], memory: WatchMemory, *, iteration: int) -> WatchReport:
        """Look at the answers that the policy gave after so many iterations."""
        second = self._second_opinions(answers, iteration)
        features = self.features()
        if features is not None and len(features) != len(answers):
            features = None
        if memory.baseline is None:
            first = IterationAnswers(answers, second, [])
            memory.baseline = baseline(first, None if features is None else Usual.of(features)).facts()
        known = Baseline.from_facts(memory.baseline)
        unusual = [] if features is None or known.usual is None else known.usual.unusual(features)
        glance = IterationAnswers(answers, second, unusual)
        own = self.agree(_gains(glance, known))
        gains = {name: _smoothed(memory, name, value) for name, value in own.items()}
        held_out = gains.get("held-out gain")
        if held_out is not None:
            memory.peak = held_out if memory.peak is None else max(memory.peak, held_out)
        scene = DetectorInput(glance, known, gains.get("gain"), held_out, memory.peak)
        measured = self.agree(
            {one.name: value for one in DETECTORS if (value := one.measure(scene)) is not None and math.isfinite(value)}
        )
        best = self._best(gains, measured, memory, glance, iteration)
        # The first answers are the reference's own.
        findings = self._findings(scene, measured, memory, iteration) if iteration else []
        actions: list[Action] = list(dict.fromkeys(one.action for one in findings))
        return WatchReport({**gains, **measured}, findings, actions, best)

    def _second_opinions(self, answers: Sequence[WatchedAnswer], iteration: int) -> dict[int, float]:
        """The held-out scores of some answers, evenly taken; of all of the reference's, which everything is measured by."""
        if self.held_out is None or iteration % self.plan.held_out_every:
            return {}
        count = len(answers) if iteration == 0 else min(self.plan.held_out_answers, len(answers))
        places = sorted({round(i * len(answers) / count) for i in range(count)})
        items: list[Item] = [(answers[i].prompt, answers[i].text) for i in places]
        return dict(zip(places, (score.value for score in self.held_out.score(items)), strict=True))

    def _best(
        self,
        gains: Mapping[str, float],
        measured: Mapping[str, float],
        memory: WatchMemory,
        glance: IterationAnswers,
        step: int,
    ) -> bool:
        """Whether these answers are the best so far by what the watch believes: the held-out scorer, or else the ensemble's mean less
        its disagreement."""
        if not self.plan.restores:
            return False
        if self.held_out is not None:
            value = gains.get("held-out gain")
        else:
            sure = [one.parts["mean"] - self.plan.pessimism * one.parts["std"] for one in glance.answers]
            value = self.agree({"sure": _smoothed(memory, "sure", float(np.mean(sure)))})["sure"]
        if value is None or (memory.best_value is not None and value <= memory.best_value):
            return False
        memory.best_value, memory.best_step = value, step
        return True

    def _findings(
        self, scene: DetectorInput, measured: Mapping[str, float], memory: WatchMemory, iteration: int
    ) -> list[Finding]:
        found: list[Finding] = []
        for detector in DETECTORS:
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
            verdict = detector.verdict(scene, value)
            evidence = _evidence(detector, scene, self.plan.evidence)
            found.append(Finding(iteration + 1, detector.name, value, limit, verdict, action, evidence))
        return found


def looks_needed(detector: str, patience: int) -> int:
    """How many looks in a row it must be outside its limit."""
    return 1 if detector in SMOOTHED else patience


def _gains(glance: IterationAnswers, known: Baseline) -> dict[str, float]:
    """Both scorers' gains over the reference's answers, of the answers that both have read."""
    if not glance.held_out or known.held_out is None:
        return {}
    mine = [glance.answers[i].score for i in glance.held_out]
    theirs = list(glance.held_out.values())
    return {
        "gain": known.score.gain(float(np.mean(mine))),
        "held-out gain": known.held_out.gain(float(np.mean(theirs))),
    }


def _smoothed(memory: WatchMemory, name: str, value: float) -> float:
    before = memory.smooth.get(name)
    memory.smooth[name] = value if before is None else NEWEST * value + (1 - NEWEST) * before
    return memory.smooth[name]


def _evidence(detector: Detector, scene: DetectorInput, count: int) -> tuple[Evidence, ...]:
    """The answers with the highest numbers; of equal texts one."""
    numbers, answers = detector.speaks(scene), scene.glance.answers
    order = sorted((i for i in range(len(answers)) if math.isfinite(numbers[i])), key=lambda i: -numbers[i])
    found: dict[tuple[str, str], Evidence] = {}
    for i in order:
        one, held_out = answers[i], scene.glance.held_out.get(i)
        new = Evidence(one.prompt.shown, one.text, one.score, held_out, float(numbers[i]))
        found.setdefault((new.prompt, new.answer), new)
    return tuple(found.values())[:count]
