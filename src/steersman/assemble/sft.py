"""`sft`: settings -> a model fine-tuned on demonstrations."""

from collections.abc import Mapping
from functools import partial

from steersman.execution.beginning import begins_run
from steersman.execution.context import Job, open_run
from steersman.execution.ending import RunResult, already_finished, conclude
from steersman.execution.fit import Task, learn
from steersman.execution.learner import collate_rows, pack_together, padded_for
from steersman.loading.language_model import load_language_model, saving, shard_model
from steersman.methods.sft import NextToken, perplexity
from steersman.runs.commands import command_line
from steersman.runs.identity import identity_of
from steersman.settings.sft import SftSettings
from steersman.training_data.demonstrations import content_of_demonstrations, demonstration_rows


@begins_run
def run_sft(settings: SftSettings, *, quiet: bool = False) -> RunResult:
    """Fine-tune on demonstrations; the same call on the same folder resumes."""
    job = Job("sft", settings, settings.run, settings.train, command_line("chat", settings.run.out), quiet)
    return already_finished(job) or fine_tune(job, settings, parents={})


def fine_tune(job: Job, settings: SftSettings, *, parents: Mapping[str, str]) -> RunResult:
    """Fine-tune as the last part of a job. `parents` maps names to hashes of what made the demonstrations."""
    with open_run(
        job,
        partial(load_language_model, settings.model),
        data=content_of_demonstrations(settings),
        parents={"model": identity_of(settings.model.path), **parents},
    ) as (run, model):
        rows = demonstration_rows(run, settings, model)
        shard_model(model.backbone, model.backbone, run.world, entrances=("hidden", "log_probs"))
        if settings.train.packing:
            collate = pack_together(settings.data.max_length, pad_id=model.pad_id, device=run.device)
        else:
            collate = padded_for(run, model, collate_rows)
        finish = learn(run, settings, model.backbone, rows, Task(NextToken(), collate, perplexity))
        return conclude(run, finish, model.backbone, saving(settings.model, model))
