"""Records to a format and back: equal, for every format that can be written; and what cannot be said is never lost."""

import json
import string
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.data.convert import TARGETS, ConvertReport, _row, convert_records
from steersman.data.formats.registry import FORMATS, detect
from steersman.data.load import ReadReport, load_records
from steersman.errors import DataError, UsageError
from steersman.records import (
    Answers,
    ClassifiedText,
    Comparison,
    Completion,
    Demonstration,
    Document,
    Label,
    Message,
    Principle,
    Prompt,
    Ranking,
    Record,
    Steps,
)

characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
words = st.text(characters, min_size=1, max_size=30).filter(lambda text: text.strip())
# hh-rlhf's transcripts do not keep spaces at the ends of a turn; such records are a case of their own below.
trimmed = words.map(str.strip).filter(bool)
names = st.text(string.ascii_lowercase, min_size=1, max_size=6)
numbers = st.floats(0.5, 5, width=16)


@st.composite
def conversations(draw, text=words, system=True):
    turns = [Message("system", draw(text))] if system and draw(st.booleans()) else []
    for _ in range(draw(st.integers(0, 1))):
        turns += [Message("user", draw(text)), Message("assistant", draw(text))]
    return Prompt((*turns, Message("user", draw(text))))


plain_prompts = words.map(lambda text: Prompt(text=text))
prompts = st.one_of(conversations(), plain_prompts)


@st.composite
def wins(draw, prompt=prompts, text=words):
    """A pair as most formats know it: the first is better, and that is all."""
    first, second = draw(st.lists(text, min_size=2, max_size=2, unique=True))
    return Comparison(draw(prompt), Completion(first), Completion(second), 1.0)


@st.composite
def comparisons(draw):
    """A pair with all that Steersman knows about one."""
    found = draw(wins())
    preference = draw(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))
    return replace(
        found,
        prompt=replace(found.prompt, metadata=draw(st.dictionaries(names, words, max_size=2))),
        first=Completion(found.first.text, model=draw(names), scores={"reward": draw(numbers)}, seed=3),
        preference=preference,
        both_bad=preference == 0.5 and draw(st.booleans()),
        margin=draw(st.none() | numbers),
        annotator=draw(st.just("") | names),
        shown=draw(st.sampled_from(["", "first", "second"])),
        rationale=draw(st.just("") | words),
        time=draw(st.sampled_from(["", "2026-01-02T03:04:05Z"])),
        id=draw(names),
        metadata={"round": draw(st.integers(0, 9))},
    )


@st.composite
def rankings(draw, size=None):
    texts = draw(st.lists(words, min_size=size or 2, max_size=size or 4, unique=True))
    ranks = draw(st.lists(st.integers(1, 3), min_size=len(texts), max_size=len(texts)))
    completions = tuple(Completion(text, model=draw(names)) for text in texts)
    shown = tuple(draw(st.permutations(range(len(texts)))))
    return Ranking(draw(prompts), completions, tuple(ranks), annotator=draw(names), shown=shown, id=draw(names))


@st.composite
def labels(draw):
    ratings = draw(st.dictionaries(names.filter(lambda name: name != "label"), numbers, max_size=2))
    desirable = draw(st.booleans() if not ratings else st.none() | st.booleans())
    completion = Completion(draw(words), model=draw(names))
    return Label(draw(prompts), completion, desirable, ratings, annotator=draw(names), id=draw(names))


thumbs = st.builds(lambda p, w, d: Label(p, Completion(w), d), prompts, words, st.booleans())
demonstrations = st.builds(lambda p, w: Demonstration(p, Completion(w)), prompts, words)
told_demonstrations = st.builds(
    lambda p, w, m, a, i: Demonstration(p, Completion(w, model=m), annotator=a, id=i),
    prompts,
    words,
    names,
    names,
    names,
)
steps = st.builds(
    lambda p, pairs: Steps(p, tuple(w for w, _ in pairs), tuple(ok for _, ok in pairs)),
    prompts,
    st.lists(st.tuples(words, st.booleans()), min_size=1, max_size=3),
)
scored = st.builds(
    lambda pair, good, gap: replace(
        pair,
        first=replace(pair.first, scores={"score": good}),
        second=replace(pair.second, scores={"score": good - gap}),
        margin=gap,
    ),
    wins(conversations()),
    st.integers(0, 9).map(float),
    st.integers(1, 9).map(float),
)

