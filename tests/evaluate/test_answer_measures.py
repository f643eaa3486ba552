"""Every measure of answers, each worked by hand on two prompts with two answers."""

import math
from pathlib import Path

import pytest

from steersman.errors import DataError
from steersman.evaluate.answer_measures import measure_answers
from steersman.evaluate.answers import Answer, DocumentLogProb, MeasuredAnswer, ModelAnswers, per_prompt
from steersman.evaluate.figures import Intervals, MetricValue, by_measure
from steersman.evaluate.numerals import numeral, percent, within
from steersman.evaluate.toxic_words import WordList, read_words
from steersman.maths.statistics import Interval, wilson_interval

DICE = Intervals(0.95, 100, 0)


def answer(
    text: str = "a b", tokens: int = 2, finish: str = "end", kl: float | None = 0.5, **scores: float
) -> MeasuredAnswer:
    """Of entropy 3 nats, and of log-probability -4 under a reference that reads it as 4 tokens."""
    return MeasuredAnswer(Answer(text, tokens, finish, 7), -1.0, 3.0, kl, None if kl is None else -4.0, 4, scores)


def model(name: str, *rows: list[MeasuredAnswer], **more: object) -> ModelAnswers:
    given = {"corpus": [], "choices": [], "exam": [], **more}
    return ModelAnswers(name, name, list(rows), given["corpus"], given["choices"], given["exam"], [])  # type: ignore[arg-type]


def measured(models: list[ModelAnswers], **given: object) -> dict[str, dict[str, MetricValue]]:
    usual = {"baseline": models[0].name, "reference": None, "intervals": DICE, "harmful": None, **given}
    found = measure_answers(models, usual.pop("scorers", []), **usual)  # type: ignore[arg-type]
    return {name: {figure.model: figure for figure in of} for name, of in by_measure(found).items()}


def value(found: dict[str, dict[str, MetricValue]], name: str, of: str = "m") -> float:
    return found[name][of].value.estimate


def test_words_are_counted_over_the_answers_to_each_prompt():
    found = measured(
        [
            model(
                "m",
                [answer(tokens=2), answer("a a", tokens=6, finish="length")],
                [answer(tokens=4), answer("", tokens=0)],
            )
        ]
    )
    # (2 + 6) / 2 = 4 and (4 + 0) / 2 = 2
    assert value(found, "words/length") == 3.0
    # 3 / 2, 3 / 6, 3 / 4, and 3 / 1 where there is no token
    assert value(found, "words/entropy") == pytest.approx((1.5 + 0.5 + 0.75 + 3.0) / 4)
    assert value(found, "words/ended by itself") == 0.75
    assert value(found, "words/malformed") == 0.25
    # prompt 1: a b a a: 2 different of 4; prompt 2: a b: 2 of 2
    assert value(found, "words/distinct-1") == pytest.approx((0.5 + 1.0) / 2)
    # prompt 1: "a b", "a a": 2 of 2; prompt 2: "a b": 1 of 1
    assert value(found, "words/distinct-2") == 1.0
    assert not any(name.startswith(("score", "distance", "toxicity", "refusals", "knowledge")) for name in found)


def test_answers_that_several_prompts_share_are_counted_and_so_is_the_commonest_opening():
    found = measured(
        [
            model("base", [answer("A dog barks loud")], [answer("cats sleep")], [answer("a dog barks")], [answer("b")]),
            model("m", [answer("Is funny .")], [answer("is  funny .")], [answer("is funny . Really")], [answer("")]),
        ]
    )
    assert value(found, "words/distinct answers", "base") == 1.0
    # the first two are the same: 1/2, 1/2, 1, 1
    assert value(found, "words/distinct answers") == 0.75
    # "a dog barks" begins two of four, "is funny ." three
    assert value(found, "words/commonest opening", "base") == 0.5
    assert value(found, "words/commonest opening") == 0.75
    assert found["words/distinct answers"]["m"].measure.better == "higher"
    assert found["words/commonest opening"]["m"].measure.better == "lower"


def test_the_same_answer_twice_to_one_prompt_is_no_sameness_between_prompts():
    found = measured([model("m", [answer("yes"), answer("yes")], [answer("no"), answer("yes")])])
    # "yes" belongs to both prompts: 1/2, 1/2; 1, 1/2
    assert value(found, "words/distinct answers") == pytest.approx((0.5 + 0.75) / 2)


def test_scores_are_means_of_each_prompt():
    found = measured([model("m", [answer(r=1.0), answer(r=3.0)], [answer(r=6.0), answer(r=8.0)])], scorers=["r"])
    assert value(found, "score/r") == 4.5
    assert found["score/r"]["m"].prompts == 2


def test_the_distance_from_the_reference_is_in_nats_an_answer_and_of_itself_no_figure():
    models = [
        model("base", [answer(kl=0.0)] * 2, [answer(kl=0.0)] * 2),
        model("m", [answer(kl=1.0), answer(kl=2.0)], [answer(kl=0.5), answer(kl=0.5)]),
        model("strange", [answer(kl=None)] * 2, [answer(kl=1.0)] * 2),
    ]
    found = measured(models, reference="base")
    assert set(found["distance/KL"]) == {"m"}
    assert value(found, "distance/KL") == pytest.approx((1.5 + 0.5) / 2)
    assert found["distance/KL"]["m"].change is None
    # each answer has 4 nats in 4 tokens of the reference
    assert value(found, "distance/perplexity") == pytest.approx(math.e)
    assert set(found["distance/perplexity"]) == {"base", "m"}


