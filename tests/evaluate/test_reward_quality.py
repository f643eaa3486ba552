"""The report on a reward model: hand-worked numbers, and simulated people whose habits are known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from steersman.errors import DataError
from steersman.evaluate.calibration import measure_calibration, measure_sureness
from steersman.evaluate.ceiling import human_ceiling
from steersman.evaluate.judged_pairs import JudgedPairs, judged_pairs
from steersman.evaluate.position import measure_positions
from steersman.evaluate.reward_quality import measure_reward_quality
from steersman.evaluate.reward_quality_words import lines_of
from steersman.maths.agreement import krippendorff_interval
from steersman.maths.statistics import wilson_interval
from steersman.records import Comparison, Completion, Prompt


def judged(gaps, preferences, **given):
    """Rows with pairs of their own, unless `first` and `second` are given; lengths equal, nobody named."""
    n = len(gaps)
    columns = {
        "first": tuple(f"a{i}" for i in range(n)),
        "second": tuple(f"b{i}" for i in range(n)),
        "first_score": np.array(gaps, dtype=np.float64),
        "second_score": np.zeros(n),
        "first_length": np.full(n, 10.0),
        "second_length": np.full(n, 10.0),
        "preference": np.array(preferences, dtype=np.float64),
        "margin": np.full(n, np.nan),
        "annotator": ("",) * n,
        "shown": ("",) * n,
    }
    return JudgedPairs(**{**columns, **given})


def same_pair(gaps, preferences, annotators, pairs):
    names = {"first": tuple(f"a{p}" for p in pairs), "second": tuple(f"b{p}" for p in pairs)}
    return judged(gaps, preferences, annotator=tuple(annotators), **names)


def mirrored(pairs: JudgedPairs) -> JudgedPairs:
    other = {"first": "second", "second": "first", "": ""}
    return replace(
        pairs,
        first=pairs.second,
        second=pairs.first,
        first_score=pairs.second_score,
        second_score=pairs.first_score,
        first_length=pairs.second_length,
        second_length=pairs.first_length,
        preference=1 - pairs.preference,
        shown=tuple(other[s] for s in pairs.shown),
    )


def numbers(value) -> list[float]:
    """Every number of a report, in its order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers(item)]
    return [float(value)] if isinstance(value, int | float) else []


def simulated(count=4000, *, sureness=1.0, seed=0):
    """Bradley-Terry people, and a model that knows the true gap but multiplies it by `sureness`."""
    generator = np.random.default_rng(seed)
    true = generator.normal(size=count) * 1.5
    said = (generator.random(count) < 1 / (1 + np.exp(-true))).astype(np.float64)
    lengths = {f"{name}_length": generator.integers(5, 200, count).astype(np.float64) for name in ("first", "second")}
    margin = generator.integers(0, 4, count).astype(np.float64)
    return judged(sureness * true, said, margin=margin, **lengths)


def test_ties_are_left_out_of_accuracy_and_equal_scores_count_half():
    # Decided: right, right, wrong, equal scores -> 2.5 of 4. The soft label 0.9 counts as decided.
    quality = measure_reward_quality(judged([1.0, -2.0, 3.0, 0.0, 5.0], [0.9, 0.0, 0.0, 1.0, 0.5]))
    assert (quality.judgements, quality.ties, quality.equal_scores) == (5, 1, 1)
    assert quality.accuracy == pytest.approx(wilson_interval(2.5, 4.0, confidence=0.95))
    assert quality.accuracy.estimate == 0.625


def test_a_pair_judged_by_many_does_not_count_as_many():
    # One pair judged 4 times and one judged twice: 36 / (16 + 4) = 1.8 independent pairs; 4 of 6 right.
    pairs = same_pair([1.0] * 4 + [-1.0] * 2, [1.0] * 6, "abcdab", [0, 0, 0, 0, 1, 1])
    expected = wilson_interval(4 / 6 * 1.8, 1.8, confidence=0.95)
    assert measure_reward_quality(pairs).accuracy == pytest.approx(expected)


