"""A Python function as scorer: how it is called, and what it may get wrong."""

import asyncio
import math

import numpy as np
import pytest
import torch

from steersman.errors import DataError, SteersmanError, UsageError
from steersman.records import Message, Prompt
from steersman.reward.function import FunctionScorer, load_function
from steersman.reward.scorer import Score

PROMPT = Prompt(messages=(Message("system", "Be kind."), Message("user", "Two and two?")), metadata={"truth": "4"})
ITEMS = [(PROMPT, "4"), (PROMPT, "five"), (PROMPT, "22")]


def values(scorer, items=ITEMS):
    return [score.value for score in scorer.score(items)]


def test_a_function_is_given_what_it_names():
    seen = []

    def right(answer, metadata, messages, prompt):
        seen.append((prompt, messages))
        return answer == metadata["truth"]

    assert values(FunctionScorer(right)) == [1.0, 0.0, 0.0]
    roles = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Two and two?"}]
    assert seen[0] == ("Two and two?", roles)


def test_a_function_may_take_all_answers_at_once_and_give_arrays():
    for wrap in (list, tuple, np.array, torch.tensor):
        assert values(FunctionScorer(lambda completions, wrap=wrap: wrap([float(len(c)) for c in completions]))) == [
            1,
            4,
            2,
        ]


def test_numbers_of_any_library_are_scores():
    for number in (2, 2.0, np.float32(2), np.int64(2), torch.tensor(2.0), np.array(2.0)):
        assert values(FunctionScorer(lambda answer, number=number: number)) == [2.0, 2.0, 2.0]


def test_a_function_may_give_scores_with_parts():
    scorer = FunctionScorer(lambda answer: Score(1.0, {"length": float(len(answer))}, "fine"))
    assert scorer.score(ITEMS)[1] == Score(1.0, {"length": 4.0}, "fine")


def test_async_functions_run_side_by_side_but_not_all_at_once():
    running, most = 0, 0

    async def slow(answer):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        return len(answer)

    scorer = FunctionScorer(slow, at_once=2)
    assert values(scorer, ITEMS * 3) == [1, 4, 2] * 3
    assert most == 2
    most = 0
    values(FunctionScorer(slow), ITEMS * 8)
    assert most == 16, "if nothing else is asked for"


def test_an_async_function_works_inside_a_running_loop():
    async def slow(answers):
        await asyncio.sleep(0)
        return [len(answer) for answer in answers]

    async def falls(answer):
        raise KeyError(answer)

    async def notebook():
        with pytest.raises(SteersmanError, match="KeyError"):
            FunctionScorer(falls).score(ITEMS)
        return values(FunctionScorer(slow))

    assert asyncio.run(notebook()) == [1, 4, 2]


def test_a_callable_object_is_a_function_too():
    class Judge:
        async def __call__(self, answer):
            return float(answer.isdigit())

    scorer = FunctionScorer(Judge())
    assert scorer.name == "Judge"
    assert values(scorer) == [1.0, 0.0, 1.0]


def test_what_the_function_raises_names_the_item():
    def parse(answer):
        return int(answer)

    with pytest.raises(SteersmanError, match=r"'parse' raised ValueError.*'five'"):
        FunctionScorer(parse).score(ITEMS)

    async def parse_later(answer):
        return int(answer)

    with pytest.raises(SteersmanError, match=r"'parse_later' raised ValueError.*'five'"):
        FunctionScorer(parse_later).score(ITEMS)

    def parse_all(answers):
        return [int(answer) for answer in answers]

    with pytest.raises(SteersmanError, match=r"'parse_all' raised ValueError.*3 items"):
        FunctionScorer(parse_all).score(ITEMS)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_no_finite_number_names_the_item(bad):
    with pytest.raises(DataError, match=r"'five'.*finite"):
        FunctionScorer(lambda answer: bad if answer == "five" else 1.0).score(ITEMS)


@pytest.mark.parametrize("bad", ["1.0", None, [1.0]])
def test_a_score_of_a_wrong_type_names_the_item(bad):
    with pytest.raises(DataError, match=r"'five'.*expected a number"):
        FunctionScorer(lambda answer: bad if answer == "five" else 1.0).score(ITEMS)


@pytest.mark.parametrize(("bad", "seen"), [([1.0], "1 values"), (1.0, "a float"), ("abc", "a str")])
def test_a_wrong_count_says_what_was_seen_and_expected(bad, seen):
    with pytest.raises(DataError, match=f"given 3 answers and returned {seen}"):
        FunctionScorer(lambda answers: bad).score(ITEMS)


@pytest.mark.parametrize(
    "function",
    [lambda text: 1.0, lambda: 1.0, lambda answer, prompts: 1.0, lambda answer, /: 1.0, lambda *answers: 1.0],
)
def test_arguments_that_cannot_be_given_are_refused_at_once(function):
    with pytest.raises(UsageError, match="expected arguments among"):
        FunctionScorer(function)


def test_an_unknown_argument_with_a_default_is_left_alone():
    assert values(FunctionScorer(lambda answer, bonus=2.0, **more: len(answer) * bonus)) == [2, 8, 4]


def test_no_items_give_no_scores_and_do_not_call_the_function():
    assert FunctionScorer(lambda answers: 1 / 0).score([]) == []


def test_a_function_is_loaded_from_its_file_with_its_neighbours(tmp_path):
    (tmp_path / "neighbour_of_reward.py").write_text("BONUS = 3\n")
    (tmp_path / "mine.py").write_text(
        "from neighbour_of_reward import BONUS\ndef short(answer):\n    return BONUS - len(answer)\n"
    )
    scorer = load_function(f"{tmp_path}/mine.py:short")
    assert (scorer.name, values(scorer)) == ("short", [2, -1, 1])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere.py:f", "there is no file"),
        ("{}/mine.py", "file.py:function"),
        ("{}/mine.txt:short", "file.py:function"),
        ("{}/mine.py:long", "no function 'long'; it has short"),
        ("{}/broken.py:f", "SyntaxError"),
    ],
)
def test_a_function_that_cannot_be_loaded_says_why(tmp_path, place, message):
    (tmp_path / "mine.py").write_text("def short(answer):\n    return -len(answer)\n")
    (tmp_path / "broken.py").write_text("def f(:\n")
    with pytest.raises(UsageError, match=message):
        load_function(place.format(tmp_path))


def test_an_error_in_a_reward_function_names_its_file_and_line(tmp_path):
    (tmp_path / "mine.py").write_text("def f(answer):\n    x = len(answer)\n    return x / 0\n")
    scorer = load_function(f"{tmp_path / 'mine.py'}:f")
    with pytest.raises(SteersmanError, match=r"raised ZeroDivisionError: .* \(mine\.py, line 3\)"):
        scorer.score([(Prompt(text="Hi"), "Hello")])
