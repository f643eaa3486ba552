"""Critique and revision with writers whose every text is known."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest

from steersman.constitution.document import Constitution, CriticTemplates, hash_of
from steersman.data.kinds import as_demonstrations
from steersman.evaluate.answers import Answer
from steersman.inference.draw import AnsweringModel
from steersman.inference.revision import LocalWriter, RevisionPlan, revise_group
from steersman.models.tiny import tiny_tokeniser
from steersman.records import Critique, Message, Principle, PrincipleExample, Prompt, from_dict, to_dict
from steersman.rollout.engine import Sampling
from steersman.rollout.scripted import ScriptedEngine

POLITE = Principle("polite", "", "What is rude?", "Say it politely.", "Which is politer?")
TRUE = Principle(
    "true", "", "What is false?", "Say the truth.", "Which is truer?", weight=1e-9,
    examples=(PrincipleExample("Hi", "Bye", "It is false.", "Hi"),),
)  # fmt: skip
TURNS = Constitution("mine", (POLITE, TRUE), critic=CriticTemplates(form="turns"))
SAMPLING = Sampling(50, 1.0)
PROMPTS = [Prompt((Message("user", f"Hello {i}"),)) for i in range(3)]


@dataclass
class Fake:
    """A writer that answers by a function of the last messages, and keeps what it was asked."""

    reply: Callable[[list[str]], str | Answer]
    name: str = "fake"
    longest: int = 10_000
    asked: list[Prompt] = field(default_factory=list[Prompt])

    def fits(self, prompt: Prompt) -> bool:
        return sum(len(m.content) for m in prompt.messages) < self.longest

    def write(self, prompts: Sequence[Prompt], sampling: Sampling, seeds: Sequence[int]) -> list[Answer]:
        self.asked += prompts
        assert len(seeds) == len(prompts) == len(set(seeds))
        found = [self.reply([m.content for m in prompt.messages]) for prompt in prompts]
        return [
            one if isinstance(one, Answer) else Answer(one, 1, "end", seed)
            for one, seed in zip(found, seeds, strict=True)
        ]


def talk(said: list[str]) -> str:
    """Answers rudely; criticises; the revision is made from the critique's last word."""
    request = said[-1]
    if request.startswith("What is"):
        return f"The word {said[-2].split()[0]}"
    if request.startswith("Say"):
        return f"{said[-4]} without {said[-2].split()[-1]}"
    return f"Idiot, {request}"


def plan(writer: Fake, **more: object) -> RevisionPlan:
    usual = RevisionPlan(
        answering=writer,
        reviser=writer,
        constitution=TURNS,
        sampling=SAMPLING,
        reviser_sampling=SAMPLING,
        rounds=1,
        answers=1,
        examples=0,
        seed=7,
    )
    return replace(usual, **more)  # pyright: ignore[reportArgumentType]


def test_two_rounds_worked_by_hand():
    rows = revise_group(PROMPTS[:1], plan(Fake(talk), rounds=2))
    assert [(r.round, r.principle, r.original.text, r.critique, r.revision.text, r.final) for r in rows] == [
        (1, "polite", "Idiot, Hello 0", "The word Idiot,", "Idiot, Hello 0 without Idiot,", False),
        (
            *(2, "true", "Idiot, Hello 0 without Idiot,", "The word Idiot,"),
            *("Idiot, Hello 0 without Idiot, without Idiot,", True),
        ),
    ]
    first = rows[0]
    assert (first.principle_hash, first.constitution, first.model) == (hash_of(POLITE), TURNS.hash, "fake")
    assert first.original.model == first.revision.model == "fake"
    assert first.revision.sampling == {"temperature": 1.0, "max_new_tokens": 50}
    assert len({first.original.seed, first.seed, first.revision.seed, rows[1].seed, rows[1].revision.seed}) == 5
    assert [from_dict(json.loads(json.dumps(to_dict(row)))) for row in rows] == rows


def test_another_critique_leads_to_another_revision():
    """The same answer and the same seeds: what is revised comes from the critique's text."""

    def otherwise(said: list[str]) -> str:
        return "The word Hello" if said[-1].startswith("What is") else talk(said)

    one, other = (revise_group(PROMPTS, plan(Fake(reply))) for reply in (talk, otherwise))
    for before, after in zip(one, other, strict=True):
        assert before.original == after.original
        assert before.revision.seed == after.revision.seed
        assert before.revision.text.endswith("without Idiot,")
        assert after.revision.text.endswith("without Hello")


def test_a_prompts_texts_do_not_depend_on_its_group():
    together = revise_group(PROMPTS, plan(Fake(talk), rounds=2, answers=2))
    alone = [row for prompt in PROMPTS for row in revise_group([prompt], plan(Fake(talk), rounds=2, answers=2))]
    assert together == alone
    assert len(together) == len({row.id for row in together}) == 12
    assert revise_group(PROMPTS, plan(Fake(talk), seed=8))[0].seed != together[0].seed


