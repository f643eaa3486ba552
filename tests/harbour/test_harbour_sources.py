"""The named sources: each yields its records, as many as asked, the same for the same seed."""

import itertools

import pytest

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
    "documents": Document,
    "principles": Principle,
    "classified": ClassifiedText,
    "prompts": Prompt,
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
    assert all(type(record) is KINDS[name.split(":")[1].split("/")[0]] for record in records)
    assert records == list(source(count=count, seed=3))
    assert [from_dict(to_dict(record)) for record in records] == records


def test_held_out_sources_share_no_prompt_with_training_ones():
    for kind in ("prompts", "demonstrations", "answers", "comparisons", "rankings", "labels"):
        train, held = (
            {getattr(r, "prompt", r).shown for r in sources()[f"harbour:{kind}{part}"](count=300, seed=1)}
            for part in ("", "/heldout")
        )
        assert train
        assert held
        assert not train & held


def test_demonstrations_are_good_but_for_an_exaggeration_now_and_then():
    seen = [features(d.prompt.shown, d.completion.text) for d in sources()["harbour:demonstrations"](count=800)]
    assert not any(f.toxic or f.harmful or f.refused_harmless or f.garbled for f in seen)
    assert 0.10 < sum(f.exaggerated for f in seen) / 800 < 0.20
    assert sum(f.on_point for f in seen) / 800 > 0.9


def test_classified_texts_are_half_toxic():
    rows = list(classified(count=101, seed=2))
    assert [row.label for row in rows].count("toxic") == 50
    assert len(rows) == 101


def test_every_principle_asks_a_question_the_base_was_taught():
    said = {
        message.split("<|")[0]
        for document in itertools.islice(sources()["harbour:documents"](count=3000), 3000)
        for message in document.text.split("<|user|>")
    }
    for principle in sources()["harbour:principles"]():
        assert principle.critique_request in said
        assert principle.revision_request in said
        assert principle.text.endswith(".")
