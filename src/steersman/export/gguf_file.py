"""A Llama-like model as one GGUF file, for llama.cpp and Ollama, with a Modelfile.

The `gguf` package writes the file; the names of tensors come from its table. Queries and keys of the family llama are
stored in llama.cpp's order of rotary halves.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steersman.errors import MissingLibrary, ModelError
from steersman.export.compare import Difference, difference_of, plain_log_probs, probe_ids
from steersman.export.language import reopened
from steersman.models.files import read_json
from steersman.text.tokeniser import load_tokeniser

FAMILIES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
"""Families of transformers, and the architecture in the file."""
PERMUTED = ("llama", "mistral")
FILE = "model.gguf"


def write_gguf(folder: Path) -> Difference:
    """Write model.gguf and Modelfile beside an exported folder's files, and compare what transformers' reader reads."""
    try:
        import gguf
    except ImportError as error:
        raise MissingLibrary("--gguf needs the package gguf: pip install 'steersman[export]'") from error
    hf = reopened(folder)
    family = str(hf.config.model_type)
    if family not in FAMILIES:
        raise ModelError(f"GGUF is written for the families {', '.join(FAMILIES)}; this model is a {family}")
    tokeniser = load_tokeniser(folder)
    writer = gguf.GGUFWriter(str(folder / FILE), FAMILIES[family])
    _write_shape(writer, hf.config)
    _write_tokeniser(writer, tokeniser, read_json(folder / "tokenizer.json"), hf.config.vocab_size)
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH[FAMILIES[family].upper()], int(hf.config.num_hidden_layers))
    for name, tensor in _weights(hf, family).items():
        stored = table.get_name(name, try_suffixes=(".weight", ".bias"))
        if stored is None:
            raise ModelError(f"the weight {name!r} has no name in GGUF's {FAMILIES[family]}; the model is no plain one")
        writer.add_tensor(stored, tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (folder / "Modelfile").write_text(_modelfile(tokeniser), encoding="utf-8")
    return _compare(folder, hf, tokeniser)


def _weights(hf: Any, family: str) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    config = hf.config
    tied = bool(config.tie_word_embeddings)
    for name, tensor in hf.state_dict().items():
        if tied and name == "lm_head.weight":
            continue
        value = tensor.detach().float()
        if family in PERMUTED and (".q_proj." in name or ".k_proj." in name):
            heads = config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads
            value = _interleaved(value, int(heads))
        found[name] = value
    return found


def _interleaved(weight: Tensor, heads: int) -> Tensor:
    """From rotary halves one after the other (transformers) to pairs (llama.cpp)."""
    rows = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, rows, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def _write_shape(writer: Any, config: Any) -> None:
    rotary = getattr(config, "rope_parameters", None) or {}
    if rotary.get("rope_type", "default") != "default":
        raise ModelError(f"GGUF with rotary embeddings of the type {rotary['rope_type']!r} is not written")
    writer.add_context_length(int(config.max_position_embeddings))
    writer.add_embedding_length(int(config.hidden_size))
    writer.add_block_count(int(config.num_hidden_layers))
    writer.add_feed_forward_length(int(config.intermediate_size))
    writer.add_head_count(int(config.num_attention_heads))
    writer.add_head_count_kv(int(config.num_key_value_heads))
    writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))
    width = int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)
    writer.add_rope_dimension_count(width)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_freq_base(float(rotary.get("rope_theta") or getattr(config, "rope_theta", None) or 10_000.0))
    writer.add_vocab_size(int(config.vocab_size))
    writer.add_file_type(0)


def _write_tokeniser(writer: Any, tokeniser: Any, raw: dict[str, Any], size: int) -> None:
    """The vocabulary of a byte-level BPE, as llama.cpp's `gpt2` has it."""
    import gguf

    if raw["model"].get("type") != "BPE" or "ByteLevel" not in str(raw.get("pre_tokenizer")):
        raise ModelError("GGUF is written for byte-level BPE tokenisers; this model has another kind")
    special = {token.content: token.special for token in tokeniser.added_tokens_decoder.values()}
    by_id = {number: token for token, number in tokeniser.get_vocab().items()}
    tokens = [by_id.get(i, f"[PAD{i}]") for i in range(size)]
    kinds = [
        gguf.TokenType.UNUSED
        if i not in by_id
        else gguf.TokenType.NORMAL
        if token not in special
        else gguf.TokenType.CONTROL
        if special[token]
        else gguf.TokenType.USER_DEFINED
        for i, token in enumerate(tokens)
    ]
    merges = [one if isinstance(one, str) else " ".join(one) for one in raw["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    for add, number in (
        (writer.add_bos_token_id, tokeniser.bos_token_id),
        (writer.add_eos_token_id, tokeniser.eos_token_id),
        (writer.add_pad_token_id, tokeniser.pad_token_id),
    ):
        if number is not None:
            add(number)
    writer.add_add_bos_token(tokeniser("a").input_ids[:1] == [tokeniser.bos_token_id])
    if isinstance(tokeniser.chat_template, str):
        writer.add_chat_template(tokeniser.chat_template)


def _modelfile(tokeniser: Any) -> str:
    stop = "" if tokeniser.eos_token is None else f'PARAMETER stop "{tokeniser.eos_token}"\n'
    return f"FROM ./{FILE}\nPARAMETER temperature 1\nPARAMETER top_p 1\nPARAMETER top_k 0\n{stop}"


def _compare(folder: Path, hf: Any, tokeniser: Any) -> Difference:
    from transformers import AutoModelForCausalLM

    rows = probe_ids(tokeniser, int(hf.config.max_position_embeddings))
    # the reader takes a head's width from the file for these families only, and assumes 128 for the others
    shape = {} if hf.config.model_type in PERMUTED else {"config": hf.config}
    read: Any = AutoModelForCausalLM.from_pretrained(str(folder), gguf_file=FILE, dtype=torch.float32, **shape).eval()
    found = difference_of(plain_log_probs(hf, rows), plain_log_probs(read, rows), "log-probs of the GGUF file")
    return found.require(torch.float32)
