"""Harbour's tokenizer: byte-level BPE trained on the grammar's own language, with one token for each turn marker.

Every text can be encoded and decodes unchanged. PAD and EOS are separate tokens. The chat template has generation tags,
so that assistant masks are exact.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steersman.harbour.documents import TrainingConversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
ASKED, FIRST, SECOND, COMPARE = "<|asked|>", "<|A|>", "<|B|>", "<|compare|>"
PARTS = (ASKED, FIRST, SECOND, COMPARE)
"""The control tokens between the parts of a comparison."""
SPECIAL = (PAD, END, USER, ASSISTANT, SYSTEM, *PARTS)

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] == 'assistant' -%}"
    "<|assistant|>{% generation %}{{ message['content'] }}<|end|>{% endgeneration %}"
    "{%- else -%}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}<|assistant|>{%- endif -%}"
)


def render(conversation: TrainingConversation) -> str:
    """A document as the model's input: the text of the chat template, or the plain text with EOS."""
    if conversation.text:
        return conversation.text + END
    turns = (f"<|{m.role}|>{m.content}" + (END if m.role == "assistant" else "") for m in conversation.messages)
    return "".join(turns)


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as token ids, each with its weight in the loss; 0 is context.

    `ends` are the positions of the tokens that end the judged answers, in the order of `TrainingConversation.fitness`.
    """

    ids: list[int]
    weights: list[float]
    ends: list[int]
    fitness: tuple[tuple[float, ...], ...]


def read(tokenizer: "PreTrainedTokenizerFast", documents: Sequence[TrainingConversation]) -> list[Reading]:
    """The documents as token ids. Turn markers, and the control tokens that separate the parts of a comparison, are
    single tokens; every other text is encoded as plain characters, whatever it looks like."""
    pieces = [_pieces(document) for document in documents]
    texts = sorted({text for parts in pieces for text, marker, _ in parts if not marker})
    encoded = dict(zip(texts, _plain_ids(tokenizer, texts), strict=True))
    vocabulary = tokenizer.get_vocab()
    readings = []
    for document, parts in zip(documents, pieces, strict=True):
        reading = Reading([], [], [], document.fitness)
        for text, marker, weight in parts:
            if len(reading.ends) < len(document.fitness) and text in (END, SECOND, COMPARE) and marker:
                reading.ends.append(len(reading.ids))
            ids = [vocabulary[text]] if marker else encoded[text]
            reading.ids.extend(ids)
            reading.weights.extend([weight] * len(ids))
        readings.append(reading)
    return readings


def _plain_ids(tokenizer: "PreTrainedTokenizerFast", texts: Sequence[str]) -> list[list[int]]:
    backend = tokenizer.backend_tokenizer
    before, backend.encode_special_tokens = backend.encode_special_tokens, True
    try:
        return [found.ids for found in backend.encode_batch(list(texts), add_special_tokens=False)]
    finally:
        backend.encode_special_tokens = before


def _pieces(document: TrainingConversation) -> list[tuple[str, bool, float]]:
    """Texts and markers, each with its weight in the loss."""
    if document.text:
        return [(document.text, False, 1.0), (END, True, 1.0)]
    found: list[tuple[str, bool, float]] = []
    for number, message in enumerate(document.messages):
        weight = document.weights[number] if document.weights else 1.0
        found.append((f"<|{message.role}|>", True, min(weight, 1.0)))
        if message.role == "user":
            found += [(part, part in PARTS, weight) for part in _BETWEEN.split(message.content) if part]
        else:
            found += [(message.content, False, weight)] if message.content else []
            found.append((END, True, weight))
    return found


_BETWEEN = re.compile("(" + "|".join(map(re.escape, PARTS)) + ")")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> "PreTrainedTokenizerFast":
    """A tokenizer for the texts; the same texts in the same order give the same tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    plain = (piece for text in texts for piece in _without_markers(text))
    tokenizer.train_from_iterator(plain, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM, *PARTS],
        clean_up_tokenization_spaces=False,
        model_max_length=512,
        padding_side="left",
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def _without_markers(text: str) -> list[str]:
    for marker in SPECIAL:
        text = text.replace(marker, "\n")
    return [piece for piece in text.split("\n") if piece]
