"""Chat messages rendered as text by the tokeniser's chat template, with the positions of assistant turns and user text.

A template is rendered twice: once as the generation prompt, once with a marker in place of the answer. Text between the
prompt and the marker is the *lead*. Text after the marker, up to the first control token, is the *tail* that ends the
turn. This works with templates that insert or strip thinking, ignore add_generation_prompt, or trim their input.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from steersman.errors import ModelError
from steersman.records import Message
from steersman.text.limited import within_limit
from steersman.text.plain_template import PLAIN_TEMPLATE
from steersman.text.tokeniser import Tokeniser, special_strings
from steersman.text.values import with_texts


def end_ids(tokeniser: Tokeniser, generation_config: Any = None) -> tuple[int, ...]:
    """The token ids that end an answer: EOS, those of the generation config, and the chat template's end-of-turn
    token."""
    ids = {tokeniser.eos_token_id, end_of_turn(tokeniser)}
    extra = getattr(generation_config, "eos_token_id", None)
    ids |= set(extra) if isinstance(extra, list | tuple) else {extra}
    ends = tuple(sorted(ids - {None}))
    if not ends:
        raise ModelError(
            "the tokeniser has no EOS token, so no answer could ever end; "
            "add one: tokenizer.add_special_tokens({'eos_token': '<|end|>'})"
        )
    return ends


# Private-use characters that no template changes. The same characters in a message are hidden like control tokens, so
# that they are not taken for markers.
_OPEN, _CLOSE, _HERE = "\ue000", "\ue001", "\ue002"
_BEGIN, _END = "\ue003", "\ue004"
_MARKS = _OPEN + _CLOSE + _HERE + _BEGIN + _END

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passage:
    """Text with literal spans, which are tokenised as plain characters even if they look like control tokens."""

    text: str
    literal: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A rendered prompt. `spans` are its earlier assistant turns; `lead` and `tail` go before and after the answer."""

    prompt: Passage
    spans: tuple[Span, ...]
    lead: str
    tail: str
    tail_ends_turn: bool

    @classmethod
    def of_text(cls, text: str) -> "Rendered":
        return cls(Passage(text, ()), (), "", "", False)


@dataclass(frozen=True, slots=True)
class Guarded:
    """Message text in which everything that looks like a control token is replaced by a numbered marker."""

    text: str
    hidden: tuple[str, ...]

    def reveal(self) -> Passage:
        return reveal(self.text, self.hidden)


def guard(tokeniser: Tokeniser, text: str, hidden: Sequence[str] = (), *, control: Collection[str] = ()) -> Guarded:
    """Replace control tokens in a message by numbered markers. Numbers continue after those of `hidden`.

    Those in `control` stay, and are encoded as control tokens."""
    replaced = list(hidden)

    def hide(match: re.Match[str]) -> str:
        replaced.append(match.group())
        return f"{_OPEN}{len(replaced) - 1}{_CLOSE}"

    strings = tuple(string for string in special_strings(tokeniser) if string not in control)
    return Guarded(_control_tokens(strings).sub(hide, text), tuple(replaced))


@lru_cache(maxsize=32)
def _control_tokens(strings: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join([*(re.escape(text) for text in strings if text), f"[{_MARKS}]"]))


def begins_rendered(tokeniser: Tokeniser, text: str) -> bool:
    """Whether a text begins with a control token, as the output of a chat template does."""
    return any(mark and text.lstrip().startswith(mark) for mark in special_strings(tokeniser))


def reveal(text: str, hidden: Sequence[str]) -> Passage:
    """The text with the hidden strings put back, and their positions as literal spans."""
    parts: list[str] = []
    literal: list[Span] = []
    length = position = 0
    for match in re.finditer(f"{_OPEN}([0-9]+){_CLOSE}", text):
        parts += [text[position : match.start()], hidden[int(match.group(1))]]
        length += match.start() - position
        literal.append((length, length + len(parts[-1])))
        length += len(parts[-1])
        position = match.end()
    return Passage("".join([*parts, text[position:]]), tuple(literal))


def join(first: Passage, second: Passage | None = None, *, before: str = "", after: str = "") -> Passage:
    """The concatenation `before + first + second + after`; `before` and `after` come from a template."""
    passages = [Passage(before, ()), first, second or Passage("", ()), Passage(after, ())]
    literal: list[Span] = []
    text = ""
    for passage in passages:
        literal += [(a + len(text), b + len(text)) for a, b in passage.literal]
        text += passage.text
    return Passage(text, tuple(literal))


