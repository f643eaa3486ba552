"""Prompts, conversations and documents as token ids, with a mask that says which tokens are to be learned.

The rule everything here serves: the ids of a prompt are exactly what generation starts from, and an answer's ids follow
them, so that training, scoring and sampling see the same tokens. Truncation and loss are facts in `Encoded`; what to do
about them is the caller's business.

Words typed by people never become control tokens: "<|im_end|>" inside a message is read as plain characters. The one
exception is `Prompt.text`, which means "continue this very text" and may be a rendered template.
"""

from dataclasses import dataclass
from typing import Literal

from steersman.errors import ModelError
from steersman.records import Completion, Demonstration, Document, Prompt
from steersman.text.rendering import Rendered, end_of_turn, guard, join, render_conversation, tokenise
from steersman.text.tokeniser import Tokeniser, cut, cut_left, decode

LossOn = Literal["answer", "assistant", "all"]
Truncate = Literal["right", "left"]

__all__ = [
    "Encoded",
    "decode",
    "encode_completion",
    "encode_demonstration",
    "encode_document",
    "encode_prompt",
    "end_of_turn",
]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids and, for each, whether it is to be learned; `truncated` if the row had to be cut to fit."""

    ids: tuple[int, ...]
    loss: tuple[bool, ...]
    prompt_length: int
    truncated: bool

    @property
    def targets(self) -> int:
        return sum(self.loss)


def encode_prompt(tokeniser: Tokeniser, prompt: Prompt) -> list[int]:
    """What generation starts from; never empty."""
    return _start(tokeniser, prompt, find_turns=False).ids


def encode_demonstration(
    tokeniser: Tokeniser,
    demonstration: Demonstration,
    *,
    max_length: int,
    loss_on: LossOn = "answer",
    truncate: Truncate = "right",
) -> Encoded:
    """A demonstration as a row to learn from; see `encode_completion`."""
    return encode_completion(
        tokeniser,
        demonstration.prompt,
        demonstration.completion,
        max_length=max_length,
        loss_on=loss_on,
        truncate=truncate,
    )


def encode_completion(
    tokeniser: Tokeniser,
    prompt: Prompt,
    completion: Completion,
    *,
    max_length: int,
    loss_on: LossOn = "answer",
    truncate: Truncate = "right",
) -> Encoded:
    """A prompt and an answer to it as one row.

    `loss_on`: the final answer; every assistant turn; or all tokens. The token that ends a turn is part of it.
    `truncate`: "right" keeps the beginning of the row, "left" keeps the end of the prompt (after BOS) and the beginning
    of the answer. A row whose prompt fills it has no targets left: the caller sees `targets == 0`.
    """
    start = _start(tokeniser, prompt, find_turns=loss_on == "assistant")
    prompt_ids = start.ids
    answer = _answer(tokeniser, start, completion.text)
    learned = [True] * len(prompt_ids) if loss_on == "all" else start.said
    fits = len(prompt_ids) + len(answer) <= max_length
    if not fits and truncate == "left":
        bos = prompt_ids[:1] if prompt_ids[:1] == [tokeniser.bos_token_id] else []
        room = max(0, max_length - len(answer) - len(bos))
        kept = cut_left(tokeniser, prompt_ids[len(bos) :], room) if room else []
        # Something must stand before the answer, or its first token could not be learned.
        kept = kept or prompt_ids[-1:]
        learned = [False] * len(bos) + learned[len(prompt_ids) - len(kept) :]
        prompt_ids = bos + kept
    ids = prompt_ids + answer
    loss = [*learned, *([True] * len(answer))]
    if len(ids) > max_length:
        ids = cut(tokeniser, ids, max_length)
    return Encoded(tuple(ids), (False, *loss[1 : len(ids)]), min(len(prompt_ids), len(ids)), not fits)


def encode_document(tokeniser: Tokeniser, document: Document, *, max_length: int) -> Encoded:
    """Plain text to be modelled whole, ended by EOS unless it had to be cut."""
    ids = _bos(tokeniser) + tokenise(tokeniser, guard(tokeniser, document.text).reveal())[0]
    if tokeniser.eos_token_id is not None:
        ids.append(tokeniser.eos_token_id)
    kept = cut(tokeniser, ids, max_length) if len(ids) > max_length else ids
    return Encoded(tuple(kept), (False, *[True] * (len(kept) - 1)) if kept else (), 0, len(kept) < len(ids))


def _bos(tokeniser: Tokeniser) -> list[int]:
    """BOS, if this tokeniser puts it before plain text."""
    starts = tokeniser("a").input_ids[:1] == [tokeniser.bos_token_id]
    return [tokeniser.bos_token_id] if starts and tokeniser.bos_token_id is not None else []


@dataclass(frozen=True, slots=True)
class _Start:
    """An encoded prompt: `rendered_ids` without the BOS or the stand-in that `ids` may begin with."""

    ids: list[int]
    rendered_ids: list[int]
    said: list[bool]
    rendered: Rendered


def _start(tokeniser: Tokeniser, prompt: Prompt, *, find_turns: bool) -> _Start:
    """Ids, which of them an assistant said (if that is asked for), and the text they came from."""
    if prompt.text is None:
        rendered = render_conversation(tokeniser, prompt.messages, find_turns=find_turns)
    else:
        rendered = Rendered.of_text(prompt.text)
    found, offsets = tokenise(tokeniser, rendered.prompt)
    said = [any(a < end and b > start for start, end in rendered.spans) for a, b in offsets]
    ids = list(found)
    bos = _bos(tokeniser) if prompt.text is not None else []
    if ids[:1] != bos:
        ids, said = bos + ids, [False] * len(bos) + said
    if not ids:
        first = next((i for i in (tokeniser.bos_token_id, tokeniser.eos_token_id) if i is not None), None)
        if first is None:
            raise ModelError("an empty prompt needs a BOS or EOS token to start from, and this tokeniser has neither")
        ids, said = [first], [False]
    return _Start(ids, found, said, rendered)


def _answer(tokeniser: Tokeniser, start: _Start, text: str) -> list[int]:
    rendered = start.rendered
    lead = "" if text[:1].isspace() else rendered.lead
    answer = join(guard(tokeniser, text).reveal(), before=lead, after=rendered.tail)
    whole, _ = tokenise(tokeniser, join(rendered.prompt, answer))
    # Tokenised together the answer is what the model would see in one text. Where that melts the last token of the
    # prompt with the first of the answer, the answer is tokenised alone: generation cannot reach back either.
    length = len(start.rendered_ids)
    ids = whole[length:] if whole[:length] == start.rendered_ids else tokenise(tokeniser, answer)[0]
    if rendered.tail_ends_turn:
        return ids
    if tokeniser.eos_token_id is None:
        raise ModelError(
            "nothing ends an answer: the chat template has no end-of-turn token and the tokeniser no EOS; "
            "give it one: tokenizer.add_special_tokens({'eos_token': '<|end|>'})"
        )
    return [*ids, tokeniser.eos_token_id]
