"""Stages 1 and 2, and the KL controllers: which prompts are asked, what becomes of scores, how the coefficient
moves."""

import re
from itertools import chain
from statistics import fmean, pstdev
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from byhand import sample
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from steersman.errors import DataError
from steersman.methods.ppo import score as score_stage
from steersman.methods.ppo.collect import prompts_of_iteration
from steersman.methods.ppo.forward import TokenQuantities
from steersman.methods.ppo.kl_controller import next_coefficient
from steersman.methods.ppo.score import ask, in_plain_numbers
from steersman.methods.ppo.shaping import Answered, RunningScale, shape
from steersman.reward.scorer import Score
from steersman.rollout.language import Language
from steersman.settings.base import all_keys
from steersman.settings.ppo import PpoSettings
from steersman.settings.shaping import KlSettings, ShapingSettings
from steersman.watch.health import HEALTHY, in_effect, verdicts


@given(st.integers(1, 30), st.integers(1, 20), st.integers(0, 5))
def test_every_iteration_is_equally_large_and_each_prompt_comes_equally_often(count, size, seed):
    chosen = [prompts_of_iteration(count, size, seed=seed, iteration=i) for i in range(count)]
    assert all(len(one) == size for one in chosen)
    stream = [*chain(*chosen)]
    assert all(sorted(stream[i * count : (i + 1) * count]) == list(range(count)) for i in range(size))
    assert chosen[-1] == prompts_of_iteration(count, size, seed=seed, iteration=count - 1)


@given(st.lists(st.lists(st.floats(-50, 50), min_size=1, max_size=8), min_size=1, max_size=5))
def test_the_running_scale_is_that_of_all_scores_so_far(batches):
    scale = RunningScale()
    for batch in batches:
        scale.add(batch)
    scale.add([])
    every = [*chain(*batches)]
    assert scale.count == len(every)
    assert scale.mean == pytest.approx(fmean(every), abs=1e-6)
    spread = pstdev(every)
    assert scale.deviation == pytest.approx(spread if spread > 1e-6 else scale.deviation, rel=1e-4, abs=1e-6)


def test_before_scores_differ_the_scale_is_1():
    scale = RunningScale()
    assert scale.deviation == 1.0
    scale.add([3.0, 3.0])
    assert scale.deviation == 1.0


def shaped(scores, cut_off, settings, scale, tokens=1):
    answers = [Answered(one, cut, tokens) for one, cut in zip(scores, cut_off, strict=True)]
    return shape(answers, settings, scale, longest=10)


def test_a_score_is_centred_scaled_then_clipped_then_penalised():
    scale = RunningScale()
    scale.add([0.0, 4.0])
    # mean 2 and deviation 2: -1 and 1; clipped at 0.75; the second was cut off and pays 1
    settings = ShapingSettings(normalise="running", clip=0.75, missing_eos_penalty=1.0)
    assert shaped([0.0, 4.0], [False, True], settings, scale) == pytest.approx([-0.75, -0.25])
    # scaled only: 0 and 2; clipped at 1.5: 0 and 1.5
    only = ShapingSettings(normalise="running", centre=False, clip=1.5, missing_eos_penalty=1.0)
    assert shaped([0.0, 4.0], [False, True], only, scale) == pytest.approx([0.0, 0.5])
    assert shaped([0.0, 4.0], [True, True], ShapingSettings(), scale) == [0.0, 4.0]
    assert shaped([-9.0, 9.0], [False, False], ShapingSettings(clip=2.0), scale) == [-2.0, 2.0]
    # 8 of 10 tokens, 6 are free: half of the penalty of 3
    overlong = ShapingSettings(overlong_tokens=4, overlong_penalty=3.0, missing_eos_penalty=0.5)
    assert shaped([1.0], [True], overlong, scale, tokens=8) == pytest.approx([1.0 - 0.5 - 1.5])


def test_scores_far_from_zero_are_told_apart_after_clipping():
    """A scorer around 100: scaled only, every score is clipped to the same number."""
    scale = RunningScale()
    scores = [98.0, 99.0, 101.0, 102.0]
    scale.add(scores)
    centred = shaped(scores, [False] * 4, ShapingSettings(normalise="running", clip=5.0), scale)
    assert len(set(centred)) == 4
    assert sum(centred) == pytest.approx(0.0, abs=1e-9)
    only = shaped(scores, [False] * 4, ShapingSettings(normalise="running", clip=5.0, centre=False), scale)
    assert set(only) == {5.0}


class Miscounting:
    name = "miscounting"

    def score(self, items):
        return [Score(1.0)] * (len(items) - 1)


def test_a_scorer_that_leaves_answers_out_is_told_so():
    with pytest.raises(DataError, match="'miscounting' gave 1 scores for 2 answers"):
        ask(Miscounting(), [sample(2), sample(3)])


def test_parts_of_scores_are_averaged_over_the_answers_that_have_them():
    assert in_plain_numbers([{"a": 1.0, "b": 2.0}, {"a": 3.0}]) == {"a": 2.0, "b": 2.0}


@pytest.mark.parametrize("controller", ["adaptive", "target"])
def test_controllers_raise_the_coefficient_above_the_target_and_lower_it_below(controller):
    settings = KlSettings(controller=controller, target=6.0)
    assert next_coefficient(settings, 0.1, 12.0, 512) > 0.1
    assert next_coefficient(settings, 0.1, 2.0, 512) < 0.1
    assert next_coefficient(settings, 0.1, 6.0, 512) == pytest.approx(0.1)
    # a KL that came out below zero is a small one, and the coefficient stays above 0
    assert 0 < next_coefficient(settings, 0.1, -0.3, 512) < 0.1


