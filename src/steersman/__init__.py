"""Steersman: a language model and what people think of its answers go in, a model that answers as they prefer comes
out.

The names below are loaded when they are first used, so that `import steersman` costs nothing and imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steersman.api import best_of_n, dpo, ilql, online_dpo, open_ppo, ppo, reward_model, rloo, sft
    from steersman.api_models import chat, evaluate, forward, judge, open_model, report, sample, score
    from steersman.records import Comparison, Completion, Demonstration, Message, Prompt
    from steersman.reward.scorer import Score
    from steersman.rollout.engine import Sampling
    from steersman.rollout.scripted import ScriptedAnswer, ScriptedEngine

__all__ = [
    "Comparison",
    "Completion",
    "Demonstration",
    "Message",
    "Prompt",
    "Sampling",
    "Score",
    "ScriptedAnswer",
    "ScriptedEngine",
    "best_of_n",
    "chat",
    "dpo",
    "evaluate",
    "forward",
    "ilql",
    "judge",
    "online_dpo",
    "open_model",
    "open_ppo",
    "ppo",
    "report",
    "reward_model",
    "rloo",
    "sample",
    "score",
    "sft",
]

_CALLS = ("best_of_n", "dpo", "ilql", "online_dpo", "open_ppo", "ppo", "reward_model", "rloo", "sft")
_BESIDE = ("chat", "evaluate", "forward", "judge", "open_model", "report", "sample", "score")
_HOMES = {
    **dict.fromkeys(_CALLS, "steersman.api"),
    **dict.fromkeys(_BESIDE, "steersman.api_models"),
    **dict.fromkeys(("Comparison", "Completion", "Demonstration", "Message", "Prompt"), "steersman.records"),
    "Sampling": "steersman.rollout.engine",
    "Score": "steersman.reward.scorer",
    **dict.fromkeys(("ScriptedAnswer", "ScriptedEngine"), "steersman.rollout.scripted"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steersman' has no attribute {name!r}")
    if name == "evaluate":  # a package has this name, and calls the function
        return import_module("steersman.evaluate")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
