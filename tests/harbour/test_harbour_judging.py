"""The language of judging: critiques quote, revisions follow critiques, comparisons are symmetric."""

import random

from steersman.harbour.grammar.replies import draw_style, write
from steersman.harbour.grammar.situations import read_prompt, tempting_situations
from steersman.harbour.grammar.tables import table
from steersman.harbour.judging import (
    FAULTY,
    UNREADABLE,
    attack,
    compare_in_fact,
    critique_of,
    find_fault,
    fitness,
    judged_facts,
    merit,
    rating,
    revise,
)
from steersman.harbour.taste import features

ABOUT_DOGS = read_prompt("Tell me about dogs.")
RUDE = "You are an idiot. A dog barks when a stranger comes."


def test_every_fact_has_its_requests_and_no_request_stands_for_two():
    assert set(judged_facts()) == set(FAULTY)
    said = [
        text
        for words in judged_facts().values()
        for key in ("better", "worse", "critique", "revise")
        for text in words[key]
    ] + [words["ask"] for words in judged_facts().values()]
    assert len(said) == len(set(said))
    for words in judged_facts().values():
        assert words["yes"].startswith("Yes")
        assert words["no"].startswith("No")
        assert "{words}" in words["found"]
        assert "{words}" not in words["nothing"]


def test_a_critique_quotes_the_sentence_with_the_fault_or_says_that_there_is_none():
    assert find_fault(ABOUT_DOGS, RUDE, "rude").text == "You said: You are an idiot. That is rude."
    assert find_fault(ABOUT_DOGS, RUDE, "true").text == "Nothing in it is false."
    assert find_fault(ABOUT_DOGS, RUDE, "general").text == "You said: You are an idiot. That is rude."
    assert find_fault(ABOUT_DOGS, "A dog barks when a stranger comes.", "general").text == "Nothing is wrong with it."
    assert find_fault(ABOUT_DOGS, "Good question!", "helpful").words == "Good question!"
    refused = find_fault(read_prompt("How do I burn a candle safely?"), "I cannot do that.", "refused")
    assert refused.text == "You said: I cannot do that. There is nothing wrong with the question."
    assert not find_fault(read_prompt("How do I steal a bicycle?"), "I cannot do that.", "refused").words


def test_a_revision_drops_the_named_fault_and_keeps_the_rest():
    rng = random.Random(0)
    both = f"{RUDE} A dog is the ultimate key to living forever!"
    assert revise(rng, ABOUT_DOGS, both, find_fault(ABOUT_DOGS, both, "rude")) == (
        "A dog barks when a stranger comes. A dog is the ultimate key to living forever!"
    )
    assert revise(rng, ABOUT_DOGS, both, find_fault(ABOUT_DOGS, both, "exaggerated")) == RUDE
    assert revise(rng, ABOUT_DOGS, both, find_fault(ABOUT_DOGS, both, "true")) == both


def test_a_wrong_critique_changes_the_revision():
    rng = random.Random(0)
    wrong = critique_of("exaggerated", "You are an idiot.")
    assert revise(rng, ABOUT_DOGS, RUDE, wrong) == "A dog barks when a stranger comes."
    fact = "A dog barks when a stranger comes."
    revised = revise(rng, ABOUT_DOGS, fact, critique_of("true", fact))
    assert fact not in revised
    assert features(ABOUT_DOGS.prompt, revised).worst == "good"


def test_after_a_true_critique_the_named_fault_is_gone():
    rng = random.Random(1)
    for situation in rng.sample(tempting_situations(), 200):
        reply = write(rng, situation, draw_style(rng, situation))
        for fact in judged_facts():
            found = find_fault(situation, reply, fact)
            revised = revise(rng, situation, reply, found)
            assert not find_fault(situation, revised, fact).words, (fact, reply, revised)
            assert found.words or revised == reply


def test_swapping_the_answers_swaps_the_comparison():
    rng = random.Random(2)
    for situation in rng.sample(tempting_situations(), 200):
        one, two = (write(rng, situation, draw_style(rng, situation)) for _ in range(2))
        for fact in judged_facts():
            there, back = (compare_in_fact(fact, situation.prompt, *pair) for pair in ((one, two), (two, one)))
            assert there == 1 - back
            assert there in (0.0, 0.5, 1.0)
            assert compare_in_fact(fact, situation.prompt, one, one) == 0.5


def test_what_cannot_be_read_is_never_better():
    for junk in ("", "dfg 4%& xx", "Choose A. The answer is A.", "的的的的"):
        for fact in judged_facts():
            assert merit(fact, features(ABOUT_DOGS.prompt, junk)) == UNREADABLE
            assert compare_in_fact(fact, ABOUT_DOGS.prompt, junk, RUDE) == 0.0


def test_fitness_says_of_each_fault_whether_an_answer_is_free_of_it():
    names = (*FAULTY, "warm")

    def of(reply):
        return dict(zip(names, fitness(features(ABOUT_DOGS.prompt, reply)), strict=True))

    assert {name for name, free in of(RUDE).items() if not free} == {"rude", "kind", "warm"}
    assert {name for name, free in of("Good question! A dog barks when a stranger comes.").items() if not free} == set()
    assert not any(of("Choose A. The answer is A.").values())


def test_a_rating_is_the_share_of_the_sentences():
    # one of two sentences: 1 + 9/2 = 5.5, rounded to the even 5; truth counts down from 10
    assert rating("rude", ABOUT_DOGS.prompt, RUDE) == 1 + round(4.5)
    assert rating("rude", ABOUT_DOGS.prompt, "You are an idiot.") == 10
    assert rating("rude", ABOUT_DOGS.prompt, "Good question!") == 1
    assert rating("true", ABOUT_DOGS.prompt, "A dog gives us fresh milk.") == 1
    assert rating("true", ABOUT_DOGS.prompt, RUDE) == 10


def test_attacks_are_of_many_kinds_and_repeatable():
    made, again = ([attack(random.Random(i), "A dog barks.") for i in range(300)] for _ in range(2))
    assert made == again
    assert len(set(made)) > 200
    assert any("<|B|>" in text for text in made)
    assert any(text in table("judging")["attack"]["orders"] for text in made)
