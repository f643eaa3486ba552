"""The queue is the same every time, fair to every place on the screen, and divides work without anybody in charge."""

from collections import Counter
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steersman.errors import DataError, UsageError
from steersman.judging.queue import QueuePlan, gather, make_queue, pending, prompt_key
from steersman.records import (
    Answers,
    Comparison,
    Completion,
    Demonstration,
    Document,
    Message,
    Prompt,
    Ranking,
)


def answers_for(prompts: int, each: int = 2) -> list[Answers]:
    return [
        Answers(Prompt(text=f"Question {n}?"), tuple(Completion(f"{k} to {n}", model=f"m{k}") for k in range(each)))
        for n in range(prompts)
    ]


def ids(answers, **plan) -> list[str]:
    return [
        item.id
        for item in make_queue(gather(answers), QueuePlan(**{"mode": "compare", "annotator": "a", **plan})).items
    ]


def test_the_same_words_give_the_same_queue_and_another_seed_or_person_another_order():
    answers = answers_for(30)
    assert ids(answers) == ids(answers)
    assert ids(answers) != ids(answers, seed=1)
    assert ids(answers) != ids(answers, annotator="b")
    assert set(ids(answers)) == set(ids(answers, annotator="b"))


def test_answers_added_later_leave_the_order_of_the_others():
    before, after = ids(answers_for(20)), ids(answers_for(25))
    assert [item for item in after if item in set(before)] == before


def test_each_answer_stands_left_exactly_half_of_the_time():
    items = make_queue(gather(answers_for(40)), QueuePlan("compare", "a")).items
    assert Counter(item.shown for item in items) == {(0, 1): 20, (1, 0): 20}


def test_in_rankings_each_answer_stands_equally_often_in_each_place():
    items = make_queue(gather(answers_for(40, 4)), QueuePlan("rank", "a")).items
    for place in range(4):
        assert Counter(item.shown[place] for item in items) == {0: 10, 1: 10, 2: 10, 3: 10}


def test_the_sides_are_not_a_pattern_that_one_could_guess():
    items = make_queue(gather(answers_for(40)), QueuePlan("compare", "a")).items
    first_of_blocks = [item.shown[0] for item in items[::2]]
    assert set(first_of_blocks) == {0, 1}


def test_all_pairs_of_four_are_six_and_adjacent_ones_three():
    one = answers_for(1, 4)
    assert len(ids(one)) == 6  # 4 * 3 / 2
    assert len(ids(one, pairs="adjacent")) == 3
    assert len(ids(one, pairs="random", per_prompt=2)) == 2
    assert len(ids(one, pairs="random", per_prompt=99)) == 6


def test_across_pairs_only_different_models():
    texts = [("x", "old"), ("y", "old"), ("z", "new")]
    answers = [Answers(Prompt(text="?"), tuple(Completion(text, model=model) for text, model in texts))]
    items = make_queue(gather(answers), QueuePlan("compare", "a", pairs="across")).items
    assert {frozenset(c.text for c in item.completions) for item in items} == {frozenset("xz"), frozenset("yz")}


def test_across_with_one_model_says_what_is_missing():
    answers = [Answers(Prompt(text="?"), (Completion("x", model="m"), Completion("y", model="m")))]
    with pytest.raises(DataError, match="by different models"):
        ids(answers, pairs="across")


def test_random_pairs_are_the_same_for_everybody():
    answers = answers_for(10, 4)
    assert set(ids(answers, pairs="random")) == set(ids(answers, pairs="random", annotator="b"))


def test_answers_of_two_files_to_one_prompt_come_together():
    one = Answers(Prompt(text="?", id="first"), (Completion("x", model="old"),))
    two = Answers(Prompt(text="?", id="second"), (Completion("y", model="new"),))
    (entry,) = gather([one, two])
    assert [completion.text for completion in entry.completions] == ["x", "y"]


def test_the_order_of_the_files_does_not_change_what_a_pair_is_called():
    one = Answers(Prompt(text="?"), (Completion("x"),))
    two = Answers(Prompt(text="?"), (Completion("y"),))
    assert ids([one, two]) == ids([two, one])


