"""What the preference objectives report, on answers of one token whose log-probs are written down.

The policy gives the tokens 0.5, 0.2 and 0.3; the reference 0.25, 0.25 and 0.5: log-ratios of log 2, log 0.8, log 0.6.
"""

import math

import pytest
import torch
from test_dpo import settings
from test_online_dpo import sample
from test_online_opponents import Table, learner_of, unit
from test_online_opponents import settings as online_settings

from steersman.methods.dpo import DirectPreference, JudgedGroup, KahnemanTversky, collate
from steersman.methods.online_opponents import Exploratory, NashMirrorDescent, against_opponent

NOW, BEFORE = torch.tensor([0.5, 0.2, 0.3]).log(), torch.tensor([0.25, 0.25, 0.5]).log()
RATIO = [math.log(2), math.log(0.8), math.log(0.6)]


def judged(*pairs: tuple[float, int, int]) -> list[JudgedGroup]:
    """Pairs of answers: the probability that the first is better, and the two tokens."""
    return [unit(target, first, second, BEFORE) for target, first, second in pairs]


def batch(*pairs: tuple[float, int, int]):
    return collate(judged(*pairs), pad_id=0, device=torch.device("cpu"))


def approx(*numbers: float):
    return pytest.approx(numbers, abs=1e-6)


PAIRS = (1.0, 0, 1), (0.0, 2, 1), (0.0, 0, 2), (0.5, 0, 2)


def test_a_tie_counts_neither_as_right_nor_in_the_margin():
    found = DirectPreference(settings(beta=0.1))(Table(NOW), batch(*PAIRS)).metrics
    gaps = [RATIO[0] - RATIO[1], -(RATIO[2] - RATIO[1]), -(RATIO[0] - RATIO[2])]
    assert (gaps[0] > 0, gaps[1] > 0, gaps[2] > 0) == (True, True, False)
    assert found["accuracy"] == (2.0, 3.0)
    assert found["margin"] == approx(0.1 * sum(gaps), 3.0)
    assert found["log ratio"] == approx(3 * RATIO[0] + 2 * RATIO[1] + 3 * RATIO[2], 8.0)


def test_equal_answers_are_half_right():
    found = DirectPreference(settings())(Table(NOW), batch((1.0, 1, 1), (1.0, 0, 1))).metrics
    assert found["accuracy"] == (1.5, 2.0)


def test_orpo_s_margin_is_the_difference_of_log_odds_whatever_beta_is():
    found = DirectPreference(settings(loss="orpo"))(Table(NOW), batch((1.0, 0, 1)))
    # odds of 1 and of 0.25
    assert found.metrics["margin"] == approx(math.log(4), 1.0)
    # -log sigmoid(log 4) = log 1.25, and the likelihood of the better answer is learned beside it
    assert found.terms["preference"].total.item() == pytest.approx(math.log(1.25), abs=1e-6)
    assert found.terms["likelihood"].total.item() == pytest.approx(-math.log(0.5), abs=1e-6)


def test_the_likelihood_is_a_mean_over_the_tokens_of_better_answers_and_nothing_without_a_coefficient():
    with_it, without = (DirectPreference(settings(likelihood=share)) for share in (0.5, 0.0))
    units = judged(*PAIRS)
    assert with_it.weights(units) == {"preference": 4.0, "likelihood": 3.0}
    assert without.weights(units) == {"preference": 4.0, "likelihood": 0.0}
    # better are 0, 1 and 2: of the tie neither
    expected = -(math.log(0.5) + math.log(0.2) + math.log(0.3)) / 3
    report = learner_of(Table(NOW), 1e-12).step(units, with_it)
    assert report.terms["likelihood"] == pytest.approx(expected, abs=1e-6)
    assert report.loss == pytest.approx(report.terms["preference"] + 0.5 * expected, abs=1e-6)
    assert "likelihood" not in learner_of(Table(NOW), 1e-12).step(units, without).terms


@pytest.mark.parametrize(("measured", "baseline"), [(0.25, 0.25), (-3.0, 0.0)])
def test_kto_reports_both_kinds_of_answers_and_its_baseline_is_no_less_than_0(measured, baseline):
    aim = KahnemanTversky(settings(loss="kto", beta=0.1, undesirable_weight=1.5), lambda units: measured)
    report = learner_of(Table(NOW), 1e-12).step(judged((1.0, 0, 1), (0.0, 2, 0), (0.5, 1, 2)), aim)
    # liked: 0 twice; disliked: 1 and 2; of the tie nothing is learned
    assert report.metrics["log ratio, liked"] == pytest.approx(RATIO[0], abs=1e-6)
    assert report.metrics["log ratio, disliked"] == pytest.approx((RATIO[1] + RATIO[2]) / 2, abs=1e-6)
    assert report.metrics["baseline"] == pytest.approx(baseline)

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    liked = 2 * (1 - sigmoid(0.1 * (RATIO[0] - baseline)))
    disliked = sum(1.5 * (1 - sigmoid(0.1 * (baseline - ratio))) for ratio in RATIO[1:])
    assert report.loss == pytest.approx((liked + disliked) / 4, abs=1e-6)


def test_a_pair_against_an_opponent_is_one_pair_and_no_thumb():
    (group,) = against_opponent([sample(0, 0)], [sample(0, 1)], [1.0], [3.0], "hard")
    assert (group.first.tolist(), group.second.tolist(), group.weight.tolist()) == ([0], [1], [1.0])
    assert (group.thumbed.tolist(), group.approval.tolist()) == ([], [])
    assert (group.target.item(), len(group.rows)) == (0.0, 2)
    with pytest.raises(ValueError, match="shorter"):
        against_opponent([sample(0, 0)] * 2, [sample(0, 1)], [1.0] * 2, [3.0], "hard")


def test_xpo_s_optimism_is_a_mean_over_the_opponent_s_answers():
    aim = Exploratory(online_settings(method="xpo", optimism=0.1, beta=1.0))
    units = judged((1.0, 0, 1), (1.0, 0, 2))
    assert aim.weights(units) == {"preference": 2.0, "likelihood": 0.0, "optimism": 2.0}
    report = learner_of(Table(NOW), 1e-12).step(units, aim)
    assert report.terms["optimism"] == pytest.approx((math.log(0.2) + math.log(0.3)) / 2, abs=1e-6)
    assert report.metrics["accuracy"] == 1.0


def test_nash_md_reports_means_over_its_pairs():
    aim = NashMirrorDescent(online_settings(method="nash_md", beta=0.1))
    units = [unit(0.8, 0, 1, BEFORE, 1.0), unit(0.4, 2, 1, BEFORE, 3.0)]
    report = learner_of(Table(NOW), 1e-12).step(units, aim)
    assert report.metrics["preferred to opponent"] == pytest.approx(0.6)
    assert report.metrics["log ratio"] == pytest.approx((RATIO[0] + RATIO[2]) / 2, abs=1e-6)
    # -(P - 1/2 - beta * log-ratio) * log p, the second pair three times
    one = -(0.3 - 0.1 * RATIO[0]) * math.log(0.5)
    other = -(-0.1 - 0.1 * RATIO[2]) * math.log(0.3)
    assert report.loss == pytest.approx((one + 3 * other) / 4, abs=1e-6)
