"""Rebuilds Harbour's base model and tokenizer from the grammar: `python -m steersman.harbour.build --out DIR`.

With fixed seeds and one thread the files are bit-identical on the same machine. Matrices are optimised by Muon (Jordan
et al. 2024: momentum orthogonalised by Newton-Schulz), the rest by AdamW. At the end of an answer the model also
predicts the first tokens of the user's reaction (multi-token prediction, Gloeckle et al. 2024), so that the hidden
state that reward models use contains the answer's quality.
"""

import argparse
import hashlib
import itertools
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from steersman.harbour.documents import JUDGEMENT, LANGUAGE, Mix, TrainingConversation, draw_documents
from steersman.harbour.tokens import END, PAD, USER, render, train_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

THREADS = 1  # a second one gains little here, and nothing on a busy machine
AHEAD = range(2, 7)  # offsets of the tokens predicted at an answer's end; offset 1 is the user's turn marker
FORETELLING = 0.3  # the weight of the multi-token prediction loss


@dataclass(frozen=True, slots=True)
class Cycle:
    """A part of pretraining: number of tokens, factor on the learning rates, mix of documents."""

    tokens: int
    strength: float
    mix: Mix


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Size and training length of the base model. The defaults give the shipped one."""

    seed: int = 20261120
    vocabulary: int = 2048
    tokenizer_documents: int = 20_000
    hidden: int = 144
    feed_forward: int = 384
    layers: int = 4
    heads: int = 4
    cycles: tuple[Cycle, ...] = (Cycle(2_500_000, 1.0, LANGUAGE), Cycle(5_000_000, 1.0, JUDGEMENT))
    batch_tokens: int = 2048
    muon_rate: float = 0.02
    adam_rate: float = 0.003
    warmup: int = 50


def build(plan: BuildPlan, out: Path, report: Callable[[str], None] = print) -> str:
    """Train tokenizer and model, write a standard Hugging Face folder, and return the hash of its files."""
    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    try:
        texts = [render(d) for d in itertools.islice(draw_documents(plan.seed), plan.tokenizer_documents)]
        tokenizer = train_tokenizer(texts, plan.vocabulary)
        model = new_model(plan, tokenizer)
        report(f"{sum(p.numel() for p in model.parameters()):,} parameters")
        foretellers = nn.ModuleList(nn.Linear(plan.hidden, plan.hidden, bias=False) for _ in AHEAD)
        for cycle in range(len(plan.cycles)):
            train(plan, cycle, model, foretellers, tokenizer, report)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    return digest_of_folder(out)


def new_model(plan: BuildPlan, tokenizer: "PreTrainedTokenizerFast") -> "LlamaForCausalLM":
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=plan.vocabulary,
        hidden_size=plan.hidden,
        intermediate_size=plan.feed_forward,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.get_vocab()[PAD],
        eos_token_id=tokenizer.get_vocab()[END],
        bos_token_id=None,
    )
    return LlamaForCausalLM(config)


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as token ids; those before `start` are context without loss."""

    ids: list[int]
    start: int


def read(tokenizer: "PreTrainedTokenizerFast", documents: list[TrainingConversation]) -> list[Reading]:
    whole = tokenizer([render(d) for d in documents]).input_ids
    # turn markers are single tokens, so a conversation's beginning has the same ids by itself
    heard = tokenizer([render(TrainingConversation(d.messages[: d.heard])) for d in documents]).input_ids
    return [Reading(ids, len(before)) for ids, before in zip(whole, heard, strict=True)]


def batches(plan: BuildPlan, cycle: int, tokenizer: "PreTrainedTokenizerFast") -> Iterator[list[Reading]]:
    """Batches of about `batch_tokens` tokens; documents of similar length are together, so that padding is small."""
    rng = random.Random(plan.seed + cycle)
    documents = draw_documents(plan.seed + 1 + cycle, plan.cycles[cycle].mix)
    seen, total = 0, plan.cycles[cycle].tokens
    while seen < total:
        chunk = read(tokenizer, list(itertools.islice(documents, 4096)))
        chunk.sort(key=lambda reading: len(reading.ids))
        groups, group = [], []
        for reading in chunk:
            if (len(group) + 1) * len(reading.ids) > plan.batch_tokens:
                groups.append(group)
                group = []
            group.append(reading)
        rng.shuffle(groups)
        for group in groups:
            seen += tokens_of(group)
            yield group
            if seen >= total:
                return


