"""The watch over several checks: baseline, patience, actions, the best weights, evidence, and a state kept as JSON."""

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from scenes import answer

from steersman.records import Prompt
from steersman.reward.scorer import Item, Score
from steersman.settings.watch import LimitSettings
from steersman.watch.records import WatchedAnswer, WatchMemory, WatchReport
from steersman.watch.watching import Watcher, WatchPlan

PLAN = WatchPlan({"kl": 5.0}, "warn", {}, 2, 2, 4, 3, 1.0)


class SecondOpinion:
    """Scores answers by the number that stands in them."""

    name = "second"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def score(self, items: Sequence[Item]) -> list[Score]:
        self.asked.append(len(items))
        return [Score(float(text.split()[-1])) for _, text in items]


def watcher(plan: WatchPlan = PLAN, held_out: Any = None, features: Callable[[], Any] = lambda: None) -> Watcher:
    return Watcher(plan, held_out, features, lambda numbers: numbers)


def far(kl: float, count: int = 8, **more: Any) -> list[WatchedAnswer]:
    return [answer(f"answer number {i}", kl=kl + i - (count - 1) / 2, score=float(i), **more) for i in range(count)]


def look(watch: Watcher, memory: WatchMemory, kls: Sequence[float]) -> list[WatchReport]:
    return [watch.look(far(kl), memory, iteration=i) for i, kl in enumerate(kls)]


def test_the_first_look_is_at_the_references_own_answers():
    memory = WatchMemory()
    (looked,) = look(watcher(), memory, [0.0])
    assert memory.baseline is not None
    assert memory.baseline["answers"] == 8
    # scores 0 to 7: mean 3.5, variance (64 - 1) / 12
    assert memory.baseline["score"] == {"mean": 3.5, "deviation": pytest.approx((63 / 12) ** 0.5)}
    assert looked.numbers["length"] == 1.0
    assert looked.numbers["spread"] == pytest.approx(1.0)
    assert not looked.findings


def test_a_finding_needs_two_looks_in_a_row_and_is_told_once():
    found = look(watcher(), WatchMemory(), [0.0, 6.0, 4.0, 6.0, 7.0, 8.0, 9.0])
    assert [[one.detector for one in looked.findings] for looked in found] == [[], [], [], [], ["kl"], [], []]
    finding = found[4].findings[0]
    assert (finding.step, finding.value, finding.limit, finding.action) == (5, 7.0, 5.0, "warn")
    assert "7.0 nats per answer" in finding.verdict
    # the farthest of the eight come first: 7 + 3.5, 2.5, 1.5
    assert [(one.number, one.answer) for one in finding.evidence] == [
        (10.5, "answer number 7"),
        (9.5, "answer number 6"),
        (8.5, "answer number 5"),
    ]


def test_raising_the_kl_is_asked_for_again_while_it_lasts():
    found = look(watcher(replace(PLAN, action="raise-kl")), WatchMemory(), [0.0, 6.0, 6.0, 6.0, 6.0, 4.0, 6.0])
    assert [list(looked.actions) for looked in found] == [[], [], ["raise-kl"], [], ["raise-kl"], [], []]


def test_what_is_smoothed_over_looks_needs_but_one():
    memory, watch = WatchMemory(), watcher(replace(PLAN, limits={"gap": 0.5}, held_out_every=1), SecondOpinion())
    scores = [0.0, 2.0] * 4
    watch.look(said(scores, scores), memory, iteration=0)
    looked = watch.look(said([1.0] * 8, [5.0] * 8), memory, iteration=1)
    # a gain of 4 deviations by the scorer and none by the other, smoothed by half
    assert [(one.detector, one.value) for one in looked.findings] == [("gap", 2.0)]


def test_a_detector_may_have_an_action_of_its_own_and_one_without_a_limit_is_silent():
    plan = replace(PLAN, limits={"kl": 5.0, "length": 2.0}, action="stop", actions={"length": "warn"}, patience=1)
    memory = WatchMemory()
    look(watcher(plan), memory, [0.0])
    looked = watcher(plan).look(far(1.0, tokens=50), memory, iteration=1)
    assert [(one.detector, one.action) for one in looked.findings] == [("length", "warn")]
    assert list(look(watcher(plan), WatchMemory(), [0.0, 9.0])[1].actions) == ["stop"]
    silent = replace(plan, limits={})
    assert not look(watcher(silent), WatchMemory(), [0.0, 90.0])[1].findings


def said(numbers: Sequence[float], scores: Sequence[float]) -> list[WatchedAnswer]:
    return [answer(f"worth {number}", score=score) for number, score in zip(numbers, scores, strict=True)]


def test_the_held_out_scorer_is_asked_about_some_answers_at_some_looks():
    second, memory = SecondOpinion(), WatchMemory()
    watch = watcher(replace(PLAN, limits={"gap": 1.0, "fall": 0.4}), second)
    scores = [0.0, 2.0] * 4
    # before: mean 1 and deviation 1 by both
    first = watch.look(said(scores, scores), memory, iteration=0)
    assert first.numbers["gain"] == first.numbers["held-out gain"] == 0.0
    assert "gap" not in watch.look(said(scores, scores), memory, iteration=1).numbers
    # of eight answers the places 0, 2, 4, 6 are asked about: gains of 4 and of 2 deviations, smoothed by half
    later = watch.look(said([3.0] * 8, [5.0] * 8), memory, iteration=2)
    assert (later.numbers["gain"], later.numbers["held-out gain"], later.numbers["gap"]) == (2.0, 1.0, 1.0)
    assert later.numbers["fall"] == 0.0
    worse = watch.look(said([0.0] * 8, [5.0] * 8), memory, iteration=4)
    # (1 - 1) / 2 = 0 held out, a fall of 1 from its peak; the scorer: (2 + 4) / 2
    assert (worse.numbers["gain"], worse.numbers["held-out gain"], worse.numbers["fall"]) == (3.0, 0.0, 1.0)
    assert second.asked == [8, 4, 4]


