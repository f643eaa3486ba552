"""Judgements as groups to learn from: every kind of record, the very rows that scorers read, and what is said of the
rest."""

import itertools
import json
from collections import Counter
from dataclasses import replace

import pytest
import torch

from steersman.assemble.dpo import mismatched_row
from steersman.data.kinds import as_comparisons
from steersman.data.load import ReadReport
from steersman.errors import DataError, UsageError
from steersman.models.tiny import tiny_tokeniser
from steersman.records import (
    Answers,
    Comparison,
    Completion,
    Critique,
    Demonstration,
    Document,
    Label,
    Message,
    Prompt,
    Ranking,
    to_dict,
)
from steersman.reward.rows import encode_item
from steersman.settings.parts import DataSettings
from steersman.training_data import judgements
from steersman.training_data.judgements import ENOUGH, count_places, groups_of, one_sided, read_judgements
from steersman.training_data.split import DataSide, longest_row

GOOD, BAD, FAIR, POOR = (Completion(text) for text in ("A good friend.", "No.", "It is fair.", "Nobody knows that."))


def asked(number: int = 0) -> Prompt:
    return Prompt(messages=(Message("user", f"Question {number}?"),))


def grouped(*records, ties="soft"):
    left_out: Counter[str] = Counter()
    return list(groups_of(records, ties=ties, left_out=left_out, thumbs=True)), dict(left_out)


