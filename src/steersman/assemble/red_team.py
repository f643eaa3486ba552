"""`constitution red-team`: a few seed prompts -> new ones that a model writes, the most harmful kept, in a run folder.

The folder is a data source of its prompts: `constitution revise`, `sample` and `ppo` take it.
"""

import json
from collections import Counter

from steersman.execution.beginning import begins_run
from steersman.execution.context import Job, open_unloaded
from steersman.inference.red_team_batches import RedTeamBatches, RedTeamResult
from steersman.loading.sources import hash_of_source, read_prompts
from steersman.records import to_dict
from steersman.runs.folder import atomic_write_text
from steersman.runs.identity import identity_of
from steersman.settings.parts import ComputeSettings
from steersman.settings.red_team import RedTeamSettings


@begins_run
def run_red_team(settings: RedTeamSettings, *, quiet: bool = False) -> RedTeamResult:
    """Write prompts; the same call on the same folder continues."""
    data = {"seeds": hash_of_source(settings.seeds.source)}
    seeds = read_prompts(settings.seeds, Counter())
    job = Job("red-team", settings, settings.run.as_run(), ComputeSettings(), "", quiet)
    with open_unloaded(job, data=data, parents={"model": identity_of(settings.model)}) as run:
        run.folder.resume_point(run.world)
        with run.folder.progress("red-team", settings.count, done=0, silent=quiet):
            found = RedTeamBatches(settings, seeds, run).find()
        rows = "".join(json.dumps(to_dict(prompt), ensure_ascii=False) + "\n" for prompt in found.prompts)
        atomic_write_text(run.path / "prompts.jsonl", rows)
        atomic_write_text(run.path / "counts.json", json.dumps(found.as_dict(), indent=1))
        run.folder.end("finished", len(found.prompts), "finished")
    return found
