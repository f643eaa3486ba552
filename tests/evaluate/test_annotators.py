"""Annotators measured from their judgements alone: who is found, who is not, and what is said."""

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from steersman.errors import DataError
from steersman.evaluate.annotators import measure_annotators, pair_id
from steersman.harbour.labellers import LABELLERS, compare
from steersman.harbour.registry import answers
from steersman.records import Comparison, Completion, Prompt

NAMES = [one.name for one in LABELLERS]


def simulated_round(seed: int, *, each: int = 150, overlap: int = 4) -> list[Comparison]:
    """Judgements of Harbour's six annotators, `each` of them so many, every pair judged by `overlap` of them."""
    chance, rows = random.Random(seed), list(answers())
    found: list[Comparison] = []
    for _ in range(each * len(LABELLERS) // overlap):
        one, two = "", ""
        row = rows[0]
        while one == two:
            row = chance.choice(rows)
            first, second = chance.sample(row.completions, 2)
            one, two = first.text, second.text
        for person in chance.sample(LABELLERS, overlap):
            found.append(compare(person, row.prompt, Completion(one), Completion(two), seed=seed))
    return found


def poisoned(judged: Sequence[Comparison], name: str, kind: str, seed: int) -> list[Comparison]:
    """The same with one annotator's preferences spoilt."""
    chance = random.Random(f"{seed} {name} {kind}")

    def spoilt(one: Comparison) -> float:
        if kind == "flips":
            return 1 - one.preference if chance.random() < 0.3 else one.preference
        if kind == "left":
            return float(one.shown == "first")
        return float(chance.random() < 0.5)

    return [replace(one, preference=spoilt(one)) if one.annotator == name else one for one in judged]


@pytest.mark.parametrize(
    "rounds", [pytest.param(12, marks=pytest.mark.slow), pytest.param(200, marks=pytest.mark.soak)]
)
def test_spoilt_annotators_are_caught_and_others_are_not(rounds):
    caught = {"flips": 0, "left": 0, "random": 0}
    false = others = 0
    for seed in range(rounds):
        clean = simulated_round(seed)
        name = NAMES[seed % len(NAMES)]
        false += bool(measure_annotators(clean).faulty)
        for kind in caught:
            faulty = measure_annotators(poisoned(clean, name, kind, seed)).faulty
            caught[kind] += name in faulty
            others += bool(set(faulty) - {name})
    print({kind: count / rounds for kind, count in caught.items()}, "false", false / rounds, "others", others / rounds)
    margin = 2 * (0.05 * 0.95 / rounds) ** 0.5
    assert false / rounds <= 0.05 + (margin if rounds < 200 else 0)
    assert min(caught.values()) / rounds >= (0.9 if rounds >= 200 else 0.75)
    assert sum(caught.values()) / (3 * rounds) >= 0.9


def test_a_random_annotator_is_named_with_what_was_seen():
    found = measure_annotators(poisoned(simulated_round(3), "annotator-2", "random", 3))
    assert found.faulty == ("annotator-2",)
    one = next(person for person in found.annotators if person.annotator == "annotator-2")
    assert one.faults[0].startswith("agrees with the others' consensus")
    assert abs(one.agreement.estimate) < 0.25
    assert one.agreement.low < one.agreement.estimate < one.agreement.high
    assert one.accuracy < 0.65


def test_who_always_takes_the_left_one_is_named_with_the_share():
    found = measure_annotators(poisoned(simulated_round(4), "annotator-5", "left", 4))
    one = next(person for person in found.annotators if person.annotator == "annotator-5")
    assert any("chose the answer shown first in 100% of" in fault for fault in one.faults)


def pair(n: int, annotator: str, preference: float, shown: str = "") -> Comparison:
    return Comparison(
        Prompt(text=f"{n}?"), Completion("a"), Completion("b"), preference, annotator=annotator, shown=shown
    )


def test_swapping_the_answers_changes_nothing():
    judged = simulated_round(1, each=30)
    swapped = [
        replace(one, first=one.second, second=one.first, preference=1 - one.preference, shown=OTHER[one.shown])
        for one in judged
    ]
    here, there = measure_annotators(judged), measure_annotators(swapped)
    assert here.as_dict() == there.as_dict()
    assert here.soft == there.soft


OTHER = {"first": "second", "second": "first", "": ""}


def test_nothing_shared_leaves_the_agreement_open():
    found = measure_annotators([pair(1, "a", 1.0), pair(2, "b", 1.0)])
    assert math.isnan(found.agreement.estimate)
    assert found.faulty == ()


def test_few_shared_judgements_say_nothing_of_anybody():
    judged = [pair(n, name, float(name != "c")) for n in range(19) for name in "abc"]
    assert measure_annotators(judged).faulty == ()


def test_ties_and_repeated_items_are_no_second_vote():
    judged = [pair(1, "a", 1.0), pair(1, "a", 0.0), pair(1, "b", 0.5), pair(1, "c", 1.0)]
    found = measure_annotators(judged)
    assert {one.annotator: (one.judgements, one.shared) for one in found.annotators} == {
        "a": (2, 1),
        "b": (1, 0),
        "c": (1, 1),
    }
    assert found.agreement.estimate == 1.0
    probability = found.soft[pair_id(judged[0])]
    ordered = pair_id(judged[0]) == pair_id(replace(judged[0], first=judged[0].second, second=judged[0].first))
    assert ordered
    assert max(probability, 1 - probability) > 0.9


def test_the_two_answers_are_shown_first_as_often_by_somebody_without_bias():
    judged = [pair(n, "a", float(n % 2), "first") for n in range(40)] + [pair(n, "b", 1.0, "second") for n in range(40)]
    found = {one.annotator: one for one in measure_annotators(judged).annotators}
    assert found["a"].shown_first.estimate == 0.5
    assert found["a"].faults == ()
    assert "chose the answer shown second in 100% of 40 judgements" in found["b"].faults


def test_judgements_without_annotators_are_a_message():
    with pytest.raises(DataError, match="no judgement names its annotator"):
        measure_annotators([pair(1, "", 1.0)])
