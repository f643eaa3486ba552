"""The language: deterministic, varied, readable back."""

import itertools
import random

import pytest

from steersman.errors import UsageError
from steersman.harbour.documents import draw_documents, remark
from steersman.harbour.grammar.reading import read_reply, split
from steersman.harbour.grammar.replies import STYLES, draw_style, group_of, write
from steersman.harbour.grammar.situations import (
    draw_situation,
    fixed_situations,
    normalised,
    read_prompt,
    tempting_situations,
    vague_situations,
)
from steersman.harbour.grammar.stories import draw_story, invent, read_story, read_summary, summarise, wrong_parts
from steersman.harbour.grammar.tables import owners_of_predicates, requests, topics
from steersman.harbour.judging import answer_to_check, judged_facts
from steersman.harbour.mixes import JUDGEMENT, LANGUAGE, Mix
from steersman.harbour.prompts import draw_situations, known_forms, prompts, red_team, split_of
from steersman.harbour.taste import features


def test_the_same_seed_tells_the_same_documents_and_another_seed_others():
    first, again, other = (list(itertools.islice(draw_documents(seed), 50)) for seed in (4, 4, 5))
    assert first == again
    assert first != other


def test_there_are_many_topics_and_no_predicate_belongs_to_two():
    assert len(topics()) >= 40
    assert all(len(owners) == 1 for owners in owners_of_predicates().values())
    assert len(owners_of_predicates()) == 6 * len(topics())


ALL = (*fixed_situations(), *tempting_situations(), *vague_situations())


def any_situation(rng: random.Random):
    return draw_situation(rng) if rng.random() < 0.7 else rng.choice((*tempting_situations(), *vague_situations() * 20))


def test_every_prompt_is_read_back_as_the_situation_it_was_written_for():
    for situation in ALL:
        assert read_prompt(situation.prompt) == situation
    assert len({normalised(situation.prompt) for situation in ALL}) == len(ALL)


@pytest.mark.slow
def test_everything_the_grammar_writes_can_be_read_back():
    rng = random.Random(1)
    for _ in range(3000):
        situation = any_situation(rng)
        style = rng.choice(list(STYLES[group_of(situation)]))
        reply = write(rng, situation, style)
        assert features(situation.prompt, reply).garbled == 0, (situation.prompt, style, reply)


@pytest.mark.slow
def test_a_style_has_the_fault_that_it_is_named_after():
    rng = random.Random(2)
    faults = {
        "toxic": "toxic",
        "exaggerated": "exaggerated",
        "harmful": "harmful",
        "refused": "refused",
        "preachy": "preachy",
        "cold": "cold",
        "copied": "copied",
    }
    for _ in range(3000):
        situation = any_situation(rng)
        style = rng.choice(list(STYLES[group_of(situation)]))
        seen = features(situation.prompt, write(rng, situation, style))
        if style in faults:
            assert getattr(seen, faults[style]), style
        if style == "good":
            assert seen.worst == "good"
        if style == "false":
            assert not seen.true
        if style == "off_topic":
            assert seen.off_topic or (situation.form == "continue" and not seen.true)


@pytest.mark.slow
def test_good_answers_are_worth_more_than_every_other_style_in_every_situation():
    rng = random.Random(3)
    worth: dict[str, dict[str, list[float]]] = {}
    for _ in range(6000):
        situation = any_situation(rng)
        style = rng.choice(list(STYLES[group_of(situation)]))
        taste = features(situation.prompt, write(rng, situation, style)).taste
        worth.setdefault(group_of(situation), {}).setdefault(style, []).append(taste)
    assert set(worth) == set(STYLES)
    for group, styles in worth.items():
        mean = {style: sum(values) / len(values) for style, values in styles.items()}
        assert max(mean, key=lambda style: mean[style]) == "good", group


def test_a_story_and_its_summaries_are_read_back_part_by_part():
    rng = random.Random(5)
    for _ in range(300):
        story = draw_story(rng)
        assert read_story(story.text) == story
        right, wrong = read_summary(summarise(rng, story)), read_summary(invent(rng, story))
        assert right is not None
        assert wrong is not None
        assert wrong_parts(story, *right) == 0
        assert wrong_parts(story, *wrong) >= 1


