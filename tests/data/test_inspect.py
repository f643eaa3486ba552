"""What inspection says, against counts made by hand."""

import pytest

from steersman.data.inspect import Lengths, find_leak, inspect, token_counter
from steersman.data.load import ReadReport
from steersman.data.show import inspection_lines, leak_lines
from steersman.errors import DataError
from steersman.records import ClassifiedText, Comparison, Completion, Label, Message, Prompt, Ranking


def asked(words):
    return Prompt((Message("user", words),))


def pair(words, first, second, preference, **more):
    return Comparison(asked(words), Completion(first), Completion(second), preference, **more)


RECORDS = [
    pair("one two", "long answer", "short", 1.0, shown="first", annotator="ann"),  # longer and shown first won
    pair("one two", "short", "long answer", 0.0, shown="first", annotator="ann"),  # the same pair turned about: exact
    pair(
        "ONE  two", "long answer", "short", 1.0, shown="second", annotator="bob"
    ),  # the same ignoring case and spacing
    pair("three", "aa", "bbb", 1.0),
    pair("four", "aa", "bb", 0.5, both_bad=True),
]


def seen(records, source="s"):
    report = ReadReport(source=source)
    return inspect(iter(records), report)


def test_counts_are_those_of_a_hand():
    found = seen(RECORDS).as_dict()
    assert found["duplicates"] == {"exact": 1, "normalised": 2}
    assert found["distinct_prompts"] == 3
    assert found["comparisons"] == {
        "count": 5,
        "ties": 1,
        "both_bad": 1,
        "share_of_ties": 0.2,
        "first_preferred": 0.75,  # 3 of 4 decided
        "shown_first_preferred": 0.3333,  # of three shown: the first won, the second won, the second won
        "longer_preferred": 0.75,  # 3 of 4
    }
    assert found["annotators"] == {"count": 2, "most": {"ann": 2, "bob": 1}}
    assert found["lengths"]["prompt words"]["bars"] == {"1": 2, "2–3": 3}
    assert found["lengths"]["answer characters"]["longest"] == 11
    assert found["lengths"]["answer words"]["count"] == 10


def test_quantiles_and_bars_of_lengths():
    lengths = Lengths()
    for length in [0, 1, 2, 3, 4, 100, 100, 100, 100, 100]:
        lengths.add(length)
    found = lengths.as_dict()
    assert (found["median"], found["p95"], found["mean"], found["longest"]) == (4, 100, 51.0, 100)
    assert found["bars"] == {"0": 1, "1": 1, "2–3": 2, "4–7": 1, "8–15": 0, "16–31": 0, "32–63": 0, "64–127": 5}
    assert Lengths().as_dict() == {"count": 0, "mean": 0.0, "median": 0, "p95": 0, "p99": 0, "longest": 0, "bars": {}}


def test_thumbs_and_classes_are_counted():
    found = seen(
        [Label(asked("a"), Completion("b"), desirable=True), ClassifiedText("x", "rude", annotator="ann")]
    ).as_dict()
    assert (found["thumbs"], found["classes"]) == ({"up": 1}, {"rude": 1})


def test_each_answer_of_a_ranking_is_measured():
    ranking = Ranking(asked("a"), (Completion("b"), Completion("cc"), Completion("ddd")), (1, 2, 3), annotator="ann")
    found = seen([ranking]).as_dict()
    assert found["lengths"]["answer characters"]["bars"] == {"1": 1, "2–3": 2}
    assert found["annotators"]["most"] == {"ann": 1}


def test_a_prompt_in_two_sources_is_a_leak():
    train, test = RECORDS[:4], [RECORDS[0], RECORDS[2], RECORDS[4]]
    leak = find_leak(seen(train, "train"), seen(test, "test"), iter(test))
    assert (leak.prompts, leak.records, leak.examples) == (1, 2, ("one two", "ONE  two"))
    assert leak_lines([leak])[0].startswith("LEAK: 1 prompts (2 records) of test are also in train")
    none = find_leak(seen(train, "train"), seen([RECORDS[4]], "test"), iter([]))
    assert (none.prompts, none.records, none.examples) == (0, 0, ())
    assert leak_lines([none]) == ["no prompt of test is in train"]
    assert find_leak(seen([]), seen([]), iter([])).prompts == 0


def test_the_page_says_the_same_in_words():
    words = "\n".join(inspection_lines(seen(RECORDS)))
    for expected in (
        "duplicates    1 exact, 2 ignoring case and spacing",
        "ties          20.0 % (1, of them 1 both bad)",
        "preferred     the first 75.0 %, the longer 75.0 %",
        "the answer shown first won 33.3 %",
        "annotators    2: ann 2, bob 1",
        "prompt words: mean 1.6, median 2, p95 2, p99 2, longest 2",
        "████████████████████████████████████████ 3",
    ):
        assert expected in words


def test_tokens_are_counted_with_a_tokeniser(tmp_path):
    from steersman.models.tiny import tiny_tokeniser

    tokeniser = tiny_tokeniser()
    tokeniser.save_pretrained(str(tmp_path))
    count = token_counter(tmp_path)
    assert count("hello there") == len(tokeniser("hello there", add_special_tokens=False).input_ids)
    found = inspect(iter(RECORDS), ReadReport(), count_tokens=count).as_dict()
    assert found["lengths"]["answer tokens"]["count"] == 10
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        token_counter(tmp_path / "nowhere")
