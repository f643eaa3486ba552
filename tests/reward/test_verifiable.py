"""Answers that can be checked: what counts as the number an answer comes to, and as the same answer."""

import time

import pytest

from steersman.errors import DataError, UsageError
from steersman.records import Prompt
from steersman.reward.scorer import Score
from steersman.reward.verifiable import VerifiableScorer, Verification, number_in


def verify(kind, **given):
    usual = {"kind": kind, "field": None, "pattern": None, "tolerance": 1e-6, "ignore_case": False}
    return VerifiableScorer(Verification(**{**usual, **given}))


def judged(scorer, said, /, **metadata):
    return scorer.score([(Prompt(text="How many?", metadata=metadata), said)])[0]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("42", 42),
        ("It is 42.", 42),
        ("First 7, then 42 apples", 42),
        ("The answer is -3.5", -3.5),
        ("x=−3", -3),
        ("10-4", 4),
        ("1,234,567.5 in all", 1234567.5),
        ("1,2,3", 3),
        ("1,2345", 2345),
        ("12\u202f500", 12500),
        ("$1,250", 1250),
        ("-$5", -5),
        ("50%", 50),
        (".5", 0.5),
        ("1.", 1),
        ("3/4", 0.75),
        ("1 / 4 of it", 0.25),
        ("6.02e23", 6.02e23),
        ("2e", 2),
        (r"so \boxed{7}, not 8", 7),
        (r"\boxed{1} no, \boxed{\frac{3}{4}} of 5", 0.75),
        (r"\boxed{-\dfrac{1}{2}}", -0.5),
        (r"\boxed{x = {12}}", 12),
        (r"\boxed{12", 12),
        ("3 + 4 = 7 so #### 7\nDone in 2 steps", 2),
        ("He has 3.\n#### 1,000", 1000),
        ("none", None),
        (r"\boxed{\text{none}} of 5", None),
        ("1/0", None),
        ("", None),
        ("9" * 5000, None),
        ("model3b", None),
        ("v1.2.3", None),
    ],
)
def test_the_number_that_a_text_comes_to(text, number):
    assert number_in(text) == (number if number is None else pytest.approx(number))


def test_numbers_are_found_in_linear_time():
    for text in (
        "1,234," * 20_000,
        "\\boxed{" * 20_000,
        "{" * 100_000,
        "-" * 100_000,
        "1 / " * 50_000,
        "\\frac{" * 20_000,
    ):
        # its own processor time: a busy machine must not decide
        began = time.process_time()
        number_in(text)
        assert time.process_time() - began < 2.0


def test_a_number_is_right_within_the_tolerance():
    assert judged(verify("numeric"), "It is 1,000 in all", answer="1000").value == 1.0
    assert judged(verify("numeric"), "It is 999", answer="1000").value == 0.0
    assert judged(verify("numeric", tolerance=0.01), "It is 991", answer=1000).value == 1.0
    assert judged(verify("numeric", tolerance=0.01), "0.009", answer=0).value == 1.0
    assert judged(verify("numeric"), "72", answer="48 + 24 = 72 clips\n#### 72").value == 1.0
    assert judged(verify("numeric"), r"\boxed{0.5}", solution=r"Half: \boxed{\frac{1}{2}}").value == 1.0


def test_what_holds_nothing_to_compare_is_told_apart_from_what_is_wrong():
    assert judged(verify("numeric"), "I do not know", answer="4") == Score(
        0.0, {"right": 0.0, "found": 0.0}, "no number in the answer"
    )
    assert judged(verify("numeric"), "5", answer="4") == Score(0.0, {"right": 0.0, "found": 1.0}, "")
    found = judged(verify("regex", pattern="Answer: (.*)"), "four", answer="4")
    assert (found.parts["found"], found.note) == (0.0, "the pattern found nothing")


