"""What every judge's engine offers: the log-prob of each choice after a request, and generated reasons.

An engine that gives no verdict says why in `problem`. That is an abstention: it is counted, and is nobody's win.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from steersman.constitution.render import ModelRequest


@dataclass(frozen=True, slots=True)
class ChoiceReading:
    """The log-probs of a request's choices, in their order. `problem` says why there are none.

    `read_from` is "log-probs", or "text" where only the choice itself was to be had: it is then certain.
    """

    log_probs: tuple[float, ...] | None
    problem: str = ""
    read_from: str = "log-probs"


@runtime_checkable
class JudgeEngine(Protocol):
    """Reads choices. `name` is the model's name for the records."""

    @property
    def name(self) -> str: ...

    def read(self, requests: Sequence[ModelRequest]) -> list[ChoiceReading]:
        """The log-probs of each request's choices."""
        ...

    def write(self, requests: Sequence[ModelRequest], max_tokens: int) -> list[str]:
        """A greedy reply to each request, of at most so many tokens; "" where there is none."""
        ...


class ScriptedJudge:
    """A judge whose log-probs come from a function, for tests and for trying out a constitution."""

    def __init__(self, script: Callable[[ModelRequest], ChoiceReading], name: str = "scripted") -> None:
        self.name = name
        self._script = script
        self.asked: list[ModelRequest] = []

    def read(self, requests: Sequence[ModelRequest]) -> list[ChoiceReading]:
        self.asked += requests
        return [self._script(request) for request in requests]

    def write(self, requests: Sequence[ModelRequest], max_tokens: int) -> list[str]:
        self.asked += requests
        return ["Both were read." for _ in requests]
