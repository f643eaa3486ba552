"""Reward functions for test_two_ppo_processes.py, by which one of the processes meets with something that the others do
not."""

import os
import signal
from pathlib import Path

calls = 0


def vowels(answer: str) -> float:
    return 0.2 * sum(answer.count(letter) for letter in "aeiou")


def told_to_stop_once(answers: list[str]) -> list[float]:
    """The second process is asked to end in the second iteration of its first life."""
    global calls
    calls += 1
    mark = Path(os.environ["STOPPED_ONCE"])
    # The first call scores the held-out answers.
    if os.environ["RANK"] == "1" and calls == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGTERM)
    return [vowels(answer) for answer in answers]


def broken_in_one(answers: list[str]) -> list[float]:
    global calls
    calls += 1
    if os.environ["RANK"] == "1" and calls == 3:
        raise RuntimeError("no connection")
    return [vowels(answer) for answer in answers]


class Letters:
    """An environment that asks for more until three vowels are there."""

    def reset(self) -> None:
        self.found = 0

    def step(self, text: str) -> str | None:
        self.found += sum(text.count(letter) for letter in "aeiou")
        return None if self.found > 2 else f" {self.found}. More: "
