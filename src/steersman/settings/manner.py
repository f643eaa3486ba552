"""Settings that say how a run is kept or carried out, not what it learns: they may change when a run is resumed."""

import re

MANNER = {
    "run.checkpoint_every",
    "run.checkpoint_minutes",
    "run.keep_last",
    "run.keep_every",
    "run.journal",
    "run.extend",
    "run.profile",
    "run.device",
    "run.threads",
    "train.tokens_per_micro_batch",
    "compute.tokens_per_micro_batch",
    "compute.offload",
    "model.gradient_checkpointing",
}
# The same for a scorer behind HTTP, which may be part of a sum under any name, and for a judge behind an endpoint.
_HOW_A_SERVICE_IS_ASKED = re.compile(
    r"(scorer|watch\.held_out_scorer)(\.sum\..+)?\.http\.\w+"
    r"|(.+\.)?judge\.tokens_per_micro_batch"
    r"|(.+\.)?endpoint\.(token_env|allow|at_once|timeout|patience|\w+_per_minute|max_\w+)"
)


def is_manner(key: str) -> bool:
    return key in MANNER or _HOW_A_SERVICE_IS_ASKED.fullmatch(key) is not None
