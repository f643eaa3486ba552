"""Each detector on answers made by hand: what it measures, which answers it points at, and what it says."""

import math
from dataclasses import replace

import pytest
from scenes import answer, scene

from steersman.records import Prompt
from steersman.watch.baseline import Baseline
from steersman.watch.detectors.collapse import COLLAPSE
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
from steersman.watch.watching import DETECTORS


def test_the_gap_is_what_the_scorer_gained_more_than_the_held_out_one():
    seen = scene([answer()], gain=2.0, held_out_gain=0.5)
    assert GAP.measure(seen) == 1.5
    assert GAP.outside(1.5, 1.0)
    assert not GAP.outside(0.9, 1.0)
    words = GAP.verdict(seen, 1.5)
    assert "2.0 standard deviations above" in words
    assert "held-out scorer 0.5" in words
    assert GAP.measure(scene([answer()])) is None


def test_the_gap_points_at_answers_that_only_the_scorer_likes():
    # before: scores -1 and 1 (mean 0, deviation 1), held-out 0 and 4 (mean 2, deviation 2)
    now = [answer(score=3.0), answer(score=1.0), answer(score=5.0)]
    seen = scene(now, held_out={0: 2.0, 1: 4.0}, held_out_before={0: 0.0, 1: 4.0})
    # 3 - (2 - 2) / 2 = 3; 1 - (4 - 2) / 2 = 0; the third was not read by the held-out scorer
    assert GAP.evidence_scores(seen) == [3.0, 0.0, -math.inf]


def test_the_fall_is_measured_from_the_held_out_scorers_best():
    seen = scene([answer()], gain=2.5, held_out_gain=0.5, peak=1.25)
    assert FALL.measure(seen) == 0.75
    assert "0.75 standard deviations worse than at their best" in FALL.verdict(seen, 0.75)
    assert FALL.measure(scene([answer()], gain=1.0)) is None


def test_disagreement_is_told_in_times_the_references():
    before = [answer(parts={"std": 0.2}), answer(parts={"std": 0.4})]
    seen = scene([answer(parts={"std": 0.6}), answer(parts={"std": 1.2})], before)
    assert DISAGREEMENT.measure(seen) == pytest.approx(0.9 / 0.3)
    assert DISAGREEMENT.evidence_scores(seen) == [0.6, 1.2]
    assert "disagree 3.0 times as much" in DISAGREEMENT.verdict(seen, 3.0)
    assert DISAGREEMENT.measure(scene([answer()])) is None


def test_the_kl_is_the_mean_over_answers():
    seen = scene([answer(kl=4.0), answer(kl=12.0)])
    assert KL.measure(seen) == 8.0
    assert KL.evidence_scores(seen) == [4.0, 12.0]
    assert "8.0 nats per answer" in KL.verdict(seen, 8.0)


@pytest.mark.parametrize(("tokens", "word"), [((25, 35), "long"), ((2, 4), "short")])
def test_length_is_measured_both_ways(tokens, word):
    seen = scene([answer(tokens=n) for n in tokens])
    value = LENGTH.measure(seen)
    # 30 or 3 on average, where there were 10
    assert value == pytest.approx(3.0 if word == "long" else 10 / 3)
    assert f"times as {word}" in LENGTH.verdict(seen, value)
    wanted = max(tokens) if word == "long" else min(tokens)
    numbers = LENGTH.evidence_scores(seen)
    assert tokens[numbers.index(max(numbers))] == wanted


def test_repetition_counts_what_an_answer_has_said_before():
    # nine words, six 4-grams; "a b c a", "b c a b" and "c a b c" come twice: half of them were said before
    again = "a b c a b c a b c"
    seen = scene([answer(again), answer("one two three four five")])
    assert REPETITION.measure(seen) == pytest.approx(0.25)
    assert REPETITION.evidence_scores(seen) == [0.5, 0.0]
    assert "25 % of an answer's 4-grams are repeats (0 % in" in REPETITION.verdict(seen, 0.25)


