"""Figures of quality, from simulated annotators whose habits are known."""

import json
import math
import random

import pytest
from store_pairs import pair

from steersman.quality.agreement import compare_annotators, measure_agreement
from steersman.quality.bias import measure_bias
from steersman.quality.features import PairForms, form_of
from steersman.quality.figures import measure_quality
from steersman.quality.words import lines_of
from steersman.records import Comparison, Completion, Label, Message, Prompt, Ranking
from steersman.store.content import Content, parts_of
from steersman.store.database import open_store
from steersman.store.imports import ImportReport, Wishes, from_records, import_arriving
from steersman.store.items import NewItem, add_items, list_items
from steersman.store.judged import judged_rows
from steersman.store.labelling import Submission, adjudicate, flag_item, skip_task, submit_label
from steersman.store.projects import create_project, set_role
from steersman.store.reading_cursor import cursor_of

LONG = "This answer says the same as the other one, and then says it once more in many words."


@pytest.fixture
def project(tmp_path):
    with open_store(str(tmp_path / "studio.db"), create=True) as database:
        yield create_project(database, "helpful")


def choices(count: int, people: dict[str, float], *, position: float = 0.0, longer: float = 0.0, seed: int = 0):
    """Pairs of which the first is better; each person is right as often as said, or follows the position or length."""
    rng = random.Random(seed)
    for number in range(count):
        prompt = Prompt((Message("user", f"Question {number}?"),))
        long = rng.random() < 0.5
        first, second = Completion(LONG if long else f"Yes {number}."), Completion(f"No {number}." if long else LONG)
        for who, right in people.items():
            shown = rng.choice(["first", "second"])
            chosen = "first" if rng.random() < right else "second"
            if rng.random() < position:
                chosen = shown
            elif rng.random() < longer:
                chosen = "first" if long else "second"
            yield Comparison(
                prompt,
                first,
                second,
                1.0 if chosen == "first" else 0.0,
                annotator=who,
                shown=shown,
                metadata={"seconds": 1.0 if who == "hasty" else 20.0},
            )


def put(project, records):
    import_arriving(project, from_records(records, Wishes()), ImportReport())


def rows_of(project):
    return list(judged_rows(project, cursor_of(project)))


def test_agreement_is_that_of_the_data_card_with_intervals(project):
    put(project, choices(120, {"ann": 0.9, "ben": 0.9, "cid": 0.9}))
    (found,) = measure_agreement(rows_of(project))
    # two that are right 90 % of the time agree in 0.9² + 0.1² = 82 % of pairs
    assert found.percent.estimate == pytest.approx(0.82, abs=0.06)
    assert (found.about, found.items, found.labels, found.level) == ("pair", 120, 360, "nominal")
    for figure in (found.percent, found.kappa, found.alpha):
        assert figure.low < figure.estimate < figure.high
    two = compare_annotators(rows_of(project))
    assert [(one.first, one.second, one.shared) for one in two] == [
        ("ann", "ben", 120),
        ("ann", "cid", 120),
        ("ben", "cid", 120),
    ]


def test_ratings_and_rankings_have_agreement_too(project):
    prompt, answers = Prompt(text="Hello"), tuple(Completion(f"answer {n}") for n in range(3))
    for n in range(8):
        asked = Prompt(text=f"Hello {n}")
        for who, rank, grade in (("ann", (1, 2, 3), 1.0 + n % 4), ("ben", (1, 3, 2), 1.0 + n % 4)):
            put(project, [Ranking(asked, answers, rank, annotator=who)])
            put(project, [Label(asked, answers[0], ratings={"truth": grade}, annotator=who)])
    by_kind = {one.about: one for one in measure_agreement(rows_of(project))}
    assert by_kind["rating: truth"].alpha.estimate == pytest.approx(1.0)
    assert by_kind["ranking"].percent.estimate == pytest.approx(2 / 3)  # one of three orders is turned round
    assert math.isnan(by_kind["ranking"].alpha.estimate)
    assert prompt


def test_reliability_tells_the_good_from_the_random(project):
    put(project, choices(200, {"ann": 0.95, "ben": 0.9, "cid": 0.85, "dan": 0.5}))
    quality = measure_quality(project)
    right = {one.annotator: one.reliability.estimate for one in quality.annotators}
    assert right["ann"] > 0.85
    assert right["dan"] < 0.65
    best = [one for one in quality.soft.values() if one.probability[0] > 0.5]
    assert len(best) > 185  # the first is the better of all 200


def test_the_bias_ledger_finds_who_follows_position_or_length(project):
    put(project, choices(200, {"ann": 0.8, "ben": 0.8}))
    put(project, choices(200, {"pos": 0.8}, position=0.7, seed=1))
    put(project, choices(200, {"len": 0.5}, longer=0.8, seed=2))
    people = {one.annotator: one for one in measure_quality(project).annotators}
    assert people["pos"].position.chosen.low > 0.7
    assert people["pos"].conspicuous[0].startswith("chose the answer shown first in")
    assert people["len"].length.chosen.low > 0.7
    assert people["ann"].conspicuous == ()
    forms = PairForms()
    rows = [row for row in rows_of(project) if row.annotator == "pos"]
    shapes = forms.of(project, [row.item for row in rows])
    odds = {one.cause: one.odds for one in measure_bias(rows, shapes).together}
    assert odds["shown first"].low > 2
    rows = [row for row in rows_of(project) if row.annotator == "len"]
    odds = {one.cause: one.odds for one in measure_bias(rows, shapes).together}
    assert odds["twice as long"].low > 1.3
    assert odds["shown first"].low < 1 < odds["shown first"].high


