"""Readers of single fields of a row. A missing field or a wrong type is a DataError.

Also shared by many formats: message lists in all their spellings, prompts, and pairs of conversations.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.data.formats.format import Row
from steersman.errors import DataError
from steersman.records import Message, Messages, Prompt

ROLE_OF = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "ipython": "tool",
}

CONTINUE = "continue"
"""The field of a row, in any format, that says that its plain prompt is to be continued, also by a chat model."""
# Fields with the right answer to a prompt. They are kept in the prompt's metadata for verifiable rewards.
RIGHT_ANSWERS = ("answer", "solution", "ground_truth")


def has(row: Row, *keys: str) -> bool:
    return all(key in row for key in keys)


def need(row: Row, key: str) -> Any:
    if key not in row:
        raise DataError(f"missing key {key!r}")
    return row[key]


def text(row: Row, key: str) -> str:
    value = need(row, key)
    if not isinstance(value, str):
        raise DataError(f"{key!r} should be a text: seen {_type(value)}")
    return value


def text_or(row: Row, key: str, default: str = "") -> str:
    """An optional text. Numbers (identifiers, times) become strings."""
    value = row.get(key)
    return default if value is None else value if isinstance(value, str) else str(value)


def number(row: Row, key: str) -> float:
    """A number, or a string with a number (CSV has only strings)."""
    value = need(row, key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise DataError(f"{key!r} should be a number: seen {_type(value)}")
    try:
        result = float(value)
    except ValueError:
        raise DataError(f"{key!r} should be a number: seen {value!r}"[:200]) from None
    except OverflowError:
        raise DataError(f"{key!r} should be a finite number: seen one beyond 1e308") from None
    if result != result or result in (float("inf"), float("-inf")):
        raise DataError(f"{key!r} should be a finite number: seen {value!r}")
    return result


def flag(row: Row, key: str) -> bool:
    """A boolean, as in JSON, as 0 or 1, or as in CSV."""
    value = need(row, key)
    values = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | str) and str(value).lower() in values:
        return values[str(value).lower()]
    raise DataError(f"{key!r} should be true or false: seen {_type(value)}")


def listed(row: Row, key: str) -> list[Any]:
    value = need(row, key)
    if not isinstance(value, list | tuple):
        raise DataError(f"{key!r} should be a list: seen {_type(value)}")
    return list(value)


def mapping(row: Row, key: str) -> Mapping[str, Any]:
    value = need(row, key)
    if not isinstance(value, Mapping):
        raise DataError(f"{key!r} should be an object: seen {_type(value)}")
    return value


def chosen_keys(row: Row, *keys: str) -> dict[str, Any]:
    """The fields among `keys` that are present and not empty, for metadata."""
    return {key: row[key] for key in keys if row.get(key) not in (None, "", [], {})}


def _type(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), f"the {type(value).__name__} {value!r}"[:60])


def is_message(value: Any) -> bool:
    return isinstance(value, Mapping) and (
        ("role" in value and "content" in value) or ("from" in value and "value" in value)
    )


def is_messages(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and all(
            is_message(item) or (isinstance(item, Mapping) and "role" in item and "tool_calls" in item)
            for item in value
        )
    )


def message_of(value: Any, where: str) -> tuple[Message, dict[str, Any]]:
    """A message in any common spelling, and its fields besides role and content.

    A tool call has no content; it becomes JSON text, as a model would write it.
    """
    if not isinstance(value, Mapping):
        raise DataError(f"{where} should be a message with role and content: seen {_type(value)}")
    role_key, content_key = ("from", "value") if "from" in value else ("role", "content")
    role = ROLE_OF.get(str(need(value, role_key)).lower())
    if role is None:
        raise DataError(f"unknown role in {where}: {value[role_key]!r}"[:200])
    extras = {
        key: item for key, item in value.items() if key not in (role_key, content_key) and item not in (None, [], "")
    }
    content = value.get(content_key)
    if content is None and "tool_calls" not in extras:
        raise DataError(f"missing key {content_key!r} in {where}")
    parts = [_plain_content(content, where)] if content else []
    if "tool_calls" in extras:
        parts.append(json.dumps({"tool_calls": extras["tool_calls"]}, ensure_ascii=False, default=str))
    return Message(role, "\n".join(parts)), extras


def _plain_content(content: Any, where: str) -> str:
    """Content as text. Multi-part content is joined; a part that is not text is an error."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(p, Mapping) and isinstance(p.get("text"), str) for p in content):
        return "".join(part["text"] for part in content)
    raise DataError(f"the content of {where} should be text: seen {_type(content)}")


def messages_of(value: Any, where: str) -> tuple[Messages, dict[str, Any]]:
    """A list of messages, and their extra fields by position, for metadata."""
    if not isinstance(value, list | tuple) or not value:
        raise DataError(
            f"{where!r} should be a list of messages: seen {_type(value) if value != [] else 'an empty list'}"
        )
    pairs = [message_of(item, where) for item in value]
    return tuple(m for m, _ in pairs), {str(i): extras for i, (_, extras) in enumerate(pairs) if extras}


def split_answer(messages: Messages, where: str) -> tuple[Messages, str]:
    """The messages before the last one, and the text of the last one, which must be the assistant's."""
    if messages[-1].role != "assistant":
        raise DataError(f"the last message of {where!r} is not the assistant's: it is the {messages[-1].role}'s")
    if len(messages) < 2:
        raise DataError(f"{where!r} has an answer but no prompt")
    return messages[:-1], messages[-1].content


def prompt_of(value: Any, where: str = "prompt", metadata: Mapping[str, Any] | None = None, id: str = "") -> Prompt:
    """A prompt from messages, or from a plain text."""
    if isinstance(value, str):
        return Prompt(text=value, metadata=dict(metadata or {}), id=id)
    messages, extras = messages_of(value, where)
    return Prompt(messages, metadata={**(metadata or {}), **({"message_fields": extras} if extras else {})}, id=id)


def asked(content: str, *, system: str = "", id: str = "", metadata: Mapping[str, Any] | None = None) -> Prompt:
    """A prompt with one user message (after an optional system message)."""
    messages = (Message("system", system),) if system else ()
    return Prompt((*messages, Message("user", content)), id=id, metadata=dict(metadata or {}))


def split_pair(first: Messages, second: Messages) -> tuple[Messages, str, str]:
    """The shared prompt of two conversations and the one answer that follows it in each."""
    shared = 0
    while shared < min(len(first), len(second)) and first[shared] == second[shared]:
        shared += 1
    if shared == len(first) == len(second):
        shared -= 1  # identical pairs are detected later, with a reason of their own
    rests = (first[shared:], second[shared:])
    if shared == 0:
        raise DataError("the two conversations share no prompt")
    if any(len(rest) != 1 for rest in rests):
        raise DataError("the two conversations differ before the last answer")
    if any(rest[0].role != "assistant" for rest in rests):
        raise DataError("the last message is not the assistant's")
    return first[:shared], rests[0][0].content, rests[1][0].content


def write_prompt(prompt: Prompt) -> str | list[dict[str, str]]:
    return prompt.text if prompt.text is not None else write_messages(prompt.messages)


def write_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]