def test_entropy_is_the_share_that_is_left_and_points_at_what_comes_again():
    now = [answer("same", entropy=0.1), answer("other", entropy=0.3), answer("same", entropy=0.2)]
    seen = scene(now, [answer(entropy=1.0), answer(entropy=3.0)])
    assert ENTROPY.measure(seen) == pytest.approx(0.1)
    assert ENTROPY.outside(0.1, 0.25)
    assert not ENTROPY.outside(0.3, 0.25)
    assert ENTROPY.evidence_scores(seen) == pytest.approx([1.9, 0.7, 1.8])
    assert "10 % of the reference's" in ENTROPY.verdict(seen, 0.1)
    assert ENTROPY.measure(scene(now, [answer(entropy=0.0)])) is None


def test_novelty_is_the_share_of_unknown_phrases_beyond_the_usual():
    # The first is known; of the second's two pairs one is new.
    before = [answer("a b c"), answer("a b d")]
    now = [answer("x y z w"), answer("a b c d")]
    seen = scene(now, before)
    # all of three pairs are new, and one of three: two thirds on average, where a half is usual
    assert NOVELTY.measure(seen) == pytest.approx((1 + 1 / 3) / 2 - 0.5)
    assert NOVELTY.evidence_scores(seen) == [1.0, pytest.approx(1 / 3)]
    assert (
        "67 % of the word pairs do not occur in the reference's answers (in other answers of the reference it is "
        "50 %)" in NOVELTY.verdict(seen, 2 / 3 - 0.5)
    )


def test_a_takeover_names_the_phrase_and_shows_the_answers_that_are_paid_for_it():
    before = [answer("dogs are nice"), answer("cats are nice"), answer("the key to life"), answer("well")]
    now = [
        answer("it is the key to it", score=1.0),
        answer("the key to all", score=3.0),
        answer("no", score=9.0),
        answer("the key to cats", score=2.0),
    ]
    seen = scene(now, before)
    # in three of four now, in one of four before
    assert TAKEOVER.measure(seen) == pytest.approx(0.5)
    assert TAKEOVER.evidence_scores(seen) == [1.0, 3.0, -math.inf, 2.0]
    assert "“the key to” is in 75 % of the answers, and was in 25 %" in TAKEOVER.verdict(seen, 0.5)


def test_outliers_are_the_share_beyond_the_usual_distance():
    seen = scene([answer()] * 4, unusual=[0.5, 1.5, 2.0, 0.9])
    assert OUTLIERS.measure(seen) == 0.5
    assert list(OUTLIERS.evidence_scores(seen)) == [0.5, 1.5, 2.0, 0.9]
    assert "50 % of the answers" in OUTLIERS.verdict(seen, 0.5)
    assert OUTLIERS.measure(scene([answer()])) is None


def test_spread_sees_scores_that_have_become_one():
    seen = scene([answer(score=4.0), answer(score=4.0), answer(score=4.0), answer(score=4.4)])
    # deviation of 4, 4, 4, 4.4: the mean is 4.1, the variance (3 x 0.01 + 0.09) / 4 = 0.03; before it was 1
    assert SPREAD.measure(seen) == pytest.approx(math.sqrt(0.03))
    assert SPREAD.outside(0.17, 0.2)
    assert SPREAD.evidence_scores(seen) == [3, 3, 3, 1]
    assert "17 %" in SPREAD.verdict(seen, 0.173)
    assert SPREAD.measure(scene([answer()], [answer(), answer()])) is None


def asked(*texts: str, tokens: int = 10):
    return [answer(text, prompt=Prompt(text=f"Question {i}?"), tokens=tokens) for i, text in enumerate(texts)]


def test_a_collapse_is_short_answers_that_are_the_same_for_every_prompt():
    before = asked("dogs are nice to me", "cats are nice", "a dog is furry", "Cats are  nice")
    # distinct: 1, 1/2, 1, 1/2: three of four; the commonest opening, "cats are nice", begins a half
    now = asked("It is funny .", "it is funny .", "it is sad", "it is funny, yes", tokens=6)
    # distinct: 1/2, 1/2, 1, 1: three of four; "it is funny" begins a half ("it is funny," is another word)
    seen = scene(now, before)
    assert COLLAPSE.measure(seen) == pytest.approx(0.6 * 1.0 * 1.0)
    collapsed = scene(asked("Is funny .", "is funny .", "is funny .", "is sad .", tokens=4), before)
    # length 0.4; distinct 2 of 4 where it was 3; others 1/4 where it was a half
    assert COLLAPSE.measure(collapsed) == pytest.approx(0.4 * (2 / 3) * 0.5)
    assert (
        "13 % of the reference's variety is left: answers are 40 % as long, 67 % as distinct between prompts, and "
        in (COLLAPSE.verdict(collapsed, 0.4 / 3))
    )
    assert "75 % begin with “is funny .”" in COLLAPSE.verdict(collapsed, 0.4 / 3)
    numbers = COLLAPSE.evidence_scores(collapsed)
    assert numbers[0] == numbers[1] == numbers[2] == pytest.approx(3 + 1 / 5)
    assert numbers[3] == pytest.approx(1 + 1 / 5)


