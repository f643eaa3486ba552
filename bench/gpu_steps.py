"""The steps that `gpu_all.py` runs, each by itself: python bench/gpu_steps.py update d [--tiny]. JSON lines."""

import argparse
import copy
import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# on a machine without a GPU, Triton's kernels run in its interpreter
import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

from data import ALL_SIZES, Asked, config_of, prepare_ppo
from launches import experiences, learner_of
from machine import bandwidth, gpu_bandwidth, gpu_peak, gpu_seconds, model_shape
from steersman.batches import packing_on_cpu
from steersman.costs.forecast import TypicalLengths
from steersman.costs.work import training_operations
from steersman.methods.ppo.roles import ModelActors
from steersman.methods.ppo.update import PpoObjective
from steersman.models.backbone import Backbone, Readout
from steersman.models.compiled import compile_layers
from steersman.models.heads import ValueHead
from steersman.models.packed_attention import use_public_attention
from steersman.settings.policy_update import UpdateSettings
from steersman.settings.prompts import SamplingSettings
from steersman.settings.shaping import KlSettings
from steersman.train.optim import States
from steersman.train.recorded import CudaRecorder, TapeRecorder

HERE = Path(__file__).resolve().parent
ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")


@dataclass(frozen=True)
class Work:
    """How much each step does: on a GPU, or tiny."""

    rows: int
    prompt: int
    new: int
    repeats: int
    minibatches: tuple[tuple[int, int], ...]
    """Answers and tokens of the minibatches that are timed."""
    long_prompt: int
    long_new: int
    asked: Asked
    iterations: int


LARGE = Work(64, 32, 64, 3, ((16, 940), (32, 8192)), 512, 1536, Asked(64, (8, 32), (8, 64)), 3)
TINY = Work(2, 4, 3, 1, ((4, 120),), 6, 4, Asked(4, (4, 8), (3, 6)), 1)


def say(**row: Any) -> None:
    print(json.dumps(row), flush=True)


def seconds_of(work: Callable[[], object], repeats: int = 10) -> float:
    """Of one call, after some without counting."""
    if ON_GPU:
        return gpu_seconds(work, repeats)
    work()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def model_of(size: str, dtype: torch.dtype) -> Any:
    from transformers import LlamaForCausalLM

    with DEVICE:
        torch.manual_seed(0)
        return LlamaForCausalLM(config_of(size)).eval().to(dtype)


def backbone_of(size: str, dtype: torch.dtype) -> Backbone:
    return Backbone(model_of(size, dtype), name=size, readout=Readout(None, 1.0), packing=None)