def test_comparisons_and_rankings_can_be_judged_again_and_demonstrations_and_prompts_answered():
    prompt, x, y = Prompt(text="?"), Completion("x"), Completion("y")
    assert len(ids([Comparison(prompt, x, y, 1.0)])) == 1
    assert len(ids([Ranking(prompt, (x, y), (1, 2))])) == 1
    assert len(ids([prompt], mode="demonstrate")) == 1
    assert make_queue(gather([Demonstration(prompt, x)]), QueuePlan("demonstrate", "a")).items[0].completions == (x,)


def test_a_document_cannot_be_judged():
    with pytest.raises(DataError, match="Document cannot be judged"):
        gather([Document("text")])


def test_answers_that_say_the_same_are_not_asked_about():
    same = Answers(Prompt(text="?"), (Completion("x", model="a"), Completion("x", model="b"), Completion("y")))
    queue = make_queue(gather([same, *answers_for(1, 1)]), QueuePlan("compare", "a"))
    assert (len(queue.items), queue.identical, queue.alone) == (1, 1, 1)


def test_one_answer_each_is_refused_with_what_to_do():
    with pytest.raises(DataError, match=r"none of the 3 prompts has two different answers.*steersman sample"):
        ids(answers_for(3, 1))


def test_no_answers_are_refused():
    with pytest.raises(DataError, match="have no answers"):
        ids([])


def test_more_than_nine_cannot_be_ranked_at_once():
    with pytest.raises(UsageError, match=r"10 answers.*at most 9"):
        ids(answers_for(1, 10), mode="rank")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"mode": "juggle"}, "unknown mode 'juggle'"),
        ({"pairs": "some"}, "unknown choice of pairs 'some'"),
        ({"per_prompt": 0}, "random:0"),
        ({"annotator": " "}, "needs a name"),
        ({"part": (4, 3)}, "part 4/3 does not exist"),
        ({"overlap": 1.5, "part": (1, 2)}, "--overlap must be a share"),
        ({"overlap": 0.5}, "give each a part"),
        ({"mode": "demonstrate", "repeat": 0.1}, "does not work with --mode demonstrate"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(facts, words):
    with pytest.raises(UsageError, match=words):
        QueuePlan(**{"mode": "compare", "annotator": "a", **facts})


@given(st.integers(1, 5), st.floats(0, 1), st.integers(0, 99))
@settings(max_examples=30)
def test_parts_cover_everything_and_share_only_the_overlap(people, overlap, seed):
    answers = answers_for(25)
    overlap = overlap if people > 1 else 0.0
    parts = [set(_part_ids(answers, n, people, overlap, seed)) for n in range(1, people + 1)]
    assert set().union(*parts) == set(ids(answers))
    everybody = set.intersection(*parts)
    for one, other in combinations(parts, 2):
        assert one & other == everybody


def _part_ids(answers, number, people, overlap, seed) -> list[str]:
    plan = QueuePlan("compare", f"person {number}", seed, part=(number, people), overlap=overlap)
    return [item.id for item in make_queue(gather(answers), plan).items]


def test_a_fifth_of_overlap_is_about_a_fifth():
    answers = answers_for(500)
    both = set(_part_ids(answers, 1, 2, 0.2, 0)) & set(_part_ids(answers, 2, 2, 0.2, 0))
    assert 70 <= len(both) <= 130  # 100 expected, standard deviation sqrt(500 * 0.2 * 0.8) = 8.9


def test_repeats_come_later_with_the_sides_swapped():
    items = make_queue(gather(answers_for(100)), QueuePlan("compare", "a", repeat=0.3)).items
    place = {item.id: index for index, item in enumerate(items)}
    repeats = [item for item in items if item.repeats]
    assert 15 <= len(repeats) <= 45
    for again in repeats:
        assert place[again.id] - place[again.repeats] >= 3
        first = items[place[again.repeats]]
        assert again.shown == first.shown[::-1]
        assert again.completions == first.completions


def test_a_pair_that_was_skipped_is_not_asked_again():
    items = make_queue(gather(answers_for(30)), QueuePlan("compare", "a", repeat=1.0)).items
    again = next(item for item in items if item.repeats)
    left = pending(items, set(), {again.repeats})
    assert again not in left
    assert len(left) == len(items) - 2


def test_a_prompt_is_known_by_what_it_says():
    assert prompt_key(Prompt(text="?", id="1")) == prompt_key(Prompt(text="?", id="2"))
    assert prompt_key(Prompt(text="?")) != prompt_key(Prompt(messages=(Message("user", "?"),)))
