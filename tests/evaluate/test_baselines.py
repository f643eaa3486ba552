"""The baselines of a reward report: against scikit-learn, by hand, and on judgements whose rule is known."""

import random
from importlib import import_module

import numpy as np
import pytest
from plainly import OTHERS

from steersman.evaluate.baselines import measure_baselines
from steersman.evaluate.judged_pairs import judged_pairs
from steersman.evaluate.word_preference import USUAL_STRENGTH, fit_words, folds_of, words_of
from steersman.records import Comparison, Completion, Prompt


def pair(first: str, second: str, preference: float = 1.0, *, question: str = "Well?", scores=(0.0, 0.0)) -> Comparison:
    one, two = Completion(first, scores={"reward": scores[0]}), Completion(second, scores={"reward": scores[1]})
    return Comparison(Prompt(text=question), one, two, preference)


def by_a_word(count: int, *, seed: int, word: str = "friend", knows: float = 0.5) -> list[Comparison]:
    """Answers of random words, of which the one with `word` is preferred; the model is right in `knows` of them."""
    draw = random.Random(seed)
    found = []
    for i in range(count):
        one, other = (" ".join(draw.choices(OTHERS, k=6)) for _ in range(2))
        turned = draw.random() < 0.5
        first, second, good = f"{one} {word}", f"{other} dog", 1.0 if draw.random() < knows else -1.0
        scores = (good, 0.0)
        if turned:
            first, second, scores = second, first, scores[::-1]
        found.append(pair(first, second, float(not turned), question=f"Question {seed}.{i}?", scores=scores))
    return found


def measured(pairs, train=()):
    return measure_baselines(judged_pairs(pairs, "reward"), pairs, train)


def test_words_are_lower_case_and_punctuation_counts():
    assert words_of("It's 3 o'clock, HÉLÈNE!") == ["it", "'", "s", "3", "o", "'", "clock", ",", "hélène", "!"]


def test_the_weight_of_one_word_by_hand():
    """Three pairs differ in "good" alone, by x = log 2. The minimum of 3 · log(1 + exp(-x w)) + 3 / 2 · w² is where
    3 w = 3 x / (1 + exp(x w)). So w = 0.30955: 0.69315 / (1 + exp(0.69315 · 0.30955)) = 0.69315 / 2.23933 = 0.30953.
    """
    assert USUAL_STRENGTH == 3.0
    found = fit_words([pair("good day", "day") for _ in range(3)])
    assert found.weights[found.places["good"]] == pytest.approx(0.3095, abs=3e-4)
    assert found.weights[found.places["day"]] == 0.0, "both answers have it"
    assert found.gaps([pair("good", "x"), pair("y", "x")]).tolist() == pytest.approx(
        [0.3095 * np.log(2), 0.0], abs=3e-4
    )


def test_it_is_scikit_learns_logistic_regression():
    linear, text = import_module("sklearn.linear_model"), import_module("sklearn.feature_extraction.text")
    pairs = by_a_word(40, seed=1)
    found = fit_words(pairs)
    counter = text.CountVectorizer(tokenizer=words_of, token_pattern=None, lowercase=False, vocabulary=found.places)
    first, second = (
        np.log1p(counter.transform([side(p) for p in pairs]).toarray())
        for side in (lambda p: p.first.text, lambda p: p.second.text)
    )
    peer = linear.LogisticRegression(C=1 / USUAL_STRENGTH, fit_intercept=False, tol=1e-8, max_iter=1000)
    peer.fit(first - second, [p.preference > 0.5 for p in pairs])
    assert found.weights == pytest.approx(peer.coef_[0], abs=1e-3)
    assert found.gaps(pairs) == pytest.approx(peer.decision_function(first - second), abs=2e-3)


def test_a_coin_is_told_that_it_knows_less_than_a_bag_of_words():
    found = measured(by_a_word(200, seed=2), by_a_word(100, seed=3))
    assert found.words.accuracy.low > 0.95
    assert found.words.lead.high < -0.3
    assert found.length.accuracy.low > 0.5, "here the better answer is the longer by three letters"
    assert not found.beaten
    assert found.verdict.startswith("The model knows less than a bag of words and length alone: it is right in ")
    assert found.learned_from == "100 of the model's training judgements"


def test_a_model_that_knows_more_than_both_is_told_so():
    """The words of the training judgements do not occur in the held-out ones, and lengths say nothing."""
    train = [pair("good", "evil", question=f"{i}") for i in range(20)]
    held = [pair(f"a{i}", f"b{i}", question=f"{i}", scores=(1.0, 0.0)) for i in range(40)]
    found = measured(held, train)
    assert found.words.accuracy.estimate == found.length.accuracy.estimate == 0.5, "equal counts half"
    assert (found.beaten, found.verdict) == (True, "The model knows more than a bag of words and than length.")


def test_an_advantage_that_may_be_chance_is_not_called_knowledge():
    train = [pair("good", "evil", question=f"{i}") for i in range(20)]
    held = [pair("same", "same but longer", question=f"{i}", scores=(float(i < 6), 0.5)) for i in range(10)]
    found = measured(held, train)
    # the model 6 of 10; words know none of these words; "longer" is what nobody preferred in training either way
    assert found.words.lead.estimate == pytest.approx(0.1)
    assert not found.beaten
    assert "may be chance" in found.verdict


def test_length_learns_its_direction():
    shorter = [pair("a", "a a a", question=f"{i}") for i in range(20)]
    held = [pair("zz", "z", float(i >= 15), question=f"held {i}", scores=(0.0, 1.0)) for i in range(20)]
    assert measured(held, shorter).length.accuracy.estimate == 0.75
    longer = [pair("a a a", "a", question=f"{i}") for i in range(20)]
    assert measured(held, longer).length.accuracy.estimate == 0.25


def test_the_order_of_the_two_answers_changes_nothing():
    def turned(pairs):
        return [Comparison(p.prompt, p.second, p.first, 1 - p.preference) for p in pairs]

    held, train = by_a_word(60, seed=4), by_a_word(60, seed=5)
    one, other = measured(held, train), measured(turned(held), turned(train))
    assert one.verdict == other.verdict
    assert [one.words, one.length] == [other.words, other.length]


def test_without_training_judgements_no_judgement_is_predicted_from_itself():
    """Labels are random, and each pair is judged three times: what is learned from a pair must not predict it."""
    draw = random.Random(6)
    pairs = [pair(f"word{i} of", f"other{i} of", float(draw.random() < 0.5), question=f"{i}") for i in range(60)]
    pairs = [one for one in pairs for _ in range(3)]
    assert [int(folds_of(pairs)[i]) for i in (0, 1, 2, 3, 15)] == [0, 0, 0, 1, 0]
    assert measured(pairs).words.accuracy.estimate == 0.5, "no word of a pair is in another prompt's"
    found = measured(by_a_word(100, seed=7))
    assert found.words.accuracy.low > 0.9
    assert found.learned_from == "these judgements, each fifth predicted from the others"


def test_one_prompt_is_too_little_to_learn_from_and_no_error():
    found = measured([pair("yes", "no", scores=(1.0, 0.0))])
    assert found.words.accuracy.estimate == 0.5
    assert not found.beaten


def test_ties_are_left_out_and_other_rows_are_refused():
    held = [*by_a_word(20, seed=8), pair("a", "b", 0.5)]
    assert measured(held, by_a_word(60, seed=9)).words == measured(held[:-1], by_a_word(60, seed=9)).words
    with pytest.raises(ValueError, match=r"21 judged rows and 20 comparisons"):
        measure_baselines(judged_pairs(held, "reward"), held[:-1])
