"""Constitutions in files: read, checked, and versioned by their meaning."""

from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from steersman.constitution.document import Constitution, hash_of
from steersman.constitution.load import build_constitution, load_constitution, shipped_constitutions
from steersman.errors import DataError, UsageError

PRINCIPLE = {
    "name": "polite",
    "critique_request": "What is rude in the answer?",
    "revision_request": "Rewrite the answer politely.",
    "comparison_question": "Which answer is more polite?",
}
TRUE = {**PRINCIPLE, "name": "true", "comparison_question": "Which answer is truer?", "weight": 2, "kinds": ["b", "a"]}


def document(*principles: dict[str, Any], **top: Any) -> dict[str, Any]:
    return {"kinds": ["a", "b"], "principles": list(principles), **top}


def built(values: dict[str, Any]) -> Constitution:
    return build_constitution(values, tomli_w.dumps(values), "mine", "mine.toml")


def test_a_file_is_read(tmp_path: Path):
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(document(PRINCIPLE, TRUE, judge={"choices": ["1", "2"]})))
    found = load_constitution(path)
    assert (found.name, found.path, [p.name for p in found.principles]) == ("mine", str(path), ["polite", "true"])
    assert found.judge.choices == ("1", "2")
    assert found.principle("true").weight == 2.0
    assert [p.name for p in found.principles_for("c")] == ["polite"]
    assert [p.name for p in found.principles_for("a")] == ["polite", "true"]
    written = path.read_text().splitlines()
    assert written[found.line_of("true", "comparison_question") - 1] == 'comparison_question = "Which answer is truer?"'
    assert written[found.line_of("true") - 1] == "[[principles]]"
    assert found.line_of("true", "rating_question") == found.line_of("true")


@pytest.mark.parametrize("name", shipped_constitutions())
def test_those_that_are_shipped_load(name: str):
    found = load_constitution(name)
    assert len(found.principles) >= (16 if name == "general" else 6)
    assert len({p.comparison_question for p in found.principles}) == len(found.principles)
    assert found.line_of(found.principles[-1].name) > 0
    if name == "general":
        assert all(p.examples and p.text for p in found.principles)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (document(), "mine.toml: there are no principles; expected one or more"),
        ({"principles": "polite"}, "there are no principles"),
        ({"principles": ["polite"]}, "principles[1] is 'polite'; expected a [[principles]] table"),
        ({**document(PRINCIPLE), "principels": []}, "unknown key 'principels'; did you mean 'principles'?"),
        (document({**PRINCIPLE, "wieght": 1}), "unknown key 'principles[1].wieght'; did you mean 'weight'?"),
        (document({**PRINCIPLE, "xyz": 1}), "unknown key 'principles[1].xyz'; expected one of name, text"),
        (document(PRINCIPLE, TRUE, PRINCIPLE), "mine.toml:23: two principles are called 'polite', principles 1 and 3"),
        (
            document({**PRINCIPLE, "critique_request": " \n"}),
            "principles[1].critique_request is empty; expected a text",
        ),
        (document({**PRINCIPLE, "critique_request": 3}), "principles[1].critique_request is 3; expected a text"),
        (document({"name": "polite"}), "principles[1] has no critique_request; expected a text"),
        (document({**PRINCIPLE, "weight": 0}), "principles[1].weight is 0; expected a number above 0"),
        (document({**PRINCIPLE, "weight": float("nan")}), "principles[1].weight is nan; expected a number above 0"),
        (document({**PRINCIPLE, "weight": float("inf")}), "principles[1].weight is inf"),
        (document({**PRINCIPLE, "weight": True}), "principles[1].weight is True"),
        (document({**PRINCIPLE, "kinds": ["c"]}), "names the kind 'c', which is not in `kinds` at the top; the file's"),
        ({"kinds": ["harmful"], "principles": [{**PRINCIPLE, "kinds": ["harmfull"]}]}, "did you mean 'harmful'?"),
        (document({**PRINCIPLE, "kinds": "a"}), "principles[1].kinds is 'a'; expected a list of texts"),
        (document({**PRINCIPLE, "examples": {}}), "principles[1].examples is {}; expected [[principles.examples]]"),
        (document({**PRINCIPLE, "examples": ["x"]}), "principles[1].examples[1] is 'x'; expected a table"),
        (document({**PRINCIPLE, "examples": [{"prompt": "p"}]}), "principles[1].examples[1] has no answer"),
        (document(PRINCIPLE, judge={"choice": ["1", "2"]}), "unknown key 'judge.choice'; did you mean 'choices'?"),
        (document(PRINCIPLE, judge={"choices": ["A", "A "]}), "judge.choices is ['A', 'A ']; expected two different"),
        (document(PRINCIPLE, judge={"highest": 1}), "judge.highest is 1; expected a whole number from 2 to 100"),
        (document(PRINCIPLE, judge=[]), "judge is []; expected a [judge] table"),
        (document({**PRINCIPLE, "rating_best": "top"}), "principles[1].rating_best is 'top'; expected 'high' or 'low'"),
        (document(PRINCIPLE, judge={"rating_form": 1}), "judge.rating_form is 1; expected 'fields' or 'turns'"),
        (document(PRINCIPLE, critic={"form": "talk"}), "critic.form is 'talk'; expected 'fields' or 'turns'"),
        (document(PRINCIPLE, judge={"rating": ""}), "judge.rating is empty"),
        (
            document(PRINCIPLE, judge={"rating": "{conversation} {anwser} {question}"}),
            "judge.rating has the field {anwser}, which does not exist; did you mean {answer}?",
        ),
        (
            document(PRINCIPLE, judge={"comparison": "{conversation} {first} {question}"}),
            "judge.comparison lacks the field {second}; expected {conversation}, {first}, {second}, {question}",
        ),
        (
            document(PRINCIPLE, critic={"critique": "{conversation.x} {answer} {request}"}),
            "critic.critique has the field {conversation.x}, which does not exist; did you mean {conversation}?",
        ),
        (document(PRINCIPLE, critic={"critique": "{answer!r}"}), "the field {answer!r}, which does not exist"),
        (document(PRINCIPLE, critic={"critique": "{answer"}), "critic.critique cannot be read: expected '}'"),
    ],
)
def test_a_mistake_is_named(values: dict[str, Any], words: str):
    with pytest.raises(DataError) as caught:
        built(values)
    assert words in str(caught.value)