def test_the_best_policy_is_what_the_held_out_scorer_liked_best():
    memory = WatchMemory()
    watch = watcher(replace(PLAN, action="restore", held_out_every=1), SecondOpinion())
    scores = [0.0, 2.0] * 4
    worth = [scores, [2.0] * 8, [4.0] * 8, [0.0] * 8]
    found = [watch.look(said(one, scores), memory, iteration=i) for i, one in enumerate(worth)]
    assert [looked.best for looked in found] == [True, True, True, False]
    assert memory.best_step == 2
    assert memory.best_value == 0.5 * 3.0 + 0.5 * 0.5


def test_without_a_held_out_scorer_the_ensemble_less_its_disagreement_is_believed():
    memory = WatchMemory()
    watch = watcher(replace(PLAN, action="restore", pessimism=2.0))
    for step, (mean, std) in enumerate([(0.0, 0.1), (2.0, 0.1), (3.0, 2.0)]):
        answers = [answer(f"{i}", parts={"mean": mean, "std": std, "min": mean - std}) for i in range(4)]
        watch.look(answers, memory, iteration=step)
    # -0.2; then (1.8 - 0.2) / 2 = 0.8; then (-1 + 0.8) / 2 = -0.1
    assert memory.best_step == 1
    assert memory.best_value == pytest.approx(0.8)
    # without restore nothing needs to be kept
    assert not watcher(PLAN).look(far(0.0), WatchMemory(), iteration=0).best


def test_features_tell_outliers_and_are_left_out_where_they_do_not_fit():
    drawn = np.random.default_rng(0)
    shown = {"features": drawn.normal(size=(40, 8))}
    watch, memory = watcher(replace(PLAN, limits={"outliers": 0.5}), features=lambda: shown["features"]), WatchMemory()
    first = watch.look(far(0.0, 40), memory, iteration=0)
    assert first.numbers["outliers"] < 0.2
    shown["features"] = drawn.normal(size=(40, 8)) + 6.0
    assert watch.look(far(0.0, 40), memory, iteration=1).numbers["outliers"] == 1.0
    assert "outliers" not in watch.look(far(0.0, 39), memory, iteration=2).numbers


def test_a_memory_that_went_through_json_goes_on_to_the_bit():
    drawn = random.Random(0)
    plan = replace(PLAN, limits={"kl": 5.0, "gap": 0.5, "takeover": 0.2}, action="restore")
    worth = [[drawn.gauss(0, 1) for _ in range(12)] for _ in range(8)]
    features = np.random.default_rng(1).normal(size=(8, 24, 6))
    whole, cut = WatchMemory(), WatchMemory()
    for step in range(8):
        watch = watcher(plan, SecondOpinion(), lambda step=step: features[step])
        answers = said([*worth[step], *worth[step]], [*worth[step], *worth[-1]])
        one = watch.look(answers, whole, iteration=step)
        cut = WatchMemory(**json.loads(json.dumps(asdict(cut))))
        assert watch.look(answers, cut, iteration=step) == one
    assert asdict(cut) == asdict(whole)


def test_a_collapse_to_one_short_answer_is_found_before_any_single_sign_is_clear():
    """In each iteration one prompt in 16 more gets the same short answer; the limits are the default ones."""
    limits = {name: value for name, value in LimitSettings().model_dump().items() if value is not None}
    watch, memory = watcher(replace(PLAN, limits=limits, actions={"collapse": "raise-kl"})), WatchMemory()
    drawn = random.Random(3)
    for iteration in range(16):
        own = [" ".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=12)) for _ in range(16)]
        texts = ["it is funny ." if i < iteration else text for i, text in enumerate(own)]
        answers = [
            answer(text, tokens=len(text.split()), score=drawn.gauss(0, 1), prompt=Prompt(text=f"Question {i}?"))
            for i, text in enumerate(texts)
        ]
        report = watch.look(answers, memory, iteration=iteration)
        if report.findings:
            break
    assert [finding.detector for finding in report.findings] == ["collapse"]
    assert list(report.actions) == ["raise-kl"]
    # with n of 16 so: length 1 - n / 24, distinct (17 - n) / 16, other openings (16 - n) / 15: below a half from n = 5
    assert iteration == 6, "outside twice in a row"
    assert report.numbers["collapse"] == pytest.approx((1 - 6 / 24) * (11 / 16) * (10 / 15))
    assert report.numbers["length"] == pytest.approx(1 / (1 - 6 / 24))
    assert report.numbers["takeover"] == pytest.approx(6 / 16)


def test_a_held_out_scorer_that_leaves_an_answer_out_is_noticed():
    class Forgetful(SecondOpinion):
        def score(self, items: Sequence[Item]) -> list[Score]:
            return super().score(items)[:-1]

    with pytest.raises(ValueError, match="shorter"):
        look(watcher(held_out=Forgetful()), WatchMemory(), [0.0])
