"""Battles between two models: LMSYS arena conversations, MT-bench judgements, and the arena's Kaggle format."""

import json
from typing import Any

from steersman.data.formats.fields import chosen_keys, flag, has, messages_of, need, split_pair, text, text_or
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Message, Messages, Prompt

_PREFERENCE = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5, "both_bad": 0.5, "bothbad": 0.5}


def _read_battle(row: Row) -> list[Outcome]:
    winner = text(row, "winner")
    if winner not in _PREFERENCE:
        raise DataError(f"unknown winner: {winner!r}; expected model_a, model_b, tie or tie (bothbad)"[:200])
    first = messages_of(need(row, "conversation_a"), "conversation_a")[0]
    second = messages_of(need(row, "conversation_b"), "conversation_b")[0]
    turns = row.get("turn")
    if isinstance(turns, int) and turns > 0:  # MT-bench may judge turn 1 of a longer conversation
        first, second = first[: 2 * turns], second[: 2 * turns]
    messages, a, b = split_pair(first, second)
    return [_comparison(row, messages, a, b, _PREFERENCE[winner], both_bad="bad" in winner)]


def _comparison(row: Row, messages: Messages, a: str, b: str, preference: float, *, both_bad: bool) -> Comparison:
    judge = row.get("judge")
    return Comparison(
        Prompt(messages, metadata=chosen_keys(row, "language", "question_id")),
        Completion(a, model=text_or(row, "model_a")),
        Completion(b, model=text_or(row, "model_b")),
        preference,
        both_bad=both_bad,
        annotator=judge if isinstance(judge, str) else "" if judge is None else json.dumps(judge),
        shown="first",
        time=text_or(row, "tstamp"),
        id=text_or(row, "id"),
    )


def _turns(row: Row, key: str) -> list[str]:
    """The turns of a Kaggle row, which are JSON lists inside strings. A failed turn is null there."""
    value = need(row, key)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return [str(value)]
    if not isinstance(value, list):
        return [str(value)]
    if any(not isinstance(turn, str) for turn in value):
        raise DataError(f"empty answer: a turn of {key!r} is null")
    return value


def _read_kaggle(row: Row) -> list[Outcome]:
    won = [flag(row, key) for key in ("winner_model_a", "winner_model_b", "winner_tie")]
    if sum(won) != 1:
        raise DataError("exactly one of winner_model_a, winner_model_b and winner_tie should be 1")
    prompts, a, b = _turns(row, "prompt"), _turns(row, "response_a"), _turns(row, "response_b")
    if not len(prompts) == len(a) == len(b):
        raise DataError("prompt, response_a and response_b have different numbers of turns")
    messages, good, bad = split_pair(_conversation(prompts, a), _conversation(prompts, b))
    return [_comparison(row, messages, good, bad, (1.0, 0.0, 0.5)[won.index(True)], both_bad=False)]


def _conversation(prompts: list[str], answers: list[str]) -> Messages:
    turns: list[Any] = []
    for prompt, answer in zip(prompts, answers, strict=True):
        turns += [Message("user", prompt), Message("assistant", answer)]
    return tuple(turns)


FORMATS = (
    Format(
        "arena",
        "LMSYS arena battles",
        ("model_a", "model_b", "winner", "conversation_a", "conversation_b"),
        lambda row: has(row, "winner", "conversation_a", "conversation_b"),
        _read_battle,
    ),
    Format(
        "arena-kaggle",
        "LMSYS arena, Kaggle form",
        ("prompt", "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"),
        lambda row: has(row, "response_a", "response_b", "winner_model_a", "winner_model_b", "winner_tie"),
        _read_kaggle,
    ),
)