def test_exact_answers_may_differ_in_spacing_and_if_wanted_in_case():
    assert judged(verify("exact"), " the  cat\n", answer="the cat").value == 1.0
    assert judged(verify("exact"), "The cat", answer="the cat").value == 0.0
    assert judged(verify("exact", ignore_case=True), "The cat", answer="the cat").value == 1.0
    assert judged(verify("exact"), "the cat sat", answer="the cat").value == 0.0


def test_one_of_several_right_answers_is_right():
    assert judged(verify("exact"), "four", answer=["4", "four"]).value == 1.0
    assert judged(verify("numeric"), "5", answer=[4, 5]).value == 1.0


def test_a_pattern_says_what_of_the_answer_counts_and_its_last_match_does():
    lines = "Answer: three\nno\nAnswer: four"
    assert judged(verify("regex", pattern="Answer: (.*)"), lines, answer="four").value == 1.0
    assert judged(verify("regex", pattern="Answer: (.*)"), lines, answer="three").value == 0.0
    assert judged(verify("numeric", pattern="<a>(.*?)</a>"), "<a>about 4</a> of 9", answer="4").value == 1.0


def test_a_pattern_without_a_group_asks_for_a_form_and_needs_no_right_answer():
    form = verify("regex", pattern=r"^<think>.*</think>")
    assert judged(form, "<think>well</think> 4").value == 1.0
    assert judged(form, "4").value == 0.0


def test_a_pattern_that_goes_astray_does_not_hang():
    began = time.perf_counter()
    found = judged(verify("regex", pattern=r"^(?:a|a|aa)+$"), "a" * 5000 + "b")
    assert time.perf_counter() - began < 120.0, "without a limit it would take longer than the universe exists"
    assert found == Score(0.0, {"right": 0.0, "found": 0.0}, "the pattern took longer than 0.25 s")


def test_the_short_answer_comes_before_the_worked_one_and_a_field_may_be_named():
    assert judged(verify("numeric"), "4", answer="4", solution="5").value == 1.0
    assert judged(verify("numeric", field="solution"), "4", answer="4", solution="5").value == 0.0
    assert judged(verify("exact"), "x", ground_truth="x").value == 1.0


def test_a_prompt_without_a_right_answer_names_itself_and_what_it_has():
    with pytest.raises(DataError, match=r"no right answer.*answer or ground_truth or solution, seen source"):
        judged(verify("exact"), "x", source="y")
    with pytest.raises(DataError, match="holds no number"):
        judged(verify("numeric"), "4", answer="four")


@pytest.mark.parametrize(
    ("kind", "pattern", "match"),
    [
        ("regex", None, "needs scorer.verify.pattern"),
        ("exact", "a", "compares whole answers"),
        ("regex", "(", "no regular expression"),
        ("regex", "(a)(b)", "has 2 groups"),
        ("numeric", "a", "has 0 groups"),
    ],
)
def test_patterns_that_cannot_be_meant_are_refused(kind, pattern, match):
    with pytest.raises(UsageError, match=match):
        verify(kind, pattern=pattern)


def test_the_tolerance_is_relative_to_the_size_of_the_number_whatever_its_sign():
    # 1 % of 1000 is 10
    for truth, near, far in (("-1000", "-991", "-989"), ("1000", "1009", "1011")):
        assert judged(verify("numeric", tolerance=0.01), near, answer=truth).value == 1.0
        assert judged(verify("numeric", tolerance=0.01), far, answer=truth).value == 0.0


def test_below_one_the_tolerance_is_absolute_and_its_edge_is_within():
    # 0.25 of 1, not of 0.5; the numbers are exact in binary
    assert judged(verify("numeric", tolerance=0.25), "0.75", answer="0.5").value == 1.0
    assert judged(verify("numeric", tolerance=0.25), "0.25", answer="0.5").value == 1.0
    assert judged(verify("numeric", tolerance=0.25), "0.8", answer="0.5").value == 0.0
    assert judged(verify("numeric", tolerance=0.0), "3", answer="3").value == 1.0