def test_the_fixed_coefficient_stays_and_the_adaptive_one_moves_as_published():
    assert next_coefficient(KlSettings(), 0.1, 50.0, 512) == 0.1
    # error = clip(12/6 - 1, -0.2, 0.2) = 0.2; 0.1 * (1 + 0.2 * 512 / 10000) = 0.101024
    published = KlSettings(controller="adaptive", horizon=10_000)
    assert next_coefficient(published, 0.1, 12.0, 512) == pytest.approx(0.101024)
    # never more than a fifth at once
    assert next_coefficient(published, 0.1, 0.0, 10**6) == pytest.approx(0.08)
    # (12 / 6)^0.1
    assert next_coefficient(KlSettings(controller="target"), 0.1, 12.0, 512) == pytest.approx(0.1 * 2**0.1)


@pytest.mark.parametrize("controller", ["adaptive", "target"])
def test_a_controller_cannot_begin_with_0(controller):
    with pytest.raises(ValidationError, match=r"multiplies kl\.coefficient, which is 0"):
        KlSettings(controller=controller, coefficient=0)


def test_each_number_outside_its_healthy_range_is_told_in_a_sentence_of_its_own():
    assert verdicts({"score": 1.0, "entropy": 2.0, "ratio from 1, first minibatch": 0.0}) == []
    told = verdicts({"ratio from 1, first minibatch": 0.3, "KL to reference": -4.0, "entropy": 0.001})
    assert len(told) == 3
    assert told[0].startswith("ratio from 1, first minibatch is 0.3 (usually below 0.0001): ")
    assert "the engine samples from another distribution" in told[1]
    assert "(usually above 0.05)" in told[2]
    for healthy in HEALTHY.values():
        assert healthy.low < healthy.high
        assert healthy.below or healthy.above


def test_what_is_set_is_not_advised_again():
    recipe = {"score": {"missing_eos_penalty": 1.0}, "kl": {"limit": None}, "update": {"target_kl": 0.0}}
    row = {"ended with EOS": 0.1, "KL to reference": 50.0, "KL to old policy": 1.0}
    asked = " ".join(verdicts(row, set(in_effect(recipe))))
    assert "raise it, raise score.missing_eos_penalty, or check" in asked
    assert "set kl.limit" in asked
    assert "set update.target_kl" in asked
    set_up = {"score.missing_eos_penalty", "kl.limit", "update.target_kl"}
    assert not any("set " in words for words in verdicts(row, set_up))
    assert all("{" not in words and "|" not in words for words in [*verdicts(row), *verdicts(row, set_up)])


def test_the_settings_that_are_advised_exist():
    known = set(all_keys(PpoSettings))
    for healthy in HEALTHY.values():
        assert set(re.findall(r"\{([\w.]+)\|", healthy.below + healthy.above)) <= known


def test_a_rollouts_row_counts_the_answers_tokens_only():
    row = sample(3, prompt_tokens=4).row
    assert row.loss_mask.tolist() == [False] * 4 + [True] * 3
    assert torch.equal(row.ids, torch.tensor([1, 2, 3, 4, 5, 6, 7]))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("ratio from 1, first minibatch", None, 1e-4),
        ("KL to reference", -0.5, 20.0),
        ("engine mismatch", None, 0.02),
        ("entropy", 0.05, None),
        ("clip fraction", None, 0.35),
        ("KL to old policy", None, 0.1),
        ("explained variance", -0.5, None),
        ("ended with EOS", 0.5, None),
        ("gradient norm", None, 100.0),
    ],
)
def test_the_healthy_range_of_each_number_includes_its_ends(name, low, high):
    assert set(HEALTHY) >= {name}
    for bound, beyond, words in ((low, -1e-3, "usually above"), (high, 1e-3, "usually below")):
        if bound is not None:
            assert verdicts({name: bound}) == []
            (told,) = verdicts({name: bound + beyond})
            assert f"({words} {bound:g})" in told
    assert verdicts({name: 0.0 if low is None else 1e9 if high is None else low}) == []


def test_only_an_answer_that_was_cut_off_pays_for_its_missing_eos(monkeypatch):
    read = TokenQuantities(torch.zeros(3), torch.zeros(3), torch.zeros(3), torch.zeros(3), None, False)
    monkeypatch.setattr(score_stage, "token_quantities", lambda samples, *_: [read] * len(samples))
    given = SimpleNamespace(name="two", score=lambda items: [Score(2.0) for _ in items])
    settings, answers = (
        ShapingSettings(missing_eos_penalty=0.5),
        [sample(3, finish=one) for one in ("end", "length", "stop")],
    )
    scoring = Mock(
        spec=score_stage.Scoring,
        scorer=given,
        actors=None,
        forward=None,
        kl=KlSettings(),
        settings=settings,
        language=Mock(spec=Language),
        longest=9,
    )
    found = score_stage.score(answers, scoring, RunningScale())
    assert [one.score for one in found] == [2.0, 1.5, 2.0]
    assert [one.raw_score for one in found] == [2.0, 2.0, 2.0]