ROUND_TRIPS: list[tuple[str, st.SearchStrategy[Record]]] = [
    ("native", st.one_of(comparisons(), rankings(), labels(), told_demonstrations, steps, prompts)),
    ("studio", st.one_of(comparisons(), rankings(), labels(), told_demonstrations, steps, prompts)),
    ("trl-preference", wins()),
    ("trl-preference", st.builds(lambda pair, margin: replace(pair, margin=margin), wins(), numbers)),
    ("trl-unpaired", thumbs),
    ("trl-prompt-completion", demonstrations),
    ("trl-language-modeling", st.builds(lambda p, w: Demonstration(p, Completion(w)), conversations(), words)),
    ("trl-language-modeling", words.map(Document)),
    ("trl-prompt", prompts),
    ("trl-stepwise", steps),
    ("hh-rlhf", wins(conversations(trimmed, system=False), trimmed)),
    ("ultrafeedback-binarized", scored),
    ("argilla", st.one_of(comparisons(), rankings(), labels(), told_demonstrations)),
    ("label-studio", st.one_of(comparisons(), rankings(), labels(), told_demonstrations)),
]


@pytest.mark.parametrize(
    ("name", "records"), ROUND_TRIPS, ids=[f"{i}-{name}" for i, (name, _) in enumerate(ROUND_TRIPS)]
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_a_record_written_and_read_is_the_same_record(name, records, data):
    record = data.draw(records)
    form = FORMATS[name]
    assert form.write is not None
    row = json.loads(json.dumps(form.write(record), ensure_ascii=False))
    assert detect([row]).name in (name, "hh-rlhf-transcript")
    assert form.read(row) == [record]


def test_every_format_that_writes_is_tested():
    assert {name for name, _ in ROUND_TRIPS} == {name for name, found in FORMATS.items() if found.write}
    assert set(TARGETS) == {name for name, _ in ROUND_TRIPS} | {"trl"}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(record=st.one_of(comparisons(), labels(), told_demonstrations), name=st.sampled_from(TARGETS[2:]))
def test_nothing_is_lost_in_silence(record, name):
    """Whatever is written either reads back as it was, or the report names what changed."""
    report = ConvertReport()
    form = FORMATS[name]
    row, reason = _row(record, form, report)
    if row is None:
        assert reason
        return
    (back,) = form.read(json.loads(json.dumps(row)))
    if isinstance(record, Comparison):
        assert isinstance(back, Comparison)
        assert {back.chosen.text, back.rejected.text} == {record.chosen.text, record.rejected.text}
        assert back.tied == record.tied
        assert record.tied or back.chosen.text == record.chosen.text
        assert back.both_bad == record.both_bad
        assert (back.annotator == record.annotator) or report.lost["annotator"]
        assert (back.time == record.time) or report.lost["time"]
        assert (record.margin in (None, back.margin)) or report.lost["margin"]
    assert back.prompt.messages == record.prompt.messages  # pyright: ignore[reportAttributeAccessIssue]
    assert back.prompt.text == record.prompt.text  # pyright: ignore[reportAttributeAccessIssue]


# --- convert_records

HI = Prompt((Message("user", "Hi"),))
A, B, C = Completion("Hello!"), Completion("What?"), Completion("Hey")


def converted(tmp_path, records, target, name="out.jsonl"):
    report = convert_records(records, tmp_path / name, target, force=True)
    return report, [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]


def test_the_second_answer_can_be_the_chosen_one(tmp_path):
    report, rows = converted(tmp_path, [Comparison(HI, A, B, 0.0)], "trl-preference")
    user = [{"role": "user", "content": "Hi"}]
    assistant = [[{"role": "assistant", "content": text}] for text in ("What?", "Hello!")]
    assert rows == [{"prompt": user, "chosen": assistant[0], "rejected": assistant[1]}]
    assert (report.written, report.lost, report.set_aside) == (1, {}, {})


def test_ties_are_set_aside_whole_and_lost_fields_are_counted(tmp_path):
    tie = Comparison(HI, A, B, 0.5, both_bad=True, annotator="ann")
    records = [tie, Comparison(HI, A, B, 0.8, annotator="ann", margin=2.0)]
    report, rows = converted(tmp_path, records, "trl-preference")
    assert (len(rows), rows[0]["margin"]) == (1, 2.0)
    assert report.set_aside == {"trl-preference would change both_bad": 1}
    assert report.lost == {"annotator": 1, "preference": 1}
    assert list(load_records(report.set_aside_path)) == [tie]
    assert report.as_dict()["set_aside"] == dict(report.set_aside)


def test_a_tie_fits_the_binarized_form_but_not_both_bad(tmp_path):
    records = [Comparison(HI, A, B, 0.5), Comparison(HI, A, B, 0.5, both_bad=True)]
    report, rows = converted(tmp_path, records, "ultrafeedback-binarized")
    assert [(row["score_chosen"], row["score_rejected"]) for row in rows] == [(0.0, 0.0)]
    assert report.set_aside == {"ultrafeedback-binarized would change both_bad": 1}


def test_what_hh_cannot_say_is_set_aside_with_its_reason(tmp_path):
    system = Prompt((Message("system", "Be kind."), Message("user", "Hi")))
    tricky = Prompt((Message("user", "Hi\n\nAssistant: I am you"),))
    records = [
        Comparison(system, A, B, 1.0),
        Comparison(tricky, A, B, 1.0),
        Comparison(Prompt(text="Hi"), A, B, 1.0),
        Comparison(HI, Completion(" Hello!"), B, 1.0),
        Comparison(HI, A, B, 1.0),
    ]
    report, rows = converted(tmp_path, records, "hh-rlhf")
    assert rows == [{"chosen": "\n\nHuman: Hi\n\nAssistant: Hello!", "rejected": "\n\nHuman: Hi\n\nAssistant: What?"}]
    assert dict(report.set_aside) == {
        "a transcript has no system messages": 1,
        "a transcript needs a conversation: this prompt is a plain text": 1,
        "hh-rlhf would change first.text": 2,
    }


def test_rankings_become_pairs_where_pairs_are_written(tmp_path):
    ranking = Ranking(HI, (A, B, C), (2, 3, 1))
    report, rows = converted(tmp_path, [ranking], "trl")
    assert report.target == "trl-preference"
    assert report.pairs_from_rankings == 3
    found = [(row["chosen"][0]["content"], row["rejected"][0]["content"]) for row in rows]
    assert found == [("Hello!", "What?"), ("Hey", "Hello!"), ("Hey", "What?")]


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (Comparison(HI, A, B, 1.0), "trl-preference"),
        (Label(HI, A, desirable=True), "trl-unpaired"),
        (Demonstration(HI, A), "trl-prompt-completion"),
        (Document("a"), "trl-language-modeling"),
        (Steps(HI, ("a",), (True,)), "trl-stepwise"),
        (HI, "trl-prompt"),
    ],
)
def test_trl_chooses_its_type_by_the_records(tmp_path, record, name):
    assert converted(tmp_path, [record], "trl")[0].target == name


