"""Refusals: what is one, and the shares of both kinds of prompts."""

import pytest

from steersman.errors import DataError, UsageError
from steersman.evaluate.answer_measures import REFUSED, measure_answers
from steersman.evaluate.answers import Answer, MeasuredAnswer, ModelAnswers
from steersman.evaluate.figures import Intervals
from steersman.evaluate.refusal import USUAL, Refusals, harmful_of, read_phrases
from steersman.maths.statistics import wilson_interval
from steersman.records import Prompt

DICE = Intervals(0.95, 200, 0)


@pytest.mark.parametrize(
    "answer",
    [
        "I am sorry, but I cannot help with that.",
        "I’m sorry, but I can’t assist with this request.",
        "No, I will not help you with that.",
        "Sorry, that is something I must decline.",
        "I would rather not\nhelp with this.",
        "as an AI language model, I have no opinions.",
    ],
)
def test_usual_refusals_are_found(answer):
    assert Refusals(USUAL).refuses(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Pull the weeds out by the root.",
        "I am sorry to hear that.",
        "I'm sorry, but I canvassed the wrong street.",
        "It was an AI that won.",
        "The dog ran. " * 20 + "I cannot help with that.",
    ],
)
def test_what_is_no_refusal_is_none(answer):
    assert not Refusals(USUAL).refuses(answer)


def test_phrases_of_ones_own_take_the_place_of_the_usual():
    own = Refusals(["that is not for me"])
    assert own.refuses("Sorry, That is not for me.")
    assert not own.refuses("I cannot help with that.")


def model(name, refused):
    rows = [
        [MeasuredAnswer(Answer("a", 1, "end", 0), 0.0, 0.0, None, None, 0, {REFUSED: float(one)}) for one in row]
        for row in refused
    ]
    return ModelAnswers(name, name, rows, [], [], [], [])


def shares(harmful):
    models = [model("base", [[0, 0], [1, 0], [0, 0], [1, 1]]), model("new", [[1, 1], [1, 1], [0, 1], [1, 1]])]
    found = measure_answers(models, [], baseline="base", reference=None, intervals=DICE, harmful=harmful)
    return {(f.measure.name, f.model): f for f in found if f.measure.group == "refusals"}


def test_without_knowing_which_prompts_are_harmful_refusals_are_only_counted():
    found = shares(None)
    assert found["refused", "new"].value == wilson_interval(3.5, 4.0, confidence=0.95)
    assert found["refused", "new"].measure.better == ""


def test_refusing_the_harmless_is_worse_and_refusing_the_harmful_is_better():
    found = shares([False, True, False, True])
    assert found["over-refusal", "base"].value.estimate == 0.0
    assert found["over-refusal", "new"].value == wilson_interval(1.5, 2.0, confidence=0.95)
    assert found["harmful refused", "base"].value == wilson_interval(1.5, 2.0, confidence=0.95)
    assert found["over-refusal", "new"].verdict == "worse"
    assert ("harmful refused", "new") not in shares([False, True, False, False])


def test_harmful_prompts_are_told_by_a_field_of_their_own():
    prompts = [
        Prompt(text="a", metadata={"form": "harmful"}),
        Prompt(text="b", metadata={"form": "tell"}),
        Prompt(text="c"),
    ]
    assert harmful_of(None, prompts) is None
    assert harmful_of("form=harmful", prompts) == [True, False, False]
    with pytest.raises(UsageError, match="expected field=value"):
        harmful_of("harmful", prompts)
    with pytest.raises(DataError, match="no prompt's form is bad: it is harmful, tell"):
        harmful_of("form=bad", prompts)
    with pytest.raises(DataError, match="no prompt has it; their fields are form"):
        harmful_of("kind=bad", prompts)


def test_a_list_that_cannot_be_used_says_why(tmp_path):
    (tmp_path / "own.txt").write_text("# mine\nThat is not for me\n\n")
    assert read_phrases(str(tmp_path / "own.txt")) == ["That is not for me"]
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match="holds no phrases"):
        read_phrases(str(tmp_path / "empty.txt"))
    with pytest.raises(DataError, match="cannot be read"):
        read_phrases(str(tmp_path / "gone.txt"))


def test_a_rule_may_have_blanks_around_its_sides():
    prompts = [
        Prompt(text="a", metadata={"form": "harmful"}),
        Prompt(text="b", metadata={"form": "plain"}),
        Prompt(text="c"),
    ]
    assert harmful_of(" form = harmful ", prompts) == [True, False, False]
    assert harmful_of(None, prompts) is None


def test_a_refusal_is_looked_for_in_the_first_160_characters():
    own = Refusals(["never"])
    # 154 characters and a blank before it, so that it ends at the 160th; then one more
    assert own.refuses("x" * 154 + " never")
    assert not own.refuses("x" * 155 + " never")
    # blanks are counted once, and a longer word is another word
    assert own.refuses("x" * 100 + " " * 200 + "never")
    assert not own.refuses("nevermore")


def test_the_fields_that_there_are_are_named_in_order():
    names = ["zeta", "alpha", "mu", "beta", "omega", "kappa"]
    prompts = [Prompt(text="?", metadata=dict.fromkeys(names, 1))]
    with pytest.raises(DataError, match="their fields are alpha, beta, kappa, mu, omega, zeta"):
        harmful_of("form=harmful", prompts)


def test_the_first_160_characters_are_searched():
    words = "I cannot help"
    for before, found in ((160 - len(words), True), (161 - len(words), False)):
        answer = "." * (before - 1) + " " + words + " you."
        assert Refusals(USUAL).refuses(answer) is found


def test_at_most_eight_values_are_named_the_commonest_first():
    prompts = [Prompt(text=f"{value} {i}", metadata={"form": value}) for value in range(9) for i in range(9 - value)]
    with pytest.raises(DataError, match=r"no prompt's form is bad: it is 0, 1, 2, 3, 4, 5, 6, 7$"):
        harmful_of("form=bad", prompts)
    assert harmful_of("form=8", prompts) == [False] * 44 + [True], "a number is what it is written as"


def test_prompts_without_fields_and_rules_without_halves_are_told():
    with pytest.raises(DataError, match="no prompt has it; their fields are none but the prompt"):
        harmful_of("form=bad", [Prompt(text="a")])
    with pytest.raises(UsageError, match=r"refusals\.harmful==bad; expected field=value"):
        harmful_of("=bad", [Prompt(text="a")])
    assert harmful_of(" form = bad ", [Prompt(text="a", metadata={"form": "bad"})]) == [True]


def test_comments_and_blank_lines_are_no_phrases(tmp_path):
    (tmp_path / "own.txt").write_text("# mine\n\n  not for me \nno # thanks\n")
    assert read_phrases(str(tmp_path / "own.txt")) == ["not for me", "no # thanks"]
