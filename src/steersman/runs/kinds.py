"""The kinds of runs: what `kind` in stamp.json may be, and what follows from it for whoever opens the run's folder."""

from dataclasses import dataclass
from typing import Literal

ModelKind = Literal["language model", "reward model", "classifier"]


@dataclass(frozen=True, slots=True)
class RunKind:
    """One kind of run: what its model/ folder holds (None: it has no model), its name in a report, and the command that
    makes one."""

    name: str
    model: ModelKind | None
    title: str
    command: str


_ALL = (
    RunKind("sft", "language model", "fine-tuning", "sft"),
    RunKind("reward", "reward model", "the reward model", "reward"),
    RunKind("classifier", "classifier", "the classifier", "classifier"),
    RunKind("ppo", "language model", "PPO", "ppo"),
    RunKind("rloo", "language model", "RLOO", "rloo"),
    # These three are PPO's settings with another advantage.estimator.
    RunKind("grpo", "language model", "GRPO", "ppo"),
    RunKind("dr-grpo", "language model", "Dr. GRPO", "ppo"),
    RunKind("reinforce++", "language model", "REINFORCE++", "ppo"),
    RunKind("dpo", "language model", "DPO", "dpo"),
    RunKind("online-dpo", "language model", "online DPO", "online-dpo"),
    RunKind("ilql", "language model", "ILQL", "ilql"),
    RunKind("best-of-n", "language model", "best of n", "best-of-n"),
    RunKind("judge", None, "the judge", "judge"),
    RunKind("evaluate", None, "evaluate", "evaluate"),
    RunKind("revise", None, "critique and revision", "constitution revise"),
    RunKind("red-team", None, "red-teaming", "constitution red-team"),
)
RUN_KINDS = {kind.name: kind for kind in _ALL}
WITH_LANGUAGE_MODEL = tuple(kind.name for kind in _ALL if kind.model == "language model")


def title_of(kind: str) -> str:
    """What a report calls a run of this kind; a kind that is not known is called by its name."""
    return RUN_KINDS[kind].title if kind in RUN_KINDS else kind


def command_of(kind: str) -> str:
    """The command that makes such a run from its resolved recipe."""
    return RUN_KINDS[kind].command if kind in RUN_KINDS else "ppo"


def step_name(kind: str) -> str:
    """What such a run counts its journal and checkpoints in; empty where it has no checkpoints."""
    nothing = dict.fromkeys(("evaluate", "judge", "constitution revise", "constitution red-team"), "")
    return {"ppo": "iteration", **nothing}.get(command_of(kind), "step")
