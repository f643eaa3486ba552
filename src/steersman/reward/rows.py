"""Encodes items (prompt and answer) as token rows for reward models and classifiers."""

from collections.abc import Sequence
from typing import Any, Literal

import torch

from steersman.batches import TokenRow
from steersman.records import Completion, Prompt
from steersman.reward.scorer import Item
from steersman.text.template import Encoded, encode_completion

Reads = Literal["conversation", "pair", "answer"]
"""A model's input: the conversation in its chat template, prompt and answer as a text pair, or the answer alone."""


def score_row(tokeniser: Any, prompt: Prompt, completion: Completion, *, max_length: int) -> Encoded:
    """The token row that a reward model scores, in training and afterwards: the conversation with its end of turn.

    If it is too long, the end of the prompt and the beginning of the answer are kept.
    """
    return encode_completion(tokeniser, prompt, completion, max_length=max_length, truncate="left")


def encode_item(tokeniser: Any, item: Item, *, reads: Reads, limit: int) -> tuple[TokenRow, str]:
    """The token row of an item, and a note if it was truncated."""
    prompt, answer = item
    if reads == "conversation":
        found = score_row(tokeniser, prompt, Completion(answer), max_length=limit)
        ids, cut = list(found.ids), found.truncated
    else:
        texts = (answer,) if reads == "answer" else (as_text(prompt), answer)
        ids, cut = encode_text(tokeniser, *texts, limit=limit)
    row = TokenRow(torch.tensor(ids, dtype=torch.long), torch.zeros(len(ids), dtype=torch.bool))
    return row, f"cut to the {limit} tokens that the model reads" if cut else ""


def encode_text(tokeniser: Any, *texts: str, limit: int) -> tuple[list[int], bool]:
    """The ids of a text or a text pair, as a classifier gets them in training and afterwards; and whether truncated."""
    # Text typed by people never becomes special tokens.
    ids = tokeniser(*texts, split_special_tokens=True, verbose=False)["input_ids"]
    cut = len(ids) > limit
    if cut:
        order = {"truncation": True if len(texts) == 1 else "longest_first", "max_length": limit}
        ids = tokeniser(*texts, split_special_tokens=True, **order)["input_ids"]
    if not ids:
        ends = (tokeniser.eos_token_id, tokeniser.bos_token_id, tokeniser.unk_token_id)
        ids = [next(i for i in (*ends, 0) if i is not None)]
    return list(ids), cut


def items_for(items: Sequence[Item], *, continues_prompts: bool) -> Sequence[Item]:
    """The items as a reward model was trained to read them: plain prompts continued, or in its chat template."""
    return [(prompt.to_be_continued(), answer) for prompt, answer in items] if continues_prompts else items


def as_text(prompt: Prompt) -> str:
    """A prompt as one text for models without a chat template: one message per line."""
    return prompt.text if prompt.text is not None else "\n".join(message.content for message in prompt.messages)