def test_accuracy_by_grade_rises_where_people_were_surer():
    # Grade 1: one of two right; grade 3: both; the tie and the row without a margin are in neither.
    margin = np.array([1.0, 1.0, 3.0, 3.0, 3.0, np.nan])
    groups = measure_reward_quality(judged([1, -1, 1, 1, 1, 1], [1, 1, 1, 1, 0.5, 1], margin=margin)).by_grade
    assert [(g.group, g.judgements, g.accuracy.estimate) for g in groups] == [("1", 2, 0.5), ("3", 2, 1.0)]


def test_grades_and_annotators_stand_in_their_own_order_whatever_the_file_s():
    margin, people = np.array([10.0, 2.0, 10.0, -1.0]), ("zoe", "ann", "zoe", "ben")
    found = measure_reward_quality(judged([1.0] * 4, [1.0] * 4, margin=margin, annotator=people))
    assert [(g.group, g.judgements) for g in found.by_grade] == [("-1", 1), ("2", 1), ("10", 2)], "by size"
    assert [(g.group, g.judgements) for g in found.by_annotator] == [("ann", 1), ("ben", 1), ("zoe", 2)]


def test_margins_without_grades_are_cut_into_quarters():
    margin = np.arange(1.0, 13.0)
    groups = measure_reward_quality(judged([1.0] * 12, [1.0] * 6 + [0.0] * 6, margin=margin)).by_grade
    assert [(g.group, g.judgements) for g in groups] == [
        ("up to 3.75", 3),
        ("up to 6.5", 3),
        ("up to 9.25", 3),
        ("above 9.25", 3),
    ]
    assert [g.accuracy.estimate for g in groups] == [1.0, 1.0, 0.0, 0.0]


def test_accuracy_by_length_shows_a_model_that_only_counts_words():
    # Preferred against other: 50/100 = -0.5, 80/100 = -0.2, 95/100 = -0.05, 100/85 = +0.15, 100/20 = +0.8. Scores are
    # lengths.
    first, second = np.array([50.0, 80, 95, 100, 100]), np.array([100.0, 100, 100, 85, 20])
    pairs = judged(first, [1.0] * 5, second_score=second, first_length=first, second_length=second)
    quality = measure_reward_quality(pairs)
    found = [(g.group, g.accuracy.estimate) for g in quality.by_length]
    assert found == [("much shorter", 0), ("shorter", 0), ("about as long", 0), ("longer", 1), ("much longer", 1)]
    assert quality.length.gap.pearson == pytest.approx(1.0)
    assert quality.length.score.spearman == pytest.approx(1.0)
    assert quality.length.longer_wins is not None
    assert quality.length.longer_wins.estimate == pytest.approx(0.4)
    assert any("prefers length more than people" in line for line in lines_of(quality))


def test_answers_of_equal_length_have_no_length_correlation():
    length = measure_reward_quality(judged([1.0, 2.0], [1.0, 0.0])).length
    assert length.longer_wins is None
    assert math.isnan(length.gap.pearson)
    assert math.isnan(length.score.spearman)


def test_an_answer_in_several_pairs_is_counted_once_among_single_scores():
    # Scores 0, 1, 2 at lengths 1, 2, 9: r = 8 / sqrt(2 * 38) = 0.9177 (deviations -1 0 1 and -3 -2 5).
    pairs = judged(
        [1.0, 2.0, 2.0],
        [1.0, 1.0, 1.0],
        first=("y", "z", "z"),
        second=("x", "x", "y"),
        second_score=np.array([0.0, 0.0, 1.0]),
        first_length=np.array([2.0, 9.0, 9.0]),
        second_length=np.array([1.0, 1.0, 2.0]),
    )
    assert measure_reward_quality(pairs).length.score.pearson == pytest.approx(8 / math.sqrt(76))


