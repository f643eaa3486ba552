"""Pairs chosen by reward models: what is asked, why, and what is kept to measure with."""

import pytest

from steersman.assemble.choose import Choosing, run_choose
from steersman.data.write import RowWriter
from steersman.errors import DataError, UsageError
from steersman.records import Answers, Completion, Prompt, to_dict
from steersman.reward.scorer import Score
from steersman.store.database import open_store
from steersman.store.imports import Wishes, import_source
from steersman.store.items import list_items
from steersman.store.projects import create_project, find_project
from steersman.store.snapshots import freeze

DOUBTED = 30


class Pair:
    """Two members that agree about answers of most prompts, and not about those of the first 30."""

    name = "two"

    def score(self, items):
        found = []
        for prompt, text in items:
            good = 2.0 if text.startswith("good") else -2.0
            number = int(prompt.text.split()[-1])
            found.append(Score(0.0, {"member 1": good, "member 2": -good if number < DOUBTED else good, "mean": 0.0}))
        return found

    def models(self):
        return []


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "answers.jsonl"
    with RowWriter(path) as writer:
        for number in range(100):
            prompt = Prompt(text=f"Question {number}")
            answers = tuple(Completion(text) for text in (f"good {number}", f"bad {number}", f"good {number}"))
            writer.write(to_dict(Answers(prompt, answers)))
    return str(path)


@pytest.fixture
def store(tmp_path):
    with open_store(str(tmp_path / "studio.db"), create=True) as database:
        create_project(database, "helpful")
    return str(tmp_path / "studio.db")


def items_in(store):
    with open_store(store) as database:
        return list_items(find_project(database, "helpful"))


@pytest.mark.parametrize("by", ["disagreement", "information"])
def test_what_the_models_disagree_about_is_asked_beside_a_random_part(store, source, by):
    done = run_choose(store, "helpful", [Pair()], Choosing(source, count=30, by=by, random=0.2, overlap=2), quiet=True)
    assert (done.candidates, done.known, done.random, done.chosen, done.scorers) == (100, 0, 6, 24, 2)
    items = items_in(store)
    chosen = [one for one in items if one.choice == by]
    assert all(int(one.content.prompt.text.split()[-1]) < DOUBTED for one in chosen)
    assert chosen[0].reason.startswith("2 reward models give the first answer 2% to 98%")
    random = [one for one in items if one.choice == "random"]
    assert {one.reason for one in random} == {"drawn at random: kept to measure with"}
    assert len(random) == 6
    assert {one.overlap for one in items} == {2}
    half = [one.choice for one in sorted(items, key=lambda one: one.turn)[:15]]
    assert half.count("random") == 3
    with open_store(store) as database:
        assert freeze(find_project(database, "helpful"), choice="random").rows == 6


def test_what_is_a_task_already_is_not_chosen_again(store, source):
    run_choose(store, "helpful", [Pair()], Choosing(source, count=20, random=0.0), quiet=True)
    again = run_choose(store, "helpful", [Pair()], Choosing(source, count=90, random=0.0, seed=1), quiet=True)
    assert (again.known, again.chosen) == (20, 80)
    assert len(items_in(store)) == 100


def test_answers_of_the_project_are_taken_where_no_file_is_named(store, source):
    with open_store(store) as database:
        import_source(find_project(database, "helpful"), source, Wishes())
    done = run_choose(store, "helpful", [], Choosing(count=10, by="random"), quiet=True)
    assert (done.random, done.chosen, done.candidates) == (10, 0, 100)


def test_what_cannot_be_chosen_is_refused(store, source):
    for scorers, choosing, words in (
        ([], Choosing(source), "name a reward model"),
        ([Pair()], Choosing(source, by="luck"), "one of disagreement"),
        ([Pair()], Choosing(source, random=1.5), "0 to 1"),
        ([Pair()], Choosing(source, count=0), "one pair or more"),
    ):
        with pytest.raises(UsageError, match=words):
            run_choose(store, "helpful", scorers, choosing, quiet=True)
    with pytest.raises(DataError, match="no pairs to choose from"):
        run_choose(store, "helpful", [], Choosing(by="random"), quiet=True)


def test_one_model_cannot_disagree(store, source):
    class One(Pair):
        def score(self, items):
            return [Score(1.0, {}) for _ in items]

    with pytest.raises(UsageError, match="cannot disagree"):
        run_choose(store, "helpful", [One()], Choosing(source), quiet=True)
