"""A small BERT with random weights, which transformers loads as a causal language model, too."""

from pathlib import Path
from typing import Any

import torch
import transformers

from steersman.models.tiny import tiny_tokeniser


def write_bert(folder: Path, *, is_decoder: bool = False) -> Path:
    """A model folder; with `is_decoder` it is causal."""
    kinds: Any = transformers
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = kinds.BertConfig(vocab_size=320, is_decoder=is_decoder, **sizes)
    kinds.BertLMHeadModel(config).save_pretrained(folder)
    tiny_tokeniser().save_pretrained(folder)
    return folder
