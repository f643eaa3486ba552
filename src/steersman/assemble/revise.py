"""`constitution revise`: red-team prompts -> the model's own answers -> critiques and revisions, in a run folder.

critiques/*.jsonl   a row for each critique and revision, with its status; a file for each batch of prompts
counts.json         how many could be used, and what was wrong with the others

The folder is a data source: `sft` learns the final revisions, `data inspect` and `data convert` read every row.
"""

import json
from collections import Counter

from steersman.constitution.load import load_constitution
from steersman.constitution.tally import RevisionTally
from steersman.execution.beginning import begins_run
from steersman.execution.context import Job, open_unloaded
from steersman.inference.revision_batches import RevisionBatches
from steersman.loading.sources import hash_of_source, read_prompts
from steersman.runs.commands import command_line
from steersman.runs.folder import atomic_write_text
from steersman.runs.identity import identity_of
from steersman.settings.parts import ComputeSettings
from steersman.settings.revise import ReviseSettings


@begins_run
def run_revise(settings: ReviseSettings, *, quiet: bool = False) -> RevisionTally:
    """Answer, criticise and revise; the same call on the same folder continues."""
    constitution = load_constitution(settings.constitution)
    data = {"prompts": hash_of_source(settings.prompts.source), "constitution": constitution.hash}
    left_out: Counter[str] = Counter()
    prompts = read_prompts(settings.prompts, left_out)
    parents = {"model": identity_of(settings.model), "reviser": identity_of(settings.reviser or settings.model)}
    after = command_line("sft", "--data", settings.run.out, "--model", "MODEL", "--out", "runs/sft")
    job = Job("revise", settings, settings.run.as_run(), ComputeSettings(), after, quiet)
    with open_unloaded(job, data=data, parents=parents) as run:
        run.folder.resume_point(run.world)
        tally = RevisionTally(settings.run.out, left_out=left_out)
        RevisionBatches(settings, constitution, prompts, run).count_into(tally)
        content = {**tally.as_dict(), "constitution": constitution.hash, "principles": len(constitution.principles)}
        atomic_write_text(run.path / "counts.json", json.dumps(content, indent=1, ensure_ascii=False))
        run.folder.end("finished", len(prompts), "finished")
    return tally