def test_sureness_of_three_pairs_worked_by_hand():
    # Gaps ln 3, -ln 3, 0: the model is 3/4, 3/4, 1/2 sure of its favourite, which was preferred, rejected, tied.
    found = measure_sureness(np.array([math.log(3), -math.log(3), 0.0]), np.array([1.0, 1.0, 0.5]))
    assert found.loss == pytest.approx((math.log(4 / 3) + math.log(4) + math.log(2)) / 3)
    # Bin of 3/4: outcome (1 + 0) / 2, gap 1/4, two pairs; bin of 1/2: outcome 1/2, no gap.
    assert found.error == pytest.approx(2 / 3 * 0.25)
    assert [(b.probability, b.outcome, b.size) for b in found.curve] == [(0.5, 0.5, 1), (pytest.approx(0.75), 0.5, 2)]


def test_calibration_finds_how_much_too_sure_the_model_is():
    for sureness in (0.5, 1.0, 3.0):
        pairs = simulated(sureness=sureness)
        found = measure_calibration(pairs.gap, pairs.preference, pairs.pair)
        assert found.temperature == pytest.approx(sureness, rel=0.1)
        assert found.fitted_on + found.measured_on == 4000
        assert abs(found.fitted_on - found.measured_on) < 250
        assert found.before is not None
        assert found.after is not None
        assert found.after.error < 0.035
        if sureness != 1.0:
            assert found.after.error < found.before.error / 2
            assert found.after.loss < found.before.loss


def test_enormous_gaps_do_not_overflow():
    with np.errstate(all="raise", under="ignore"):
        found = measure_sureness(np.array([1e5, -1e5]), np.array([1.0, 1.0]))
    assert found.loss == pytest.approx(5e4)


def test_one_pair_alone_has_no_temperature():
    found = measure_reward_quality(judged([1.0], [1.0])).calibration
    assert (found.temperature, found.before, found.after) == (None, None, None)
    assert found.fitted_on + found.measured_on == 1


def test_the_order_of_answers_in_a_file_changes_nothing():
    pairs = simulated(300, sureness=2.0)
    turn = np.random.default_rng(5).random(300) < 0.5
    other = mirrored(pairs)
    mixed = replace(
        pairs,
        **{
            name: np.where(turn, getattr(other, name), getattr(pairs, name))
            for name in ("first_score", "second_score", "first_length", "second_length", "preference")
        },
        **{
            name: tuple(b if t else a for a, b, t in zip(getattr(pairs, name), getattr(other, name), turn, strict=True))
            for name in ("first", "second")
        },
    )
    one, two, three = (measure_reward_quality(p).as_dict() for p in (pairs, other, mixed))
    for report in (one, two, three):
        del report["positions"]
    assert len(numbers(one)) > 100
    assert numbers(two) == pytest.approx(numbers(one), abs=1e-9)
    assert numbers(three) == pytest.approx(numbers(one), abs=1e-9)


def test_the_ceiling_worked_by_hand():
    # Pair 0: a, b, c say first, first, second. Each against the others' majority: a against (1, 0) split = half;
    # b the same; c against (1, 1) wrong = 0. Pair 1: a and b say second: right, right. So (0.5 + 0.5 + 0 + 1 + 1) / 5.
    pairs = same_pair([1.0, 1.0, 1.0, 1.0, 1.0, 9.0], [1, 1, 0, 0, 0, 1], "abcaba", [0, 0, 0, 1, 1, 2])
    found = human_ceiling(pairs, confidence=0.95)
    assert found is not None
    assert (found.pairs, found.judgements) == (2, 5)
    assert found.one_against_others.estimate == pytest.approx(0.6)
    # The model prefers the first everywhere: right, right, wrong, wrong, wrong on these; pair 2 is not shared.
    assert found.model_there.estimate == pytest.approx(0.4)
    # Pairs of people: 1 of 3 agree on pair 0, 1 of 1 on pair 1.
    assert found.agreement.estimate == pytest.approx(0.5)
    # Alpha: 5 labels, 2 first and 3 second. Observed disagreement: pair 0 has 2 * 2 ordered unequal pairs / (3 - 1) =
    # 2, of n = 5: 2/5. Expected: 2 * 2 * 3 / (5 * 4) = 12/20. alpha = 1 - (2/5) / (3/5) = 1/3.
    assert found.alpha.estimate == pytest.approx(1 / 3)


