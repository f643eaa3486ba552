"""Harbour's tokenizer: byte-level BPE trained on the grammar's own language, with one token for each turn marker.

Every text can be encoded and decodes unchanged. PAD and EOS are separate tokens. The chat template has generation tags,
so that assistant masks are exact.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from steersman.harbour.documents import TrainingConversation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END, USER, ASSISTANT, SYSTEM = "<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"
SPECIAL = (PAD, END, USER, ASSISTANT, SYSTEM)

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
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
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