def test_exchanging_two_persons_leaves_every_word_and_is_still_false():
    prompt = (
        "Sum this up: The baker found a red hat at the market on Monday. Nobody seemed to miss it at first. "
        "It belonged to the nurse, so the baker gave it back."
    )
    true = "The baker found a red hat and gave it back to the nurse."
    false = "The nurse found a red hat and gave it back to the baker."
    assert sorted(normalised(true).split()) == sorted(normalised(false).split())
    assert features(prompt, true).true
    assert not features(prompt, false).true


def test_words_that_the_grammar_did_not_write_are_a_free_prompt_about_the_topic_they_name():
    situation = read_prompt("Do you know a story about dogs?")
    assert situation.form == "free"
    assert situation.topic is not None
    assert situation.topic.key == "dogs"
    assert read_prompt("Is it late?").topic is None


def test_sentences_are_split_at_their_marks_and_a_last_one_without_a_mark_is_kept():
    assert split("How lovely! A dog barks. And it") == ["How lovely!", "A dog barks.", "And it"]
    assert split("... !?") == []


def test_a_pronoun_means_the_subject_of_the_sentence_before():
    situation = read_prompt("Tell me about dogs.")
    _, second = read_reply(situation, "A cat is a quiet hunter of mice. It also barks when a stranger comes.")
    assert second.topic == "cats"
    assert not second.true


def test_training_and_held_out_prompts_share_nothing():
    train, heldout = ({p.shown for p in prompts(split=name, count=3000, seed=1)} for name in ("train", "heldout"))
    assert not train & heldout
    assert all(split_of(p) == "train" for p in train)
    held = sum(split_of(s.prompt) == "heldout" for s in fixed_situations()) / len(fixed_situations())
    assert 0.15 < held < 0.25


def test_every_situation_is_among_the_prompts_of_both_splits():
    for name in ("train", "heldout"):
        assert {p.metadata["form"] for p in prompts(split=name, count=2000, seed=1)} == set(known_forms())


def test_prompts_can_be_kept_to_some_situations():
    assert {p.metadata["form"] for p in prompts(count=50, forms=["harmful"])} == {"harmful"}
    assert {p.metadata["form"] for p in prompts(count=50, forms=["summary", "what"])} == {"summary", "what"}


def test_an_unknown_split_or_form_is_refused_with_the_known_ones():
    with pytest.raises(UsageError, match="expected train or heldout"):
        next(draw_situations("valid", 0))
    with pytest.raises(UsageError, match="expected some of benefits"):
        next(draw_situations("train", 0, ["poem"]))


def test_red_team_prompts_tempt_or_look_harmful_and_are_split_like_the_others():
    for split_ in ("train", "heldout"):
        found = list(red_team(split=split_, count=400, seed=2))
        assert {split_of(prompt.shown) for prompt in found} == {split_}
        assert {prompt.metadata["form"] for prompt in found} == {"harmful", "harmless", "boast", "provoke"}
        assert len({prompt.shown for prompt in found}) > 100
    assert not {prompt.metadata["form"] for prompt in prompts(count=2000)} & {"boast", "provoke", "vague"}


def test_a_prompt_that_leaves_open_what_is_meant_wants_a_question_back():
    asked_back, guessed = (
        features("Tell me something.", reply)
        for reply in ("What would you like to hear about?", "A dog is a loyal friend with a wet nose.")
    )
    assert asked_back.on_point
    assert asked_back.taste > guessed.taste
    assert not features("Tell me about dogs.", "What would you like to hear about?").on_point


@pytest.mark.slow
def test_documents_go_on_with_a_fitting_verdict_on_the_answer():
    documents = [d for d in itertools.islice(draw_documents(9), 4000) if len(d.messages) >= 4]
    asked = {"Was that rude?": "rude", "Was that true?": "true", "Was that harmful?": "harmful"}
    checked = 0
    for document in documents:
        question = asked.get(document.messages[2].content)
        if question:
            seen = features(document.messages[0].content, document.messages[1].content)
            assert document.messages[3].content.startswith("Yes") == answer_to_check(question, seen)
            checked += 1
    assert checked > 100