def test_the_ceiling_is_the_same_whichever_answer_stands_first():
    pairs = same_pair([1.0, 1.0, 1.0, 1.0, 1.0], [1, 1, 0, 0, 0.5], "abcab", [0, 0, 0, 1, 1])
    other = mirrored(pairs)
    turned = [1, 3]
    mixed = replace(
        pairs,
        **{
            name: tuple(getattr(other if i in turned else pairs, name)[i] for i in range(5))
            for name in ("first", "second")
        },
        **{
            name: np.array([getattr(other if i in turned else pairs, name)[i] for i in range(5)])
            for name in ("first_score", "second_score", "preference")
        },
    )
    assert human_ceiling(mixed, confidence=0.9) == human_ceiling(pairs, confidence=0.9)


def test_people_with_a_known_error_rate_have_a_known_ceiling():
    # Three people who are right with probability 0.8: two agree with 0.64 + 0.04 = 0.68. One against two others: these
    # agree and are right (0.64) or wrong (0.04), else split: 0.8 * 0.64 + 0.2 * 0.04 + 0.32 * 0.5 = 0.68.
    generator = np.random.default_rng(3)
    truth = generator.integers(0, 2, 3000)
    votes = np.where(generator.random((3000, 3)) < 0.8, truth[:, None], 1 - truth[:, None])
    gaps = np.repeat(2.0 * truth - 1, 3)
    pairs = same_pair(gaps, votes.ravel(), "abc" * 3000, np.repeat(np.arange(3000), 3))
    found = human_ceiling(pairs, confidence=0.95)
    assert found is not None
    assert found.agreement.estimate == pytest.approx(0.68, abs=0.015)
    assert found.one_against_others.low < 0.68 < found.one_against_others.high
    # A model that knows the truth is right about one person's word with 0.8: above the ceiling, as it should be.
    assert found.model_there.estimate == pytest.approx(0.8, abs=0.02)


def test_one_person_twice_is_no_second_opinion_but_two_nameless_ones_are():
    assert human_ceiling(same_pair([1.0, 1.0], [1, 0], "aa", [0, 0]), confidence=0.95) is None
    found = human_ceiling(same_pair([1.0, 1.0], [1, 0], ["", ""], [0, 0]), confidence=0.95)
    assert found is not None
    assert found.one_against_others.estimate == 0.0


def test_somebody_who_always_says_the_first_is_found_though_the_sides_were_shuffled():
    # ann chooses the answer shown first every time, ben is balanced; the record's own order is shuffled.
    shown = ("first", "second") * 8
    ann = [1.0 if s == "first" else 0.0 for s in shown]
    ben = [1.0, 1.0, 0.0, 0.0] * 4
    pairs = judged([1.0] * 32, ann + ben, shown=shown * 2, annotator=("ann",) * 16 + ("ben",) * 16)
    found = measure_positions(pairs, confidence=0.95)
    assert [(h.annotator, h.always, h.judgements) for h in found.suspicious] == [("ann", "first", 16)]
    assert found.chosen_first is not None
    assert found.chosen_first.estimate == pytest.approx(24 / 32)
    assert found.one_sided == ""
    assert any("ann chose the first answer in all of 16" in line for line in lines_of(measure_reward_quality(pairs)))


def test_a_file_that_puts_the_preferred_answer_first_is_no_habit_of_its_annotators():
    found = measure_positions(judged([1.0] * 20, [1.0] * 20, annotator=("ann",) * 20), confidence=0.95)
    assert (found.one_sided, found.chosen_first, found.suspicious) == ("first", None, ())
    words = lines_of(measure_reward_quality(judged([1.0] * 20, [0.0] * 20)))
    assert any("prefers its second answer" in line for line in words)


def test_with_no_places_written_down_the_order_of_the_record_is_used():
    pairs = judged([1.0] * 18, [1.0] * 9 + [0.0] * 9, annotator=("ann",) * 9 + ("ben",) * 9)
    found = measure_positions(pairs, confidence=0.95)
    assert [(h.annotator, h.always) for h in found.suspicious] == [("ann", "first"), ("ben", "second")]


