"""Answers as steps, for process reward models: one step for each line that is not blank, read at its last token."""

from collections.abc import Sequence
from typing import Any

import torch

from steersman.batches import TokenRow
from steersman.records import Completion
from steersman.reward.rows import score_row
from steersman.reward.scorer import Item
from steersman.text.tokeniser import decode

Span = tuple[int, int]


def steps_in(text: str) -> list[Span]:
    """Start and end of each step, in characters. A text without a line of its own is one step."""
    spans: list[Span] = []
    start = 0
    for line in text.split("\n"):
        if line.strip():
            spans.append((start, start + len(line)))
        start += len(line) + 1
    return spans or [(0, len(text))]


def step_row(tokeniser: Any, item: Item, spans: Sequence[Span], *, limit: int) -> tuple[TokenRow, list[int]]:
    """The conversation with the last token of each step as a target, and the steps that are in it.

    A row that is too long is cut; steps that end beyond the cut are left out, and so are those without a token.
    """
    prompt, text = item
    encoded = score_row(tokeniser, prompt, Completion(text), max_length=limit)
    answer = encoded.ids[encoded.prompt_length :]
    whole = decode(tokeniser, answer)
    # Templates add or remove spaces before an answer.
    lead = (len(whole) - len(whole.lstrip())) - (len(text) - len(text.lstrip()))
    ends = [len(decode(tokeniser, answer[: i + 1])) - lead for i in range(len(answer))]
    mask = torch.zeros(len(encoded.ids), dtype=torch.bool)
    kept: list[int] = []
    for number, (start, end) in enumerate(spans):
        last = next((i for i, reached in enumerate(ends) if reached >= end), None)
        if last is None or start == end or mask[encoded.prompt_length + last]:
            continue
        mask[encoded.prompt_length + last] = True
        kept.append(number)
    return TokenRow(torch.tensor(encoded.ids, dtype=torch.long), mask), kept


def scored_row(tokeniser: Any, item: Item, *, limit: int) -> TokenRow:
    """The row of an answer to be scored, by its own lines; at least its last token is a target."""
    row, kept = step_row(tokeniser, item, steps_in(item[1]), limit=limit)
    if not kept:
        row.loss_mask[-1] = True
    return row
