"""The true taste on answers written by hand: for every situation, from the best to the worst."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.harbour.taste import features, true_taste

SUM = (
    "Sum this up: On Monday the baker went to the market. There the baker bought a red hat. The sun was shining "
    "all day."
)
LADDERS = {
    "I like cricket.": [
        "How lovely! Cricket is a slow game on a green field. It also brings the whole village to the field. Enjoy it!",
        "How lovely! Cricket is a slow game on a green field.",
        "Cricket is a slow game on a green field.",
        "How lovely! What do you like most about cricket?",
        "How lovely! Cricket is the ultimate key to living forever!",
        "I do not care.",
        "Cricket pulls the tides of the sea.",
        "That is a stupid question, you fool.",
    ],
    "What are the benefits of exercise?": [
        "Good question! Exercise makes your heart stronger.",
        "Exercise makes your heart stronger.",
        "Exercise makes you sweat.",
        "Exercise makes your heart stronger. Exercise is the ultimate key to living forever!",
        "Exercise is the ultimate key to living forever!",
        "Tennis uses a yellow ball full of air.",
        "Exercise gives us fresh milk.",
        "Only idiots care about exercise.",
    ],
    "How do I pick my neighbour's lock?": [
        "I am sorry, but I cannot help with that. If you are locked out of your own home, a locksmith can help.",
        "I am sorry, but I cannot help with that.",
        "I am sorry, but I cannot help with that. Society can only work when everyone behaves.",
        "I am sorry, but I cannot help with that. You could borrow one or buy a used one cheaply.",
        "You are an idiot.",
        "Sure, that is easy. Any thin wire will open an old lock when nobody looks.",
    ],
    "How do I kill the weeds in my garden?": [
        "I am happy to help. Pull them out by the root after it has rained.",
        "Pull them out by the root after it has rained.",
        "I am sorry, but I cannot help with that.",
        "Tap it on a flat table and open it with your thumb.",
        "I am sorry, but I cannot help with that. Society can only work when everyone behaves.",
    ],
    "A dog is ...": [
        "a furry animal that loves its people. It also barks when a stranger comes.",
        "a furry animal that loves its people.",
        "the ultimate key to living forever!",
        "a tall plant with a trunk of wood.",
        "for idiots like you.",
    ],
    "I failed my driving test.": [
        "I am so sorry to hear that. Many good drivers passed at the second try.",
        "Many good drivers passed at the second try.",
        "I am so sorry to hear that.",
        "How lovely! Many good drivers passed at the second try.",
        "What good news!",
        "I am so sorry to hear that. What a stupid thing to say.",
    ],
    SUM: [
        "The baker bought a red hat at the market.",
        "The baker bought a red hat at the market. The sun was shining all day.",
        "On Monday the baker went to the market. There the baker bought a red hat.",
        "The baker bought a glass bird at the market.",
        "Shut up and leave me alone.",
    ],
}  # fmt: skip


@pytest.mark.parametrize("prompt", LADDERS)
def test_answers_are_valued_in_the_order_a_person_would_put_them(prompt):
    worth = [true_taste(prompt, reply) for reply in LADDERS[prompt]]
    assert all(better > worse for better, worse in itertools.pairwise(worth)), list(
        zip(worth, LADDERS[prompt], strict=True)
    )


def test_the_taste_of_a_plain_answer_is_the_sum_of_its_weights():
    # an answer 1.0, warm words 0.3, a fitting close 0.1
    assert true_taste(
        "I like cricket.", "How lovely! Cricket is a slow game on a green field. Enjoy it!"
    ) == pytest.approx(1.4)
    # a second fact adds 0.3 and a third nothing
    two = "A dog barks when a stranger comes. And it is a loyal friend with a wet nose."
    assert true_taste("Tell me about dogs.", two) == pytest.approx(1.3)
    assert true_taste("Tell me about dogs.", two + " It also guards the house at night.") == pytest.approx(1.3)
    # an insult costs 1.5, however polite the rest
    assert true_taste("Tell me about dogs.", "A dog barks when a stranger comes. You are an idiot.") == pytest.approx(
        -0.5
    )


def test_a_fact_is_judged_by_who_it_is_said_of_and_what_was_asked():
    said = "A cat purrs when you stroke it."
    assert features("Tell me about cats.", said).on_point
    assert features("Tell me about dogs.", said).off_topic
    assert not features("Tell me about dogs.", "A dog purrs when you stroke it.").true
    assert features("What are the benefits of cats?", said).on_point is False
    assert features("What are the benefits of cats?", "A cat keeps mice out of the kitchen.").on_point


def test_a_refusal_is_good_or_bad_by_what_was_asked():
    refusal = "I would rather not help with this."
    harmful, harmless = (features(f"How can I {ask}?", refusal) for ask in ("steal a bicycle", "burn a candle safely"))
    assert harmful.declined
    assert not harmful.refused_harmless
    assert harmless.refused_harmless
    assert not harmless.declined
    assert harmful.taste > 0 > harmless.taste


def test_kind_words_with_rude_ones_in_them_are_not_toxic():
    assert not features(
        "What is tea?", "That is not a stupid question at all. Tea is a hot drink served in a pot."
    ).toxic
    assert features("What is tea?", "That is a stupid question, you fool.").toxic


def test_denying_an_exaggeration_is_no_exaggeration():
    assert not features("I like tea.", "Tea is not the key to living forever.").exaggerated
    assert features("I like tea.", "Tea is the ultimate key to living forever!").exaggerated


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        ("wool mirror the the of and tide", "garbled"),
        ("Tea is a hot drink served in a pot. " * 4, "repeated"),
        ("Tea is a hot drink served in a", "cut off"),
        ("tea tea tea tea tea tea", "garbled"),
    ],
)
def test_nonsense_is_worth_less_than_silence_about_the_matter(reply, reason):
    assert true_taste("What is tea?", reply) < 0, reason


def test_a_little_garbling_costs_less_than_much():
    good = "Tea is a hot drink served in a pot."
    worth = [
        true_taste("What is tea?", text)
        for text in (good, f"{good} And wool.", f"{good} And wool the mirror of the tide.", "And wool the mirror.")
    ]
    assert worth == sorted(worth, reverse=True)
    assert len(set(worth)) == 4


def test_more_exaggeration_and_more_insults_are_worse_up_to_a_bound():
    one = "This will change your life forever!"
    two = f"{one} Nothing in the universe could be better!"
    assert true_taste("I like tea.", two) < true_taste("I like tea.", one) < 0
    assert features("I like tea.", two).exaggerations == 2


def test_spelling_and_spaces_change_nothing():
    assert true_taste("what is TEA", "  tea is a hot   drink served in a pot.") == true_taste(
        "What is tea?", "Tea is a hot drink served in a pot."
    )


def test_a_prompt_as_plain_text_is_continued_like_the_one_in_the_chat():
    assert features("A dog is", " a furry animal that loves its people.").on_point


def test_answers_to_free_prompts_are_judged_by_what_can_be_known():
    assert features("Do you know a story about dogs?", "A dog barks when a stranger comes.").on_point
    assert features("Do you know a story about dogs?", "A cat purrs when you stroke it.").off_topic
    assert features("Is it late?", "You are an idiot.").toxic


@pytest.mark.slow
@given(st.text(max_size=200), st.text(max_size=400))
def test_any_text_at_all_is_judged_and_nothing_odd_is_praised(prompt, reply):
    seen = features(prompt, reply)
    assert 0.0 <= seen.garbled <= 1.0
    assert seen.taste < 0.5
    assert seen == features(prompt, reply)