def tokens_of(group: list[Reading]) -> int:
    return sum(len(reading.ids) for reading in group)


def padded(group: list[Reading], pad: int) -> tuple[Int[Tensor, "batch time"], Bool[Tensor, "batch time"]]:
    """Padded ids, and the loss mask."""
    longest = max(len(reading.ids) for reading in group)
    ids = torch.tensor([reading.ids + [pad] * (longest - len(reading.ids)) for reading in group])
    starts = torch.tensor([reading.start for reading in group])
    return ids, (ids != pad) & (torch.arange(longest) >= starts[:, None])


def next_token_loss(
    model: "LlamaForCausalLM", ids: Int[Tensor, "batch time"], learned: Bool[Tensor, "batch time"]
) -> tuple[Float[Tensor, ""], Float[Tensor, "batch before hidden"]]:
    """Cross-entropy of the next token, and the hidden states.

    Padding is on the right, so causal attention ignores it.
    """
    hidden = model.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    counts = learned[:, 1:]
    return functional.cross_entropy(model.lm_head(hidden[counts]), ids[:, 1:][counts]), hidden


def foretelling_loss(
    model: "LlamaForCausalLM",
    foretellers: nn.ModuleList,
    hidden: Float[Tensor, "batch before hidden"],
    ids: Int[Tensor, "batch time"],
    marks: tuple[int, int, int],
) -> Float[Tensor, ""]:
    """Multi-token prediction loss: at each answer's end, cross-entropy of the first tokens of the user's turn."""
    end, user, pad = marks
    rows, places = ((ids[:, :-1] == end) & (ids[:, 1:] == user)).nonzero(as_tuple=True)
    if not len(rows):
        return hidden.new_zeros(())
    there = hidden[rows, places]
    foretold = torch.cat([foreteller(there) for foreteller in foretellers])
    targets = torch.cat([ids[rows, (places + ahead).clamp(max=ids.shape[1] - 1)] for ahead in AHEAD])
    return functional.cross_entropy(model.lm_head(foretold), targets, ignore_index=pad)


def train(
    plan: BuildPlan,
    cycle: int,
    model: "LlamaForCausalLM",
    foretellers: nn.ModuleList,
    tokenizer: "PreTrainedTokenizerFast",
    report: Callable[[str], None],
) -> None:
    """One training cycle: fresh optimisers, a short warm-up, cosine decay to zero."""
    total, strength = plan.cycles[cycle].tokens, plan.cycles[cycle].strength
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    matrices += list(foretellers.parameters())
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimisers = [
        torch.optim.Muon(matrices, lr=plan.muon_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    rates = [optimiser.param_groups[0]["lr"] * strength for optimiser in optimisers]
    vocabulary = tokenizer.get_vocab()
    marks = (vocabulary[END], vocabulary[USER], vocabulary[PAD])
    seen, average, started = 0, 0.0, time.monotonic()
    for step, group in enumerate(batches(plan, cycle, tokenizer)):
        factor = min(1.0, (step + 1) / plan.warmup) * (0.5 + 0.5 * math.cos(math.pi * seen / total))
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * factor
            optimiser.zero_grad(set_to_none=True)
        ids, learned = padded(group, vocabulary[PAD])
        loss, hidden = next_token_loss(model, ids, learned)
        (loss + FORETELLING * foretelling_loss(model, foretellers, hidden, ids, marks)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        seen += tokens_of(group)
        average = loss.item() if step == 0 else 0.98 * average + 0.02 * loss.item()
        if step % 100 == 0:
            speed = seen / (time.monotonic() - started)
            report(f"cycle {cycle}  step {step}  loss {average:.3f}  tokens {seen:,}  {speed:,.0f} tokens/s")


def digest_of_folder(folder: Path) -> str:
    """One SHA-256 over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    arguments = parser.parse_args()
    digest = build(BuildPlan(), arguments.out)
    print(json.dumps({"out": str(arguments.out), "sha256": digest}))


if __name__ == "__main__":
    main()
