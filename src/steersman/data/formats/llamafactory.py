"""ShareGPT conversations, and LLaMA-Factory's two formats of feedback: pairs and thumbs."""

from steersman.data.formats.fields import (
    chosen_keys,
    flag,
    has,
    is_message,
    message_of,
    messages_of,
    need,
    split_answer,
    text,
)
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Demonstration, Label, Message, Messages, Prompt


def _conversation(row: Row, key: str) -> Messages:
    messages = messages_of(need(row, key), key)[0]
    if row.get("system") and messages[0].role != "system":
        return (Message("system", text(row, "system")), *messages)
    return messages


def _read_pair(row: Row) -> list[Outcome]:
    answers = [message_of(need(row, key), key)[0] for key in ("chosen", "rejected")]
    if any(answer.role != "assistant" for answer in answers):
        raise DataError("'chosen' and 'rejected' should be the assistant's")
    prompt = Prompt(_conversation(row, "conversations"), metadata=chosen_keys(row, "tools"))
    return [Comparison(prompt, Completion(answers[0].content), Completion(answers[1].content), 1.0)]


def _read_thumb(row: Row) -> list[Outcome]:
    before, answer = split_answer(_conversation(row, "messages"), "messages")
    return [Label(Prompt(before, metadata=chosen_keys(row, "tools")), Completion(answer), desirable=flag(row, "label"))]


def _read_conversation(row: Row) -> list[Outcome]:
    key = "conversations" if "conversations" in row else "conversation"
    before, answer = split_answer(_conversation(row, key), key)
    prompt = Prompt(before, metadata=chosen_keys(row, "tools"))
    return [Demonstration(prompt, Completion(answer), id="" if row.get("id") is None else str(row["id"]))]


FORMATS = (
    Format(
        "sharegpt-preference",
        "ShareGPT pairs (LLaMA-Factory)",
        ("conversations", "chosen", "rejected"),
        lambda row: has(row, "conversations", "chosen", "rejected") and is_message(row["chosen"]),
        _read_pair,
    ),
    Format(
        "messages-label",
        "conversations with a thumb (LLaMA-Factory)",
        ("messages", "label"),
        lambda row: has(row, "messages", "label"),
        _read_thumb,
    ),
    Format(
        "sharegpt",
        "ShareGPT conversations",
        ("conversations",),
        lambda row: any(isinstance(row.get(key), list) for key in ("conversations", "conversation")),
        _read_conversation,
    ),
)
