"""One table of the commands that train or write: settings, what they read and leave, and the function that runs each.

The command line, the Python API and `plan` read it. A runner is a dotted name, imported when it is called, so that the
table opens without torch. `runs.kinds` says what the model of each kind of run is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from steersman.data.kinds import WITH_PROMPTS
from steersman.errors import UsageError
from steersman.judges.pairing import TO_JUDGE
from steersman.records import (
    Answers,
    ClassifiedText,
    Comparison,
    Critique,
    Demonstration,
    Document,
    Label,
    Ranking,
    Steps,
)
from steersman.runs.kinds import RUN_KINDS, ModelKind
from steersman.settings.base import Settings
from steersman.settings.best_of_n import BestOfNSettings
from steersman.settings.classifier import ClassifierSettings
from steersman.settings.dpo import DpoSettings, OnlineDpoSettings
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.gate import GateSettings
from steersman.settings.ilql import IlqlSettings
from steersman.settings.judge_run import JudgeRunSettings
from steersman.settings.ppo import PpoSettings, RlooSettings
from steersman.settings.red_team import RedTeamSettings
from steersman.settings.revise import ReviseSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sample import SampleSettings
from steersman.settings.score import ScoreSettings
from steersman.settings.sft import SftSettings
from steersman.settings.simulate import SimulateSettings

JUDGED = (Comparison, Ranking, Label)
PAIRS = (*JUDGED, Critique)


@dataclass(frozen=True, slots=True)
class Stage:
    """One command. `reads` are the kinds of records that it takes from `source`, the setting that names its data.

    `kinds` are the kinds that its run may have in stamp.json; a stage without kinds leaves a file. `forecast` says how
    `plan` forecasts it. `version` grows when the same settings and inputs begin to give another result: then rounds run
    the stage again.
    """

    command: str
    schema: type[Settings]
    source: str
    reads: tuple[type, ...]
    kinds: tuple[str, ...]
    runner: str
    forecast: Literal["ppo", "rows"] | None = None
    version: int = 1

    @property
    def leaves(self) -> Literal["run", "file"]:
        return "run" if self.kinds else "file"

    @property
    def model(self) -> ModelKind | None:
        """What the run's model is; None where it leaves none."""
        return RUN_KINDS[self.kinds[0]].model if self.kinds else None

    def run(self, settings: Settings, **more: Any) -> Any:
        """Call the runner with these settings."""
        return self.load_runner()(settings, **more)

    def load_runner(self) -> Callable[..., Any]:
        module, _, name = self.runner.partition(":")
        return getattr(import_module(module), name)


_A = "steersman.assemble"
_ALL = (
    Stage(
        "sft", SftSettings, "data.source", (Demonstration, Document, Critique), ("sft",), f"{_A}.sft:run_sft", "rows"
    ),
    Stage("sample", SampleSettings, "prompts.source", WITH_PROMPTS, (), f"{_A}.sample:run_sample"),
    Stage(
        "simulate",
        SimulateSettings,
        "data.source",
        (Answers, Comparison, Ranking),
        (),
        f"{_A}.simulate:run_simulate",
    ),
    Stage("gate", GateSettings, "data.source", (Comparison, Ranking), (), f"{_A}.gate:run_gate"),
    Stage(
        "judge",
        JudgeRunSettings,
        "data.source",
        TO_JUDGE,
        ("judge",),
        "steersman.assemble.judge:run_judge",
        version=2,  # principles are pooled in log-odds
    ),
    Stage("reward", RewardSettings, "data.source", PAIRS, ("reward",), f"{_A}.reward.run:run_reward", "rows"),
    Stage(
        "classifier",
        ClassifierSettings,
        "data.source",
        (ClassifiedText,),
        ("classifier",),
        f"{_A}.classifier:run_classifier",
    ),
    Stage("score", ScoreSettings, "data.source", (Answers, Demonstration, *JUDGED), (), f"{_A}.score:run_score"),
    Stage(
        "ppo",
        PpoSettings,
        "prompts.source",
        WITH_PROMPTS,
        ("ppo", "rloo", "grpo", "dr-grpo", "reinforce++"),
        f"{_A}.ppo.run:run_ppo",
        "ppo",
    ),
    Stage(
        "rloo",
        RlooSettings,
        "prompts.source",
        WITH_PROMPTS,
        ("rloo", "grpo", "dr-grpo", "reinforce++"),
        f"{_A}.ppo.run:run_ppo",
        "ppo",
    ),
    Stage("evaluate", EvaluateSettings, "prompts.source", WITH_PROMPTS, ("evaluate",), f"{_A}.evaluate:run_evaluate"),
    Stage(
        "best-of-n",
        BestOfNSettings,
        "prompts.source",
        WITH_PROMPTS,
        ("best-of-n",),
        f"{_A}.best_of_n:run_best_of_n",
    ),
    Stage("dpo", DpoSettings, "data.source", PAIRS, ("dpo",), f"{_A}.dpo:run_dpo", "rows"),
    Stage(
        "ilql",
        IlqlSettings,
        "data.source",
        (Answers, Demonstration, *JUDGED, Steps),
        ("ilql",),
        f"{_A}.ilql:run_ilql",
    ),
    Stage(
        "online-dpo",
        OnlineDpoSettings,
        "prompts.source",
        WITH_PROMPTS,
        ("online-dpo",),
        f"{_A}.online_dpo:run_online_dpo",
    ),
    Stage(
        "constitution revise",
        ReviseSettings,
        "prompts.source",
        WITH_PROMPTS,
        ("revise",),
        f"{_A}.revise:run_revise",
    ),
    Stage(
        "constitution red-team",
        RedTeamSettings,
        "seeds.source",
        WITH_PROMPTS,
        ("red-team",),
        f"{_A}.red_team:run_red_team",
    ),
)
STAGES = {stage.command: stage for stage in _ALL}


def stage_of(command: str) -> Stage:
    """The stage of this name; of a group's command its last word is enough."""
    command = next((name for name in STAGES if name.split()[-1] == command), command)
    if command not in STAGES:
        raise UsageError(f"there is no method {command!r}; expected one of {', '.join(STAGES)}")
    return STAGES[command]
