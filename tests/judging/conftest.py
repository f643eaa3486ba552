"""Answers to judge, and a terminal that is played: it types a list of keys and keeps what was drawn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steersman.judging.ledger import Ledger
from steersman.judging.queue import QueuePlan, gather, make_queue
from steersman.judging.sitting import Sitting
from steersman.records import Answers, Completion, Message, Prompt


def ask(words: str) -> Prompt:
    return Prompt(messages=(Message("user", words),))


def answers_for(prompts: int, each: int = 2) -> list[Answers]:
    return [
        Answers(
            ask(f"Question {n}?"), tuple(Completion(f"Answer {k} to {n}.", model=f"model-{k}") for k in range(each))
        )
        for n in range(prompts)
    ]


class PlayedPage:
    """Types its keys one by one, then asks to end. Counts the pages and hands its place to an editor without one."""

    def __init__(self, keys, size=(80, 24)):
        self.keys, self._size = list(keys), size
        self.pages: list[str] = []
        self.lendings = 0

    def size(self):
        return self._size

    def write(self, text: str) -> bool:
        self.pages.append(text)
        return True

    def key(self) -> str:
        return self.keys.pop(0) if self.keys else "interrupt"

    def settle(self, seconds: float) -> None:
        pass

    @contextmanager
    def lent(self) -> Iterator[None]:
        self.lendings += 1
        yield


class Desk:
    """One label file in a folder, opened for one sitting after the other."""

    def __init__(self, folder: Path, answers, mode: str = "compare", annotator: str = "ann", **plan) -> None:
        self.path = folder / "labels.jsonl"
        self.mode, self.annotator = mode, annotator
        self.queue = make_queue(gather(answers), QueuePlan(mode, annotator, **plan))
        self.page = PlayedPage([])
        self.sitting: Sitting | None = None
        self.standing: list[tuple[str, bool]] = []

    def open(self) -> Ledger:
        return Ledger(self.path, mode=self.mode, annotator=self.annotator, now=lambda: "2026-01-01T00:00:00+00:00")

    def sit(self, keys, *, ask_strength: bool = False, size=(80, 24)):
        """Plays the keys and returns the records that stand in the file afterwards."""
        self.page = PlayedPage(keys, size)
        ticks = iter(range(10**9))
        with self.open() as ledger:
            self.sitting = Sitting(
                self.queue.items, ledger, self.page, ask_strength=ask_strength, clock=lambda: float(next(ticks))
            )
            self.outcome = self.sitting.run()
            self.standing = [(act.item, act.record is not None) for act in ledger.acts]
            return ledger.records


@pytest.fixture
def desk_for(tmp_path):
    def make(answers, **facts) -> Desk:
        return Desk(tmp_path, answers, **facts)

    return make


@pytest.fixture
def some_answers():
    return answers_for