def test_texts_that_cannot_be_used_are_kept_and_the_next_round_goes_on_from_the_last_good_one():
    def reply(said: list[str]) -> str | Answer:
        if said[-1] == "What is rude?":
            return "" if "0" in said[0] else "It is rude."
        if said[-1] == "Say it politely.":
            return Answer("Good d", 1, "length", 5) if "1" in said[0] else said[-4]
        return talk(said)

    rows = revise_group(PROMPTS, plan(Fake(reply), rounds=2))
    assert [(row.round, row.status, row.final) for row in rows] == [
        (1, "critique: empty", False),
        (2, "", True),
        (1, "revision: cut off", False),
        (2, "", True),
        (1, "revision: unchanged", False),
        (2, "", True),
    ]
    assert [row.original.text for row in rows[::2]] == [row.original.text for row in rows[1::2]]
    assert rows[2].revision.text == "Good d", "what was written is kept"
    assert rows[0].critique == ""
    assert rows[0].revision == rows[0].original


def test_rounds_that_lead_to_nothing_have_no_final_row():
    writer = Fake(lambda said: "" if said[-1].startswith("What") else talk(said))
    rows = revise_group(PROMPTS, plan(writer, rounds=2))
    assert not any(row.final for row in rows)
    assert list(as_demonstrations(rows)) == []
    assert not any(said.messages[-1].content.startswith("Say") for said in writer.asked), "nothing to revise by"


def test_an_empty_answer_is_not_criticised():
    writer = Fake(lambda said: " " if said[-1].startswith("Hello") else talk(said))
    assert [row.status for row in revise_group(PROMPTS[:1], plan(writer, rounds=2))] == ["answer: empty"] * 2


def test_what_does_not_fit_is_a_row_with_its_reason():
    long = Prompt((Message("user", "Hello " + "x" * 200),))
    rows = revise_group([PROMPTS[0], long], plan(Fake(talk, longest=100)))
    assert [(row.round, row.status) for row in rows] == [(1, ""), (0, "prompt: longer than the model's context")]
    (row,) = revise_group([PROMPTS[0]], plan(Fake(talk, longest=30)))
    assert row.status == "critique: longer than the model's context"
    (row,) = revise_group([PROMPTS[0]], plan(Fake(talk, longest=40)))
    assert (row.status, row.critique) == ("revision: longer than the model's context", "The word Idiot,")


def test_a_prompt_of_a_kind_without_principles_is_a_row():
    only = replace(TURNS, principles=(replace(POLITE, kinds=("feeling",)),))
    (row,) = revise_group(PROMPTS[:1], plan(Fake(talk), constitution=only))
    assert row.status == "prompt: no principle is for its kind"


def test_the_final_revisions_are_demonstrations():
    rows = revise_group(PROMPTS, plan(Fake(talk), rounds=2))
    found = list(as_demonstrations(rows))
    assert [(one.prompt, one.completion.text) for one in found] == [  # pyright: ignore[reportAttributeAccessIssue]
        (row.prompt, row.revision.text) for row in rows if row.round == 2
    ]
    old = Critique(PROMPTS[0], rows[0].original, "kind", "It is cold.", rows[0].revision)
    assert len(list(as_demonstrations([old]))) == 1


def test_examples_are_shown_first_and_a_second_model_may_revise():
    answering, reviser = Fake(talk, "small"), Fake(talk, "large")
    rows = revise_group(PROMPTS[:1], plan(answering, reviser=reviser, examples=1))
    assert [message.content for message in reviser.asked[0].messages][:4] == [
        "Hi",
        "Bye",
        "What is false?",
        "It is false.",
    ]
    assert (rows[0].original.model, rows[0].model, rows[0].revision.model) == ("small", "large", "large")
    assert [p.messages[-1].content for p in answering.asked] == ["Hello 0"]


@pytest.mark.parametrize("chat", [True, False])
def test_a_scripted_engine_serves_as_the_writer(chat: bool):
    """Critique and revision run through the text of the prompt, for models with and without a chat template."""
    tokeniser = tiny_tokeniser(chat=chat)

    def script(prompt: str, _: int) -> str:
        if "Say it politely." in prompt:
            return "Good day." if "It is rude" in prompt else "Bye."
        return "It is rude." if "What is rude?" in prompt else "Go away."

    engine = ScriptedEngine(script, tokeniser=tokeniser, end_id=tokeniser.eos_token_id)
    writer = LocalWriter(AnsweringModel("scripted", engine, tokeniser, None))
    (row,) = revise_group(PROMPTS[:1], plan(writer, constitution=replace(TURNS, principles=(POLITE,))))  # pyright: ignore[reportArgumentType]
    assert (row.original.text, row.critique, row.revision.text, row.status) == (
        *("Go away.", "It is rude.", "Good day.", ""),
    )