def test_a_few_judgements_on_one_side_are_no_habit():
    assert measure_positions(judged([1.0] * 5, [1.0] * 5, shown=("first",) * 5), confidence=0.95).suspicious == ()


def test_nothing_but_ties_is_refused():
    with pytest.raises(DataError, match="all 2 judgements are ties"):
        judged([1.0, 2.0], [0.5, 0.5])


def test_broken_columns_are_refused():
    with pytest.raises(DataError, match="no judged pairs"):
        judged([], [])
    with pytest.raises(DataError, match="first: row 1"):
        judged([1.0, math.nan], [1.0, 0.0])
    with pytest.raises(DataError, match="preference of row 1"):
        judged([1.0, 1.0], [1.0, 1.5])


def test_records_become_judged_pairs():
    prompt = Prompt(text="Say")
    long, short = Completion("a long answer", scores={"rm": 2.0}), Completion("short", scores={"rm": -1.0})
    rows = [
        Comparison(prompt, long, short, 1.0, margin=2.0, annotator="ann", shown="second"),
        Comparison(prompt, short, long, 1.0, annotator="ben"),
    ]
    pairs = judged_pairs(rows, "rm")
    assert pairs.gap.tolist() == [3.0, -3.0]
    assert pairs.pair[0] == pairs.pair[1]
    assert pairs.side[0] == 1 - pairs.side[1]
    assert pairs.first_length.tolist() == [13.0, 5.0]
    assert pairs.right.tolist() == [1.0, 0.0]
    assert np.isnan(pairs.margin[1])
    with pytest.raises(DataError, match="2 of 2 comparisons lack the score 'other'"):
        judged_pairs(rows, "other")
    bare = Comparison(prompt, Completion("yes"), Completion("no"), 1.0)
    with pytest.raises(DataError, match=r"3 of 3 comparisons lack the score 'other' \(the first has rm\)"):
        judged_pairs([*rows, bare], "other")


def test_the_report_is_json_and_every_number_of_it_is_finite():
    quality = measure_reward_quality(simulated(200))
    report = json.loads(json.dumps(quality.as_dict(), allow_nan=False))
    assert report["accuracy"]["low"] < report["accuracy"]["estimate"] < report["accuracy"]["high"]
    assert report["ceiling"] is None
    assert len(report["by_grade"]) == 4
    one = measure_reward_quality(judged([1.0], [1.0])).as_dict()
    assert one["length"]["gap"] == {"pearson": None, "spearman": None}
    json.dumps(one, allow_nan=False)


def test_words_say_what_the_numbers_are_held_against():
    pairs = same_pair(
        [1.0, 1.0, -1.0, -1.0, 2.0], [1, 1, 0, 1, 0.5], ["[ann]", "ben", "[ann]", "ben", "ben"], [0, 0, 1, 1, 2]
    )
    words = "\n".join(lines_of(measure_reward_quality(pairs)))
    assert "accuracy[/bold] 75.0%" in words
    assert "1 ties left out" in words
    assert "one against the others 50.0%" in words
    assert "\\[ann]" in words
    assert "no better than chance" in words
    from rich.text import Text

    assert "[ann]" in Text.from_markup(words).plain


def test_a_model_that_prefers_the_contrary_is_not_called_too_sure():
    pairs = judged([1.0] * 40, [0.0] * 40)
    words = "\n".join(lines_of(measure_reward_quality(pairs)))
    assert "temperature 1e+03 (at its limit: the gaps carry no information, or have the wrong sign)" in words


def test_accuracy_against_each_person_stands_in_the_order_of_their_names():
    pairs = judged([1.0, 1.0, 1.0, 1.0], [1, 0, 1, 0.5], annotator=("zoe", "ann", "ann", "zoe"))
    found = measure_reward_quality(pairs).by_annotator
    assert [(group.group, group.judgements, group.accuracy.estimate) for group in found] == [
        ("ann", 2, 0.5),
        ("zoe", 1, 1.0),
    ]


