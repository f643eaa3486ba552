"""A model from scratch: a configuration of a family at a given size, and a tokeniser trained on texts.

Width and depth are those that come nearest to the number of parameters, near the ratio of published models.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import ModelError, UsageError
from steersman.models.tiny import CHAT_TEMPLATE, END

FRESH_FAMILIES = ("llama", "qwen3", "gemma3", "mistral", "phi3", "gpt2", "gpt_neox", "opt")
PAD = "<|pad|>"
_RATIO = 48
"""Width over depth of published models of this size: 19 (SmolLM 135M) to 80 (GPT-2 XL), Llama 8B 128."""


@dataclass(frozen=True, slots=True)
class FreshSize:
    """Width, depth and parameters of a model to make."""

    hidden: int
    layers: int
    parameters: int


def parse_count(text: str) -> int:
    """A number of parameters: 10M, 1.5B, 300k or 1000000."""
    factor = {"k": 10**3, "m": 10**6, "b": 10**9}.get(text[-1:].lower(), 1)
    try:
        count = int(float(text[:-1] if factor > 1 else text) * factor)
    except (ValueError, OverflowError):
        count = 0
    if not 1000 <= count <= 10**11:
        raise UsageError(f"cannot read the number of parameters {text!r}; expected 1k to 100B, such as 10M or 1.5B")
    return count


def train_tokeniser(texts: Iterable[str], vocabulary: int) -> Any:
    """A byte-level BPE tokeniser of these texts, with EOS, a PAD of its own and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if vocabulary < 300:
        raise UsageError(
            f"a tokeniser has at least 300 tokens (256 bytes, special tokens and some merges); seen {vocabulary}"
        )
    backend = Tokenizer(models.BPE())
    # digits apart, as in Llama and Qwen, so that numbers are read figure by figure
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    turns = [f"<|{role}|>" for role in ("system", "user", "assistant", "tool")]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PAD, *turns],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    tokeniser = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token=PAD)
    tokeniser.chat_template = CHAT_TEMPLATE
    return tokeniser


def fresh_config(family: str, size: tuple[int, int], tokeniser: Any, *, context: int, tied: bool) -> Any:
    """A configuration of this family; `size` is width and depth."""
    import transformers

    if family not in FRESH_FAMILIES:
        raise UsageError(f"no new model of the family {family!r}; expected one of {', '.join(FRESH_FAMILIES)}")
    hidden, layers = size
    head = next(width for width in (128, 64, 32, 16, 8) if hidden % width == 0 and hidden // width >= 4)
    heads = hidden // head
    groups = next(share for share in (4, 2, 1) if heads % share == 0)
    ids = {"bos_token_id": None, "eos_token_id": tokeniser.eos_token_id, "pad_token_id": tokeniser.pad_token_id}
    shared = {"vocab_size": len(tokeniser), "tie_word_embeddings": tied, **ids}
    usual = {
        **shared,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "max_position_embeddings": context,
    }
    inner = {"intermediate_size": 32 * math.ceil(hidden * 8 / 3 / 32)}
    gated = {**usual, **inner, "num_key_value_heads": heads // groups}
    configs: dict[str, tuple[str, dict[str, Any]]] = {
        "llama": ("LlamaConfig", gated),
        "qwen3": ("Qwen3Config", gated | {"head_dim": head}),
        "gemma3": ("Gemma3TextConfig", gated | {"head_dim": head, "query_pre_attn_scalar": head}),
        "mistral": ("MistralConfig", gated | {"sliding_window": None}),
        "phi3": ("Phi3Config", gated),
        "gpt2": (
            "GPT2Config",
            {**shared, "n_embd": hidden, "n_layer": layers, "n_head": heads, "n_positions": context},
        ),
        "gpt_neox": ("GPTNeoXConfig", usual | {"intermediate_size": 4 * hidden}),
        "opt": ("OPTConfig", usual | {"ffn_dim": 4 * hidden, "word_embed_proj_dim": hidden}),
    }
    name, values = configs[family]
    return getattr(transformers, name)(**values)


def choose_size(family: str, parameters: int, tokeniser: Any, *, context: int, tied: bool) -> FreshSize:
    """Width and depth whose number of parameters is nearest to what was asked for, near the usual ratio."""
    found: list[tuple[float, FreshSize]] = []
    for hidden in _widths():
        one, two = (
            count_parameters(fresh_config(family, (hidden, layers), tokeniser, context=context, tied=tied))
            for layers in (1, 2)
        )
        if one > parameters * 1.1:
            break
        layers = max(1, round((parameters - one) / (two - one)) + 1)
        size = FreshSize(hidden, layers, one + (layers - 1) * (two - one))
        off = abs(math.log(size.parameters / parameters))
        found.append((off + 0.03 * abs(math.log(hidden / layers / _RATIO)), size))
    if not found:
        least = count_parameters(fresh_config(family, (32, 1), tokeniser, context=context, tied=tied))
        raise UsageError(
            f"the smallest {family} with {len(tokeniser):,} tokens has {least:,} parameters, and {parameters:,} were "
            "asked for; give more, or a smaller --vocabulary"
        )
    size = min(found, key=lambda pair: pair[0])[1]
    if not 0.8 < size.parameters / parameters < 1.25:
        raise UsageError(
            f"the nearest {family} with {len(tokeniser):,} tokens has {size.parameters:,} parameters; give "
            f"--parameters {size.parameters}, or another --vocabulary"
        )
    return size


def _widths() -> Iterator[int]:
    yield from range(32, 256, 32)
    yield from range(256, 1024, 64)
    yield from range(1024, 4096, 128)
    yield from range(4096, 16385, 512)


def count_parameters(config: Any) -> int:
    """The parameters of a model of this configuration, without making its weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    return sum(parameter.numel() for parameter in model.parameters())


def write_fresh_model(folder: Path, config: Any, tokeniser: Any, *, seed: int) -> int:
    """Write a model with new weights as a Hugging Face folder. Returns its number of parameters."""
    import torch
    from transformers import AutoModelForCausalLM

    state = torch.get_rng_state()
    torch.manual_seed(seed)
    try:
        model = AutoModelForCausalLM.from_config(config)
    finally:
        torch.set_rng_state(state)
    model.generation_config.eos_token_id = tokeniser.eos_token_id
    model.generation_config.pad_token_id = tokeniser.pad_token_id
    model.save_pretrained(folder)
    tokeniser.model_max_length = config.max_position_embeddings
    tokeniser.save_pretrained(folder)
    return sum(parameter.numel() for parameter in model.parameters())


def check_reopens(folder: Path, parameters: int) -> None:
    """Raise unless plain transformers opens the folder with as many parameters and encodes and decodes a text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokeniser = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    seen = sum(parameter.numel() for parameter in model.parameters())
    text = "A dog is a friend: 12 + 30 = 42. ¿Qué? 你好"
    again = tokeniser.decode(tokeniser(text, add_special_tokens=False)["input_ids"])
    if seen != parameters or again != text:
        raise ModelError(
            f"the new model in {folder} does not reopen as it was: {seen:,} parameters where {parameters:,} were "
            f"written, and {text!r} comes back as {again!r}"
        )
