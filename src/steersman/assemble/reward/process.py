"""`reward process=true`: judged steps -> a process reward model."""

import json
from collections.abc import Sequence
from typing import Protocol

import torch

from steersman.assemble.reward.measure import SCORING_BUDGET
from steersman.batches import StepRow
from steersman.execution.context import RunContext
from steersman.execution.ending import Finish
from steersman.execution.fit import Task, TrainingRows, learn
from steersman.execution.learner import Padded, padded_for
from steersman.loading.language_model import shard_model
from steersman.methods.process_reward import ProcessReward, collate
from steersman.methods.reward_model import Trainee
from steersman.models.rows import padded_groups
from steersman.printing import say
from steersman.runs.folder import atomic_write_text
from steersman.settings.reward import RewardSettings
from steersman.training_data.split import Tokenised
from steersman.training_data.steps import read_steps


class Readable(Tokenised, Padded, Protocol):
    """A model with its tokeniser and its padding."""


def learn_steps(run: RunContext, settings: RewardSettings, model: Readable, trainee: Trainee) -> Finish:
    """Train on judged steps. A step's score is a probability, so no scale is measured."""
    trainee.reward.scores_steps = True
    train, held_out = read_steps(run, settings.data, model)
    shard_model(trainee, trainee.reward.backbone, run.world, entrances=("step_logits",))
    rows = TrainingRows(len(train), lambda i: train[i], held_out)
    finish = learn(run, settings, trainee, rows, Task(ProcessReward(), padded_for(run, model, collate), dict))
    if finish.ending != "stopped" and len(held_out) > 1:
        _report(run, trainee, held_out, model.pad_id)
    return finish


def _report(run: RunContext, trainee: Trainee, held_out: Sequence[StepRow], pad_id: int) -> None:
    """Measure the saved weights on the held-out answers, write quality.json and print the report."""
    from steersman.evaluate.step_quality import lines_of_steps, measure_steps

    probabilities: list[list[float]] = [[] for _ in held_out]
    trainee.eval()
    with torch.no_grad():
        for members in padded_groups([one.lengths for one in held_out], SCORING_BUDGET):
            batch = collate([held_out[i] for i in members], pad_id=pad_id, device=run.device)
            said = trainee.step_logits(batch.tokens).double().sigmoid().cpu()
            for i, own in zip(members, said.split([len(held_out[i].labels) for i in members]), strict=True):
                probabilities[i] = own.tolist()
    if not run.world.first:
        return
    quality = measure_steps(probabilities, [one.labels.tolist() for one in held_out])
    atomic_write_text(run.path / "quality.json", json.dumps(quality.as_dict(), indent=1))
    if not run.job.quiet:
        say("\n".join(lines_of_steps(quality)))
