"""Operations that PPO's optimiser step and a decoding step dispatch, counted on a CPU with the GPU's code paths.

    python bench/launches.py                   # 24 layers, minibatches of 940 tokens
    python bench/launches.py --layers 4        # quicker

The widths are tiny, since the counts do not depend on them. Counted is what the CPU has to dispatch and what launches a
kernel. Views and allocations are left out. A custom operation counts once (attention is one), and so does a Triton
kernel and a multi-tensor operation, of which a GPU makes one launch for some dozens of tensors. A recorded pass is one
launch; what its recording holds is counted too. Compiled layers are counted in inductor's code for a CPU: its loops,
its matrix products, its custom operations. For a GPU inductor may fuse a little differently. One JSON line each.
"""

import argparse
import json
import os
import re
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

# Triton's kernels run in its interpreter
os.environ.setdefault("TRITON_INTERPRET", "1")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from steersman.batches import TokenRow, packing_on_cpu
from steersman.methods.ppo.records import Collation, Experience, Sample, Scored
from steersman.methods.ppo.roles import ModelActors
from steersman.methods.ppo.update import PpoObjective
from steersman.models.backbone import Backbone, Readout
from steersman.models.compiled import compile_layers
from steersman.models.heads import ValueHead
from steersman.models.unpadded import install
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.rollout.batch import Rollout
from steersman.settings.policy_update import UpdateSettings
from steersman.settings.prompts import SamplingSettings
from steersman.settings.shaping import KlSettings
from steersman.train.core import Learner
from steersman.train.dispatched import Dispatched
from steersman.train.optim import Optimisation, States, adamw
from steersman.train.plan import Batching
from steersman.train.precision import Precision, autocast
from steersman.train.recorded import Recorder, TapeRecorder

CPU = torch.device("cpu")
VOCABULARY = 256
ANSWERS, TOKENS = 16, 940


def tiny_backbone(layers: int, hidden: int = 64) -> Backbone:
    torch.manual_seed(0)
    hf = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=512,
            tie_word_embeddings=True,
        )
    ).eval()
    return Backbone(hf, name="tiny", readout=Readout(None, 1.0), packing=None)


def actors_of(backbone: Backbone) -> ModelActors:
    return ModelActors(
        backbone,
        ValueHead(backbone.hidden_size),
        policy_adapter=None,
        value_adapter=None,
        critic=None,
        frozen=None,
    )


def experiences(
    count: int = ANSWERS, tokens: int = TOKENS, seed: int = 0, *, vocabulary: int = VOCABULARY
) -> list[Experience]:
    """Answers whose rows together have this many tokens."""
    generator = torch.Generator().manual_seed(seed)
    found: list[Experience] = []
    for i in range(count):
        total = tokens * (i + 1) // count - tokens * i // count
        total += (8 if i % 2 else -8) if i < count // 2 * 2 else 0
        answer = total // 2
        ids = torch.randint(2, vocabulary, (total,), generator=generator)
        one = torch.randn(5, answer, generator=generator)
        row = TokenRow(ids, torch.arange(total) >= total - answer)
        prompt, sampled = tuple(ids[:-answer].tolist()), tuple(ids[-answer:].tolist())
        rollout = Rollout(i, 0, prompt, sampled, one[0] - 5, one[0] - 5, "length", i, 0)
        sample = Sample(Prompt(text="a"), rollout, "", row)
        scored = Scored(sample, 0.1, 0.1, {}, one[1], one[0] - 5, one[0] - 5, one[1], one[2], one[2])
        found.append(Experience(scored, one[1], one[3], one[4], torch.ones(answer)))
    return found