def tokenise(tokeniser: Tokeniser, passage: Passage) -> tuple[list[int], list[Span]]:
    """Token ids and character offsets. The text is split only at literal spans, which are tokenised separately."""
    ids: list[int] = []
    offsets: list[Span] = []
    position = 0
    for start, end in [*passage.literal, (len(passage.text), len(passage.text))]:
        for a, b, literal in ((position, start, False), (start, end, True)):
            if a == b:
                continue
            piece = tokeniser(
                passage.text[a:b],
                add_special_tokens=False,
                split_special_tokens=literal,
                return_offsets_mapping=True,
                return_attention_mask=False,
                verbose=False,
            )
            ids += piece["input_ids"]
            offsets += [(s + a, e + a) for s, e in piece["offset_mapping"]]
        position = end
    return ids, offsets


def render_conversation(
    tokeniser: Tokeniser,
    messages: Sequence[Message],
    *,
    find_turns: bool,
    control: Collection[str] = (),
    tools: Sequence[Any] = (),
) -> Rendered:
    """A conversation rendered up to the answer. If it ends with an assistant message, the answer continues that
    message.

    Earlier assistant turns are located only if `find_turns`, since that needs more renderings. `control` are strings
    in the messages that are control tokens and stay so. `tools` are handed to the template, as JSON values."""
    hidden: tuple[str, ...] = ()
    guarded: list[Message] = []
    for message in messages:
        content = guard(tokeniser, message.content, hidden, control=control)
        hidden = content.hidden
        guarded.append(Message(message.role, content.text))

    def hide(text: str) -> str:
        nonlocal hidden
        found = guard(tokeniser, text, hidden)
        hidden = found.hidden
        return found.text

    tools = [with_texts(tool, hide) for tool in tools]
    if guarded[-1].role == "assistant":
        opened = [*guarded[:-1], Message("assistant", guarded[-1].content + _HERE)]
        prompt, tail = _around_mark(_render(tokeniser, opened, generate=False, tools=tools))
        lead = ""
    else:
        prompt = _render(tokeniser, guarded, generate=True, tools=tools)
        head, tail = _around_mark(
            _render(tokeniser, [*guarded, Message("assistant", _HERE)], generate=False, tools=tools)
        )
        lead = head.removeprefix(prompt) if head.startswith(prompt) else _lead_without_system(tokeniser, guarded)
        if lead.strip() and prompt == _render(tokeniser, guarded, generate=False, tools=tools):
            # The template ignores add_generation_prompt. Its header before the answer still belongs to the prompt.
            prompt, lead = head, ""
        # Other text in between (such as an empty thinking block) is not part of the prompt that generation starts from.
        lead = "" if lead.strip() else lead
    spans = _assistant_spans(tokeniser, guarded, prompt, hidden) if find_turns else ()
    tail, ends = _end_of_tail(tokeniser, tail)
    return Rendered(reveal(prompt, hidden), spans, lead, tail, ends)


def _lead_without_system(tokeniser: Tokeniser, messages: Sequence[Message]) -> str:
    """The lead of the conversation without its system message, which Mistral's templates put into the last message if
    that is the user's, and drop else."""
    rest = messages[1:]
    if messages[0].role != "system" or not rest:
        return ""
    prompt = _render(tokeniser, rest, generate=True)
    head, _ = _around_mark(_render(tokeniser, [*rest, Message("assistant", _HERE)], generate=False))
    return head.removeprefix(prompt) if head.startswith(prompt) else ""


def end_of_turn(tokeniser: Tokeniser) -> int | None:
    """The id of the control token that the chat template puts after an answer; None if it has none."""
    rendered = render_conversation(tokeniser, (Message("user", "a"),), find_turns=False)
    if not rendered.tail_ends_turn:
        return None
    return tokenise(tokeniser, Passage(rendered.tail, ()))[0][-1]


def user_turn(tokeniser: Tokeniser) -> tuple[str, tuple[int, ...]]:
    """The text before a user's first message, and the ids of the control token that ends it (none if there is none)."""
    head, tail = _around_mark(_render(tokeniser, [Message("user", _HERE)], generate=True))
    for match in _control_tokens(tuple(special_strings(tokeniser))).finditer(tail):
        return head, tuple(tokenise(tokeniser, Passage(match.group(), ()))[0])
    return head, ()


def after_turn(tokeniser: Tokeniser, messages: Sequence[Message], reply: Message) -> Passage:
    """The text between an assistant turn that follows these messages and the turn that answers `reply`."""
    content = guard(tokeniser, reply.content)
    plain = [Message(message.role, guard(tokeniser, message.content).text) for message in messages]
    whole = [*plain, Message("assistant", _HERE), Message(reply.role, content.text)]
    return reveal(_around_mark(_render(tokeniser, whole, generate=True))[1], content.hidden)


