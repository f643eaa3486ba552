"""Items as rows of tokens, and rows through a model in micro-batches of like length; results in the order of the items."""

from typing import Any, Literal

import torch

from steersman.batches import TokenRow
from steersman.records import Completion, Prompt
from steersman.reward.scorer import Item
from steersman.text.template import Encoded, encode_completion

Reads = Literal["conversation", "pair", "answer"]
"""What a model is shown: the conversation by its chat template; prompt and answer as a pair of texts, as encoders were
trained; or the answer alone."""


def score_row(tokeniser: Any, prompt: Prompt, completion: Completion, *, max_length: int) -> Encoded:
    """How an answer is laid out to be scored by a reward model, in training and ever after: the conversation to its end of
    turn. Of one that is too long the end of the prompt and the beginning of the answer are kept."""
    return encode_completion(tokeniser, prompt, completion, max_length=max_length, truncate="left")


def encode_item(tokeniser: Any, item: Item, *, reads: Reads, limit: int) -> tuple[TokenRow, str]:
    """The row of an item and, if it had to be cut, a note of that."""
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
    """The ids of a text, or of a pair of them, as a classifier reads them in training and ever after; and whether they were cut."""
    # Words typed by people never become control tokens.
    ids = tokeniser(*texts, split_special_tokens=True, verbose=False)["input_ids"]
    cut = len(ids) > limit
    if cut:
        order = {"truncation": True if len(texts) == 1 else "longest_first", "max_length": limit}
        ids = tokeniser(*texts, split_special_tokens=True, **order)["input_ids"]
    if not ids:
        ends = (tokeniser.eos_token_id, tokeniser.bos_token_id, tokeniser.unk_token_id)
        ids = [next(i for i in (*ends, 0) if i is not None)]
    return list(ids), cut


def as_text(prompt: Prompt) -> str:
    """A prompt as one text for models that know no chat template: its messages, a line each."""
    return prompt.text if prompt.text is not None else "\n".join(message.content for message in prompt.messages)
