"""From messages to the text a model reads: chat templates, with marks that tell where a person's words begin and end.

A template is asked twice: once for the prompt as generation sees it, once with a mark in place of the answer; what
stands between the two is the *lead*, what follows the mark up to the first control token is the *tail* that ends the
turn. Templates that insert or strip thinking, that ignore add_generation_prompt or that trim their input all pass.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from steersman.errors import ModelError
from steersman.records import Message
from steersman.text.tokeniser import Tokeniser, special_strings


def end_ids(tokeniser: Tokeniser, generation_config: Any = None) -> tuple[int, ...]:
    """The ids that end an answer: EOS, what the generation config adds, and the chat template's end of turn."""
    found = {tokeniser.eos_token_id, end_of_turn(tokeniser)}
    extra = getattr(generation_config, "eos_token_id", None)
    found |= set(extra) if isinstance(extra, list | tuple) else {extra}
    ends = tuple(sorted(found - {None}))
    if not ends:
        raise ModelError(
            "the tokeniser has no end-of-sequence token, so no answer could ever end; "
            "give it one: tokenizer.add_special_tokens({'eos_token': '<|end|>'})"
        )
    return ends


# Used for a tokeniser without a chat template: "Human:" and "Assistant:" turns, as in the HH data, EOS after each answer.
PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ 'Assistant: ' + message['content'] + (eos_token or '') + '\n\n' }}"
    "{% elif message['role'] == 'tool' %}{{ 'Tool: ' + message['content'] + '\n\n' }}"
    "{% else %}{{ 'Human: ' + message['content'] + '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

# Private-use letters that no template touches. A user's own are hidden like control tokens, so they cannot be confused.
_OPEN, _CLOSE, _HERE = "\ue000", "\ue001", "\ue002"
_BEGIN, _END = "\ue003", "\ue004"
_MARKS = _OPEN + _CLOSE + _HERE + _BEGIN + _END

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Passage:
    """Text of which some spans are literal: to be read as plain characters, even if they look like control tokens."""

    text: str
    literal: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A prompt as text; `spans` are the earlier assistant turns in it; lead and tail stand around the answer."""

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
    """Words in which everything that looks like a control token is hidden behind a numbered mark."""

    text: str
    hidden: tuple[str, ...]

    def reveal(self) -> Passage:
        return reveal(self.text, self.hidden)


def guard(tokeniser: Tokeniser, text: str, hidden: Sequence[str] = ()) -> Guarded:
    """Hide the control tokens in a person's words; numbering goes on from what is hidden already."""
    found = list(hidden)

    def hide(match: re.Match[str]) -> str:
        found.append(match.group())
        return f"{_OPEN}{len(found) - 1}{_CLOSE}"

    return Guarded(_control_tokens(tuple(special_strings(tokeniser))).sub(hide, text), tuple(found))


@lru_cache(maxsize=32)
def _control_tokens(strings: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join([*(re.escape(text) for text in strings if text), f"[{_MARKS}]"]))


def reveal(text: str, hidden: Sequence[str]) -> Passage:
    """The text with what was hidden in its place again, and where it stands."""
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
    """Two passages one after the other, or one between two pieces of a template."""
    passages = [Passage(before, ()), first, second or Passage("", ()), Passage(after, ())]
    literal: list[Span] = []
    text = ""
    for passage in passages:
        literal += [(a + len(text), b + len(text)) for a, b in passage.literal]
        text += passage.text
    return Passage(text, tuple(literal))


def tokenise(tokeniser: Tokeniser, passage: Passage) -> tuple[list[int], list[Span]]:
    """Ids and character offsets. Only at a literal control token is the text tokenised in pieces."""
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


