"""Pairs of sampled answers: which two of a prompt's answers, and what is said of them."""

import pytest
import torch

from steersman.methods.online_dpo import judged_pairs
from steersman.methods.ppo.records import Sample
from steersman.records import Prompt
from steersman.rollout.batch import Rollout


def sample(prompt: int, number: int) -> Sample:
    ids = (7, 8 + number)
    rollout = Rollout(prompt, number, (1, 2), ids, torch.zeros(2), torch.zeros(2), "end", 0, 0)
    return Sample(Prompt(text=f"prompt {prompt}"), rollout, f"answer {number}", rollout.row)


def test_the_best_and_the_worst_of_each_prompt_are_a_pair():
    samples = [sample(prompt, number) for prompt in range(3) for number in range(3)]
    pairs = judged_pairs(samples, [0.0, 2.0, 1.0, 5.0, -1.0, 5.0, 3.0, 3.0, 3.0], each=3, labels="hard")
    assert [(pair.better.text, pair.worse.text, pair.lead) for pair in pairs] == [
        ("answer 1", "answer 0", 2.0),
        ("answer 0", "answer 1", 6.0),
        ("answer 0", "answer 0", 0.0),
    ]
    assert [pair.better.prompt.text for pair in pairs] == ["prompt 0", "prompt 1", "prompt 2"]


def test_a_pair_is_a_judgement_like_a_persons_and_one_of_equals_prefers_neither():
    samples = [sample(0, 0), sample(0, 1)]
    decided, tied = (
        judged_pairs(samples, scores, each=2, labels="hard")[0].group for scores in ([0.0, 1.5], [1.0, 1.0])
    )
    assert (decided.target.tolist(), decided.margin.tolist(), decided.weight.tolist()) == ([1.0], [1.5], [1.0])
    assert decided.rows[0].ids.tolist() == [1, 2, 7, 9]
    assert decided.rows[0].loss_mask.tolist() == [False, False, True, True]
    assert (tied.target.tolist(), tied.margin.tolist()) == ([0.5], [0.0])
    assert torch.equal(decided.first, torch.tensor([0]))
    assert torch.equal(decided.second, torch.tensor([1]))


def test_a_soft_label_is_the_probability_of_the_better_score():
    samples = [sample(0, 0), sample(0, 1)]
    for scores, target in (([0.0, 1.5], 0.8175745), ([2.0, -1.0], 0.9525741), ([1.0, 1.0], 0.5), ([0.0, 999.0], 1.0)):
        # sigmoid(1.5) = 1 / (1 + e^-1.5) = 1 / 1.2231302; sigmoid(3) = 1 / 1.0497871
        group = judged_pairs(samples, scores, each=2, labels="soft")[0].group
        assert group.target.tolist() == pytest.approx([target])
        assert group.margin.tolist() == pytest.approx([abs(scores[0] - scores[1])])
