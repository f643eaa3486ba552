"""TRL's PPOTrainer (1.12.0) on Harbour: mean reward model score and elapsed time of each iteration.
Run by the peer's own interpreter (see setup.sh); one JSON line an iteration.

Everything that both have is set alike (batch, epochs, minibatches, clips, KL, discount, AdamW, a rate that falls to the
end); TRL's critic is a model of its own, started from the reward model as in TRL's examples. `rows.jsonl` has a
prompt's token ids a line.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl_roles import learn


class Clock(TrainerCallback):
    """Says each iteration's mean score, and the seconds since training began, by the clock and of the processor."""

    def on_train_begin(self, *positional: Any, **named: Any) -> None:
        self.began, self.used = time.perf_counter(), time.process_time()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **named: Any) -> None:
        if not logs or "objective/scores" not in logs:
            return
        seconds, processor = time.perf_counter() - self.began, time.process_time() - self.used
        row = {"score": logs["objective/scores"], "kl": logs["objective/kl"], "seconds": seconds}
        print("TURN " + json.dumps({**row, "processor": processor}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path)
    for name in ("--policy", "--reward", "--out"):
        parser.add_argument(name, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--answers", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokeniser = AutoTokenizer.from_pretrained(arguments.policy, padding_side="left")
    rows = [json.loads(line) for line in arguments.rows.open()]
    learn(
        arguments.policy,
        arguments.reward,
        tokeniser,
        Dataset.from_list(rows),
        [Clock()],
        answers=arguments.answers,
        output_dir=arguments.out,
        seed=arguments.seed,
        num_mini_batches=2,
        num_ppo_epochs=2,
        total_episodes=arguments.answers * arguments.iterations,
        response_length=48,
        learning_rate=arguments.rate,
        lr_scheduler_type="linear",
        kl_coef=0.05,
        vf_coef=0.1,
        lam=1.0,
    )


if __name__ == "__main__":
    main()