@pytest.fixture
def read(tmp_path):
    """The judgements of these records, as `steersman reward` reads them."""

    number = itertools.count()

    def reading(records, *, side="train", ties="soft", too_long="cut", context=128, report=None, **data):
        lines = [record if isinstance(record, str) else json.dumps(to_dict(record)) for record in records]
        (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n")
        settings = DataSettings(**{"source": str(tmp_path / "data.jsonl"), "held_out": None, **data})
        chosen = DataSide(
            settings,
            held_out=side == "held-out",
            quarantine=tmp_path / "quarantine.jsonl",
            report=ReadReport() if report is None else report,
        )
        folder = tmp_path / "tokens" / str(next(number))
        return read_judgements(
            chosen,
            tiny_tokeniser(),
            folder,
            ties=ties,
            max_length=longest_row(settings, context),
            thumbs=True,
            too_long=too_long,
        )

    return reading


def test_a_comparison_is_a_pair_with_its_label_and_its_margin():
    (found,), left_out = grouped(Comparison(asked(), GOOD, BAD, 0.8, margin=2.0))
    assert found.pairs == [(0.0, 1.0, 0.8, 2.0, 1.0)]
    assert found.completions == (GOOD, BAD)
    assert not left_out
    (unsaid,), _ = grouped(Comparison(asked(), GOOD, BAD, 0.0))
    assert unsaid.pairs == [(0.0, 1.0, 0.0, 0.0, 1.0)]


def test_a_tie_is_half_of_either_without_a_margin_or_left_out():
    tie = Comparison(asked(), GOOD, BAD, 0.5, margin=3.0)
    (soft,), _ = grouped(tie)
    assert soft.pairs == [(0.0, 1.0, 0.5, 0.0, 1.0)]
    assert grouped(tie, ties="drop") == ([], {"a tie (ties=drop)": 1})


def test_a_ranking_is_all_its_pairs_in_one_group():
    (found,), _ = grouped(Ranking(asked(), (GOOD, BAD, FAIR), (1, 3, 1)))
    # 3 pairs, each a third: good over bad, good as good as fair, bad under fair
    assert found.pairs == [(0, 1, 1.0, 0.0, 1 / 3), (0, 2, 0.5, 0.0, 1 / 3), (1, 2, 0.0, 0.0, 1 / 3)]
    (decided,), _ = grouped(Ranking(asked(), (GOOD, BAD, FAIR), (1, 3, 1)), ties="drop")
    assert [pair[:3] for pair in decided.pairs] == [(0, 1, 1.0), (1, 2, 0.0)]
    assert grouped(Ranking(asked(), (GOOD, FAIR), (1, 1)), ties="drop") == ([], {"a ranking of nothing but ties": 1})


def test_one_answer_may_stand_in_a_ranking_twice():
    (found,), _ = grouped(Ranking(asked(), (GOOD, BAD, GOOD), (1, 2, 1)))
    assert [pair[:2] for pair in found.pairs] == [(0, 1), (0, 2), (1, 2)]


def test_what_compares_nothing_is_counted_with_its_reason():
    records = [
        Demonstration(asked(), GOOD),
        Answers(asked(), (GOOD, BAD)),
        Document("Once."),
        Document("Twice."),
        Label(asked(), GOOD, ratings={"help": 4.0}),
        Label(asked(), BAD, desirable=False),
    ]
    (found,), left_out = grouped(*records)
    assert (found.approval, found.pairs) == (0.0, [])
    assert left_out == {
        "a record of the kind demonstration, which compares nothing": 1,
        "a record of the kind answers, which compares nothing": 1,
        "a record of the kind document, which compares nothing": 2,
        "a record of the kind label, which compares nothing": 1,
    }


def test_groups_hold_their_own_rows_pairs_and_thumbs(read):
    long = Completion("A good friend and a good dog. " * 20)
    judged = [
        Comparison(asked(1), GOOD, BAD, 1.0, margin=2.0),
        Label(asked(2), FAIR, desirable=True),
        Ranking(asked(3), (POOR, GOOD, long), (3, 1, 2)),
        Label(asked(4), BAD, desirable=False),
    ]
    found = read(judged, max_length=60)
    assert (len(found), len(found.rows), found.cut, found.left_out) == (4, 7, 1, {})
    answers = [[GOOD, BAD], [FAIR], [POOR, GOOD, long], [BAD]]
    tokeniser = tiny_tokeniser()
    for index, (record, completions) in enumerate(zip(judged, answers, strict=True)):
        group = found.group(index)
        for row, completion in zip(group.rows, completions, strict=True):
            expected, note = encode_item(tokeniser, (record.prompt, completion.text), reads="conversation", limit=60)
            assert torch.equal(row.ids, expected.ids), "the row trained on is not the row scored"
            assert bool(note) == (completion is long)
            assert len(row.ids) <= 60
    pair, thumb, ranked, down = (found.group(i) for i in range(4))
    assert [t.tolist() for t in (pair.first, pair.second, pair.target, pair.margin)] == [[0], [1], [1.0], [2.0]]
    assert (thumb.thumbed.tolist(), thumb.approval.tolist(), thumb.first.tolist()) == ([0], [1.0], [])
    assert (down.approval.tolist(), pair.approval.tolist()) == ([0.0], [])
    assert list(zip(ranked.first.tolist(), ranked.second.tolist(), strict=True)) == list(
        itertools.combinations(range(3), 2)
    )
    assert ranked.target.tolist() == [0.0, 0.0, 1.0]
    assert ranked.weight.tolist() == pytest.approx([1 / 3] * 3)


def test_rows_are_never_longer_than_the_model_reads(read):
    found = read([Comparison(asked(), Completion("good dog " * 90), BAD, 1.0)], context=40, max_length=1000)
    assert len(found.group(0).rows[0].ids) == 40
    assert found.cut == 1


def test_bad_rows_are_counted_and_set_aside(read, tmp_path):
    report = ReadReport()
    unknown = json.dumps({"kind": "label", "prompt": {"text": "Question?"}, "desirable": True})
    half = '{"kind": "comparison", "prompt": {"te'
    found = read([Comparison(asked(), GOOD, BAD, 1.0), unknown, half], report=report)
    assert (len(found), report.malformed) == (1, 2)
    bad = [json.loads(line) for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()]
    assert [row["line"] for row in bad] == [2, 3]
    assert "'completion' is missing" in bad[0]["reason"]


def test_data_that_judge_nothing_are_an_error_that_names_the_reasons(read):
    shown = [Demonstration(asked(i), GOOD) for i in range(3)]
    with pytest.raises(
        DataError, match=r"data\.jsonl: no judgements to learn from \(3 × a record of the kind demonstration, which"
    ):
        read(shown)
    with pytest.raises(DataError, match=r"\(2 × a tie \(ties=drop\)\)"):
        read([Comparison(asked(i), GOOD, BAD, 0.5) for i in range(2)], ties="drop")
    with pytest.raises(
        DataError, match=r"\(1 × a bad row, such as .*data\.jsonl:1: label: the field 'completion' is missing"
    ):
        read([json.dumps({"kind": "label", "prompt": {"text": "Question?"}, "desirable": True})])


def test_a_bad_row_under_strict_is_the_error_itself(read):
    with pytest.raises(DataError, match=r"^.*data\.jsonl:1: .*strict stops at the first malformed row"):
        read(['{"kind": "comparison"', Comparison(asked(), GOOD, BAD, 1.0)], strict=True)


def test_nothing_but_ties_or_thumbs_of_one_kind_is_an_error_where_it_is_to_be_learned(read):
    ties = [Comparison(asked(i), GOOD, BAD, 0.5) for i in range(4)]
    with pytest.raises(DataError, match="all 4 judgements are ties, so there is no preference to learn"):
        read(ties)
    for up, said in ((True, "up"), (False, "down")):
        thumbs = [Label(asked(i), GOOD, desirable=up) for i in range(5)]
        with pytest.raises(DataError, match=f"all 5 thumbs point {said}; a reward model needs both, or comparisons"):
            read(thumbs)
        assert len(read([*thumbs, Comparison(asked(9), GOOD, BAD, 1.0)])) == 6
    assert len(read([*ties, Label(asked(8), GOOD, desirable=True), Label(asked(9), GOOD, desirable=False)])) == 6


def test_what_is_held_out_may_be_one_sided_or_nothing_at_all(read):
    ties = [Comparison(asked(i), GOOD, BAD, 0.5) for i in range(40)]
    held = read(ties, side="held-out", held_out=0.5)
    assert 0 < len(held) < 40
    assert [len(held.comparisons), held.comparisons[0].first.text] == [len(held), GOOD.text]
    thumbs = [Label(asked(i), GOOD, desirable=True) for i in range(40)]
    assert len(read(thumbs, side="held-out", held_out=0.5)) == len(held), "the same prompts are held out"
    assert read(ties[:1], side="held-out", held_out=1e-9) is None


def test_a_second_source_that_judges_nothing_is_an_error(read, tmp_path):
    rows = [json.dumps(to_dict(Demonstration(asked(i), GOOD))) for i in range(2)]
    (tmp_path / "others.jsonl").write_text("\n".join(rows))
    with pytest.raises(DataError, match=r"others\.jsonl: no judgements to learn from \(2 ×"):
        read([Comparison(asked(), GOOD, BAD, 1.0)], side="held-out", held_out=str(tmp_path / "others.jsonl"))
    with pytest.raises(UsageError, match=r"held_out is a share below 1"):
        read([Comparison(asked(), GOOD, BAD, 1.0)], held_out=1.5)


def chosen(side: str, number: int, annotator="ann"):
    """Judgements in which the answer on this side is preferred; which of the record's answers stood there changes."""
    for i in range(number):
        first = i % 2 == 0
        shown = "first" if first == (side == "left") else "second"
        yield Comparison(asked(i), GOOD, BAD, float(first), annotator=annotator, shown=shown)


def facts(*comparisons):
    places: dict[str, Counter[str]] = {}
    count_places(comparisons, places)
    return one_sided(places)


@pytest.mark.parametrize("side", ["left", "right"])
def test_an_annotator_who_always_chooses_the_same_place_is_named(side, read):
    assert ENOUGH == 20
    assert facts(*chosen(side, 20)) == [f"annotator 'ann' chose the answer shown on the {side} in all 20 judgements"]
    assert facts(*chosen(side, 20, "")) == [
        f"an annotator without a name chose the answer shown on the {side} in all 20 judgements"
    ]
    assert facts(*chosen(side, 19)) == []
    assert facts(*chosen("left", 15), *chosen("right", 15)) == []
    assert facts(*chosen("left", 30), *chosen("right", 15, "bob")) == [
        "annotator 'ann' chose the answer shown on the left in all 30 judgements"
    ]
    nowhere = [replace(c, shown="") for c in chosen(side, 30)]
    tied = [replace(c, preference=0.5) for c in chosen(side, 30)]
    assert facts(*nowhere, *tied) == []
    found = read(list(chosen(side, 25)))
    assert found.places == {"ann": Counter({side: 25})}


def test_texts_of_training_judgements_are_kept_evenly_spaced_and_of_held_out_ones_all(read, monkeypatch):
    monkeypatch.setattr(judgements, "MOST_KEPT", 10)
    few = [Comparison(asked(i), GOOD, BAD, 1.0) for i in range(10)]
    assert [c.prompt.id for c in read(few).comparisons] == [c.prompt.id for c in few]
    many = [Comparison(asked(i), GOOD, BAD, 1.0) for i in range(25)]
    # at the 11th every second is kept, at the 21st every fourth
    assert [c.prompt.id for c in read(many).comparisons] == [many[i].prompt.id for i in range(0, 25, 4)]
    held = read(many, side="held-out", held_out=0.9)
    assert len(held.comparisons) == len(held) > 10


def test_judgements_that_do_not_fit_are_left_out_and_counted(read):
    long = Completion("word " * 60)
    records = [Comparison(asked(), GOOD, BAD, 1.0), Comparison(asked(1), GOOD, long, 1.0), Label(asked(), long, True)]
    records.append(Comparison(asked(), BAD, GOOD, 0.0))
    found = read(records, too_long="leave_out", max_length=24)
    assert (len(found), len(found.pairs), found.cut) == (2, 2, 0)
    assert [(reason.partition(" (")[0], count) for reason, count in found.left_out.items()] == [
        ("longer than 24 tokens", 2)
    ]
    assert found.group(1).target.tolist() == [0.0]
    kept = read(records, too_long="cut", max_length=24)
    assert (len(kept), kept.cut) == (4, 2)
    with pytest.raises(DataError, match="answers of at most 24 tokens"):
        read(records[1:2], too_long="leave_out", max_length=24)


def test_ktos_mismatched_answers_are_drawn_from_all_answers_to_other_prompts(read):
    judgements = read(
        [Comparison(asked(i), Completion(f"First {i}."), Completion(f"Second {i}."), 1.0) for i in range(12)]
    )
    rows = [judgements.rows.row(i) for i in range(len(judgements.rows))]

    def parts(row):
        start = int(row.loss_mask.nonzero()[0])
        return row.ids[:start].tolist(), row.ids[start:].tolist()

    known = [parts(row) for row in rows]
    places = []
    for index in range(12):
        prompt, answer = parts(mismatched_row(judgements, 128, index, chosen="any"))
        assert prompt == known[2 * index][0]
        place = [other for _, other in known].index(answer)
        assert place // 2 != index, "an answer to another prompt"
        places.append(place)
    assert {place % 2 for place in places} == {0, 1}, "first and second answers"
    again = [parts(mismatched_row(judgements, 128, index, chosen="any")) for index in range(12)]
    assert [[other for _, other in known].index(answer) for _, answer in again] == places
    following = [parts(mismatched_row(judgements, 128, index, chosen="next"))[1] for index in range(12)]
    assert following == [known[2 * ((index + 1) % 12)][1] for index in range(12)]


def test_what_rows_are_cut_to_is_named():
    from steersman.settings.parts import DataSettings
    from steersman.training_data.split import cut_words

    data = DataSettings(source="d", max_length=100)
    assert cut_words(data, None) == cut_words(data, 100) == "data.max_length"
    assert cut_words(data, 64) == "the model's context of 64 tokens"


def test_a_usable_revision_is_better_than_its_answer():
    prompt = Prompt(text="Hi")
    good = Critique(prompt, Completion("Go."), "polite", "It is rude.", Completion("Hello."), id="c", model="m")
    bad = replace(good, status="revision: unchanged")
    left_out: Counter[str] = Counter()
    (group,) = groups_of([good, bad], ties="half", left_out=left_out, thumbs=False)
    assert [one.text for one in group.completions] == ["Hello.", "Go."]
    assert group.pairs == [(0.0, 1.0, 1.0, 0.0, 1.0)]
    assert left_out == {"a revision that cannot be used, or that changed nothing": 1}
    (pair,) = as_comparisons([good, bad])
    assert (pair.chosen.text, pair.annotator, pair.rationale) == ("Hello.", "revision:m", "It is rude.")