@pytest.mark.parametrize(
    ("preferred", "other", "group"),
    [
        # as a share of the longer one: an edge belongs to the group nearer to the middle
        (20.0, 30.0, "shorter"),
        (19.9, 30.0, "much shorter"),
        (27.0, 30.0, "about as long"),
        (26.9, 30.0, "shorter"),
        (30.0, 30.0, "about as long"),
        (30.0, 27.0, "about as long"),
        (30.0, 26.9, "longer"),
        (30.0, 20.0, "longer"),
        (30.0, 19.9, "much longer"),
        (30.0, 0.0, "much longer"),
    ],
)
def test_which_group_of_lengths_a_pair_belongs_to(preferred, other, group):
    pairs = judged([1.0], [1.0], first_length=np.array([preferred]), second_length=np.array([other]))
    found = measure_reward_quality(pairs).by_length
    assert [(one.group, one.judgements) for one in found] == [(group, 1)]


@pytest.mark.parametrize(
    ("grades", "names"), [(8, [f"{n}" for n in range(1, 9)]), (9, ["up to 3", "up to 5", "up to 7", "above 7"])]
)
def test_up_to_eight_different_margins_are_grades_of_a_scale(grades, names):
    pairs = judged([1.0] * grades, [1.0] * grades, margin=np.arange(1.0, grades + 1))
    assert [one.group for one in measure_reward_quality(pairs).by_grade] == names


def test_margins_of_ties_and_missing_ones_are_no_grade():
    margin = np.array([1.0, 2.0, np.nan])
    assert [
        one.group for one in measure_reward_quality(judged([1.0] * 3, [1.0, 0.5, 1.0], margin=margin)).by_grade
    ] == ["1"]
    assert measure_reward_quality(judged([1.0], [1.0])).by_grade == ()


def test_a_report_counts_ties_and_equal_scores_of_decided_pairs():
    quality = measure_reward_quality(judged([0.0, 0.0, 1.0], [1.0, 0.5, 1.0]))
    assert (quality.judgements, quality.ties, quality.equal_scores) == (3, 1, 1)
    # half right and right
    assert quality.accuracy.estimate == 0.75
    assert quality.by_annotator == (), "one person is not compared with others"


def test_the_curve_has_ten_bins_from_even_odds_to_certainty():
    predicted = [0.525 + 0.05 * i for i in range(10)]
    gaps = np.array([math.log(p / (1 - p)) for p in predicted])
    # the other way round a pair says the same
    gaps[::2] *= -1
    curve = measure_sureness(gaps, (gaps > 0).astype(np.float64)).curve
    assert [one.size for one in curve] == [1] * 10
    assert [one.low for one in curve] == [i / 20 for i in range(10, 20)]
    assert [one.probability for one in curve] == pytest.approx(predicted)
    assert [one.outcome for one in curve] == [1.0] * 10


@pytest.mark.parametrize(("count", "always"), [(7, ""), (8, "second")])
def test_eight_judgements_are_enough_for_a_habit(count: int, always: str):
    shown = ("first",) * count
    found = measure_positions(
        judged([1.0] * count, [0.0] * count, shown=shown, annotator=("ann",) * count), confidence=0.95
    )
    assert [(habit.annotator, habit.judgements, habit.always) for habit in found.habits] == [("ann", count, always)]
    assert found.one_sided == always
    assert found.suspicious == (found.habits if always else ())


def test_the_agreement_s_interval_is_that_of_a_thousand_resamples_every_time():
    pairs = same_pair(
        [1.0] * 12,
        [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0],
        "abcabcabcabc",
        [i // 3 for i in range(12)],
    )
    units = [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.0, 1.0], [1.0, 0.0, 1.0]]
    found = human_ceiling(pairs, confidence=0.95)
    assert found is not None
    assert (found.pairs, found.judgements) == (4, 12)
    assert found.alpha == krippendorff_interval(
        units, level="interval", confidence=0.95, resamples=1000, generator=np.random.default_rng(0)
    )
