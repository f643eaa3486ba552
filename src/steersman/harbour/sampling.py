"""Fine-tunes the base model on demonstrations and samples the answers that ship with Harbour.

`python -m steersman.harbour.sampling --out FILE` rebuilds that file. The answers to be judged come from the fine-tuned
and the base model, some at a high temperature: garbled and rude answers teach the reward model to score those low.
Training runs use `steersman sft`.
"""

import argparse
import gzip
import itertools
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from steersman.harbour.base_model import base_path
from steersman.harbour.demonstrations import demonstrations
from steersman.harbour.prompts import prompts
from steersman.harbour.tokens import ASSISTANT, END, USER
from steersman.records import Demonstration, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class SamplingPlan:
    """Settings of the shipped answers."""

    seed: int = 7
    demonstrations: int = 1000
    epochs: int = 2
    rate: float = 6e-4
    batch: int = 32
    prompts: tuple[tuple[str, int], ...] = (("train", 800), ("heldout", 200))
    voices: tuple[tuple[str, int, float], ...] = (("sft", 4, 1.0), ("sft", 2, 1.2), ("base", 1, 1.0), ("base", 1, 1.2))
    """The models that answer each prompt, with number of answers and temperature."""


def load(folder: Path | None = None) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """Base model and tokenizer, loaded by plain transformers."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = folder or base_path()
    return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def asked(prompt: str) -> str:
    """A prompt in the chat template, with the generation prompt."""
    return f"{USER}{prompt}{ASSISTANT}"


def sample(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    *,
    seed: int = 0,
    temperature: float = 1.0,
    batch: int = 256,
) -> list[str]:
    """One sampled answer per prompt, in order, with at most 48 tokens."""
    answers = [""] * len(texts)
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            inputs = tokenizer(
                [asked(texts[i]) for i in chosen], return_tensors="pt", padding=True, return_token_type_ids=False
            )
            out = model.generate(
                **inputs, do_sample=True, temperature=temperature, top_k=0, top_p=1.0, max_new_tokens=48
            )  # type: ignore[operator]
            replies = tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
            for index, answer in zip(chosen, replies, strict=True):
                answers[index] = answer
    return answers


def fine_tune(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", shown: Iterable[Demonstration], plan: SamplingPlan
) -> list[float]:
    """Supervised fine-tuning on the answers' tokens, in place; returns the loss of each step."""
    pairs = []
    for demonstration in shown:
        question = tokenizer(asked(demonstration.prompt.shown)).input_ids
        answer = tokenizer(demonstration.completion.text + END).input_ids
        pairs.append((question, answer))
    rng = random.Random(plan.seed)
    steps = plan.epochs * -(-len(pairs) // plan.batch)
    optimiser = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.95), weight_decay=0.0)
    losses: list[float] = []
    for _ in range(plan.epochs):
        rng.shuffle(pairs)
        for start in range(0, len(pairs), plan.batch):
            optimiser.param_groups[0]["lr"] = plan.rate * (1 - len(losses) / steps)
            loss = answer_loss(model, pairs[start : start + plan.batch])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            losses.append(loss.item())
    return losses


def answer_loss(model: "PreTrainedModel", pairs: Sequence[tuple[list[int], list[int]]]) -> Float[Tensor, ""]:
    """Mean cross-entropy of the answers' tokens."""
    longest = max(len(question) + len(answer) for question, answer in pairs)
    ids = torch.zeros(len(pairs), longest, dtype=torch.long)
    counts = torch.zeros(len(pairs), longest, dtype=torch.bool)
    for row, (question, answer) in enumerate(pairs):
        ids[row, : len(question) + len(answer)] = torch.tensor(question + answer)
        counts[row, len(question) : len(question) + len(answer)] = True
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    return functional.cross_entropy(logits[counts[:, 1:]], ids[:, 1:][counts[:, 1:]])


def write_answers(out: Path, plan: SamplingPlan, folder: Path | None = None) -> int:
    """Sample the answers of the plan and write them; returns their number."""
    raw, tokenizer = load(folder)
    tuned, _ = load(folder)
    fine_tune(tuned, tokenizer, demonstrations(count=plan.demonstrations, seed=plan.seed), plan)
    rows, total = [], 0
    for split, count in plan.prompts:
        asked_for = distinct(prompts(split=split, count=4 * count, seed=plan.seed), count)
        answers: list[list[tuple[str, str]]] = [[] for _ in asked_for]
        for turn, (name, times, temperature) in enumerate(plan.voices):
            replies = sample(
                tuned if name == "sft" else raw,
                tokenizer,
                [p.shown for p in asked_for for _ in range(times)],
                seed=plan.seed + turn,
                temperature=temperature,
            )
            for index, answer in enumerate(replies):
                answers[index // times].append((name, answer))
        rows += [[split, prompt.shown, given] for prompt, given in zip(asked_for, answers, strict=True)]
        total += sum(map(len, answers))
    packed = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), compresslevel=9, mtime=0)
    out.write_bytes(packed)
    return total


def distinct(stream: Iterable[Prompt], count: int) -> list[Prompt]:
    """The first `count` different prompts of a stream."""
    found = {prompt.shown: prompt for prompt in stream}
    return list(itertools.islice(found.values(), count))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the file to write (.jsonl.gz)")
    parser.add_argument("--base", type=Path, default=None, help="another base model than the one that ships")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # so that the file comes out the same, and a busy machine does not spin
    print(
        json.dumps({"out": str(arguments.out), "answers": write_answers(arguments.out, SamplingPlan(), arguments.base)})
    )


if __name__ == "__main__":
    main()
