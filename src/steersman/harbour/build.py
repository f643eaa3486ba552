"""Rebuilds Harbour's base model and tokenizer from the grammar: `python -m steersman.harbour.build --out DIR`.

With fixed seeds and one thread the files are bit-identical on the same machine. Matrices are optimised by Muon (Jordan
et al. 2024: momentum orthogonalised by Newton-Schulz), the rest by AdamW. At the end of an answer the model also
predicts the first tokens of the user's reaction (multi-token prediction, Gloeckle et al. 2024), and linear heads on the
later layers predict there which faults the answer has. So the hidden state that reward models use contains the answer's
quality, and a comparison finds it at the ends of both answers. These heads are discarded. The last part is trained
twice from the same weights, on two mixes, and the weights are averaged (a model soup, Wortsman et al. 2022).
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
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from steersman.harbour.documents import QUALITIES, draw_documents
from steersman.harbour.mixes import ANSWERING, CALIBRATION, DEFENCE, JUDGEMENT, LANGUAGE, TOPICS, Mix
from steersman.harbour.tokens import END, PAD, USER, Reading, read, render, train_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

AHEAD = range(2, 7)  # offsets of the tokens predicted at an answer's end; offset 1 is the user's turn marker
FORETELLING = 0.3  # the weight of the multi-token prediction loss
FITNESS = 0.5  # the weight of the loss of the heads that predict an answer's faults
FIRST_LAYER = 2  # the layer after which these heads begin


@dataclass(frozen=True, slots=True)
class Cycle:
    """A part of pretraining: number of tokens, factors on the learning rates at its start and end, mix of documents."""

    tokens: int
    strength: float
    mix: Mix
    end: float = 0.0


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """Size and training length of the base model. The defaults give the shipped one.

    Each of `endings` begins with the weights after all cycles; the model is their average.
    """

    seed: int = 20261120
    vocabulary: int = 2048
    tokenizer_documents: int = 20_000
    hidden: int = 144
    feed_forward: int = 432
    layers: int = 4
    heads: int = 6
    cycles: tuple[Cycle, ...] = (
        Cycle(5_000_000, 1.0, LANGUAGE),
        Cycle(15_000_000, 1.0, JUDGEMENT, end=0.5),
        Cycle(15_000_000, 0.6, ANSWERING),
        Cycle(9_000_000, 0.5, TOPICS),
    )
    endings: tuple[Cycle, ...] = (
        Cycle(6_000_000, 0.35, CALIBRATION),
        Cycle(10_000_000, 0.5, DEFENCE),
    )
    batch_tokens: int = 3072
    muon_rate: float = 0.02
    adam_rate: float = 0.003
    warmup: int = 50
    threads: int = 1


def build(plan: BuildPlan, out: Path, report: Callable[[str], None] = print) -> str:
    """Train tokenizer and model, write a standard Hugging Face folder, and return the hash of its files."""
    threads = torch.get_num_threads()
    torch.set_num_threads(plan.threads)
    torch.use_deterministic_algorithms(True)
    try:
        # the language of judging is part of the vocabulary
        drawn = [draw_documents(plan.seed, mix) for mix in (LANGUAGE, JUDGEMENT)]
        texts = [render(next(drawn[number % 2])) for number in range(plan.tokenizer_documents)]
        tokenizer = train_tokenizer(texts, plan.vocabulary)
        model = new_model(plan, tokenizer)
        report(f"{sum(p.numel() for p in model.parameters()):,} parameters")
        heads = TrainingHeads(plan)
        for number, cycle in enumerate(plan.cycles):
            train(plan, cycle, number, model, heads, tokenizer, report)
        if plan.endings:
            average_endings(plan, model, tokenizer, report)
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(False)
    model.save_pretrained(out, safe_serialization=True)
    tokenizer.save_pretrained(out)
    return digest_of_folder(out)


def average_endings(
    plan: BuildPlan,
    model: "LlamaForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    report: Callable[[str], None],
) -> None:
    begun = {name: weight.clone() for name, weight in model.state_dict().items()}
    average = {name: torch.zeros_like(weight) for name, weight in begun.items()}
    for ending in plan.endings:
        model.load_state_dict(begun)
        torch.manual_seed(plan.seed + len(plan.cycles))
        train(plan, ending, len(plan.cycles), model, TrainingHeads(plan), tokenizer, report)
        for name, weight in model.state_dict().items():
            average[name] += weight / len(plan.endings)
    model.load_state_dict(average)


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


class TrainingHeads(nn.Module):
    """Heads of the training alone: the next tokens after an answer, and its faults after each of the later layers."""

    def __init__(self, plan: BuildPlan) -> None:
        super().__init__()
        self.foretellers = nn.ModuleList(nn.Linear(plan.hidden, plan.hidden, bias=False) for _ in AHEAD)
        layers = range(min(FIRST_LAYER, plan.layers), plan.layers + 1)
        self.fitness = nn.ModuleDict({str(layer): nn.Linear(plan.hidden, QUALITIES) for layer in layers})


def batches(
    plan: BuildPlan, cycle: Cycle, number: int, tokenizer: "PreTrainedTokenizerFast"
) -> Iterator[list[Reading]]:
    """Batches of about `batch_tokens` tokens; documents of similar length are together, so that padding is small."""
    rng = random.Random(plan.seed + number)
    documents = draw_documents(plan.seed + 1 + number, cycle.mix)
    seen, total = 0, cycle.tokens
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


def padded(group: list[Reading], pad: int) -> tuple[Int[Tensor, "batch time"], Float[Tensor, "batch time"]]:
    """Padded ids, and the weights in the loss."""
    longest = max(len(reading.ids) for reading in group)
    ids = torch.tensor([reading.ids + [pad] * (longest - len(reading.ids)) for reading in group])
    return ids, torch.tensor([reading.weights + [0.0] * (longest - len(reading.ids)) for reading in group])


def hidden_states(model: "LlamaForCausalLM", ids: Int[Tensor, "batch time"]) -> tuple[Tensor, ...]:
    """The hidden states of the embeddings and after each layer; the last are normalised.

    Padding is on the right, so causal attention ignores it.
    """
    return model.model(input_ids=ids[:, :-1], use_cache=False, output_hidden_states=True).hidden_states


def next_token_loss(
    model: "LlamaForCausalLM",
    hidden: Float[Tensor, "batch before hidden"],
    ids: Int[Tensor, "batch time"],
    weights: Float[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Weighted mean cross-entropy of the next token."""
    counts = weights[:, 1:] > 0
    each = functional.cross_entropy(model.lm_head(hidden[counts]), ids[:, 1:][counts], reduction="none")
    weight = weights[:, 1:][counts]
    return (each * weight).sum() / weight.sum()


