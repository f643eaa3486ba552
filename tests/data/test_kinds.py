"""One kind of record out of another."""

from collections import Counter

from steersman.data.kinds import (
    as_comparisons,
    as_demonstrations,
    as_prompts,
    normalised,
    opening_words,
    question_words,
)
from steersman.records import (
    Answers,
    ClassifiedText,
    Comparison,
    Completion,
    Demonstration,
    Document,
    Label,
    Message,
    Prompt,
    Ranking,
)

HI = Prompt((Message("user", "Hi"),), id="p1")
A, B, C = Completion("a"), Completion("b"), Completion("c")


def test_a_ranking_becomes_all_its_pairs():
    """Ranks 2, 1, 1 of a, b, c: b beats a, c beats a, b and c tie. Shown c, a, b."""
    ranking = Ranking(HI, (A, B, C), (2, 1, 1), annotator="ann", shown=(2, 0, 1), time="t", metadata={"round": 1})
    more = {"annotator": "ann", "time": "t", "metadata": {"round": 1, "ranking": "p1", "answers": 3}}
    pair = Comparison(HI, B, C, 1.0)
    assert list(as_comparisons([ranking, pair])) == [
        Comparison(HI, A, B, 0.0, shown="first", id="p1:1-2", **more),
        Comparison(HI, A, C, 0.0, shown="second", id="p1:1-3", **more),
        Comparison(HI, B, C, 0.5, shown="second", id="p1:2-3", **more),
        pair,
    ]


def test_a_pairs_chosen_answer_is_a_demonstration_only_on_request():
    records = [
        Demonstration(HI, A),
        Document("x"),
        Comparison(HI, A, B, 0.0, annotator="ann", id="i"),
        Comparison(HI, A, B, 0.5),
    ]
    left_out: Counter[str] = Counter()
    assert list(as_demonstrations(records, left_out=left_out)) == records[:2]
    assert left_out == {"comparison": 2}
    wanted = [*records[:2], Demonstration(HI, B, annotator="ann", id="i")]
    assert list(as_demonstrations(records, take_chosen=True)) == wanted


def test_prompts_come_from_whatever_has_one():
    records = [HI, Answers(HI, (A,)), Label(HI, A, desirable=True), ClassifiedText("x", "y")]
    left_out: Counter[str] = Counter()
    assert list(as_prompts(records, left_out=left_out)) == [HI, HI, HI]
    assert left_out == {"classified": 1}
    assert list(as_prompts(records, unique=True)) == [HI]
    assert list(as_comparisons(records, left_out=left_out)) == []


def test_what_counts_as_the_question():
    long = Prompt(
        (Message("system", "s"), Message("user", "one"), Message("assistant", "two"), Message("user", "three"))
    )
    assert opening_words(long) == "one"
    assert question_words(long) != question_words(Prompt((Message("user", "three"),)))
    assert question_words(Prompt(text="t")) == opening_words(Prompt(text="t")) == "t"
    assert question_words(Document("d")) == "d"
    assert normalised(" Ｃafe\u0301  \n X") == normalised("CAFÉ x")
