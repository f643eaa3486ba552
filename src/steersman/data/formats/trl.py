"""The dataset types of TRL, in standard and conversational format.

Standard (plain text) prompts become `Prompt.text`, conversational ones `Prompt.messages`.
"""

from typing import Any

from steersman.data.formats.fields import (
    RIGHT_ANSWERS,
    chosen_keys,
    flag,
    has,
    is_message,
    is_messages,
    listed,
    message_of,
    messages_of,
    need,
    number,
    prompt_of,
    split_answer,
    split_pair,
    text,
    write_messages,
    write_prompt,
)
from steersman.data.formats.format import Format, Outcome, Row
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Demonstration, Document, Label, Message, Prompt, Steps


def _answered(row: Row, key: str) -> tuple[Prompt, str]:
    """The prompt, and the answer in `key`. Each may be a text or messages."""
    prompt, value = need(row, "prompt"), need(row, key)
    tools = chosen_keys(row, "tools", "chat_template_kwargs", *RIGHT_ANSWERS)
    if isinstance(value, str):
        return prompt_of(prompt, metadata=tools), value
    before, extras = messages_of(value, key)
    if isinstance(prompt, str):
        asked = () if len(before) > 1 else (Message("user", prompt),)
    else:
        asked, more = messages_of(prompt, "prompt")
        extras = {**more, **{str(len(asked) + int(i)): e for i, e in extras.items()}}
        if before[: len(asked)] == asked and len(before) > len(asked):
            asked = ()
    messages, answer = split_answer((*asked, *before), key)
    return Prompt(messages, metadata={**tools, **({"message_fields": extras} if extras else {})}), answer


def _read_language_modeling(row: Row) -> list[Outcome]:
    if "text" in row:
        return [Document(text(row, "text"))]
    messages, extras = messages_of(need(row, "messages"), "messages")
    before, answer = split_answer(messages, "messages")
    metadata = {**chosen_keys(row, "tools"), **({"message_fields": extras} if extras else {})}
    return [Demonstration(Prompt(before, metadata=metadata), Completion(answer))]


def _write_language_modeling(record: Document | Demonstration) -> dict[str, Any]:
    if isinstance(record, Document):
        return {"text": record.text}
    if record.prompt.text is not None:
        return {"text": record.prompt.text + record.completion.text}
    return {"messages": [*write_messages(record.prompt.messages), *_as_message(record.completion.text)]}


