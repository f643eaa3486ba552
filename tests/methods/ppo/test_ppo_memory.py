"""What a run knows before its first iteration."""

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from steersman.methods.ppo import evaluation
from steersman.methods.ppo.held_out import HeldOut
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.parts import Parts
from steersman.methods.ppo.shaping import RunningScale
from steersman.settings.ppo import PpoSettings
from steersman.settings.shaping import ShapingSettings


def test_a_run_begins_with_nothing_counted_nothing_found_and_no_end():
    facts = Memory(0.05).facts()
    counted = ("iteration", "best_iteration", "measurements_since_best", "samples", "redrawn")
    assert [facts.pop(name) for name in counted] == [0] * 5
    assert facts.pop("scale") == {"count": 0.0, "mean": 0.0, "squares": 0.0}
    watch = facts.pop("watch")
    assert watch.pop("best_step") == 0
    assert {name: bool(value) for name, value in watch.items()} == dict.fromkeys(watch, False)
    assert (facts.pop("kl_coefficient"), facts.pop("ending")) == (0.05, "finished")
    assert facts == {
        "best_value": None,
        "best_held_out": None,
        "importance": False,
        "reported": [],
        "held_out": {},
    }
    assert Memory.of(Memory(0.05).facts()) == Memory(0.05)


def test_an_evaluation_that_lost_a_number_is_not_judged():
    lost = HeldOut.from_facts({"scores": [1.0, 2.0], "cut_off": [False, True], "tokens": [3]})
    assert lost is not None
    assert (lost.span_reward, lost.kl) == (0.0, 0.0), "an earlier release had neither"
    with pytest.raises(ValueError, match="shorter"):
        lost.shaped(ShapingSettings(), RunningScale(), longest=4)


def test_the_best_evaluation_is_judged_again_by_the_objective_of_now(monkeypatch):
    """The best was worth 3 when it was found and is worth 1 by now, so that 2 is better."""
    old, new = Mock(spec=HeldOut), Mock(spec=HeldOut)
    monkeypatch.setattr(evaluation, "answer_held_out", lambda *_: [])
    monkeypatch.setattr(evaluation, "measure", lambda *_: ({"objective": 2.0}, new))
    monkeypatch.setattr(evaluation, "objective", lambda found, *_: {id(old): 1.0}[id(found)])
    rows: list[dict[str, Any]] = []
    kept: list[int] = []
    keeper = SimpleNamespace(journal=rows.append, held_out_answers=lambda step, _: kept.append(step))
    parts = Mock(spec=Parts, held_out=[1], keeper=keeper)
    settings = Mock(spec=PpoSettings, keep="last", value_warmup=0)
    memory = Memory(0.05, iteration=8, best_value=3.0, best_iteration=4, best_held_out=old)
    evaluation.evaluate(parts, settings, memory)
    assert (memory.best_value, memory.best_iteration, memory.best_held_out) == (2.0, 8, new)
    assert rows == [{"step": 8, "held-out objective": 2.0, "best held-out objective": 2.0}]
    assert kept == [8]
