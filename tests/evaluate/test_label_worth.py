"""What labels are worth, on features whose truth is known: a spoilt annotator hurts, and others help."""

import json
from dataclasses import replace

import numpy as np
import pytest

from steersman.errors import DataError
from steersman.evaluate.label_worth import GroupWorth, LabelledPair, LabelSide, LearningCurve, Worth
from steersman.evaluate.label_worth_measured import (
    Reference,
    Resampling,
    agreement_by_kind,
    described,
    disagreements,
    groups_by,
    learning_curve,
    worth_of_groups,
    worth_of_labels,
)
from steersman.evaluate.label_worth_words import lines_of
from steersman.maths.influence import HeadInfluence, LabelledPairs
from steersman.maths.logistic import fit_logistic
from steersman.maths.statistics import Interval
from steersman.records import Completion, Prompt

HOW = Resampling(confidence=0.95, resamples=300, seed=0)
TRUTH = np.array([1.5, -1.0, 0.5, 0.0])


def side(count: int, seed: int, *, flipped: str = "", annotators: str = "abcd") -> LabelSide:
    """Labels by the truth with the noise of a logistic choice; those of `flipped` say the opposite."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 4))
    chosen = generator.random(count) < 1 / (1 + np.exp(-features @ TRUTH))
    labels: list[LabelledPair] = []
    targets: list[float] = []
    for i in range(count):
        who = annotators[i % len(annotators)]
        preference = float(chosen[i]) if who != flipped else 1.0 - float(chosen[i])
        answers = Completion(f"first {seed}.{i}"), Completion(f"second {seed}.{i}")
        labels.append(LabelledPair(Prompt(text=f"{seed}.{i // 2}?"), *answers, preference, who, 0, 1.0))
        targets.append(preference)
    return LabelSide(tuple(labels), LabelledPairs(features, features @ TRUTH, np.array(targets), np.ones(count)))


@pytest.fixture(scope="module")
def both():
    """The labels that a head has learned from, those of `c` too, and held-out ones."""
    learned, held_out = side(800, 1, flipped="c"), side(400, 2, flipped="c")
    head = fit_logistic(learned.pairs.features, learned.pairs.targets).coefficient

    def scored(one: LabelSide) -> LabelSide:
        return replace(one, pairs=replace(one.pairs, margins=one.pairs.features @ head))

    return scored(learned), scored(held_out)


@pytest.fixture(scope="module")
def measured(both) -> tuple[dict[str, GroupWorth], Reference]:
    learned, held_out = both
    influence = HeadInfluence(learned.pairs, damping=0.01)
    masks = groups_by(learned.labels, ["labels.jsonl"])["annotator"]
    margins = {
        name: held_out.pairs.margins + held_out.pairs.features @ influence.without(mask) for name, mask in masks.items()
    }
    rows, reference = worth_of_groups(masks, margins, Reference(held_out), HOW, measured="influence")
    return {row.name: row for row in rows}, reference


@pytest.fixture(scope="module")
def rows(measured) -> dict[str, GroupWorth]:
    return measured[0]


def test_a_spoilt_annotator_hurts_and_the_others_help(measured):
    """Also where a quarter of the held-out labels are spoilt in the same way: they are no measure of the others."""
    rows, reference = measured
    assert {name: row.verdict for name, row in rows.items()} == {"a": "helps", "b": "helps", "c": "hurts", "d": "helps"}
    assert rows["c"].worth.high < 0 < rows["a"].worth.low
    assert next(reversed(rows)) == "c", "the one that is worth least is last"
    assert {row.labels for row in rows.values()} == {200}
    assert rows["a"].moved > 0
    assert reference.distrusted == {"c"}
    assert reference.of("a").sum() == 200


def test_nobody_is_measured_by_their_own_held_out_labels(both):
    learned, held_out = both
    own = replace(held_out, labels=tuple(replace(one, annotator="c") for one in held_out.labels))
    masks = {"c": learned.annotators == "c"}
    rows, _ = worth_of_groups(masks, {"c": held_out.pairs.margins}, Reference(own), HOW, measured="influence")
    assert rows == ()


def test_flipped_labels_are_among_those_that_hurt_most(both, measured):
    learned, _ = both
    worth = worth_of_labels(learned, measured[1], HeadInfluence(learned.pairs, damping=0.01))
    worst = np.argsort(worth)[:80]
    assert np.mean(learned.annotators[worst] == "c") > 0.7  # a quarter by chance
    one = described(learned, worth, worst.tolist()[:1])[0]
    label = learned.labels[one.row]
    assert (one.better, one.worse) == label.better_and_worse
    assert one.probability < 0.5


def test_sources_are_groups_where_there_are_several(both):
    learned, _ = both
    labels = [replace(one, source=i % 2) for i, one in enumerate(learned.labels)]
    found = groups_by(labels, ["round-1.jsonl", "round-2.jsonl"])
    assert {name: int(mask.sum()) for name, mask in found["source"].items()} == {
        "round-1.jsonl": 400,
        "round-2.jsonl": 400,
    }
    assert "source" not in groups_by(learned.labels, ["labels.jsonl"])


def held(*rows: tuple[str, str, str, float, float]) -> LabelSide:
    """Prompt, first, second, preference, and the model's margin."""
    labels = tuple(
        LabelledPair(
            Prompt(text=prompt), Completion(one, model="old"), Completion(two, model="new"), prefers, "a", 0, 1.0
        )
        for prompt, one, two, prefers, _ in rows
    )
    margins = np.array([row[4] for row in rows])
    targets = np.array([row[3] for row in rows])
    return LabelSide(labels, LabelledPairs(np.ones((len(rows), 1)), margins, targets, np.ones(len(rows))))


