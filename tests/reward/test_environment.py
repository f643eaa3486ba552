"""What an environment is given, what it may answer, and whose fault it is when it fails."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steersman.errors import DataError, SteersmanError, UsageError
from steersman.records import Message, Prompt
from steersman.reward.environment import End, begin, load_environment, take_turn

ASKED = Prompt((Message("user", "2 + 2?"),), metadata={"answer": "4"})


class Recording:
    def reset(self, prompt: Any, messages: Any, metadata: Any) -> None:
        self.given = (prompt, messages, metadata)

    def step(self, text: str) -> Any:
        return text


class Plain:
    def reset(self) -> None:
        self.ready = True

    def step(self, text: str) -> Any:
        raise KeyError(text)


class Failing(Plain):
    def reset(self) -> None:
        raise ZeroDivisionError("no world")


class Asking(Plain):
    def reset(self, answer: str) -> None: ...  # type: ignore[override]


class Wishing(Plain):
    def reset(self, prompt: Any, weather: Any) -> None: ...  # type: ignore[override]


class WithoutStep:
    def reset(self) -> None: ...


def nothing() -> Any:
    raise OSError("no server")


def answering(reply: Any) -> Any:
    class Answering(Plain):
        def step(self, text: str) -> Any:
            return reply

    return Answering()


def test_reset_is_given_what_it_names():
    made: Any = begin(Recording, ASKED)
    assert made.given == (ASKED.shown, [{"role": "user", "content": "2 + 2?"}], {"answer": "4"})
    plain: Any = begin(Plain, ASKED)
    assert plain.ready


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (nothing, SteersmanError, "could not be made: OSError: no server"),
        (WithoutStep, UsageError, "has the methods reset and step; a WithoutStep has not both"),
        (Failing, SteersmanError, r"environment's reset raised ZeroDivisionError: no world for .*2 \+ 2\?"),
        # there is no answer yet
        (Asking, UsageError, "reset takes 'answer'; expected arguments among prompt, messages, metadata"),
        (Wishing, UsageError, "reset takes 'weather'"),
    ],
)
def test_an_environment_that_cannot_begin_says_why(make: Callable[[], Any], error: type[Exception], match: str):
    with pytest.raises(error, match=match):
        begin(make, ASKED)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("Guess again.", "Guess again."), ("", ""), (None, End(None)), (0, End(0.0)), (-1.5, End(-1.5)), (True, End(1.0))],
)
def test_a_text_goes_on_and_a_number_or_nothing_ends(reply: Any, expected: Any):
    assert take_turn(answering(reply), ASKED, "4") == expected


@pytest.mark.parametrize("reply", [math.nan, math.inf, 10**400, [1.0], b"4", 1j])
def test_every_other_reply_is_named(reply: Any):
    kind = type(reply).__name__
    with pytest.raises(DataError, match=rf"returned .*\(a {kind}\) for .*expected a text"):
        take_turn(answering(reply), ASKED, "4")


def test_a_turn_that_raises_names_the_answer():
    with pytest.raises(SteersmanError, match=r"environment's step raised KeyError: 'forty' for .*forty"):
        take_turn(Plain(), ASKED, "forty")


def test_an_environment_is_named_by_file_and_class(tmp_path: Path):
    (tmp_path / "game.py").write_text("class Game:\n    def reset(self): pass\n    def step(self, text): return 2\n")
    make = load_environment(f"{tmp_path / 'game.py'}:Game")
    assert take_turn(begin(make, ASKED), ASKED, "x") == End(2.0)
    with pytest.raises(UsageError, match=r"an environment is given as file\.py:Class"):
        load_environment("game:Game")
