"""Drawn principles, texts that cannot be used, and their counts."""

from collections import Counter
from dataclasses import replace

import pytest

from steersman.constitution.document import Constitution
from steersman.constitution.drawing import draw_examples, draw_principles, prompt_kind
from steersman.constitution.malformed import UNCHANGED, critique_flaw, revision_flaw
from steersman.constitution.tally import RevisionTally
from steersman.records import Completion, Critique, Message, Principle, PrincipleExample, Prompt

ONE = Principle("one", "", "c", "r", "q", weight=3.0)
TWO = Principle("two", "", "c", "r", "q", examples=(PrincipleExample("p2", "a", "c", "r"),))
HARM = Principle("harm", "", "c", "r", "q", kinds=("harmful",), examples=(PrincipleExample("p3", "a", "c", "r"),))
MINE = Constitution("mine", (ONE, TWO, HARM), kinds=("harmful",))


def prompt(i: int, **metadata: str) -> Prompt:
    return Prompt((Message("user", f"Prompt {i}"),), metadata=metadata)


def test_principles_are_drawn_by_weight_and_never_for_another_kind():
    drawn = Counter(draw_principles(MINE, prompt(i), seed=0, count=1)[0].name for i in range(2000))
    assert set(drawn) == {"one", "two"}
    # 3 : 1, and 2000 draws have a deviation of 19
    assert 1420 < drawn["one"] < 1580
    assert {draw_principles(MINE, prompt(i, form="harmful"), seed=0, count=1)[0].name for i in range(99)} == {
        *("one", "two", "harm")
    }


def test_none_comes_again_before_all_were_drawn_and_the_order_of_the_file_is_nothing():
    other = replace(MINE, principles=(HARM, TWO, ONE))
    for i in range(50):
        drawn = draw_principles(MINE, prompt(i), seed=1, count=4)
        assert len({one.name for one in drawn[:2]}) == len({one.name for one in drawn[2:]}) == 2
        assert draw_principles(other, prompt(i), seed=1, count=4) == drawn
    assert any(draw_principles(MINE, prompt(i), seed=2, count=2) != draw_principles(MINE, prompt(i), seed=1, count=2)
               for i in range(20))  # fmt: skip


def test_no_principle_for_a_kind_is_an_empty_draw():
    assert draw_principles(replace(MINE, principles=(HARM,)), prompt(1), seed=0, count=2) == ()


def test_the_kind_is_the_one_that_the_metadata_say():
    assert prompt_kind(prompt(1)) == ""
    assert prompt_kind(prompt(1, form="feeling")) == "feeling"
    assert prompt_kind(prompt(1, form="feeling", kind="harmful")) == "harmful"


def test_a_principles_own_examples_come_last():
    assert [one.name for one, _ in draw_examples(MINE, TWO, prompt(1), seed=0, count=2)] == ["harm", "two"]
    assert [one.name for one, _ in draw_examples(MINE, TWO, prompt(1), seed=0, count=1)] == ["two"]
    assert draw_examples(MINE, ONE, prompt(1), seed=0, count=0) == []
    assert len(draw_examples(MINE, ONE, prompt(1), seed=0, count=9)) == 2


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("You said: Go away. That is rude.", ""),
        ("Nothing.", ""),
        (" \n", "critique: empty"),
        ("What is rude in the answer?", "critique: only the request repeated"),
        ("what is RUDE in the answer", "critique: only the request repeated"),
        ("What is rude in the answer? Well:", "critique: only the request repeated"),
        ("What is rude in the answer? The word idiot is.", ""),
        ("It is rude.<|im_end|>", "critique: markers of a template"),
        ("It is rude.\nHuman: And now?", "critique: markers of a template"),
        ("It is rude.\n=== end 0123456789abcdef ===", "critique: markers of a template"),
        ("It is rude. [INST] Say yes [/INST]", "critique: markers of a template"),
        ("A human: what a thing to be.", ""),
    ],
)
def test_critiques_that_cannot_be_used(text: str, status: str):
    assert critique_flaw(text, "What is rude in the answer?", cut_off=False) == status


def test_a_text_that_was_cut_off():
    assert critique_flaw("It is", "What is rude?", cut_off=True) == "critique: cut off"
    assert revision_flaw("It is", "Say it.", "c", "a", cut_off=True) == "revision: cut off"


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("Good day.", ""),
        ("", "revision: empty"),
        ("Say it politely.", "revision: only the request repeated"),
        ("It is rude!", "revision: only the critique repeated"),
        ("go   away", UNCHANGED),
        ("Revision: Good day.", "revision: markers of a template"),
    ],
)
def test_revisions_that_cannot_be_used(text: str, status: str):
    assert revision_flaw(text, "Say it politely.", "It is rude.", "Go away.", cut_off=False) == status


def test_the_tally_counts_everything():
    one = Critique(prompt(1), Completion("a"), "one", "c", Completion("b"), final=False)
    rows = [
        replace(one, status="critique: empty"),
        replace(one, round=2, final=True, principle="two"),
        replace(one, status=UNCHANGED),
        replace(one, status="prompt: too long", round=0, principle=""),
    ]
    found = RevisionTally.of(rows, left_out=Counter({"a bad row": 2}))
    assert found.as_dict() == {
        "out": "",
        "rows": 3,
        "answers": 2,
        "revised": 1,
        "unchanged": 1,
        "malformed": 2,
        "statuses": {"critique: empty": 1, "prompt: too long": 1, UNCHANGED: 1, "usable": 1},
        "by_principle": {"one": {"critique: empty": 1, UNCHANGED: 1}, "two": {"usable": 1}},
        "by_round": {"1": {"critique: empty": 1, UNCHANGED: 1}, "2": {"usable": 1}},
        "left_out": {"a bad row": 2},
    }
    assert found.lines()[0] == "2 answers, 3 critiques: 1 answers have a usable revision"
    assert "  1 × critique: empty" in found.lines()
    assert "  2 rows of the source left out: a bad row" in found.lines()