def test_prompts_can_be_taken_from_anything_that_has_one(tmp_path):
    report, rows = converted(tmp_path, [Demonstration(HI, A), Answers(HI, (A,)), Document("x")], "trl-prompt")
    assert rows == [{"prompt": [{"role": "user", "content": "Hi"}]}] * 2
    assert report.set_aside == {"a document: trl-prompt cannot represent it": 1}


def test_a_kind_without_a_place_is_set_aside(tmp_path):
    labels = [Label(HI, A, ratings={"helpful": 3.0}), Label(HI, A)]
    assert converted(tmp_path, labels, "trl-unpaired")[0].set_aside == {
        "no thumb up or down: an unpaired row needs one": 2
    }
    for target in ("argilla", "label-studio"):
        assert converted(tmp_path, [Label(HI, A)], target)[0].set_aside == {
            "an empty label: neither a thumb nor ratings": 1
        }
    pair = Comparison(Prompt(text="Hi"), A, B, 1.0)
    assert converted(tmp_path, [pair], "ultrafeedback-binarized")[0].set_aside == {
        "the binarized format needs a conversation: this prompt is a plain text": 1
    }
    with pytest.raises(DataError, match="TRL has no dataset type for a classified"):
        convert_records([ClassifiedText("a", "b")], tmp_path / "x.jsonl", "trl")
    assert not (tmp_path / "x.jsonl").exists()


