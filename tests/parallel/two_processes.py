"""Run under torchrun by test_two_processes.py: three SFT steps of a sharded tiny model; process 0 writes what came
out."""

import json
import sys
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file

from steersman.batches import TokenRow
from steersman.execution.learner import collate_rows, learner_of
from steersman.loading.language_model import shard_model
from steersman.methods.sft import NextToken
from steersman.models.loading import load_causal
from steersman.parallel.shard import whole
from steersman.parallel.world import end_process, join
from steersman.settings.parts import OptimiserSettings
from steersman.train.checkpoint import take_snapshot
from steersman.train.plan import Batching


def rows_to_learn() -> list[TokenRow]:
    generator = torch.Generator().manual_seed(3)
    lengths = [5, 19, 8, 30, 11, 7, 23]
    return [TokenRow(torch.randint(5, 300, (n,), generator=generator), torch.arange(n) >= n // 3 + 1) for n in lengths]


def main(model: str, out: Path) -> None:
    with join(torch.device("cpu")) as world:
        torch.set_num_threads(1)
        torch.manual_seed(0)
        backbone = load_causal(model, dtype=torch.float32, device="cpu")
        shard_model(backbone, backbone, world, entrances=("hidden", "log_probs"))
        learner = learner_of(
            backbone,
            # With the usual epsilon Adam's first steps are as large for a gradient that is nothing but rounding as for
            # any other.
            OptimiserSettings(learning_rate=1e-3, weight_decay=0.1, max_grad_norm=0.5, epsilon=1e-3),
            Batching(partial(collate_rows, pad_id=0, device=world.device, pad_multiple=1), 64),
            steps=10,
            world=world,
            precision="fp32",
            notice=print,
        )
        gradients: dict[str, torch.Tensor] = {}

        def keep(*_: object) -> None:
            gradients.update({name: whole(p.grad) for name, p in backbone.named_parameters() if p.grad is not None})

        handle = learner.optimiser.register_step_pre_hook(keep)
        rows = rows_to_learn()
        # the second step has fewer rows than processes: one of them goes along with rows that count nothing
        reports = [learner.step(rows, NextToken())]
        handle.remove()
        reports += [learner.step(rows[:1], NextToken()), learner.step(rows[2:], NextToken())]
        held_out = learner.measure(rows[3:], NextToken())
        snapshot = take_snapshot(learner, {}, world)
        if world.first:
            save_file(gradients, out / "gradients.safetensors")
            snapshot.write(out)
            numbers = {
                "losses": [r.loss for r in reports],
                "norms": [r.gradient_norm for r in reports],
                "held_out": held_out["loss"],
            }
            (out / "numbers.json").write_text(
                json.dumps({**numbers, "tokens": [r.tokens for r in reports], "size": world.size})
            )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    end_process(0)
