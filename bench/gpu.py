"""Efficiency of PPO on a GPU: decoding relative to memory bandwidth, updates relative to peak matmul throughput.

    python bench/gpu.py decode d e        # a recorded step alone, and whole answers beside transformers' generate
    python bench/gpu.py long d e          # large iterations: 256 prompts of 64 to 256 tokens, answers of 128 to 512
    python bench/ppo.py d e --compile     # the table's iterations beside TRL's

Random weights, bf16; one JSON line a measurement.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from data import LONG, SIZES, config_of, prepare_ppo
from machine import gpu_bandwidth, gpu_peak, gpu_seconds, model_shape
from steersman.costs.work import iteration_parts
from steersman.models.backbone import Backbone, Readout
from steersman.rollout.engine import Sampling
from steersman.rollout.graphed import GraphedDecoder
from steersman.rollout.native import DecodingOptions, NativeEngine
from steersman.rollout.request import Ending
from training import Trainer

HERE = Path(__file__).resolve().parent
ROWS, PROMPT, NEW = 64, 32, 64


def decode(size: str) -> dict[str, Any]:
    from transformers import LlamaForCausalLM

    with torch.device("cuda"):
        torch.manual_seed(0)
        hf = LlamaForCausalLM(config_of(size)).eval().bfloat16()
    backbone = Backbone(hf, name=size, readout=Readout(None, 1.0), packing=None)
    vocabulary = SIZES[size][2]
    prompts = torch.randint(2, vocabulary, (ROWS, PROMPT)).tolist()
    found: dict[str, Any] = {"bench": "gpu decode", "size": size, "device": torch.cuda.get_device_name()}
    bandwidth = gpu_bandwidth()
    with torch.inference_mode():
        decoder = GraphedDecoder(backbone, None)
        memory = decoder.memory(ROWS, PROMPT + NEW)
        read = decoder.bytes + 2 * len(decoder.layers) * ROWS * SIZES[size][0] * 2 * (PROMPT + NEW // 2)
        tokens = torch.arange(ROWS, device="cuda")

        def step() -> None:
            memory.lengths.fill_(PROMPT + NEW // 2)
            decoder.step(tokens, memory)

        seconds = gpu_seconds(step)
    found |= {"step_ms": round(1e3 * seconds, 3), "read_gb_a_step": round(read / 1e9, 2)}
    found |= {"gb_per_second": round(bandwidth / 1e9), "share_of_bandwidth": round(read / seconds / bandwidth, 2)}
    engines = {
        path: NativeEngine(backbone, Ending(()), options=DecodingOptions(path=path)) for path in ("graphed", "fused")
    }
    times: dict[str, list[float]] = {name: [] for name in (*engines, "transformers")}
    for repeat in range(4):
        for name in times:
            torch.cuda.synchronize()
            started = time.perf_counter()
            if name == "transformers":
                ids = torch.tensor(prompts, device="cuda")
                given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": NEW, "do_sample": True, "top_k": 0}
                hf.generate(ids, **given, eos_token_id=None, pad_token_id=1)  # pyright: ignore[reportAttributeAccessIssue]
            else:
                engines[name].refresh(repeat)  # as after an update
                engines[name].generate(prompts, Sampling(max_new_tokens=NEW, temperature=1.0), seeds=repeat)
            torch.cuda.synchronize()
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    found |= {f"{name}_seconds": round(value, 3) for name, value in medians.items()}
    return {**found, "ratio": round(medians["transformers"] / medians["graphed"], 1)}


def long(size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    peak = gpu_peak()
    found: dict[str, Any] = {"bench": "gpu long", "size": size, "device": torch.cuda.get_device_name()}
    found |= {"teraflops": round(peak / 1e12), "compiled": arguments.compile}
    with tempfile.TemporaryDirectory(prefix="steersman-bench-") as scratch:
        folder = Path(scratch)
        prepare_ppo(folder, size, LONG)
        lengths = json.loads((folder / "lengths.json").read_text())
        for layout in arguments.layouts:
            command = [sys.executable, str(HERE / "ours_ppo.py"), str(folder), "--layout", layout, "--threads", "8"]
            trainer = Trainer(layout, command + ["--compile"] * arguments.compile, 8, folder / "log")
            trainer.start()
            for _ in range(arguments.rounds + 1):
                trainer.run(1)
            end = trainer.end()
            phases = {
                name: statistics.median(turn["phases"][name] for turn in trainer.turns[1:])
                for name in trainer.turns[0]["phases"]  # pyright: ignore
            }
            parts = iteration_parts(
                model_shape(size), layout=layout, epochs=4, scorer=model_shape(size), rank=None, **lengths
            )
            found[layout] = {
                "seconds": {name: round(value, 2) for name, value in phases.items()},
                "share_of_peak": {name: round(parts[name] / phases[name] / peak, 3) for name in ("score", "update")},
                "answer_tokens_per_second": round(sum(lengths["answers"]) / phases["collect"]),
                "first_iteration_seconds": round(trainer.turns[0]["seconds"], 1),
                "peak_gb": round(end["peak_gb"], 1),
            }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["decode", "long"])
    parser.add_argument("sizes", nargs="+", help="d (0.5 B), e (1.5 B)")
    parser.add_argument("--layouts", nargs="*", default=["shared", "adapters"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    arguments = parser.parse_args()
    for size in arguments.sizes:
        print(json.dumps(decode(size) if arguments.what == "decode" else long(size, arguments)), flush=True)


if __name__ == "__main__":
    main()