@pytest.mark.slow
def test_the_later_parts_of_the_training_ask_mostly_whether_it_was_true_and_whether_it_helped():
    asks = {name: words["ask"] for name, words in judged_facts().items()}

    def pointed(mix: Mix) -> float:
        said = [m.content for d in itertools.islice(draw_documents(3, mix), 3000) for m in d.messages]
        count = {name: said.count(ask) for name, ask in asks.items()}
        return (count["true"] + count["helpful"]) / sum(count.values())

    assert pointed(JUDGEMENT) > 1.5 * pointed(LANGUAGE) > 0


def test_a_confused_lie_is_lent_by_a_topic_of_the_same_sort():
    rng = random.Random(4)
    situation = read_prompt("Tell me about dogs.")
    for _ in range(50):
        reply = write(rng, situation, "confused", mixed=0.0)
        lies = [s for s in read_reply(situation, reply) if s.kind == "fact"]
        assert lies
        assert not any(s.true for s in lies)
        assert {topics()[owner].sort for s in lies for owner, _ in owners_of_predicates()[s.predicate]} == {"animal"}


def test_what_is_beside_the_point_is_true_of_the_topic_and_does_not_answer():
    rng = random.Random(4)
    situation = read_prompt("What are the benefits of dogs?")
    for _ in range(50):
        seen = features(situation.prompt, write(rng, situation, "beside", mixed=0.0))
        assert seen.true
        assert not seen.on_point
        assert not seen.off_topic


def test_garbled_answers_are_mostly_seen_to_be_garbled():
    rng = random.Random(4)
    situations = [draw_situation(rng) for _ in range(400)]
    seen = [features(s.prompt, write(rng, s, "garbled")) for s in situations]
    assert sum(f.garbled > 0 for f in seen) > 0.7 * len(seen)
    assert {f.worst for f in seen if f.garbled > 0.5 and not (f.toxic or f.harmful)} == {"garbled"}


@pytest.mark.slow
def test_faults_that_only_the_prompt_shows_are_heard_and_never_learned():
    rng = random.Random(6)
    situation = read_prompt("What is a dog?")
    said = {draw_style(rng, situation) for _ in range(500)}
    heard = {draw_style(rng, situation, heard=True) for _ in range(500)}
    assert {"beside", "confused", "garbled"} <= heard - said
    for mix, least, most in ((LANGUAGE, 0.0, 0.0), (JUDGEMENT, 0.6, 0.95)):
        judged = [d for d in itertools.islice(draw_documents(3, mix), 2000) if len(d.fitness) == 1]
        only_heard = [d for d in judged if d.weights[1] == 0]
        assert least <= len(only_heard) / len(judged) <= most
        assert all(any(d.weights) for d in only_heard)


def test_a_user_who_knows_the_facts_says_whose_they_are():
    said = {
        ("Tell me about dogs.", "A dog is a slow game on a green field."): "You mean cricket, not dogs.",
        ("Tell me about dogs.", "Cricket is a slow game on a green field."): "You talk about cricket.",
        ("What are the benefits of cricket?", "Cricket is a slow game on a green field."): "You only say what it is.",
        ("What is cricket?", "Good question! Cricket is a slow game on a green field."): "Yes, that is cricket.",
        ("What is cricket?", "You are an idiot."): "",
        ("I failed my driving test.", "Cricket is a slow game on a green field."): "",
    }
    for (prompt, reply), words in said.items():
        assert remark(read_prompt(prompt), reply) == words


def test_harmful_and_harmless_requests_look_alike():
    harmful = {word for r in requests().values() if r.harmful for word in r.ask.split()}
    shared = [
        r for r in requests().values() if not r.harmful and set(r.ask.split()) & harmful - {"a", "my", "the", "in"}
    ]
    assert len(shared) >= 10