def _as_message(answer: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": answer}]


def _write_answer(prompt: Prompt, answer: str) -> str | list[dict[str, str]]:
    """The answer in the same format as its prompt, standard or conversational."""
    return answer if prompt.text is not None else _as_message(answer)


def _read_prompt(row: Row) -> list[Outcome]:
    return [prompt_of(need(row, "prompt"), metadata=chosen_keys(row, "tools", *RIGHT_ANSWERS))]


def _write_prompt_only(record: Prompt) -> dict[str, Any]:
    return {"prompt": write_prompt(record), **chosen_keys(record.metadata, *RIGHT_ANSWERS)}


def _read_prompt_completion(row: Row) -> list[Outcome]:
    prompt, answer = _answered(row, "completion")
    return [Demonstration(prompt, Completion(answer))]


def _write_prompt_completion(record: Demonstration) -> dict[str, Any]:
    answer = _write_answer(record.prompt, record.completion.text)
    metadata = chosen_keys(record.prompt.metadata, *RIGHT_ANSWERS)
    return {"prompt": write_prompt(record.prompt), "completion": answer, **metadata}


def split_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The common prefix of two texts, cut back to the end of a word, and the two remainders."""
    end = next(
        (i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), min(len(chosen), len(rejected))
    )
    while end > 0 and not chosen[end - 1].isspace():
        end -= 1
    end = len(chosen[:end].rstrip())
    if end == 0:
        raise DataError("the two texts share no prompt")
    return chosen[:end], chosen[end:], rejected[end:]


def read_preference(row: Row) -> list[Outcome]:
    chosen, rejected = need(row, "chosen"), need(row, "rejected")
    if isinstance(chosen, str) != isinstance(rejected, str):
        raise DataError("'chosen' and 'rejected' should both be texts or both messages")
    if "prompt" in row:
        prompt, good = _answered(row, "chosen")
        other, bad = _answered(row, "rejected")
        if prompt.messages != other.messages:
            raise DataError("the two conversations differ before the last answer")
    elif isinstance(chosen, str):
        shared, good, bad = split_texts(chosen, rejected)
        # Where two texts begin to differ may be in the middle of a sentence.
        prompt = Prompt(text=shared, continued=True)
    else:
        messages, good, bad = split_pair(messages_of(chosen, "chosen")[0], messages_of(rejected, "rejected")[0])
        prompt = Prompt(messages, metadata=chosen_keys(row, "tools"))
    margin = None if row.get("margin") is None else number(row, "margin")
    return [Comparison(prompt, Completion(good), Completion(bad), 1.0, margin=margin)]


def _write_preference(record: Comparison) -> dict[str, Any]:
    row: dict[str, Any] = {
        "prompt": write_prompt(record.prompt),
        "chosen": _write_answer(record.prompt, record.chosen.text),
        "rejected": _write_answer(record.prompt, record.rejected.text),
    }
    return row if record.margin is None else {**row, "margin": record.margin}


def _read_unpaired(row: Row) -> list[Outcome]:
    prompt, answer = _answered(row, "completion")
    return [Label(prompt, Completion(answer), desirable=flag(row, "label"))]


def _write_unpaired(record: Label) -> dict[str, Any]:
    if record.desirable is None:
        raise DataError("no thumb up or down: an unpaired row needs one")
    answer = _write_answer(record.prompt, record.completion.text)
    return {"prompt": write_prompt(record.prompt), "completion": answer, "label": record.desirable}


def _read_stepwise(row: Row) -> list[Outcome]:
    steps = [
        step if isinstance(step, str) else message_of(step, "completions")[0].content
        for step in listed(row, "completions")
    ]
    labels = [flag({"labels": value}, "labels") for value in listed(row, "labels")]
    return [Steps(prompt_of(need(row, "prompt")), tuple(steps), tuple(labels))]


def _write_stepwise(record: Steps) -> dict[str, Any]:
    return {"prompt": write_prompt(record.prompt), "completions": list(record.steps), "labels": list(record.labels)}


def _texts_or_messages(row: Row, *keys: str) -> bool:
    return all(isinstance(row.get(key), str) or is_messages(row.get(key)) for key in keys)


FORMATS = (
    Format(
        "trl-stepwise",
        "TRL stepwise supervision",
        ("prompt", "completions", "labels"),
        lambda row: has(row, "prompt", "completions", "labels") and isinstance(row["labels"], list),
        _read_stepwise,
        _write_stepwise,
        (Steps,),
    ),
    Format(
        "trl-unpaired",
        "TRL unpaired preference",
        ("prompt", "completion", "label"),
        lambda row: has(row, "prompt", "completion", "label"),
        _read_unpaired,
        _write_unpaired,
        (Label,),
    ),
    Format(
        "trl-preference",
        "TRL preference",
        ("prompt", "chosen", "rejected"),
        lambda row: _texts_or_messages(row, "chosen", "rejected"),
        read_preference,
        _write_preference,
        (Comparison,),
    ),
    Format(
        "trl-prompt-completion",
        "TRL prompt-completion",
        ("prompt", "completion"),
        lambda row: has(row, "prompt", "completion"),
        _read_prompt_completion,
        _write_prompt_completion,
        (Demonstration,),
    ),
    Format(
        "trl-prompt",
        "TRL prompt-only",
        ("prompt",),
        lambda row: _texts_or_messages(row, "prompt") and not has(row, "response"),
        _read_prompt,
        _write_prompt_only,
        (Prompt,),
    ),
    Format(
        "trl-language-modeling",
        "TRL language modeling",
        ("text",),
        lambda row: (
            isinstance(row.get("text"), str)
            or (isinstance(row.get("messages"), list) and any(map(is_message, row["messages"])))
        ),
        _read_language_modeling,
        _write_language_modeling,
        (Document, Demonstration),
    ),
)
