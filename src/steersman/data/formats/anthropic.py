"""Anthropic's hh-rlhf: pairs of transcripts (Bai et al. 2022), and its red-team transcripts (Ganguli et al. 2022).

A transcript is "\\n\\nHuman: … \\n\\nAssistant: …". Two consecutive turns of one role (the published files have some,
where a model wrote the marker itself) are joined into one, so that the roles alternate.
"""

import re
from typing import Any

from steersman.data.formats.fields import chosen_keys, has, split_answer, split_pair, text
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Demonstration, Label, Message, Messages, Prompt

_TURN = re.compile(r"\n\n(Human|Assistant):")
_ROLE = {"Human": "user", "Assistant": "assistant"}
_NAME = {"user": "Human", "assistant": "Assistant"}


def parse_transcript(transcript: str, where: str) -> Messages:
    before, *parts = _TURN.split(transcript if transcript.startswith("\n\n") else "\n\n" + transcript.lstrip())
    if before.strip() or not parts:
        raise DataError(f"{where!r} is not a transcript: it should begin with 'Human:'")
    turns: list[Message] = []
    for name, content in zip(parts[::2], parts[1::2], strict=True):
        role, content = _ROLE[name], content.strip()
        if turns and turns[-1].role == role:
            content = "\n\n".join(filter(None, (turns.pop().content, content)))
        turns.append(Message(role, content))
    return tuple(turns)


def write_transcript(messages: Messages) -> str:
    unknown = next((m.role for m in messages if m.role not in _NAME), None)
    if unknown:
        raise DataError(f"a transcript has no {unknown} messages")
    return "".join(f"\n\n{_NAME[m.role]}: {m.content}" for m in messages)


def _read_pair(row: Row) -> list[Outcome]:
    chosen = parse_transcript(text(row, "chosen"), "chosen")
    rejected = parse_transcript(text(row, "rejected"), "rejected")
    messages, good, bad = split_pair(chosen, rejected)
    return [Comparison(Prompt(messages), Completion(good), Completion(bad), 1.0)]


def _write_pair(record: Comparison) -> dict[str, Any]:
    if record.prompt.text is not None:
        raise DataError("a transcript needs a conversation: this prompt is a plain text")
    before = record.prompt.messages
    return {
        "chosen": write_transcript((*before, Message("assistant", record.chosen.text))),
        "rejected": write_transcript((*before, Message("assistant", record.rejected.text))),
    }


def _read_red_team(row: Row) -> list[Outcome]:
    messages = parse_transcript(text(row, "transcript"), "transcript")
    while len(messages) > 1 and messages[-1].role != "assistant":
        messages = messages[:-1]  # an attempt may end with an unanswered question
    before, answer = split_answer(messages, "transcript")
    ratings = {key: float(row[key]) for key in _SCORES if isinstance(row.get(key), int | float)}
    metadata = chosen_keys(row, "task_description", "num_params", "model_type", "tags", "is_upworker")
    annotator = row.get("red_team_member_id")
    return [
        Label(
            Prompt(before),
            Completion(answer, model=str(row.get("model_type") or "")),
            ratings=ratings,
            annotator="" if annotator is None else str(annotator),
            metadata=metadata,
        )
    ]


_SCORES = ("min_harmlessness_score_transcript", "rating", "task_description_harmlessness_score")


def _read_demonstration(row: Row) -> list[Outcome]:
    before, answer = split_answer(parse_transcript(text(row, "text"), "text"), "text")
    return [Demonstration(Prompt(before), Completion(answer))]


def _transcripts(row: Row, *keys: str) -> bool:
    return all(isinstance(row.get(key), str) and row[key].lstrip().startswith("Human:") for key in keys)


FORMATS = (
    Format(
        "hh-rlhf",
        "Anthropic hh-rlhf",
        ("chosen", "rejected"),
        lambda row: "prompt" not in row and _transcripts(row, "chosen", "rejected"),
        _read_pair,
        _write_pair,
        (Comparison,),
    ),
    Format(
        "hh-rlhf-red-team",
        "Anthropic red-team attempts",
        ("transcript", "min_harmlessness_score_transcript", "rating"),
        lambda row: has(row, "transcript", "rating"),
        _read_red_team,
    ),
    Format(
        "hh-rlhf-transcript",
        "a transcript in the style of hh-rlhf",
        ("text",),
        lambda row: set(row) == {"text"} and _transcripts(row, "text") and "\n\nAssistant:" in row["text"],
        _read_demonstration,
    ),
)
