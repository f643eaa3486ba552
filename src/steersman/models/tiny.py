"""Tiny models with random weights, written as standard Hugging Face folders: for tests, `doctor` and trying a setup.

Each has a byte-level BPE tokeniser trained on a few lines, so any Unicode text can be encoded.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

from steersman.errors import ModelError

FAMILIES = ("gpt2", "llama", "qwen3", "gemma3", "mistral", "phi3", "gpt_neox", "opt", "qwen3_moe")
"""Families of causal language models that are always tested; others that transformers supports load too."""

"""Bidirectional models, for classifiers."""

END = "<|end|>"

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

TEXT = (
    "A dog is a good friend. What are the benefits of exercise? It is good for the heart and for the mind.",
    "I like cricket. That is a fine game, and I would like to hear more about it. Thank you for asking me.",
    "The answer to this question is that nobody knows. Please write a short summary of the story below.",
)


@lru_cache(maxsize=8)
def _tokeniser_json(vocabulary: int, chat: bool, special: tuple[str, ...]) -> str:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokeniser = Tokenizer(models.BPE())
    tokeniser.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokeniser.decoder = decoders.ByteLevel()
    turns = tuple(f"<|{role}|>" for role in ("system", "user", "assistant", "tool")) if chat else ()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*special, *turns],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokeniser.train_from_iterator(TEXT * 4, trainer)
    return tokeniser.to_str()


def tiny_tokeniser(*, vocabulary: int = 320, chat: bool = True, pad: str | None = "<|pad|>") -> Any:
    """A byte-level BPE tokeniser with EOS, with or without a chat template; `pad` may be None or EOS itself."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    special = (END,) if pad in (None, END) else (END, pad)
    backend = Tokenizer.from_str(_tokeniser_json(vocabulary, chat, special))
    tokeniser = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token=pad)
    tokeniser.chat_template = CHAT_TEMPLATE if chat else None
    return tokeniser


def tiny_config(family: str, *, hidden: int, layers: int, vocabulary: int, context: int, dropout: float) -> Any:
    """A small configuration of this model family."""
    import transformers

    shared = {"vocab_size": vocabulary, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    usual = {
        **shared,
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": context,
    }
    grouped = {**usual, "num_key_value_heads": 2, "attention_dropout": dropout}
    head = {"head_dim": hidden // 4}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": hidden}
    configs: dict[str, tuple[str, dict[str, Any]]] = {
        "gpt2": (
            "GPT2Config",
            {**shared, "n_embd": hidden, "n_layer": layers, "n_head": 4, "n_positions": context}
            | {"resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout},
        ),
        "llama": ("LlamaConfig", grouped),
        "qwen3": ("Qwen3Config", grouped | head),
        # A window shorter than the tests' rows, so that sliding-window attention is exercised.
        "gemma3": ("Gemma3TextConfig", grouped | head | {"sliding_window": 8, "query_pre_attn_scalar": hidden // 4}),
        "mistral": ("MistralConfig", grouped | {"sliding_window": 8}),
        "phi3": ("Phi3Config", grouped | {"resid_pdrop": dropout, "embd_pdrop": dropout}),
        "gpt_neox": ("GPTNeoXConfig", usual | {"hidden_dropout": dropout, "attention_dropout": dropout}),
        "opt": (
            "OPTConfig",
            {key: value for key, value in usual.items() if key != "intermediate_size"}
            | {"ffn_dim": 2 * hidden, "word_embed_proj_dim": hidden, "dropout": dropout},
        ),
        "qwen3_moe": ("Qwen3MoeConfig", grouped | head | experts),
        "bert": ("BertConfig", usual | {"hidden_dropout_prob": dropout}),
        "distilbert": (
            "DistilBertConfig",
            {"vocab_size": vocabulary, "pad_token_id": 1, "dim": hidden, "hidden_dim": 2 * hidden}
            | {"n_layers": layers, "n_heads": 4, "max_position_embeddings": context, "dropout": dropout},
        ),
    }
    if family not in configs:
        raise ModelError(f"no tiny model of the family {family!r}; expected one of {', '.join(configs)}")
    name, settings = configs[family]
    return getattr(transformers, name)(**settings)


def write_tiny_model(
    folder: str | Path,
    family: str = "llama",
    *,
    seed: int = 0,
    hidden: int = 32,
    layers: int = 2,
    vocabulary: int = 320,
    context: int = 128,
    dropout: float = 0.1,
    chat: bool = True,
    classes: tuple[str, ...] = (),
) -> Path:
    """Write a model folder: a causal model, or with `classes` a sequence classifier with these class names.

    Weights are larger than a fresh model's (standard deviation 0.2), so that tests see differences between tokens.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    config = tiny_config(family, hidden=hidden, layers=layers, vocabulary=vocabulary, context=context, dropout=dropout)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    if classes:
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: i for i, name in enumerate(classes)}
        model = AutoModelForSequenceClassification.from_config(config)
    else:
        model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "norm" not in name:
                parameter.normal_(0.0, 0.2)
    torch.set_rng_state(state)
    folder = Path(folder)
    # Each rank of a launched run makes its own; transformers would write the files of rank 0 alone.
    model.should_save_on_this_rank = lambda is_main_process: is_main_process
    model.save_pretrained(folder)
    tiny_tokeniser(vocabulary=vocabulary, chat=chat).save_pretrained(folder)
    return folder
