"""What a computer can see to be wrong with a constitution."""

from dataclasses import replace

import pytest

from steersman.constitution.check import check_constitution
from steersman.constitution.document import Constitution, CriticTemplates, JudgeTemplates
from steersman.constitution.load import build_constitution, load_constitution, shipped_constitutions, shipped_text
from steersman.records import Principle, PrincipleExample

EXAMPLE = (PrincipleExample("p", "a", "c", "r"),)


def principle(name: str, question: str, **changed: object) -> Principle:
    plain = Principle(
        name, "It is good.", f"Say what is not {name}.", f"Rewrite it to be {name}.", question, examples=EXAMPLE
    )
    return replace(plain, **changed)  # pyright: ignore[reportArgumentType]


def flaws(*principles: Principle, kinds: set[str] | None = None, **more: object) -> list[tuple[str, str]]:
    constitution = replace(Constitution("mine", principles), **more)  # pyright: ignore[reportArgumentType]
    return [(flaw.kind, flaw.principle) for flaw in check_constitution(constitution, kinds) if not flaw.note]


@pytest.mark.parametrize("name", shipped_constitutions())
def test_nothing_is_wrong_with_those_that_are_shipped(name: str):
    assert [flaw.shown(name) for flaw in check_constitution(load_constitution(name)) if not flaw.note] == []


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        ("Which answer is longer?", "Which answer is shorter?", "contradictory"),
        ("Which answer is more formal?", "Which answer is less formal?", "contradictory"),
        ("Which answer is more polite?", "Which reply is ruder?", "contradictory"),
        ("Which answer is more helpful?", "Which answer is more unhelpful?", "contradictory"),
        ("Which answer is safer?", "Which answer is more dangerous?", "contradictory"),
        ("Which answer tells a joke?", "Which answer does not tell a joke?", "contradictory"),
        ("Which answer tells a joke?", "Which answer never tells a joke?", "contradictory"),
        ("Which answer is briefer?", "Which answer is more brief?", "doubled"),
        ("Which answer is less rude?", "Which answer is more polite?", "doubled"),
        ("Which answer is longer?", "Which answer is more detailed?", "doubled"),
        ("Which answer is more honest?", "Which of the two answers is the most honest?", "doubled"),
        ("Which answer is more honest?", "Which answer is more helpful?", None),
        ("Which answer respects privacy more?", "Which answer is easier to understand?", None),
    ],
)
def test_pairs_that_ask_the_same_or_the_opposite(one: str, other: str, kind: str | None):
    found = flaws(principle("one", one), principle("two", other))
    assert found == ([] if kind is None else [(kind, "two")])


def test_principles_for_different_kinds_do_not_contradict():
    one = principle("one", "Which answer is longer?", kinds=("story",))
    two = principle("two", "Which answer is shorter?", kinds=("summary",))
    assert flaws(one, two, kinds={"story", "summary"}) == []
    assert flaws(one, two, kinds={"story", ""}) == [("never drawn", "two")]
    assert flaws(one, replace(two, kinds=("summary", "story"))) == [("contradictory", "two")]


def test_a_kind_without_principles_is_named():
    assert flaws(principle("one", "Which answer is longer?", kinds=("a",)), kinds=None) == []
    one = principle("one", "Which answer is longer?", kinds=("a",))
    (flaw,) = check_constitution(Constitution("mine", (one,), kinds=("a", "b")))
    assert flaw.words == "no principle is for prompts of the kind 'b'"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"comparison_question": "Longer?"}, "comparison_question has 1 words"),
        ({"critique_request": "Look at " + "this " * 60 + "."}, "critique_request has 63 words"),
        ({"revision_request": "Rewrite it so that"}, "revision_request ends without a full stop"),
        ({"comparison_question": "Say which answer is longer."}, "comparison_question is no question"),
        ({"critique_request": "Is the answer rude and/or false?"}, "critique_request asks two things at once"),
        ({"critique_request": "Is it rude? Is it false?"}, "critique_request asks two things at once"),
        (
            {"comparison_question": "Which answer is more helpful and more honest?"},
            "asks two things at once: an answer",
        ),
        ({"comparison_question": "Which answer is kinder or safer?"}, "asks two things at once: an answer"),
        ({"comparison_question": "Which answer is the worse of the two?"}, "asks for the worse answer"),
        ({"revision_request": "Say what is not one."}, "is the same text as another request"),
    ],
)
def test_a_request_that_is_unclear(changed: dict[str, str], words: str):
    found = check_constitution(Constitution("mine", (principle("one", "Which answer is longer?", **changed),)))
    assert [flaw.kind for flaw in found] == ["unclear"]
    assert words in found[0].words


def test_templates_that_let_an_answer_pretend_its_end():
    one = principle("one", "Which answer is longer?")
    bare = JudgeTemplates(comparison="{conversation} {first} {second} {question}", choices=("yes", "no"))
    assert flaws(one, judge=bare) == [("not delimited", ""), ("unclear", "")]
    critic = CriticTemplates(critique="{conversation} {answer} {request}")
    assert flaws(one, critic=critic) == [("not delimited", "")]
    assert flaws(one, critic=replace(critic, form="turns")) == []


def test_a_flaw_names_file_and_line():
    import tomllib

    text = shipped_text("general").replace("Which answer is more polite?", "Which answer is more truthful?")
    found = check_constitution(build_constitution(tomllib.loads(text), text, "general", "mine.toml"))
    (flaw,) = [flaw for flaw in found if not flaw.note]
    number = next(
        i
        for i, line in enumerate(text.splitlines(), 1)
        if i > 100 and line.endswith('"Which answer is more truthful?"')
    )
    assert flaw.shown("mine.toml") == (
        f"mine.toml:{number}: doubled: polite: its comparison_question asks the same as that of honest"
    )


def test_what_is_missing_is_a_note():
    bare = principle("one", "Which answer is longer?", examples=(), text="")
    found = check_constitution(Constitution("mine", (bare,)))
    assert [(flaw.kind, flaw.note) for flaw in found] == [("missing", True), ("missing", True)]