def fitness_loss(
    heads: TrainingHeads,
    states: tuple[Tensor, ...],
    group: list[Reading],
) -> Float[Tensor, ""]:
    """Mean binary cross-entropy of the judged answers' faults, at the token that ends each answer, over the layers."""
    rows = torch.tensor([row for row, reading in enumerate(group) for _ in reading.ends], dtype=torch.long)
    if not len(rows):
        return states[-1].new_zeros(())
    places = torch.tensor([end for reading in group for end in reading.ends])
    wanted = torch.tensor([fit for reading in group for fit in reading.fitness])
    found = [head(states[int(layer)][rows, places]) for layer, head in heads.fitness.items()]
    return torch.stack([functional.binary_cross_entropy_with_logits(each, wanted) for each in found]).mean()


def foretelling_loss(
    model: "LlamaForCausalLM",
    foretellers: nn.ModuleList,
    hidden: Float[Tensor, "batch before hidden"],
    ids: Int[Tensor, "batch time"],
    weights: Float[Tensor, "batch time"],
    marks: tuple[int, int, int],
) -> Float[Tensor, ""]:
    """Multi-token prediction loss: at each answer's end, cross-entropy of the first tokens of the user's turn."""
    end, user, pad = marks
    follows = (ids[:, :-1] == end) & (ids[:, 1:] == user) & (weights[:, 1:] > 0)
    rows, places = follows.nonzero(as_tuple=True)
    if not len(rows):
        return hidden.new_zeros(())
    there = hidden[rows, places]
    foretold = torch.cat([foreteller(there) for foreteller in foretellers])
    targets = torch.cat([ids[rows, (places + ahead).clamp(max=ids.shape[1] - 1)] for ahead in AHEAD])
    return functional.cross_entropy(model.lm_head(foretold), targets, ignore_index=pad)


def train(
    plan: BuildPlan,
    cycle: Cycle,
    number: int,
    model: "LlamaForCausalLM",
    heads: TrainingHeads,
    tokenizer: "PreTrainedTokenizerFast",
    report: Callable[[str], None],
) -> None:
    """One training cycle: fresh optimisers, a short warm-up, cosine decay."""
    total, strength, end = cycle.tokens, cycle.strength, cycle.end
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    matrices += list(heads.foretellers.parameters())
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    others += list(heads.fitness.parameters())
    optimisers = [
        torch.optim.Muon(matrices, lr=plan.muon_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    rates = [optimiser.param_groups[0]["lr"] for optimiser in optimisers]
    vocabulary = tokenizer.get_vocab()
    marks = (vocabulary[END], vocabulary[USER], vocabulary[PAD])
    seen, average, started = 0, [0.0, 0.0], time.monotonic()
    for step, group in enumerate(batches(plan, cycle, number, tokenizer)):
        strong = end + (strength - end) * (0.5 + 0.5 * math.cos(math.pi * seen / total))
        factor = strong * min(1.0, (step + 1) / plan.warmup)
        for optimiser, rate in zip(optimisers, rates, strict=True):
            optimiser.param_groups[0]["lr"] = rate * factor
            optimiser.zero_grad(set_to_none=True)
        ids, weights = padded(group, vocabulary[PAD])
        states = hidden_states(model, ids)
        loss = next_token_loss(model, states[-1], ids, weights)
        faults = fitness_loss(heads, states, group)
        foretold = foretelling_loss(model, heads.foretellers, states[-1], ids, weights, marks)
        (loss + FORETELLING * foretold + FITNESS * faults).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
        seen += tokens_of(group)
        latest = (loss.item(), faults.item())
        average = latest if step == 0 else [0.98 * old + 0.02 * new for old, new in zip(average, latest, strict=True)]
        if step % 100 == 0:
            speed = seen / (time.monotonic() - started)
            report(
                f"cycle {number}  step {step}  loss {average[0]:.3f}  faults {average[1]:.3f}  tokens {seen:,}  "
                f"{speed:,.0f} tokens/s"
            )


def digest_of_folder(folder: Path) -> str:
    """One SHA-256 over the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    digest = build(BuildPlan(threads=arguments.threads), arguments.out)
    print(json.dumps({"out": str(arguments.out), "sha256": digest}))


if __name__ == "__main__":
    main()