def decode(size: str, work: Work) -> None:
    """A decoding step as a share of the bandwidth, and whole answers beside transformers' generate."""
    from steersman.rollout.engine import Sampling
    from steersman.rollout.graphed import GraphedDecoder
    from steersman.rollout.native import DecodingOptions, NativeEngine
    from steersman.rollout.request import Ending

    dtype = torch.bfloat16 if ON_GPU else torch.float32
    backbone = backbone_of(size, dtype)
    best = gpu_bandwidth() if ON_GPU else bandwidth(1)
    capacity = work.prompt + work.new
    with torch.inference_mode():
        decoder = GraphedDecoder(backbone, None)
        memory = decoder.memory(work.rows, capacity)
        plan = decoder.layers[0].plan
        held = 2 * len(decoder.layers) * work.rows * plan.kv_heads * plan.head_dim * dtype.itemsize
        read = decoder.bytes - decoder.remembered_bytes + held * (work.prompt + work.new // 2)
        seconds = step_seconds(decoder, memory, work)
    row = {"bench": "decode", "size": size, "rows": work.rows, "step_ms": round(1e3 * seconds, 3)}
    row |= {"read_gb": round(read / 1e9, 3), "gb_per_second": round(best / 1e9)}
    say(**row, share_of_bandwidth=round(read / seconds / best, 3))
    del decoder, memory
    engine = NativeEngine(backbone, Ending(()), options=DecodingOptions(path="graphed"))
    prompts = torch.randint(2, ALL_SIZES[size][2], (work.rows, work.prompt)).tolist()
    times: dict[str, list[float]] = {"ours": [], "transformers": []}
    for repeat in range(work.repeats + 1):
        for name, values in times.items():
            began = clock()
            if name == "ours":
                engine.refresh(repeat)
                engine.generate(prompts, Sampling(max_new_tokens=work.new, temperature=1.0), seeds=repeat)
            else:
                generate(backbone.hf, prompts, work.new)
            values.append(clock() - began)
    ours, theirs = (statistics.median(values[1:] or values) for values in times.values())
    say(bench="answers", size=size, ours=round(ours, 3), generate=round(theirs, 3), ratio=round(theirs / ours, 2))


def step_seconds(decoder: Any, memory: Any, work: Work) -> float:
    tokens = torch.arange(work.rows, device=DEVICE)

    def step() -> None:
        memory.lengths.fill_(work.prompt + work.new // 2)
        decoder.step(tokens, memory)

    return seconds_of(step, 20)


def generate(hf: Any, prompts: list[list[int]], new: int) -> None:
    ids = torch.tensor(prompts, device=DEVICE)
    given = {"attention_mask": torch.ones_like(ids), "max_new_tokens": new, "do_sample": True, "top_k": 0}
    hf.generate(ids, **given, eos_token_id=None, pad_token_id=1)


def clock() -> float:
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter()


VARIANTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("plain", ()),
    ("recorded", ("recorded",)),
    ("compiled", ("compiled",)),
    ("compiled, recorded", ("compiled", "recorded")),
    ("compiled, recorded, varlen", ("compiled", "recorded", "varlen")),
    ("compiled, recorded, moments in 8 bits", ("compiled", "recorded", "8bit")),
)


def update(size: str, work: Work) -> None:
    """An optimiser step as a share of the peak, with each of the changes off and on."""
    shape = model_shape(size)
    peak = gpu_peak() if ON_GPU else 1e11
    base = backbone_of(size, torch.float32)
    objective = PpoObjective(UpdateSettings(), KlSettings(), SamplingSettings(max_new_tokens=512))
    for name, on in VARIANTS:
        if "8bit" in on and importlib.util.find_spec("torchao") is None:
            say(bench="missing", what="torchao (pip install 'steersman[8bit]')")
            continue
        try:
            for answers, tokens in work.minibatches:
                row = timed_update(base, objective, on, answers, tokens, size)
                needed = training_operations(shape, row.pop("rows"), row.pop("read"), logits=True, rank=None)
                say(
                    bench="update",
                    size=size,
                    variant=name,
                    **row,
                    share_of_peak=round(needed / row["seconds"] / peak, 4),
                )
        except Exception as error:  # the other variants are not to be lost
            say(bench="update", size=size, variant=name, failed=f"{type(error).__name__}: {str(error)[:300]}")
        free()


def timed_update(
    base: Backbone, objective: PpoObjective, on: tuple[str, ...], answers: int, tokens: int, size: str
) -> dict[str, Any]:
    backbone = copy.deepcopy(base)
    head = ValueHead(backbone.hidden_size).to(DEVICE)
    actors = ModelActors(backbone, head, policy_adapter=None, value_adapter=None, critic=None, frozen=None)
    recorder = (CudaRecorder() if ON_GPU else TapeRecorder()) if "recorded" in on else None
    states: States = "8bit" if "8bit" in on else "float32"
    learner = learner_of(actors, recorder=recorder, precision="bf16", device=DEVICE, states=states)
    if "compiled" in on and ON_GPU:
        compile_layers([actors])
    if "varlen" in on:
        use_public_attention([actors])
    units = experiences(answers, tokens, vocabulary=ALL_SIZES[size][2])
    if ON_GPU:
        torch.cuda.reset_peak_memory_stats()
    with packing_on_cpu():
        first = clock()
        learner.step(units, objective)
        first = clock() - first
        seconds = seconds_of(lambda: learner.step(units, objective), 8)
    found = {"tokens": tokens, "seconds": round(seconds, 5), "first_seconds": round(first, 2)}
    peak = {"peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)} if ON_GPU else {}
    rows = [unit.lengths[0] for unit in units]
    return {**found, **peak, "rows": rows, "read": [unit.tokens for unit in units]}


def free() -> None:
    gc.collect()
    torch._dynamo.reset()
    if ON_GPU:
        torch.cuda.empty_cache()


def long(size: str, work: Work) -> None:
    """Long answers of which most end early: speed, and memory beside what the longest would take."""
    from steersman.rollout.engine import Sampling
    from steersman.rollout.native import DecodingOptions, NativeEngine
    from steersman.rollout.request import Ending

    backbone = backbone_of(size, torch.bfloat16 if ON_GPU else torch.float32)
    # one token in eight ends an answer
    vocabulary = ALL_SIZES[size][2]
    ends = tuple(range(2, vocabulary, 256))
    prompts = torch.randint(2, vocabulary, (max(1, work.rows // 4), work.long_prompt)).tolist()
    for name, options in (("whole", {}), ("paged", {"paged": True}), ("paged, split", {"paged": True, "split": 4})):
        if ON_GPU:
            torch.cuda.reset_peak_memory_stats()
        try:
            engine = NativeEngine(backbone, Ending(ends), options=DecodingOptions(path="graphed", **options))
            began = clock()
            given = Sampling(max_new_tokens=work.long_new, temperature=1.0)
            answers = engine.generate(prompts, given, samples=4, seeds=0)
            seconds = clock() - began
            tokens = sum(len(one.ids) for one in answers)
            peak = {"peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 2)} if ON_GPU else {}
            row = {"seconds": round(seconds, 3), "tokens": tokens, **peak}
            say(bench="long answers", size=size, cache=name, **row, cache_gb=round(engine.cache_bytes / 1e9, 4))
        except Exception as error:  # the other ways are not to be lost
            say(bench="long answers", size=size, cache=name, failed=f"{type(error).__name__}: {str(error)[:300]}")
        engine = None
        free()


def iteration(size: str, work: Work) -> None:
    """Whole iterations of the real `ppo`, and its peak memory beside the plan's."""
    from ours_ppo import settings_of
    from steersman.assemble.plan import plan_ppo
    from steersman.settings.base import check
    from steersman.settings.ppo import PpoSettings

    with tempfile.TemporaryDirectory(prefix="steersman-bench-") as scratch:
        folder = Path(scratch)
        prepare_ppo(folder, size, work.asked)
        lengths = json.loads((folder / "lengths.json").read_text())
        for layout in ("shared", "adapters"):
            # tiny: without a GPU these switches change nothing
            for extra in ([], ["--compile", "--graphs"]) if work is LARGE else ([],):
                command = [sys.executable, str(HERE / "ours_ppo.py"), str(folder), "--layout", layout, "--threads", "2"]
                command += ["--alone", str(work.iterations), *extra]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                said = [line for line in done.stdout.splitlines() if line]
                row: dict[str, Any] = {"layout": layout, "options": " ".join(extra), "said": said[-3:]}
                if done.returncode:
                    row["failed"] = done.stderr.strip().splitlines()[-3:]
                settings = check(PpoSettings, settings_of(folder, layout, 2, {}))
                typical = TypicalLengths(max(lengths["prompts"]), max(lengths["answers"]))
                planned = plan_ppo(settings, typical, 1e12).chosen.memory.total
                say(bench="iteration", size=size, **row, planned_gb=round(planned / 1e9, 3))


def vllm(size: str, work: Work) -> None:
    """vLLM's answers to the same prompts, where it is installed."""
    from vllm import LLM, SamplingParams  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory(prefix="steersman-bench-") as scratch:
        folder = Path(scratch)
        prepare_ppo(folder, size, work.asked)
        engine: Any = LLM(str(folder / "model"), dtype="bfloat16", gpu_memory_utilization=0.4)
        prompts = torch.randint(2, ALL_SIZES[size][2], (work.rows, work.prompt)).tolist()
        given = [{"prompt_token_ids": one} for one in prompts]
        asked = SamplingParams(max_tokens=work.new, temperature=1.0, ignore_eos=True)
        times = []
        for _ in range(work.repeats + 1):
            began = time.perf_counter()
            engine.generate(given, asked, use_tqdm=False)
            times.append(time.perf_counter() - began)
        say(bench="answers by vLLM", size=size, seconds=round(statistics.median(times[1:]), 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["decode", "update", "long", "iteration", "vllm"])
    parser.add_argument("size", help="d (0.5 B), e (1.5 B), f (7 B)")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    parts = {"decode": decode, "update": update, "long": long, "iteration": iteration, "vllm": vllm}
    size = "tiny" if arguments.tiny else arguments.size
    say(bench="machine", device=torch.cuda.get_device_name() if ON_GPU else "cpu", torch=torch.__version__)
    parts[arguments.part](size, TINY if arguments.tiny else LARGE)


if __name__ == "__main__":
    main()
