"""Records say the same before and after a trip through JSON, and refuse what cannot be meant."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.errors import DataError
from steersman.records import (
    KINDS,
    Comparison,
    Completion,
    Label,
    Message,
    Prompt,
    Ranking,
    Steps,
    from_dict,
    to_dict,
)

words = st.text(min_size=1, max_size=20)
messages = st.lists(
    st.builds(Message, st.sampled_from(["system", "user", "assistant"]), words), min_size=1, max_size=3
).map(tuple)
prompts = st.builds(Prompt, messages=messages) | st.builds(Prompt, text=words)
completions = st.builds(
    Completion,
    text=words,
    model=words,
    seed=st.none() | st.integers(0, 9),
    scores=st.dictionaries(words, st.floats(-1, 1)),
)


@given(
    st.builds(
        Comparison,
        prompts,
        completions,
        completions,
        st.floats(0, 1),
        margin=st.none() | st.floats(0, 3),
        both_bad=st.booleans(),
    )
)
def test_a_comparison_survives_json(comparison: Comparison):
    assert from_dict(json.loads(json.dumps(to_dict(comparison)))) == comparison


def test_every_kind_survives_json():
    from steersman.records import Answers, ClassifiedText, Critique, Demonstration, Document, Principle

    prompt, answer = Prompt(messages=(Message("user", "Hi?"),)), Completion("Hello.", scores={"taste": 1.0})
    examples = [
        Document("text"),
        prompt,
        Demonstration(prompt, answer, "a1"),
        Answers(prompt, (answer, answer)),
        Comparison(prompt, answer, answer, 0.5, both_bad=True),
        Ranking(prompt, (answer, answer), (1, 2), shown=(1, 0)),
        Label(prompt, answer, True, {"helpfulness": 4.0}),
        Steps(prompt, ("one", "two"), (True, False)),
        ClassifiedText("text", "toxic"),
        Principle("kind", "Be kind."),
        Critique(prompt, answer, "kind", "It is cold.", answer),
    ]
    assert [type(example) for example in examples] == list(KINDS.values())
    for example in examples:
        assert from_dict(json.loads(json.dumps(to_dict(example)))) == example


def test_chosen_follows_the_preference():
    a, b = Completion("a"), Completion("b")
    prompt = Prompt(text="?")
    assert Comparison(prompt, a, b, 0.2).chosen is b
    assert Comparison(prompt, a, b, 0.2).rejected is a
    assert Comparison(prompt, a, b, 0.5).tied


def test_a_prompt_is_named_by_its_content():
    assert Prompt(text="a").id == Prompt(text="a").id != Prompt(text="b").id
    assert (
        Prompt(messages=(Message("user", "one"), Message("assistant", "two"), Message("user", "three"))).shown
        == "three"
    )


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"kind": "poem"}, "kind 'poem'"),
        ({"kind": "document"}, "'text' is missing"),
        ({"kind": "document", "text": 3}, "expected str, seen int"),
        ({"kind": "document", "text": "a", "colour": 1}, "unknown field 'colour'"),
        ({"kind": "prompt", "messages": "hello"}, "expected a list"),
        ({"kind": "prompt", "messages": ["hello"]}, "expected an object"),
        ({"kind": "prompt"}, "neither"),
        ({"kind": "prompt", "text": "a", "metadata": 3}, "expected an object"),
        ({"kind": "prompt", "messages": [{"role": "cat", "content": "?"}]}, "role 'cat'"),
        (
            {
                "kind": "comparison",
                "prompt": {"text": "a"},
                "first": {"text": "a"},
                "second": {"text": "b"},
                "preference": 2,
            },
            "between 0 and 1",
        ),
        ({"kind": "ranking", "prompt": {"text": "a"}, "completions": [{"text": "a"}], "ranks": [1]}, "two or more"),
        ({"kind": "steps", "prompt": {"text": "a"}, "steps": ["a"], "labels": []}, "one label"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(row: dict, reason: str):
    with pytest.raises(DataError, match=reason):
        from_dict(row)