def test_a_name_that_is_nearly_shipped_is_suggested():
    with pytest.raises(UsageError, match="did you mean 'general'"):
        load_constitution("generel")
    with pytest.raises(UsageError, match="shipped constitutions are general, harbour"):
        load_constitution("xyz")
    with pytest.raises(UsageError, match="has no principle 'x'; expected one of polite"):
        built(document(PRINCIPLE)).principle("x")


@given(st.permutations(range(3)), st.permutations(list(TRUE)), st.randoms())
def test_the_hash_ignores_order_layout_comments_and_name(order: list[int], keys: list[str], rng: Any):
    rows = [PRINCIPLE, {key: TRUE[key] for key in keys}, {**PRINCIPLE, "name": "third"}]
    shuffled = document(*(rows[i] for i in order), name=str(rng.random()))
    text = "\n".join(f"{line}  # {rng.random()}" for line in tomli_w.dumps(shuffled).splitlines() if line)
    import tomllib

    one = built(document(PRINCIPLE, TRUE, rows[2]))
    other = build_constitution(tomllib.loads(text), text, "other", "other.toml")
    assert one.hash == other.hash
    assert hash_of(one.principle("true")) == hash_of(other.principle("true"))


@pytest.mark.parametrize(
    "changed",
    [
        document({**PRINCIPLE, "weight": 1.5}),
        document({**PRINCIPLE, "revision_request": "Rewrite the answer Politely."}),
        document({**PRINCIPLE, "kinds": ["a"]}),
        document(PRINCIPLE, TRUE),
        document(PRINCIPLE, judge={"choices": ["1", "2"]}),
        document(PRINCIPLE, critic={"form": "turns"}),
    ],
)
def test_another_meaning_has_another_hash(changed: dict[str, Any]):
    assert built(changed).hash != built(document(PRINCIPLE)).hash
