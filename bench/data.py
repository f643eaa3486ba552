"""The same random-weight models and rows for Steersman and its peers, in Steersman's order.

Words are single tokens ("w17" is token 17), so that every tokenisation of a row is the same. Rows have 20 to 120
tokens.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch

from steersman.data.order import epoch_order
from steersman.records import Comparison, Completion, Document, Prompt, to_dict

Method = Literal["sft", "reward", "dpo"]
# name -> hidden width, layers, vocabulary
SIZES = {
    "a": (128, 4, 1024),  # 1 M parameters
    "b": (384, 6, 4096),  # 12 M
    "c": (768, 8, 8192),  # 60 M
    "d": (1280, 24, 32000),  # 0.5 B, for a GPU
    "e": (2048, 28, 32000),  # 1.5 B, for a GPU
}
# These too, but not where no size is named: 7 B, for a GPU, and one to see that a benchmark runs.
ALL_SIZES = {**SIZES, "f": (4096, 32, 32000), "tiny": (64, 2, 512)}
SHORTEST, LONGEST, BATCH, SEED = 20, 120, 16, 0
END, PAD = "<|end|>", "<|pad|>"


def tokeniser_of(vocabulary: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {END: 0, PAD: 1, **{f"w{i}": i for i in range(2, vocabulary)}}
    backend = Tokenizer(models.WordLevel(words, unk_token="w2"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    # named here too, w2 would be a control token, and every word that begins with it would fall in two
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, pad_token=PAD)


def config_of(size: str) -> Any:
    from transformers import LlamaConfig

    hidden, layers, vocabulary = ALL_SIZES[size]
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=int(hidden * 8 / 3) // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64 if hidden > 128 else 4,
        max_position_embeddings=512 if size in "abc" else 1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )


def write_model(folder: Path, size: str, method: Method) -> None:
    from transformers import LlamaForCausalLM, LlamaForSequenceClassification

    config = config_of(size)
    torch.manual_seed(SEED)
    if method == "reward":
        config.num_labels = 1
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = (LlamaForSequenceClassification if method == "reward" else LlamaForCausalLM)(config)
    model.save_pretrained(folder)
    tokeniser_of(config.vocab_size).save_pretrained(folder)


def words(length: int, vocabulary: int, generator: torch.Generator) -> str:
    return " ".join(f"w{i}" for i in torch.randint(2, vocabulary, (length,), generator=generator).tolist())


def write_rows(folder: Path, size: str, steps: int, method: Method) -> None:
    """`ours.jsonl` holds the rows; `theirs.jsonl` the same rows as our run's first epoch shuffles them."""
    vocabulary = ALL_SIZES[size][2]
    generator = torch.Generator().manual_seed(SEED + 1)
    count = steps * BATCH
    # with the token that ends a row the longest has 120
    lengths = torch.randint(SHORTEST - 1, LONGEST, (count, 2), generator=generator).tolist()
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for one, two in lengths:
        if method == "sft":
            text = words(one, vocabulary, generator)
            ours.append(to_dict(Document(text)))
            theirs.append({"text": text})
            continue
        asked = words(10, vocabulary, generator)
        chosen, rejected = (" " + words(n - 10, vocabulary, generator) for n in (one, two))
        ours.append(to_dict(Comparison(Prompt(text=asked), Completion(chosen), Completion(rejected), 1.0)))
        pair = {"chosen": chosen, "rejected": rejected}
        theirs.append({"prompt": asked, **pair} if method == "dpo" else {k: asked + v for k, v in pair.items()})
    order = epoch_order(count, SEED, 0).tolist()
    for name, rows in (("ours", ours), ("theirs", [theirs[i] for i in order])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class Asked(NamedTuple):
    """How many prompts an iteration has, and from how many to how many tokens they and their answers have."""

    prompts: int
    prompt: tuple[int, int]
    answer: tuple[int, int]


SHORT = Asked(64, (8, 32), (8, 64))
# What keeps a GPU busy.
LONG = Asked(256, (64, 256), (128, 512))


def write_prompts(folder: Path, size: str, asked: Asked = SHORT) -> int:
    """Write `prompts.jsonl`; returns the number of tokens of an iteration's prompts and answers.

    A prompt's first word sets the length of its answer ("w17": 17 tokens), so that all sides have the same work.
    """
    vocabulary = ALL_SIZES[size][2]
    generator = torch.Generator().manual_seed(SEED + 2)
    lengths = torch.randint(asked.prompt[0], asked.prompt[1] + 1, (asked.prompts,), generator=generator).tolist()
    answers = torch.randint(asked.answer[0], asked.answer[1] + 1, (asked.prompts,), generator=generator).tolist()
    rows = [
        {"prompt": f"w{answer} {words(length - 1, vocabulary, generator)}"}
        for length, answer in zip(lengths, answers, strict=True)
    ]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "lengths.json").write_text(json.dumps({"prompts": lengths, "answers": answers}))
    return sum(lengths) + sum(answers)


def prepare_ppo(folder: Path, size: str, asked: Asked = SHORT) -> int:
    """A model, a reward model of the same size (as people's comparisons would have made it), and prompts."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model", size, "sft")
    write_model(folder / "reward", size, "reward")
    notes = {"kind": "reward", "family": "llama", "heads": 1, "mean": 0.0, "std": 1.0, "label": "reward"}
    (folder / "reward" / "steersman.json").write_text(json.dumps(notes))
    return write_prompts(folder, size, asked)


def prepare(folder: Path, size: str, steps: int, method: Method) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model", size, method)
    write_rows(folder, size, steps, method)
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--method", choices=get_args(Method), default="sft")
    arguments = parser.parse_args()
    prepare(arguments.folder, arguments.size, arguments.steps, arguments.method)
