"""TRL's PPOTrainer (1.12.0, the last release with it) on prepared prompts, an iteration at a time.

It is run by the peer's own interpreter (see setup.sh).

TRL's own defaults stay, but for what has to be the same on both sides: float32, no gradient checkpointing, temperature
1, the learning rate. `per_device_train_batch_size` is the whole batch: with accumulation TRL 1.12 takes 4 optimiser
steps an iteration, and 16 are asked for. Answers end with EOS where the prompt's first word says.
"""

import json
import time
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, LogitsProcessor, LogitsProcessorList, TrainerCallback
from trl.experimental.ppo import ppo_trainer
from trl_roles import learn
from trl_turns import options

from turns import Turns

END, PROMPTS = 0, 64


class EndWhereThePromptSays(LogitsProcessor):
    def __init__(self, asked: torch.Tensor, context: int) -> None:
        self.asked, self.context = asked, context

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        due = self.asked == input_ids.shape[1] - self.context + 1
        scores[:, END] = -torch.inf
        scores[due] = -torch.inf
        scores[due, END] = 0.0
        return scores


class Watch(TrainerCallback):
    """Seconds by phase: rollout, scoring (policy, reference, values, rewards), update; the rest is overhead."""

    def __init__(self) -> None:
        self.phases = {"collect": 0.0, "score": 0.0, "update": 0.0}
        self.losses: list[float] = []
        self.turns = Turns(lambda: self.losses, lambda: 0, lambda: self.phases)
        self.since = 0.0
        self.updating = False

    def pass_to(self, phase: str) -> None:
        now = time.perf_counter()
        self.phases[phase] += now - self.since
        self.since = now

    def on_step_end(self, *positional: Any, **named: Any) -> None:
        self.pass_to("update")
        self.updating = False

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **named: Any) -> None:
        if logs and "loss/policy_avg" in logs:
            self.losses.append(float(logs["loss/policy_avg"]))


def install(watch: Watch) -> None:
    """Wait for a turn where an iteration begins, end answers, and note where one phase goes over into the next."""
    answer, forward = ppo_trainer.batch_generation, ppo_trainer.forward

    def in_turn(model: Any, queries: torch.Tensor, rows: int, pad: int, config: Any) -> Any:
        watch.turns.step_begins()
        watch.since = time.perf_counter()
        first = (queries != pad).int().argmax(1)
        asked = queries[torch.arange(len(queries)), first]
        generate = type(model).generate
        ends = LogitsProcessorList([EndWhereThePromptSays(asked, queries.shape[1])])
        model.generate = lambda **named: generate(model, logits_processor=ends, **named)
        found = answer(model, queries, rows, pad, config)
        del model.generate
        watch.pass_to("collect")
        return found

    def noting(*positional: Any, **named: Any) -> Any:
        if torch.is_grad_enabled() and not watch.updating:
            watch.pass_to("score")
            watch.updating = True
        return forward(*positional, **named)

    ppo_trainer.batch_generation, ppo_trainer.forward = in_turn, noting


def main() -> None:
    arguments = options(__doc__)
    watch = Watch()
    tokeniser = AutoTokenizer.from_pretrained(arguments.folder / "model", padding_side="left")
    prompts = [json.loads(line)["prompt"] for line in (arguments.folder / "prompts.jsonl").open()]
    rows = Dataset.from_list([{"input_ids": tokeniser(prompt)["input_ids"]} for prompt in prompts])
    install(watch)
    learn(
        arguments.folder / "model",
        arguments.folder / "reward",
        tokeniser,
        rows,
        [watch],
        answers=PROMPTS,
        output_dir=str(arguments.folder / "trl"),
        num_mini_batches=4,
        num_ppo_epochs=arguments.epochs,
        total_episodes=PROMPTS * arguments.steps,
        response_length=64,
        learning_rate=1e-5,
        lr_scheduler_type="constant",
    )


if __name__ == "__main__":
    main()
