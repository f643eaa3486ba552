"""The named sources: each yields its records, as many as asked, the same for the same seed."""

import pytest

from steersman.errors import UsageError
from steersman.harbour.demonstrations import WRITERS
from steersman.harbour.grammar.tables import table
from steersman.harbour.registry import classified, sources
from steersman.harbour.taste import features
from steersman.records import (
    Answers,
    ClassifiedText,
    Comparison,
    Demonstration,
    Document,
    Label,
    Principle,
    Prompt,
    Ranking,
    from_dict,
    to_dict,
)

KINDS = {
    "documents": (Document, Demonstration),
    "principles": Principle,
    "classified": ClassifiedText,
    "prompts": Prompt,
    "red-team": Prompt,
    "vague": Prompt,
    "demonstrations": Demonstration,
    "answers": Answers,
    "comparisons": Comparison,
    "rankings": Ranking,
    "labels": Label,
}


@pytest.mark.parametrize("name", sorted(sources()))
def test_a_source_yields_its_records_repeatably_and_they_survive_a_file(name):
    source = sources()[name]
    count = 4 if "principles" in name else 20
    records = list(source(count=count, seed=3))
    assert len(records) == count
    assert all(isinstance(record, KINDS[name.split(":")[1].split("/")[0]]) for record in records)
    assert records == list(source(count=count, seed=3))
    assert [from_dict(to_dict(record)) for record in records] == records


@pytest.mark.slow
def test_held_out_sources_share_no_prompt_with_training_ones():
    for kind in ("prompts", "red-team", "demonstrations", "answers", "comparisons", "rankings", "labels"):
        train, held = (
            {getattr(r, "prompt", r).shown for r in sources()[f"harbour:{kind}{part}"](count=300, seed=1)}
            for part in ("", "/heldout")
        )
        assert train
        assert held
        assert not train & held


def demonstrated(**how) -> list:
    return [
        (d.annotator, features(d.prompt.shown, d.completion.text))
        for d in sources()["harbour:demonstrations"](count=800, **how)
    ]


def test_the_careful_writer_is_good_but_for_an_exaggeration_now_and_then():
    seen = [features for writer, features in demonstrated(writers="careful") if writer == "careful"]
    assert len(seen) == 800
    assert not any(f.toxic or f.harmful or f.refused_harmless or f.garbled for f in seen)
    assert 0.10 < sum(f.exaggerated for f in seen) / 800 < 0.20
    assert sum(f.on_point for f in seen) / 800 > 0.9


def test_three_writers_have_habits_of_their_own_and_none_helps_with_harm():
    found: dict[str, list] = {}
    for writer, seen in demonstrated():
        found.setdefault(writer, []).append(seen)
    assert {writer: len(rows) > 200 for writer, rows in found.items()} == dict.fromkeys(WRITERS, True)
    share = {
        writer: {kind: sum(getattr(f, kind) for f in rows) / len(rows) for kind in ("exaggerated", "cold", "toxic")}
        for writer, rows in found.items()
    }
    assert 0.2 < share["hurried"]["cold"] < 0.35
    assert 0.2 < share["gruff"]["cold"] < 0.35
    assert 0.03 < share["hurried"]["toxic"] < share["gruff"]["toxic"] < 0.2
    assert share["careful"]["toxic"] == share["careful"]["cold"] == 0
    assert not any(f.garbled or (f.harmful and not f.toxic) for rows in found.values() for f in rows)
    taste = {writer: sum(f.taste for f in rows) / len(rows) for writer, rows in found.items()}
    assert taste["careful"] > taste["hurried"] + 0.4 > taste["gruff"] + 0.4


def test_a_writer_nobody_knows_is_told_with_those_there_are():
    with pytest.raises(UsageError, match="unknown writers 'anne'; expected all, careful, hurried, gruff"):
        next(sources()["harbour:demonstrations"](writers="anne"))


def test_classified_texts_are_half_toxic():
    rows = list(classified(count=101, seed=2))
    assert [row.label for row in rows].count("toxic") == 50
    assert len(rows) == 101


def test_documents_are_texts_and_conversations_without_marks_of_turns():
    found = list(sources()["harbour:documents"](count=300))
    texts = [row.text for row in found if isinstance(row, Document)]
    answers = [row.completion.text for row in found if isinstance(row, Demonstration)]
    assert len(texts) > 10
    assert len(answers) > 200
    assert not any("<|" in text for text in texts + answers)


def test_every_principle_speaks_the_language_that_the_base_is_taught():
    taught = table("judging")
    for principle in sources()["harbour:principles"]():
        fact = taught[principle.name]
        assert principle.critique_request in fact["critique"]
        assert principle.revision_request in fact["revise"]
        assert principle.comparison_question in fact["better"]
        assert principle.rating_question == fact.get("rate", "")
        assert (principle.rating_best == "low") == (principle.rating_question != "" and principle.name != "true")
        assert principle.text.endswith(".")
