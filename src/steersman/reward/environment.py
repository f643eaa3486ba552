"""Environments: what a model's turns act on. An object with `reset` and `step`, made anew for each episode.

    class Guess:
        def reset(self, prompt, metadata):        # names the arguments that it wants; returns nothing
            self.secret = metadata["secret"]
        def step(self, text):                     # the model's turn
            return 1.0 if text == self.secret else "Guess again."

`step` returns a text, the observation that the model answers next; or a number, the end and the score; or None, the end
of an episode that a scorer scores as a whole.
"""

import inspect
import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from steersman.errors import DataError, SteersmanError, UsageError
from steersman.records import Prompt
from steersman.reward.function import ARGUMENTS, USERS_OWN, load_named
from steersman.reward.scorer import Item, Score, describe_item

PLACE = "environment"
"""The scorer's path that means the environment's own scores."""
OF_RESET = ("prompt", "messages", "metadata")


@runtime_checkable
class Environment(Protocol):
    def reset(self, *arguments: Any, **named: Any) -> None: ...
    def step(self, text: str) -> "str | float | None": ...


@dataclass(frozen=True, slots=True)
class End:
    """The end of an episode, with its score if the environment gave one."""

    score: float | None


class EnvironmentScorer:
    """Stands for the environment's own scores, which come with the episodes."""

    name = PLACE

    def score(self, items: Sequence[Item]) -> list[Score]:
        raise UsageError(
            "scorer=environment takes the scores that an environment's step returned, and these answers come from "
            "none; set environment.path=file.py:Class, or choose another scorer"
        )


def load_environment(place: str) -> Callable[[], Environment]:
    """What makes an environment: the class (or function) named by `file.py:Class`, called without arguments."""
    return load_named(place, "environment")


def begin(make: Callable[[], Environment], prompt: Prompt) -> Environment:
    """A new environment, reset for a prompt."""
    item = (prompt, "")
    try:
        made = make()
    except USERS_OWN as error:
        raise SteersmanError(f"the environment could not be made: {type(error).__name__}: {error}") from error
    if not (callable(getattr(made, "reset", None)) and callable(getattr(made, "step", None))):
        raise UsageError(f"an environment has the methods reset and step; a {type(made).__name__} has not both")
    wanted = [name for name in inspect.signature(made.reset).parameters if name in ARGUMENTS or name not in OF_RESET]
    unknown = [name for name in wanted if name not in OF_RESET]
    if unknown:
        raise UsageError(
            f"the environment's reset takes {unknown[0]!r}; expected arguments among {', '.join(OF_RESET)}"
        )
    try:
        made.reset(**{name: ARGUMENTS[name](*item) for name in wanted})
    except USERS_OWN as error:
        raise SteersmanError(_raised("reset", error, item)) from error
    return made


def take_turn(environment: Environment, prompt: Prompt, text: str) -> str | End:
    """The environment's reply to a turn: an observation, or the end."""
    item = (prompt, text)
    try:
        reply = environment.step(text)
    except USERS_OWN as error:
        raise SteersmanError(_raised("step", error, item)) from error
    if isinstance(reply, str):
        return reply
    if reply is None:
        return End(None)
    if not isinstance(reply, numbers.Real) or not _is_finite(reply):
        raise DataError(
            f"the environment's step returned {reply!r} (a {type(reply).__name__}) for {describe_item(item)}; expected "
            "a text (the next observation), a finite number (the end, and the score) or None (the end)"
        )
    return End(float(reply))


def _is_finite(value: numbers.Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _raised(where: str, error: BaseException, item: Item) -> str:
    return f"the environment's {where} raised {type(error).__name__}: {error} for {describe_item(item)}"