def render_conversation(tokeniser: Tokeniser, messages: Sequence[Message], *, find_turns: bool) -> Rendered:
    """A conversation up to the answer that is wanted. One that ends in an assistant's words is to be continued there.

    Earlier assistant turns are looked for only if `find_turns`, since that takes more renderings."""
    hidden: tuple[str, ...] = ()
    guarded: list[Message] = []
    for message in messages:
        content = guard(tokeniser, message.content, hidden)
        hidden = content.hidden
        guarded.append(Message(message.role, content.text))
    if guarded[-1].role == "assistant":
        opened = [*guarded[:-1], Message("assistant", guarded[-1].content + _HERE)]
        prompt, tail = _around_mark(_render(tokeniser, opened, generate=False))
        lead = ""
    else:
        prompt = _render(tokeniser, guarded, generate=True)
        head, tail = _around_mark(_render(tokeniser, [*guarded, Message("assistant", _HERE)], generate=False))
        lead = head.removeprefix(prompt) if head.startswith(prompt) else ""
        if lead.strip() and prompt == _render(tokeniser, guarded, generate=False):
            # The template ignores add_generation_prompt: its header of the answer belongs to the prompt all the same.
            prompt, lead = head, ""
        # Other words in between (an empty thinking block) are the template's, not what generation would start from.
        lead = "" if lead.strip() else lead
    spans = _assistant_spans(tokeniser, guarded, prompt, hidden) if find_turns else ()
    tail, ends = _end_of_tail(tokeniser, tail)
    return Rendered(reveal(prompt, hidden), spans, lead, tail, ends)


def end_of_turn(tokeniser: Tokeniser) -> int | None:
    """The id of the control token that the chat template puts after an answer, if there is one."""
    rendered = render_conversation(tokeniser, (Message("user", "a"),), find_turns=False)
    if not rendered.tail_ends_turn:
        return None
    return tokenise(tokeniser, Passage(rendered.tail, ()))[0][-1]


def _around_mark(text: str) -> tuple[str, str]:
    if text.count(_HERE) != 1:
        raise ModelError(
            "the chat template does not show the assistant's last words exactly once, so the answer cannot be found "
            "in what it renders; give the tokeniser a template that does (tokenizer.chat_template)"
        )
    head, tail = text.split(_HERE)
    return head, tail


def _end_of_tail(tokeniser: Tokeniser, tail: str) -> tuple[str, bool]:
    """Up to and with the first control token; what comes after (a line break) is never generated."""
    for match in _control_tokens(tuple(special_strings(tokeniser))).finditer(tail):
        return tail[: match.end()], True
    return tail.rstrip(), False


def _render(tokeniser: Tokeniser, messages: Sequence[Message], *, generate: bool) -> str:
    template = None if tokeniser.chat_template else PLAIN_TEMPLATE
    rows = [{"role": message.role, "content": message.content} for message in messages]
    from jinja2 import TemplateError

    try:
        return tokeniser.apply_chat_template(
            rows, tokenize=False, add_generation_prompt=generate, chat_template=template
        )
    except TemplateError as error:
        folded = _fold_system(messages)
        if folded is None:
            roles = ", ".join(message.role for message in messages)
            raise ModelError(
                f"the chat template refuses this conversation ({roles}): {error}; "
                "put the messages in the order it expects or change the template (tokenizer.chat_template)"
            ) from error
        return _render(tokeniser, folded, generate=generate)


def _fold_system(messages: Sequence[Message]) -> list[Message] | None:
    """The same with the system's words before the first user's: for templates that know no system role."""
    if len(messages) < 2 or [message.role for message in messages[:2]] != ["system", "user"]:
        return None
    return [Message("user", f"{messages[0].content}\n\n{messages[1].content}"), *messages[2:]]


def _assistant_spans(
    tokeniser: Tokeniser, messages: Sequence[Message], prompt: str, hidden: Sequence[str]
) -> tuple[Span, ...]:
    """Where earlier assistant turns stand in the revealed prompt, each with the token that ends it.

    Found by rendering once more with marks around their words; where the template rewrites those words (and so loses or
    moves a mark) the turn is left out of the loss, since nobody said what then stands there.
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
    """The spans that the template itself declares with {% generation %}; None if it declares none."""
    template = tokeniser.chat_template
    if not isinstance(template, str) or not re.search(r"\{%-?\s*generation\s*-?%\}", template):
        return None
    from transformers.utils.chat_template_utils import render_jinja_template

    # Its stated return type is wrong, hence Any.
    result: Any = render_jinja_template(
        conversations=[[{"role": message.role, "content": message.content} for message in messages]],
        chat_template=template,
        return_assistant_tokens_mask=True,
        add_generation_prompt=messages[-1].role != "assistant",
        **tokeniser.special_tokens_map,
    )
    rendered, spans = result
    if not rendered[0].startswith(prompt):
        return None
    return [(start, min(end, len(prompt))) for start, end in spans[0] if start < len(prompt)]