def test_a_target_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(UsageError, match="'helpsteer3' can only be read"):
        convert_records([], tmp_path / "x.jsonl", "helpsteer3")
    with pytest.raises(UsageError, match="'parrot' is not known"):
        convert_records([], tmp_path / "x.jsonl", "parrot")
    with pytest.raises(DataError, match="unknown file ending"):
        convert_records([], tmp_path / "x.parquet", "native")


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.json", "out.json.gz"])
@pytest.mark.parametrize("target", ["native", "label-studio"])
def test_files_of_every_ending_read_back(tmp_path, name, target):
    records = [Comparison(HI, A, B, 0.5, annotator="ann"), Comparison(HI, B, C, 1.0, annotator="bob")]
    convert_records(records, tmp_path / name, target)
    report = ReadReport()
    assert list(load_records(str(tmp_path / name), report=report)) == records
    first = (tmp_path / name).read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        convert_records(records, tmp_path / name, target)
    convert_records(records, tmp_path / name, target, force=True)
    assert (tmp_path / name).read_bytes() == first
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_no_records_give_an_empty_file(tmp_path):
    assert converted(tmp_path, [], "trl") == (ConvertReport("trl-preference", str(tmp_path / "out.jsonl")), [])
    convert_records([], tmp_path / "out.json", "native")
    assert json.loads((tmp_path / "out.json").read_text()) == []


def test_a_failure_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    (tmp_path / "out.jsonl").write_text("old\n")

    def failing():
        yield HI
        raise DataError("the disk is on fire")

    with pytest.raises(DataError, match="on fire"):
        convert_records(failing(), tmp_path / "out.jsonl", "native", force=True)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.jsonl", "old\n")]


def test_principles_have_their_place_in_native_rows_only(tmp_path):
    principle = Principle("kind", "Be kind.")
    assert converted(tmp_path, [principle], "argilla")[0].set_aside == {"a principle: argilla cannot represent it": 1}
    assert converted(tmp_path, [principle], "native")[1] == [{"kind": "principle", "name": "kind", "text": "Be kind."}]


def test_a_row_that_a_person_changed_wins_over_what_travelled_beside_it():
    """Exported to Label Studio, and there the other answer was picked and the first one edited."""
    form = FORMATS["label-studio"]
    assert form.write is not None
    row = form.write(Comparison(HI, A, B, 0.75, annotator="ann", id="x", margin=2.0))
    row["annotations"][0]["result"][0]["value"]["selected"] = "right"
    row["data"]["answer1"] = "Hello there!"
    assert form.read(row) == [Comparison(HI, Completion("Hello there!"), B, 0.0, annotator="ann", id="x", margin=2.0)]
    row["data"]["steersman"] = "{cut off"
    assert form.read(row) == [Comparison(HI, Completion("Hello there!"), B, 0.0, annotator="ann")]
    row["data"]["steersman"] = "[]"
    assert form.read(row) == [Comparison(HI, Completion("Hello there!"), B, 0.0, annotator="ann")]
