"""Steersman's side of the PPO benchmark: the real `ppo` run on prepared material, an iteration at a time.

What is timed is the whole loop: answers, scores, update, journal, samples. Answers end where the prompt's first word
says (see data.py), by the engine's own limit on each answer's tokens.
"""

import argparse
import contextlib
import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from turns import Turns

LEARNING_RATE, CLIP = 1e-5, 1.0
LAYOUTS = ("shared", "separate", "adapters", "adapters-own-critic")


def settings_of(
    folder: Path, layout: str, threads: int, compute: Mapping[str, Any], *, epochs: int = 4
) -> dict[str, Any]:
    answers = json.loads((folder / "lengths.json").read_text())["answers"]
    model: dict[str, Any] = {"path": str(folder / "model")}
    if layout.startswith("adapters"):
        model["lora"] = {"rank": 16}
    return {
        "model": model,
        "layout": layout,
        "prompts": {"source": str(folder / "prompts.jsonl"), "held_out": 0.0},
        "sampling": {"max_new_tokens": max(answers)},
        "scorer": {"path": str(folder / "reward")},
        "optimiser": {"learning_rate": LEARNING_RATE, "schedule": "constant", "warmup": 0, "max_grad_norm": CLIP},
        "update": {"epochs": epochs, "minibatches": 4},
        "iterations": 10**6,
        "prompts_per_iteration": len(answers),
        "compute": dict(compute),
        "run": {
            "out": str(folder / f"run-{layout}-{os.getpid()}"),
            "threads": threads,
            "checkpoint_every": 10**6,
        },
    }


def end_where_the_prompt_says() -> None:
    """No token ends an answer; each has as many as its prompt's first word says ("w17" is token 17)."""
    from steersman.loading import engines
    from steersman.rollout import generation
    from steersman.rollout.native import NativeEngine
    from steersman.rollout.request import Ticket

    def tickets(engine: Any, prompts: Any, sampling: Any, samples: int, seeds: Any) -> list[list[Ticket]]:
        return [
            [Ticket(i, n, seeds[i * samples + n], prompt[0]) for n in range(samples)]
            for i, prompt in enumerate(prompts)
        ]

    def only_words(logits: Any, *given: Any, **named: Any) -> Any:
        """Never EOS or PAD, which TRL's side bars too: the next token id instead, with its own log-prob."""
        drawn = draw(logits, *given, **named)
        ids = drawn.ids.clamp(min=2)
        moved = (logits.gather(1, ids[:, None]) - logits.gather(1, drawn.ids[:, None])).squeeze(1)
        return drawn._replace(
            ids=ids, log_probs=drawn.log_probs + moved, sampling_log_probs=drawn.sampling_log_probs + moved
        )

    draw = generation.draw
    generation.draw = only_words  # type: ignore[assignment]
    engines.end_ids = lambda *_: ()  # type: ignore[assignment]
    NativeEngine._tickets = tickets  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layout", choices=LAYOUTS, default="shared")
    parser.add_argument("--kernels", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--budget", type=int, default=None)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--graphs", action="store_true", help="compute.cuda_graphs=true")
    parser.add_argument("--alone", type=int, default=None, help="no turns: so many iterations, each printed")
    arguments = parser.parse_args()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

    import torch

    # The run imports them while it loads: they are no memory of the method.
    importlib.import_module("transformers.models.llama.modeling_llama")
    if arguments.layout.startswith("adapters"):
        importlib.import_module("peft")

    from steersman.assemble.ppo.run import run_ppo
    from steersman.methods.ppo import loop
    from steersman.settings.base import check
    from steersman.settings.ppo import PpoSettings

    torch.set_num_threads(arguments.threads)
    end_where_the_prompt_says()
    losses: list[float] = []
    tokens = [0]
    phases: dict[str, float] = {}
    turns = (
        Alone(arguments.alone, phases) if arguments.alone else Turns(lambda: losses, lambda: tokens[0], lambda: phases)
    )
    iterate = loop.iterate

    def in_turn(parts: Any, settings: Any, memory: Any) -> Any:
        turns.step_begins()
        done = iterate(parts, settings, memory)
        losses.append(done.stats.terms["policy"])
        tokens[0] += sum(sum(one.lengths) for one in done.experience)
        for name in ("collect", "score", "update"):
            phases[name] = phases.get(name, 0.0) + done.row[f"seconds to {name}"]
        return done

    loop.iterate = in_turn  # type: ignore[assignment]
    compute = {"kernels": arguments.kernels, "precision": arguments.precision, "compile": arguments.compile}
    compute["cuda_graphs"] = arguments.graphs
    if arguments.budget:
        compute["tokens_per_micro_batch"] = arguments.budget
    values = settings_of(arguments.folder, arguments.layout, arguments.threads, compute, epochs=arguments.epochs)
    with contextlib.suppress(KeyboardInterrupt):
        run_ppo(check(PpoSettings, values), quiet=True)


class Alone:
    """In place of turns, for looking at one side by itself."""

    def __init__(self, iterations: int, phases: Mapping[str, float]) -> None:
        import time

        from turns import held_gb

        self.left, self.phases, self.time = iterations, phases, time
        self.since: tuple[float, float, dict[str, float]] | None = None
        self.imported = held_gb()

    def step_begins(self) -> None:
        if self.since is not None:
            wall, processor, before = self.since
            parts = {name: round(value - before.get(name, 0.0), 3) for name, value in self.phases.items()}
            print(
                f"{self.time.perf_counter() - wall:.3f} s, processor {self.time.process_time() - processor:.3f} s, "
                f"{parts}",
                flush=True,
            )
        if self.left == 0:
            from turns import peak_gb

            print(f"peak {peak_gb():.3f} GB, of which imports {self.imported:.3f} GB", flush=True)
            os._exit(0)
        self.left -= 1
        self.since = (self.time.perf_counter(), self.time.process_time(), dict(self.phases))


if __name__ == "__main__":
    main()