def learner_of(
    actors: ModelActors,
    *,
    recorder: Recorder | None,
    precision: Precision,
    collate: Callable[..., Any] | None = None,
    device: torch.device = CPU,
    states: States = "float32",
) -> Learner[Any, Any]:
    """PPO's learner, with one micro-batch a minibatch."""
    install()
    actors.backbone.unpadded = 10**6
    given = {"learning_rate": 1e-5, "weight_decay": 0.0, "betas": (0.9, 0.999), "epsilon": 1e-8}
    optimiser = adamw(actors, **given, states=states)
    collate = collate or Collation(1, device, buckets=recorder is not None)
    return Learner(
        actors,
        Optimisation(optimiser, rate_at=lambda _: 1.0, max_grad_norm=1.0),
        Batching(collate, 10**6, unpadded=True, recorder=recorder),
        World.alone(device),
        precision=autocast(precision, device),
        notice=print,
    )


class CountedRecorder:
    """A recording whose replay counts as one launch. `held` are the launches of one pass."""

    def __init__(self, counted: Dispatched) -> None:
        self.counted, self.held = counted, 0

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        with Dispatched() as held:
            work()
        self.held = held.count
        replay = TapeRecorder().record(work)

        def once() -> None:
            self.counted.launches["replay"] += 1
            with self.counted.paused():
                replay()

        return once


def optimiser_step(layers: int, *, recorded: bool) -> dict[str, Any]:
    """What one `Learner.step` dispatches, once it has run before. Making the batch, on the CPU, is not counted."""
    counted = Dispatched()
    collation = Collation(1, CPU, buckets=recorded)

    def collate(units: Any) -> Any:
        with counted.paused():
            return collation(units)

    recorder = CountedRecorder(counted) if recorded else None
    learner = learner_of(actors_of(tiny_backbone(layers)), recorder=recorder, precision="bf16", collate=collate)
    objective = PpoObjective(UpdateSettings(), KlSettings(), SamplingSettings(max_new_tokens=64))
    units = experiences()
    with packing_on_cpu():
        learner.step(units, objective)
        with counted, on_cpu_before(counted), by_part(counted) as parts:
            learner.step(units, objective)
    # what no phase has: the batch's copy, the norm, the sums of metrics and their one reading
    parts["rest"] = counted.count - sum(parts.values())
    found: dict[str, Any] = {"launches": counted.count, "parts": parts}
    found |= {"waits": counted.waits.total(), "of": dict(counted.waits)}
    return found if recorder is None else {**found, "in_the_recording": recorder.held}


@contextmanager
def on_cpu_before(counted: Dispatched) -> Generator[None]:
    """Do not count what joins a batch on the CPU before its one copy, which counts."""
    from steersman.train import recorded

    joined = recorded.joined

    def uncounted(*given: Any, **named: Any) -> Any:
        with counted.paused():
            return joined(*given, **named)

    with mock.patch.object(recorded, "joined", uncounted):
        yield


@contextmanager
def by_part(counted: Dispatched) -> Generator[dict[str, int]]:
    """The launches of each phase of a step: forward, backward, optimiser."""
    from steersman.train import core

    parts: dict[str, int] = {}
    phase = core.phase

    @contextmanager
    def counting(name: str) -> Generator[None]:
        before = counted.count
        with phase(name):
            yield
        parts[name] = parts.get(name, 0) + counted.count - before

    with mock.patch.object(core, "phase", counting):
        yield parts


def compiled_layer() -> dict[str, int]:
    """Kernels of one compiled layer, forward and backward."""
    from torch._inductor.utils import run_and_get_code

    backbone = tiny_backbone(2)
    backbone.unpadded = 10**6
    install()
    torch._dynamo.reset()
    compile_layers([backbone])
    batch = Collation(1, CPU).on_cpu(experiences()).answers
    assert batch is not None

    def learn() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            log_probs = backbone.log_probs(batch)[0]
        log_probs.sum().backward()

    with packing_on_cpu():
        _, codes = run_and_get_code(learn)
    counts = [kernels_in(code) for code in codes]
    return {"forward": counts[0], "backward": counts[-1], "graphs": len(counts)}


def kernels_in(code: str) -> int:
    """Launches in the code that inductor made of a graph."""
    body = code[code.index("def call(") :]
    return len(
        re.findall(r"^\s+(?:\S+ = )?(?:cpp_fused\w*|triton_\w+|extern_kernels\.\w+|torch\.ops\.\S+?)\(", body, re.M)
    )