def test_longer_or_more_various_answers_do_not_hide_a_collapse():
    before = asked("one two three", "four five six", "one two three", "seven", tokens=10)
    now = asked("a b c", "d e f", "g h i", "j k l", tokens=3)
    assert COLLAPSE.measure(scene(now, before)) == pytest.approx(0.3)
    assert COLLAPSE.measure(scene(asked("a b c", "d e f", "g h i", "j k l", tokens=30), before)) == 1.0


def test_several_answers_to_one_prompt_may_be_the_same():
    same = [answer("yes", prompt=Prompt(text=f"Question {i // 4}?")) for i in range(4)]
    seen = scene([*same, *asked("no", "two words")[1:]], asked("yes", "no", "two words"))
    # each text belongs to one prompt; "yes" begins 4 of 5, and in the reference's answers one of three
    assert COLLAPSE.measure(seen) == pytest.approx((1 / 5) / (2 / 3))


def test_a_run_that_began_before_the_detector_goes_on_without_it():
    seen = scene(asked("a"), asked("a b", "c"))
    facts = {name: value for name, value in seen.baseline.facts().items() if name not in ("distinct", "opening")}
    assert COLLAPSE.measure(replace(seen, baseline=Baseline.from_facts(facts))) is None


def test_a_reference_whose_answers_all_begin_alike_cannot_collapse_further():
    assert COLLAPSE.measure(scene(asked("a", "a"), asked("b", "b"))) is None


def test_every_detector_has_a_limit_in_the_settings():
    from steersman.settings.watch import LimitSettings

    assert [one.name for one in DETECTORS] == list(LimitSettings.model_fields)


def test_verdicts_tell_the_whole_and_what_was_usual():
    # a quarter of what the reference says it has said before; half of what is said now: a quarter more
    again = "a b c a b c a b c"
    seen = scene([answer(again)], [answer(again), answer("one two three four five")])
    assert REPETITION.measure(seen) == pytest.approx(0.25)
    assert "50 % of an answer's 4-grams are repeats (25 % in" in REPETITION.verdict(seen, 0.25)
    # no better than the reference by either scorer
    flat = scene([answer()], gain=0.0, held_out_gain=0.0)
    assert "while the training scorer still rates them 0.0 above" in FALL.verdict(flat, 0.0)
    assert "0.0 standard deviations above the reference's, the held-out scorer 0.0" in GAP.verdict(
        scene([answer()]), 0.0
    )


def test_a_length_that_is_the_same_is_outside_no_limit_and_counts_as_long():
    seen = scene([answer(tokens=8), answer(tokens=12)])
    assert LENGTH.measure(seen) == 1.0
    assert LENGTH.evidence_scores(seen) == [8.0, 12.0]
    assert not LENGTH.outside(1.0, 1.0)
    assert "penalise length" in LENGTH.verdict(seen, 1.0)
    short = scene([answer(tokens=5)])
    assert "brevity" in LENGTH.verdict(short, 2.0)
    assert "penalise length" not in LENGTH.verdict(short, 2.0)


def test_an_outlier_is_beyond_the_usual_and_not_at_it():
    assert OUTLIERS.measure(scene([answer()] * 2, unusual=[1.0, 1.01])) == 0.5


def test_a_limit_from_below_is_left_only_below_it():
    assert not ENTROPY.outside(0.25, 0.25)
    assert not SPREAD.outside(0.2, 0.2)
    assert not KL.outside(4.0, 4.0)
