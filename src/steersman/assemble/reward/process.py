"""`reward process=true`: judged steps -> a process reward model."""

from typing import Protocol

from steersman.execution.context import RunContext
from steersman.execution.ending import Finish
from steersman.execution.fit import Task, TrainingRows, learn
from steersman.execution.learner import Padded, padded_for
from steersman.loading.language_model import shard_model
from steersman.methods.process_reward import ProcessReward, collate
from steersman.methods.reward_model import Trainee
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
    return learn(run, settings, trainee, rows, Task(ProcessReward(), padded_for(run, model, collate), dict))