def _around_mark(text: str) -> tuple[str, str]:
    if text.count(_HERE) != 1:
        raise ModelError(
            "the chat template does not render the last assistant message exactly once, so the answer cannot be found "
            "in its output; give the tokeniser a template that does (tokenizer.chat_template)"
        )
    head, tail = text.split(_HERE)
    return head, tail


def _end_of_tail(tokeniser: Tokeniser, tail: str) -> tuple[str, bool]:
    """The tail up to and including its first control token. What follows (a line break) is never generated."""
    for match in _control_tokens(tuple(special_strings(tokeniser))).finditer(tail):
        return tail[: match.end()], True
    return tail.rstrip(), False


def _render(tokeniser: Tokeniser, messages: Sequence[Message], *, generate: bool, tools: Sequence[Any] = ()) -> str:
    template = None if tokeniser.chat_template else PLAIN_TEMPLATE
    rows = [{"role": message.role, "content": message.content} for message in messages]
    from jinja2 import TemplateError

    try:
        return within_limit(
            lambda: tokeniser.apply_chat_template(
                rows,
                tools=list(tools) or None,
                tokenize=False,
                add_generation_prompt=generate,
                chat_template=template,
            )
        )
    except TemplateError as error:
        folded = _fold_system(messages)
        if folded is None:
            roles = ", ".join(message.role for message in messages)
            raise ModelError(
                f"the chat template rejects this conversation ({roles}): {error}; "
                "put the messages in the order it expects or change the template (tokenizer.chat_template)"
            ) from error
        return _render(tokeniser, folded, generate=generate, tools=tools)


def _fold_system(messages: Sequence[Message]) -> list[Message] | None:
    """The messages with the system message prepended to the first user message, for templates without a system role."""
    if len(messages) < 2 or [message.role for message in messages[:2]] != ["system", "user"]:
        return None
    return [Message("user", f"{messages[0].content}\n\n{messages[1].content}"), *messages[2:]]


def _assistant_spans(
    tokeniser: Tokeniser, messages: Sequence[Message], prompt: str, hidden: Sequence[str]
) -> tuple[Span, ...]:
    """Character spans of earlier assistant turns in the revealed prompt, each with the token that ends it.

    They are found by rendering again with markers around each turn. If the template rewrites a turn (and so loses or
    moves a marker), the turn is left out of the loss: its rendered text is not what the assistant said.
    """
    if not any(message.role == "assistant" for message in messages):
        return ()
    spans = _generation_spans(tokeniser, messages, prompt)
    if spans is None:
        spans = []
        for i, message in enumerate(messages):
            if message.role == "assistant":
                spans += _marked_span(tokeniser, messages, i, prompt)
    return tuple((_revealed(prompt, a, hidden), _revealed(prompt, b, hidden)) for a, b in spans)


def _revealed(text: str, position: int, hidden: Sequence[str]) -> int:
    return len(reveal(text[:position], hidden).text)


def _marked_span(tokeniser: Tokeniser, messages: Sequence[Message], index: int, prompt: str) -> list[Span]:
    content = messages[index].content.strip()
    marked = list(messages)
    marked[index] = Message("assistant", _BEGIN + content + _END)
    text = _render(tokeniser, marked, generate=messages[-1].role != "assistant")
    start, end = text.find(_BEGIN), text.find(_END) - 1
    text = text.replace(_BEGIN, "").replace(_END, "")
    if start < 0 or end < start or not text.startswith(prompt[:end]):
        return []
    if index == len(messages) - 1:
        return [(start, len(prompt))]
    tail, ends = _end_of_tail(tokeniser, prompt[end:])
    return [(start, end + len(tail) if ends else end)]


def _generation_spans(tokeniser: Tokeniser, messages: Sequence[Message], prompt: str) -> list[Span] | None:
    """The spans that the template marks with {% generation %}; None if it marks none."""
    template = tokeniser.chat_template
    if not isinstance(template, str) or not re.search(r"\{%-?\s*generation\s*-?%\}", template):
        return None
    from transformers.utils.chat_template_utils import render_jinja_template

    # Its annotated return type is wrong, hence Any.
    result: Any = within_limit(
        lambda: render_jinja_template(
            conversations=[[{"role": message.role, "content": message.content} for message in messages]],
            chat_template=template,
            return_assistant_tokens_mask=True,
            add_generation_prompt=messages[-1].role != "assistant",
            **tokeniser.special_tokens_map,
        )
    )
    rendered, spans = result
    if not rendered[0].startswith(prompt):
        return None
    return [(start, min(end, len(prompt))) for start, end in spans[0] if start < len(prompt)]
