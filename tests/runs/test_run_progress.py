"""A bar on a real pseudo-terminal, lines elsewhere."""

import io
import os
import pty
import threading

import pytest

from steersman.runs.progress import Progress


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_lines_come_no_more_often_than_every_few_seconds():
    clock, stream = Clock(), io.StringIO()
    with Progress("ppo", 100, stream=stream, clock=clock, seconds_between_lines=5.0) as progress:
        for done in range(1, 13):
            clock.now += 1.0
            progress.update(done, {"reward": done / 4, "kl": 0.125, "entropy": 2.0, "fourth": 9.0})
    # One step a second: 5 steps take 5 s and leave 95; 10 leave 90; the end shows the last step.
    assert stream.getvalue().splitlines() == [
        "ppo 5/100 (5 %)  0:01:35 left  reward 1.25  kl 0.125  entropy 2",
        "ppo 10/100 (10 %)  0:01:30 left  reward 2.5  kl 0.125  entropy 2",
        "ppo 12/100 (12 %)  0:01:28 left  reward 3  kl 0.125  entropy 2",
    ]


def test_time_left_counts_from_where_the_run_was_resumed():
    clock, stream = Clock(), io.StringIO()
    with Progress("sft", 100, done=90, stream=stream, clock=clock) as progress:
        clock.now += 10.0
        progress.update(92)
        clock.now += 1.0
        progress.update(100)
    # Two steps in ten seconds leave eight for forty; a finished run has no time left to tell.
    assert stream.getvalue().splitlines() == ["sft 92/100 (92 %)  0:00:40 left", "sft 100/100 (100 %)"]


def test_the_same_line_is_not_said_twice_at_the_end():
    clock, stream = Clock(), io.StringIO()
    with Progress("dpo", 2, stream=stream, clock=clock) as progress:
        clock.now += 6.0
        progress.update(2, {"loss": 0.5})
    assert stream.getvalue().count("\n") == 1


def test_silent_says_nothing():
    stream = io.StringIO()
    with Progress("dpo", 2, stream=stream, silent=True, seconds_between_lines=0.0) as progress:
        progress.update(1, {"loss": 0.5})
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    ours, theirs = pty.openpty()
    received: list[bytes] = []

    def listen() -> None:
        try:
            while block := os.read(ours, 4096):
                received.append(block)
        except OSError:  # how Linux says that the other side has closed
            return

    listener = threading.Thread(target=listen)
    listener.start()
    with os.fdopen(theirs, "w") as terminal, Progress("ppo", 10, stream=terminal) as progress:
        progress.update(4, {"reward": 1.5})
        progress.update(10, {"reward": 2.5})
    listener.join(timeout=120)
    os.close(ours)
    text = b"".join(received).decode()
    assert "ppo" in text
    assert "10/10" in text
    assert "reward 2.5" in text
    assert "\x1b[" in text


def test_a_bar_shows_the_time_left_however_long_a_step_takes(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    clock, stream = Clock(), Terminal()
    with Progress("ppo", 10, stream=stream, clock=clock) as progress:
        for done in (1, 2):
            clock.now += 40.0
            progress.update(done)
        progress._bar.refresh()
        # Two steps of 40 s leave eight, 320 s.
        assert "0:05:20 left" in stream.getvalue()
        clock.now += 15.0
        progress._bar.refresh()
        assert "0:05:05 left" in stream.getvalue()
        clock.now += 60.0
        progress._bar.refresh()
        assert "0:04:40 left" in stream.getvalue(), "a step that takes longer than the others leaves seven"


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch):
    class Dumb(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "dumb")
    stream = Dumb()
    with Progress("ppo", 4, stream=stream) as progress:
        progress.update(1)
    assert stream.getvalue().startswith("ppo 1/4 (25 %)")
    assert "\x1b" not in stream.getvalue()


class Flushed(io.StringIO):
    """Counts how much is seen by who reads along."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = ""

    def flush(self) -> None:
        self.seen = self.getvalue()


def test_a_line_is_seen_as_soon_as_it_is_said():
    clock, stream = Clock(), Flushed()
    with Progress("ppo", 100, stream=stream, clock=clock) as progress:
        clock.now += 5.0
        progress.update(1)
        assert stream.seen.startswith("ppo 1/100 (1 %)")
        clock.now += 4.9
        progress.update(2)
        assert stream.seen.count("\n") == 1, "no more often than every five seconds unless it is asked for"


def test_hours_and_minutes_are_told_apart():
    clock, stream = Clock(), io.StringIO()
    with Progress("ppo", 101, stream=stream, clock=clock) as progress:
        clock.now += 37.25
        progress.update(1, {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    # 100 steps of 37.25 s are 3,725 s: an hour, two minutes and five seconds
    assert stream.getvalue() == "ppo 1/101 (0 %)  1:02:05 left  a 1  b 2  c 3\n"


def test_a_run_of_no_steps_divides_by_no_zero():
    stream = io.StringIO()
    with Progress("ppo", 0, stream=stream):
        pass
    assert stream.getvalue() == "ppo 0/0 (0 %)\n"