def decoding_step(layers: int, rows: int = 4) -> dict[str, int]:
    """What a recorded decoding step holds, and what is dispatched beside it for each token."""
    from steersman.rollout import gpu_kernels
    from steersman.rollout.engine import Sampling
    from steersman.rollout.generation import Generation
    from steersman.rollout.graphed import GraphedDecoder
    from steersman.rollout.request import Ending, GenerationRequest, Ticket

    backbone = tiny_backbone(layers)
    inside, outside = Dispatched(), Dispatched()
    names = [name for name in KERNELS if hasattr(gpu_kernels, name)]
    kernels = {name: getattr(gpu_kernels, name) for name in names}

    def once(name: str) -> Callable[..., Any]:
        def launched(*given: Any, **named: Any) -> Any:
            inside.launches[f"triton {name}"] += LAUNCHES_OF.get(name, 1)
            with inside.paused():
                return kernels[name](*given, **named)

        return launched

    with torch.inference_mode(), ExitStack() as stack:
        for name in names:
            stack.enter_context(mock.patch.object(gpu_kernels, name, once(name)))
        decoder = GraphedDecoder(backbone, None)
        step, steps = decoder.step, 0

        def counted_step(tokens: Any, memory: Any) -> Any:
            nonlocal steps
            steps += 1
            with outside.paused(), inside:
                found = step(tokens, memory)
            outside.launches["replay"] += 2  # with the copy of the tokens
            return found

        decoder.step = counted_step  # type: ignore[method-assign]
        prompts = [[5, 6, 7]] * rows
        tickets = [[Ticket(i, 0, i, 12)] for i in range(rows)]
        request = GenerationRequest(
            prompts,
            tickets,
            Sampling(max_new_tokens=12, temperature=1.0),
            Ending(()),
            version=0,
            on_token=None,
            on_answer=None,
            with_token_info=False,
        )
        generation = Generation(decoder, request, slots=rows, vocabulary=VOCABULARY, context=512, device=CPU)
        generation._admit()
        before = outside_step(generation, outside)
    return {"in_the_recording": inside.count // steps, "outside": before, "waits": outside.waits.total()}


KERNELS = ("add_norm", "turn_and_remember", "attend_past", "open_gate", "attend_paged", "turn_and_remember_paged")
LAUNCHES_OF: dict[str, int] = {}


def outside_step(generation: Any, outside: Dispatched) -> int:
    """One pass of the loop of `Generation.run`, with all slots taken."""
    width = generation._close_ranks([i for i, one in enumerate(generation.tickets) if one is not None])
    with outside:
        logits = generation.decoder.step(generation.tokens[:width], generation.memory)
        generation.memory.lengths[:width].mul_(generation.alive[:width])
        generation._draw(torch.arange(width, device=CPU), logits, generation.decoder.values)
    return outside.count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--compiled", action="store_true", help="also inductor's kernels; needs a C++ compiler")
    arguments = parser.parse_args()
    layers = arguments.layers
    eager, recorded = (optimiser_step(layers, recorded=one) for one in (False, True))
    print(json.dumps({"bench": "launches update", "layers": layers, "tokens": TOKENS, **eager}), flush=True)
    print(json.dumps({"bench": "launches update recorded", "layers": layers, **recorded}), flush=True)
    if arguments.compiled:
        layer = compiled_layer()
        # what a layer adds, and the rest of a pass, in plain operations
        one, two = (optimiser_step(n, recorded=True)["in_the_recording"] for n in (1, 2))
        each = layer["forward"] + layer["backward"]
        found = {"kernels_a_layer": each, "in_the_recording": 2 * one - two + layers * each, "plain_a_layer": two - one}
        print(json.dumps({"bench": "launches update compiled", "layers": layers, **layer, **found}), flush=True)
    print(json.dumps({"bench": "launches decode", "layers": layers, **decoding_step(layers)}), flush=True)


if __name__ == "__main__":
    main()
