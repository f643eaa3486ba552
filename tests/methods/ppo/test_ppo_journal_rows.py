"""What an iteration leaves in the journal and among the samples, worked by hand on two answers of two tokens and one of
one."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from byhand import experience, scored
from toy import ToyLanguage

from steersman.methods.ppo.journal_rows import journal_row, sample_rows
from steersman.methods.ppo.memory import Memory
from steersman.methods.ppo.records import Experience
from steersman.methods.ppo.update import UpdateStats

STATS = UpdateStats(
    steps=4,
    skipped=1,
    stopped_early=True,
    first={"ratio from 1": 0.125},
    terms={"policy": -0.5, "value": 0.25, "entropy": 9.0, "KL in loss": 0.75},
    metrics={"clip fraction": 0.1},
    gradient_norm=2.0,
    learning_rate=0.01,
    tokens=7,
    padding_share=0.2,
)


def one(
    score: float,
    kl: list[float],
    returns: list[float],
    *,
    values: list[float] | None = None,
    group: int = 0,
    **parts: float,
) -> Experience:
    count = len(kl)
    found = experience(advantages=[0.0] * count, returns=returns, values=values, old=[-1.0] * count)
    known = scored(kl=kl, values=values, score=score, group=group)
    return replace(
        found, scored=replace(known, raw_score=10 * score, parts=parts, entropies=torch.full((count,), 0.5 * count))
    )


ANSWERS = [
    one(1.0, [0.5, 1.0], [1.0, 2.0], values=[0.0, 1.0], a=2.0),
    one(3.0, [0.25], [3.0], values=[2.0], a=4.0, b=6.0),
]


def row(answers: list[Experience], stats: UpdateStats = STATS, **given: Any) -> dict[str, float]:
    usual = {"engine_mismatch": 0.001, "seconds": {"collect": 1.0, "update": 0.5}}
    return journal_row(answers, stats, Memory(0.05, samples=12 - len(answers)), **{**usual, **given})


def test_means_are_over_answers_or_over_their_tokens():
    found = row(ANSWERS)
    assert found["score"] == 2.0
    # deviations -1 and 1
    assert found["score deviation"] == 1.0
    assert found["raw score"] == 20.0
    # a part is the mean over those that have it
    assert (found["score part a"], found["score part b"]) == (3.0, 6.0)
    # 1.5 and 0.25
    assert found["KL to reference"] == pytest.approx(0.875)
    # twice 1, and 0.5, over three tokens
    assert found["entropy"] == pytest.approx(2.5 / 3)
    assert found["value"] == pytest.approx(1.0)
    # returns 1, 2, 3 of variance 2/3; returns less values 1, 1, 1 of variance 0
    assert found["explained variance"] == pytest.approx(1.0)
    assert found["return"] == pytest.approx(2.0)
    assert found["answer length"] == 1.5
    assert found["ended with EOS"] == 1.0
    # three tokens in one second and a half
    assert found["answer tokens per second"] == pytest.approx(2.0)
    assert (found["seconds to collect"], found["seconds to update"]) == (1.0, 0.5)
    assert (found["KL coefficient"], found["answers so far"], found["engine mismatch"]) == (0.05, 12, 0.001)


def test_the_update_s_own_numbers_stand_beside_them():
    found = row(ANSWERS)
    assert (found["policy loss"], found["value loss"], found["KL in loss"]) == (-0.5, 0.25, 0.75)
    assert found["entropy"] < 1, "the entropy is the policy's, not the bonus's"
    assert (found["clip fraction"], found["ratio from 1, first minibatch"]) == (0.1, 0.125)
    assert (found["gradient norm"], found["learning rate"], found["padding share"]) == (2.0, 0.01, 0.2)
    assert (found["optimiser steps"], found["skipped steps"], found["update ended early"]) == (4, 1, 1.0)


def test_an_update_of_no_step_has_no_first_minibatch_and_no_time_divides_by_no_zero():
    found = row(ANSWERS, replace(STATS, steps=0, first={}), seconds={})
    assert "ratio from 1, first minibatch" not in found
    assert found["answer tokens per second"] == pytest.approx(3e9)


def test_without_a_critic_there_are_no_values():
    found = row([one(1.0, [0.5], [1.0]), one(2.0, [0.5], [1.0])])
    assert "value" not in found
    assert "explained variance" not in found


@pytest.mark.parametrize(
    ("scores", "groups", "share"),
    [((1.0, 1.0, 1.0, 2.0), (0, 0, 1, 1), 0.5), ((1.0, 1.0), (0, 0), 1.0), ((1.0, 2.0), (0, 0), 0.0)],
)
def test_prompts_whose_answers_all_score_alike_are_a_share(scores, groups, share):
    answers = [one(score, [0.5], [1.0], group=group) for score, group in zip(scores, groups, strict=True)]
    assert row(answers)["prompts scored alike"] == share


def test_one_answer_to_each_prompt_is_alike_with_none():
    assert "prompts scored alike" not in row([one(1.0, [0.5], [1.0], group=group) for group in (0, 1)])


@pytest.mark.parametrize(
    ("count", "chosen"),
    [(1, [0]), (2, [0, 3]), (3, [0, 2, 4]), (6, [0, 1, 2, 3, 4, 5]), (99, [0, 1, 2, 3, 4, 5]), (0, [])],
)
def test_samples_are_taken_evenly(count: int, chosen: list[int]):
    answers = [one(float(i), [0.5], [1.0]) for i in range(6)]
    assert [found["score"] for found in sample_rows(answers, ToyLanguage(), count)] == chosen


def test_a_sample_has_all_that_is_known_of_each_token():
    (found,) = sample_rows(ANSWERS[:1], ToyLanguage(), 1)
    assert found["kl"] == [0.5, 1.0]
    assert found["values"] == [0.0, 1.0]
    assert found["returns"] == [1.0, 2.0]
    assert (found["log_probs"], found["entropies"], found["advantages"], found["rewards"]) == (
        [-1.0] * 2,
        [1.0] * 2,
        [0.0] * 2,
        [0.0] * 2,
    )
    # the policy's log-probability less the log-ratio, which is the KL here
    assert found["reference_log_probs"] == [-1.5, -2.0]
    assert (found["score"], found["raw_score"], found["parts"]) == (1.0, 10.0, {"a": 2.0})
    assert (found["prompt"], found["answer"], found["ids"], found["offsets"]) == (
        "?",
        "answer",
        [5, 6],
        [(0, 1), (1, 2)],
    )
    (without,) = sample_rows([one(1.0, [1 / 3], [1.0])], ToyLanguage(), 1)
    assert "values" not in without
    assert without["kl"] == [0.333333], "six decimals are enough to look at"
