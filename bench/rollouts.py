"""Rollouts: Steersman's native engine beside `transformers.generate`, one after the other, on the same prompts.

`equal`: every answer has the full length. `mixed`: prompts of 8 to 32 tokens, and answers end where a given token is
drawn, anywhere in 1 to 64 (the end tokens' share is set so that the mean is about half). One JSON line a measurement:
medians of alternating runs in seconds for 64 prompts, tokens a second, and the ratio. Run: python bench/rollouts.py
[--repeats 5] [a b c] On a machine that is busy with other work, wall time says nothing: --clock processor --threads 1
counts processor time.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from steersman.models.backbone import Backbone, Readout
from steersman.rollout.engine import Sampling
from steersman.rollout.native import NativeEngine
from steersman.rollout.request import Ending

# name -> hidden, layers, vocabulary
SIZES = {"a": (128, 4, 1024), "b": (384, 6, 4096), "c": (768, 8, 8192)}
PROMPTS, PROMPT, NEW = 64, 32, 64


def build(size: str) -> Backbone:
    hidden, layers, vocabulary = SIZES[size]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=int(hidden * 8 / 3) // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64 if hidden > 128 else 4,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        eos_token_id=0,
        bos_token_id=0,
        pad_token_id=1,
    )
    return Backbone(LlamaForCausalLM(config).eval(), name=size, readout=Readout(None, 1.0), packing=None)


def theirs(backbone: Backbone, prompts: list[list[int]], ends: list[int]) -> int:
    """What the usual call does: prompts padded on the left, scores not asked for.

    New tokens that count are handed back.
    """
    width = max(len(prompt) for prompt in prompts)
    ids = torch.tensor([[1] * (width - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    out = backbone.hf.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=NEW,
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        eos_token_id=ends or None,
        pad_token_id=1,
    )[:, width:]
    ended = torch.isin(out, torch.tensor(ends, dtype=torch.long)).long().cumsum(1)
    return int((ended == 0).sum() + (ended.cumsum(1) == 1).sum())


def ours(engine: NativeEngine, prompts: list[list[int]], seed: int) -> int:
    engine.refresh(seed)  # as after an update: the fused copy is made anew within the time
    rollouts = engine.generate(prompts, Sampling(max_new_tokens=NEW, temperature=1.0), seeds=seed)
    return sum(len(rollout.ids) for rollout in rollouts)


def measure(size: str, mixed: bool, repeats: int, clock: Callable[[], float]) -> dict[str, object]:
    backbone = build(size)
    vocabulary = SIZES[size][2]
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(8, PROMPT + 1, (PROMPTS,), generator=generator).tolist() if mixed else [PROMPT] * PROMPTS
    prompts = [torch.randint(2, vocabulary, (n,), generator=generator).tolist() for n in lengths]
    # Random weights draw tokens almost evenly: with this share of end tokens an answer has about 30 tokens of 64.
    ends = list(range(2, 2 + vocabulary // 40)) if mixed else []
    engine = NativeEngine(backbone, Ending(ends))
    seconds: dict[str, list[float]] = {"steersman": [], "transformers": []}
    tokens: dict[str, list[int]] = {"steersman": [], "transformers": []}
    for repeat in range(repeats + 1):
        for name in seconds:
            torch.manual_seed(repeat)
            started = clock()
            made = ours(engine, prompts, repeat) if name == "steersman" else theirs(backbone, prompts, ends)
            if repeat:  # the first of each warms up
                seconds[name].append(clock() - started)
                tokens[name].append(made)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    rate = {name: sum(tokens[name]) / sum(seconds[name]) for name in seconds}
    return {
        "bench": "rollouts",
        "size": size,
        "parameters": sum(p.numel() for p in backbone.hf.parameters()),
        "lengths": "mixed" if mixed else "equal",
        "threads": torch.get_num_threads(),
        "clock": "processor" if clock is time.process_time else "wall",
        "path": engine.path,
        **{f"{name}_seconds": round(value, 4) for name, value in median.items()},
        **{f"{name}_best": round(min(values), 4) for name, values in seconds.items()},
        **{f"{name}_tokens_per_second": round(value) for name, value in rate.items()},
        "ratio": round(median["transformers"] / median["steersman"], 2),
        "ratio_of_best": round(min(seconds["transformers"]) / min(seconds["steersman"]), 2),
        "ratio_of_token_rates": round(rate["steersman"] / rate["transformers"], 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="*", default=[], help="a (1 M), b (12 M), c (60 M); all if none is named")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=["wall", "processor"], default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock = time.process_time if arguments.clock == "processor" else time.perf_counter
    for size in arguments.sizes or SIZES:
        for mixed in (False, True):
            print(json.dumps(measure(size, mixed, arguments.repeats, clock)), flush=True)


if __name__ == "__main__":
    main()