def test_formatting_is_seen_in_markdown():
    assert form_of("- one\n- two", "one and two").formatted == 0
    assert form_of("Plain.", "# Title\n\n**Bold** words").formatted == 1
    assert form_of("Plain.", "Plain too.").formatted == -1
    assert form_of("x" * 100, "x" * 95).longer == -1


def test_gold_repeats_and_haste_are_said_of_an_annotator(project):
    add_items(project, [NewItem(parts_of(pair(number))[0], overlap=9) for number in range(60)])
    known = [NewItem(parts_of(pair(100 + n))[0], overlap=9, gold={"preference": 1.0}) for n in range(20)]
    add_items(project, known)
    rng = random.Random(0)
    for one in list_items(project):
        for who in ("ann", "ben", "hasty"):
            verdict = {"preference": 1.0 if who != "hasty" else rng.choice([0.0, 1.0])}
            verdict["metadata"] = {"seconds": 2.0 if who == "hasty" else 30.0}
            submit_label(project, Submission(who, one.id, f"{who}-{one.id}", verdict))
            if one.id <= 30 and who != "ben":
                again = {**verdict, "preference": 1.0 if who == "ann" else rng.choice([0.0, 1.0])}
                submit_label(project, Submission(who, one.id, f"r-{who}-{one.id}", again, "repeat"))
    quality = measure_quality(project)
    people = {one.annotator: one for one in quality.annotators}
    assert people["ann"].gold.chosen.estimate == 1.0
    assert people["ann"].steady.choices == 30
    assert people["ann"].conspicuous == ()
    assert people["ben"].steady is None
    said = " ".join(people["hasty"].conspicuous)
    assert "gold items" in said
    assert "less than a third of the median time" in said
    assert quality.gold_labels == 60
    assert quality.repeats == 60


def test_doubtful_items_come_with_their_reasons_until_somebody_decides(project):
    add_items(project, [NewItem(parts_of(pair(number))[0], overlap=2) for number in range(5)])
    ids = [one.id for one in list_items(project)]
    for who, verdict in (("ann", 1.0), ("ben", 0.0)):
        submit_label(project, Submission(who, ids[0], f"{who}0", {"preference": verdict}))
        submit_label(project, Submission(who, ids[1], f"{who}1", {"preference": 1.0}))
    submit_label(project, Submission("ann", ids[2], "m", {"preference": 1.0, "margin": 1.0}))
    flag_item(project, Submission("ann", ids[3], "f"), "cut off")
    skip_task(project, Submission("ann", ids[4], "s"), "cannot judge: no idea")
    doubtful = {one.item: one for one in measure_quality(project).doubtful}
    assert doubtful.keys() == {ids[0], ids[2], ids[3], ids[4]}
    assert doubtful[ids[0]].reasons == ("labels disagree: 1 first, 1 second",)
    assert (doubtful[ids[0]].sure, doubtful[ids[0]].waiting) == (pytest.approx(0.5, abs=0.05), False)
    assert doubtful[ids[2]].reasons == ("one label, which says barely better",)
    assert doubtful[ids[3]].reasons == ("flagged by one",)
    assert doubtful[ids[4]].reasons == ("cannot be judged, said by one",)
    set_role(project, "rob", "reviewer")
    adjudicate(project, Submission("rob", ids[0], "d", {"preference": 1.0}))
    quality = measure_quality(project)
    assert ids[0] not in {one.item for one in quality.doubtful}
    assert quality.decided == 1


def test_all_figures_are_json_and_lines(project):
    empty = measure_quality(project)
    assert json.loads(json.dumps(empty.as_dict(), allow_nan=False))["labels"] == 0
    assert "agreement: not known" in "\n".join(lines_of(empty))
    put(project, choices(60, {"ann": 0.9, "ben": 0.6}))
    quality = measure_quality(project)
    said = json.loads(json.dumps(quality.as_dict(most=3), allow_nan=False))
    assert said["agreement"][0]["percent"].keys() == {"estimate", "low", "high"}
    assert len(said["doubtful"]["first"]) == 3 < said["doubtful"]["count"]
    text = "\n".join(lines_of(quality))
    for word in ("kappa", "alpha", "ann: 60 labels, reliability", "shown first", "doubtful:", "time: median 20.0 s"):
        assert word in text


def test_a_thumb_has_two_classes(project):
    for who, good in (("ann", True), ("ben", True), ("cid", False)):
        put(project, [Label(Prompt(text="x"), Completion("y"), desirable=good, annotator=who)])
    quality = measure_quality(project)
    (soft,) = quality.soft.values()
    assert soft.probability[0] > 0.5
    assert Content("thumb").kind == quality.doubtful[0].kind
