"""Answers by hand, and detectors' scenes made of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from steersman.records import Prompt
from steersman.watch.baseline import baseline
from steersman.watch.detectors.detector import DetectorInput
from steersman.watch.records import IterationAnswers, WatchedAnswer


def answer(text: str = "a dog is furry", **more: Any) -> WatchedAnswer:
    usual = {
        "prompt": Prompt(text="What is a dog?"),
        "tokens": 10,
        "ended": True,
        "score": 0.0,
        "parts": {},
        "kl": 0.0,
        "entropy": 1.0,
    }
    return WatchedAnswer(text=text, **{**usual, **more})


def scene(
    now: Sequence[WatchedAnswer],
    before: Sequence[WatchedAnswer] = (answer(score=-1.0), answer(score=1.0)),
    *,
    held_out: Mapping[int, float] | None = None,
    held_out_before: Mapping[int, float] | None = None,
    unusual: Sequence[float] = (),
    **gains: float | None,
) -> DetectorInput:
    known = baseline(IterationAnswers(before, held_out_before or {}, []), None)
    usual = {"gain": None, "held_out_gain": None, "peak": None}
    return DetectorInput(IterationAnswers(now, held_out or {}, unusual), known, **{**usual, **gains})
