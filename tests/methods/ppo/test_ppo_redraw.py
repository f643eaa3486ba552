"""Further prompts in place of those whose answers all score alike, on the toy: how many, which, and that it learns."""

from collections.abc import Sequence

import pytest
import torch
from test_ppo_iterations import Done, Keeps
from test_ppo_loop import FEW, learn
from toy import Problem, ToyScorer

from steersman.errors import ServiceError
from steersman.methods.ppo.collect import further_prompts, next_prompts
from steersman.methods.ppo.memory import Memory
from steersman.records import Prompt
from steersman.reward.scorer import Item, Score
from steersman.settings.ppo import PpoSettings

GROUPS = {"prompts_per_iteration": 16, "samples_per_prompt": 2, "update": FEW}


def one_good_answer() -> Problem:
    """The likeliest of three answers earns 1, the others nothing: many groups are alike."""
    problem = Problem(3, 1, 0)
    problem.reward = (torch.arange(3) == problem.reference_logits[0].argmax()).double()
    return problem


def redrawing(rounds: int, **more):
    advantage = {"estimator": "rloo", "leave_out_equal": True, "redraws": rounds}
    return learn(one_good_answer(), critic=False, advantage=advantage, **{"iterations": 2, **GROUPS, **more})


def test_prompts_are_drawn_until_the_batch_is_full():
    short, _, _, _ = redrawing(0)
    full, _, _, _ = redrawing(50)
    assert short[0]["prompts scored alike"] > 0.3
    for row in full:
        drawn = 16 + row["prompts redrawn"]
        assert row["prompts scored alike"] * drawn == pytest.approx(row["prompts redrawn"]), "16 are left"
        assert row["prompts redrawn"] > 0
    assert full[-1]["answers so far"] == 2 * sum(16 + row["prompts redrawn"] for row in full)
    assert "prompts redrawn" not in short[0]


def test_rounds_end_when_nothing_but_alike_is_drawn():
    problem = one_good_answer()
    problem.reward = torch.zeros(3).double()
    advantage = {"estimator": "rloo", "leave_out_equal": True, "redraws": 3}
    rows, _, _, _ = learn(problem, critic=False, advantage=advantage, iterations=1, **GROUPS)
    assert rows[0]["prompts redrawn"] == 3 * 16
    assert rows[0]["optimiser steps"] == 0


@pytest.mark.slow
def test_it_learns():
    rows, actors, _, _ = redrawing(20, iterations=10, rate=0.15, beta=0.0)
    assert rows[-1]["score"] > rows[0]["score"] + 0.1
    best = one_good_answer().reward.argmax()
    assert float(actors.logits.detach()[0].softmax(-1)[best]) > 0.9


def test_every_prompt_still_comes_as_often_as_the_others():
    prompts = [Prompt(text=str(i)) for i in range(5)]
    settings = PpoSettings.model_validate(
        {
            "model": {"path": "m"},
            "prompts": {"source": "p"},
            "scorer": {"path": "s"},
            "run": {"out": "o"},
            "prompts_per_iteration": 3,
        }
    )
    memory, asked = Memory(0.0), list[str]()
    for redrawn in (2, 0, 5, 2):
        asked += [prompt.text for prompt in next_prompts(prompts, settings, memory)]
        for _ in range(redrawn):
            asked += [prompt.text for prompt in further_prompts(prompts, settings, memory, count=1)]
            memory.redrawn += 1
        memory = Memory.of({**memory.facts(), "iteration": memory.iteration + 1})
    assert len(asked) == 21
    for start in range(0, 20, 5):
        assert sorted(asked[start : start + 5]) == [str(i) for i in range(5)]


def test_a_service_that_fails_while_prompts_are_redrawn_leaves_the_run_as_it_was_before_the_iteration():
    class Failing(ToyScorer):
        calls = 0

        def score(self, items: Sequence[Item]) -> list[Score]:
            self.calls += 1
            if self.calls == 2:
                raise ServiceError("nobody answers")
            return [Score(1.0) for _ in items]

    keeper = Keeps()
    advantage = {"leave_out_equal": True, "redraws": 2}
    with pytest.raises(ServiceError):
        Done(5, keeper=keeper, scorer=Failing(Problem(3, 2, 0)), advantage=advantage, score={"normalise": "running"})
    facts = keeper.saved[0].state["facts"]
    assert (facts["redrawn"], facts["iteration"], facts["scale"]["count"]) == (0, 0, 0)
