"""What a run knows before its first iteration."""

import pytest

from steersman.methods.ppo.held_out import HeldOut
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.shaping import RunningScale
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