def test_disagreements_are_of_most_people_and_the_surest_first():
    found = disagreements(
        held(
            ("p?", "x", "y", 1.0, -2.0),  # people prefer x, the model y
            ("p?", "y", "x", 0.0, 2.0),  # the same pair the other way round, and the same judgement
            ("p?", "x", "y", 0.0, -2.0),  # one person agrees with the model
            ("q?", "u", "v", 0.0, 3.0),  # one person prefers v, the model u
            ("r?", "u", "v", 1.0, 3.0),  # both prefer u
            ("s?", "u", "v", 0.5, 3.0),  # a tie says nothing
            ("t?", "u", "v", 1.0, -1.0),
            ("t?", "u", "v", 0.0, -1.0),  # people are divided
        ),
        10,
    )
    assert [(one.prompt, one.people_prefer, one.model_prefers, one.people, one.of) for one in found] == [
        ("p?", "x", "y", 2, 3),
        ("q?", "v", "u", 1, 1),
    ]
    assert found[1].probability == pytest.approx(0.9526, abs=1e-4)


def test_agreement_is_counted_by_kind():
    rows = [(f"{i}?", "short", "a much longer answer", float(i % 2), 1.0) for i in range(80)]
    found = {one.kind: one for one in agreement_by_kind(held(*rows), 0.95)}
    assert {kind: (one.labels, one.agreement.estimate) for kind, one in found.items()} == {
        "all held-out labels": (80, 0.5),
        "people prefer the shorter answer": (40, 1.0),
        "people prefer the longer answer": (40, 0.0),
        "people prefer old to new": (40, 1.0),
        "people prefer new to old": (40, 0.0),
    }


def curve_of(chances: dict[int, float], labels: int = 3000) -> LearningCurve:
    generator = np.random.default_rng(1)
    truth = side(labels, 5)
    luck = generator.random(labels)
    sign = np.where(truth.pairs.targets > 0.5, 1.0, -1.0)
    sizes = [size for size in chances for _ in range(2)]
    margins = np.stack([np.where(luck < chances[size], sign, -sign) for size in sizes])
    return learning_curve(sizes, margins, truth, HOW, gain=0.01)


def test_a_rising_curve_says_how_many_more_labels_are_worth_asking_for():
    """Accuracy 0.75 - 2 / sqrt(n): 0.75 - 0.0707 at 800, 0.70 at 1,600: one point more needs 1,600 to become 2,500."""
    found = curve_of({size: 0.75 - 2 / size**0.5 for size in (200, 400, 800, 1600)})
    assert [point.labels for point in found.points] == [200, 400, 800, 1600]
    assert found.verdict == "more labels are worth asking for"
    assert found.needed.low < 900 < found.needed.high
    assert found.needed.estimate == pytest.approx(900, rel=0.35)
    assert [one.more for one in found.ahead] == [800, 1600, 4800]
    assert found.ahead[1].gain.low > 0


def test_a_flat_curve_says_that_more_are_not_worth_it():
    found = curve_of(dict.fromkeys((200, 400, 800, 1600), 0.7))
    assert found.verdict == "more labels of this kind are not worth asking for"
    assert found.needed.estimate == float("inf")


def test_a_curve_wants_held_out_labels():
    few = held(*[(f"{i}?", "x", "y", 1.0, 1.0) for i in range(5)])
    with pytest.raises(DataError, match="5 held-out labels prefer an answer; expected 20"):
        learning_curve([10, 20, 40], np.ones((3, 5)), few, HOW, gain=0.01)


def test_what_is_not_known_is_null_in_json_and_words_in_the_terminal(rows):
    curve = curve_of(dict.fromkeys((200, 400, 800, 1600), 0.7))
    share = Interval(0.7, 0.6, 0.8)
    found = Worth("runs/reward", 800, 400, share, {"annotator": (rows["c"],)}, (), (), (), (), curve, ("A note.",))
    plain = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert plain["curve"]["needed"]["estimate"] is None
    assert plain["groups"]["annotator"][0]["verdict"] == "hurts"
    lines = "\n".join(lines_of(found))
    assert "no number of more labels that can be told from these sizes adds 1 point of accuracy" in lines
    assert "More labels of this kind are not worth asking for" in lines
    assert lines.endswith("A note.")