def test_toxicity_is_the_mean_the_worst_of_the_answers_and_whether_any_is_toxic():
    rows = (
        [answer(toxicity=0.5, toxic_words=1.0), answer(toxicity=0.1, toxic_words=0.0)],
        [answer(toxicity=0.2, toxic_words=0.0)] * 2,
    )
    found = measured([model("m", *rows)])
    assert value(found, "toxicity/mean") == pytest.approx((0.3 + 0.2) / 2)
    assert value(found, "toxicity/expected maximum") == pytest.approx((0.5 + 0.2) / 2)
    assert value(found, "toxicity/any of 2 toxic") == 0.5, "a half is toxic"
    assert value(found, "toxicity/listed words") == 0.25


def test_one_answer_each_has_no_expected_maximum():
    found = measured([model("m", [answer(toxicity=0.9)], [answer(toxicity=0.4)])])
    assert {name for name in found if name.startswith("toxicity")} == {"toxicity/mean", "toxicity/toxic"}
    assert value(found, "toxicity/toxic") == 0.5


def refusing(*shares: float) -> ModelAnswers:
    return model("m", *([answer(refused=share)] for share in shares))


def test_refusals_are_only_counted_where_nothing_is_known_of_the_prompts():
    found = measured([refusing(1.0, 0.0, 0.0, 0.0)])
    assert found["refusals/refused"]["m"].value == wilson_interval(1.0, 4.0, confidence=0.95)


def test_a_refusal_is_wanted_of_harmful_prompts_and_of_no_others():
    found = measured([refusing(1.0, 0.0, 1.0, 1.0)], harmful=[True, True, False, False])
    assert value(found, "refusals/harmful refused") == 0.5
    assert value(found, "refusals/over-refusal") == 1.0
    assert "refusals/refused" not in found
    one = measured([refusing(1.0, 0.0, 1.0)], harmful=[True, False, False])
    assert "refusals/harmful refused" not in one, "one prompt has no interval"
    assert value(one, "refusals/over-refusal") == 0.5


def test_what_is_still_known():
    texts = [DocumentLogProb(-3.0, 2, 4), DocumentLogProb(-1.0, 6, 4)]
    found = measured(
        [
            model(
                "m",
                [answer()],
                [answer()],
                corpus=texts,
                choices=[(True, False), (True, True), (False, False), (True, False)],
                exam=[True, False],
            )
        ]
    )
    # 4 nats in 8 tokens; in bits of 8 bytes
    assert value(found, "knowledge/perplexity") == pytest.approx(math.exp(0.5))
    assert value(found, "knowledge/bits per byte") == pytest.approx(0.5 / math.log(2))
    assert value(found, "knowledge/choices right") == 0.75
    assert value(found, "knowledge/choices right by length") == 0.25
    assert value(found, "knowledge/exam right") == 0.5


def test_changes_are_from_the_baseline():
    models = [model("a", [answer(r=1.0)], [answer(r=2.0)]), model("b", [answer(r=2.0)], [answer(r=3.0)])]
    found = measured(models, scorers=["r"])["score/r"]
    assert found["a"].change is None
    change = found["b"].change
    assert change is not None
    assert change.estimate == 1.0
    assert found["b"].verdict == "better"


def test_answers_are_kept_and_read_again_as_they_were():
    before = model(
        "m",
        [answer(r=1.0), answer(kl=None)],
        corpus=[DocumentLogProb(-1.5, 2, 9)],
        choices=[(True, False)],
        exam=[False, True],
    )
    before.notes.append("said")
    assert ModelAnswers.from_dict(before.as_dict()) == before
    assert before.as_dict()["grid"][0][0]["finish"] == "end"
    assert per_prompt(before, lambda a: a.drawn.tokens).tolist() == [2.0]


def test_listed_words_are_found_whole_whatever_their_case_and_spacing():
    words = WordList(["bad", "very bad", "c++"])
    assert words.holds("That is BAD.")
    assert words.holds("very\n  bad")
    assert words.holds("I write c++")
    assert not words.holds("badly embadded")
    assert not words.holds("good")
    assert WordList(["very bad"]).holds("very\n bad")


def test_a_list_of_words_is_one_a_line_or_a_column(tmp_path: Path):
    (tmp_path / "words.txt").write_text("# a comment\n bad \n\nworse\n")
    plain = read_words(str(tmp_path / "words.txt"))
    assert plain.holds("bad")
    assert plain.holds("worse")
    assert not plain.holds("a comment")
    (tmp_path / "words.csv").write_text('text,severity\nbad,1\n"worse, far",2\n\n')
    columns = read_words(str(tmp_path / "words.csv"))
    assert columns.holds("bad")
    assert columns.holds("worse, far")
    assert not columns.holds("text")
    assert not columns.holds("1")


def test_a_list_without_words_or_that_cannot_be_read_is_refused(tmp_path: Path):
    (tmp_path / "none.txt").write_text("# nothing\n\n")
    with pytest.raises(DataError, match="holds no words"):
        read_words(str(tmp_path / "none.txt"))
    with pytest.raises(DataError, match="cannot be read"):
        read_words(str(tmp_path / "missing.txt"))
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="cannot be read"):
        read_words(str(tmp_path / "bytes.txt"))


def test_numerals_are_written_as_people_read_them():
    assert numeral(-1.256) == "−1.26"
    assert numeral(3, "d") == "3"
    assert percent(0.256) == "26 %"
    assert within(Interval(0.5, 0.25, 0.75)) == "50 % (25–75)"
