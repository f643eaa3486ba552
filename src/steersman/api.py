"""The Python API: each stage as one call. Settings are those of the command line, by the same names.

    steersman.ppo(model="harbour:base", prompts=["Tell me about cricket."], reward=lambda answer: ..., out="runs/ppo")

Data are given as a source (a file, a folder, a named source) or as a list; a list gets a name from its content, so that the same
call on the same folder goes on where it stopped.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from steersman.assemble.best_of_n import run_best_of_n
from steersman.assemble.dpo import run_dpo
from steersman.assemble.ilql import run_ilql
from steersman.assemble.online_dpo import run_online_dpo
from steersman.assemble.ppo.run import OpenRun, run_ppo
from steersman.assemble.ppo.run import open_ppo as open_run
from steersman.assemble.reward.run import run_reward
from steersman.assemble.sft import run_sft
from steersman.data.sources import register
from steersman.errors import UsageError
from steersman.execution.ending import RunResult
from steersman.loading.scorers import Reward
from steersman.records import Record, digest_of, to_dict
from steersman.reward.scorer import Scorer
from steersman.settings.base import Settings, check, read_recipe
from steersman.settings.best_of_n import BestOfNSettings
from steersman.settings.dpo import DpoSettings, OnlineDpoSettings
from steersman.settings.ilql import IlqlSettings
from steersman.settings.ppo import PpoSettings, RlooSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

Rows = str | Path | Sequence[str | Mapping[str, Any] | Record]
"""A source, or the rows themselves: texts (prompts only), dictionaries in any format that a file may have, or records."""

Rewarding = str | Path | Sequence[str] | Callable[..., Any] | Scorer
"""What answers are worth: a place (or several), a Python function, or a scorer."""

S = TypeVar("S", bound=Settings)
GIVEN = "given"
_given: dict[str, list[Any]] = {}


def ppo(
    *,
    model: str | Path,
    prompts: Rows,
    reward: Rewarding,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult:
    """Improve a model's answers to prompts by PPO. `reward` is a reward model or run, several of them (an ensemble), file.py:function, a
    Python function of prompt and answer, or a scorer. Further settings by group: kl={"coefficient": 0.1}, iterations=50."""
    settings = ppo_settings(model=model, prompts=prompts, reward=reward, out=out, recipe=recipe, **overrides)
    return run_ppo(settings, quiet=quiet, reward=_given_reward(reward))


@contextmanager
def open_ppo(
    *,
    model: str | Path,
    prompts: Rows,
    reward: Rewarding,
    out: str | Path,
    recipe: str | Path | None = None,
    **overrides: Any,
) -> Iterator[OpenRun]:
    """The same run with its parts laid open, for calling `methods.ppo.loop.iterate` or the stages one by one."""
    settings = ppo_settings(model=model, prompts=prompts, reward=reward, out=out, recipe=recipe, **overrides)
    with open_run(settings, reward=_given_reward(reward)) as run:
        yield run


def ppo_settings(
    *,
    model: str | Path,
    prompts: Rows,
    reward: Rewarding,
    out: str | Path,
    recipe: str | Path | None,
    **overrides: Any,
) -> PpoSettings:
    return _scored(PpoSettings, model, prompts, reward, out, recipe, overrides)


def rloo(
    *,
    model: str | Path,
    prompts: Rows,
    reward: Rewarding,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult:
    """The same without a critic: each answer is compared with the others to its prompt. advantage={"estimator": "grpo"} is a relative."""
    settings = _scored(RlooSettings, model, prompts, reward, out, recipe, overrides)
    return run_ppo(settings, quiet=quiet, reward=_given_reward(reward))


def best_of_n(
    *,
    model: str | Path,
    prompts: Rows,
    reward: Rewarding,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult:
    """Answer each prompt n times, keep the best by `reward`, and fine-tune on those."""
    settings = _scored(BestOfNSettings, model, prompts, reward, out, recipe, overrides)
    return run_best_of_n(settings, quiet=quiet, reward=_given_reward(reward))


def online_dpo(
    *,
    model: str | Path,
    prompts: Rows,
    reward: Rewarding,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult:
    """DPO on pairs of the model's own answers, judged by `reward` as it learns."""
    settings = _scored(OnlineDpoSettings, model, prompts, reward, out, recipe, overrides)
    return run_online_dpo(settings, quiet=quiet, reward=_given_reward(reward))


def sft(
    *,
    model: str | Path,
    data: Rows,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult:
    """Fine-tune a model on demonstrations."""
    return run_sft(_learned(SftSettings, model, data, out, recipe, overrides, texts_are="text"), quiet=quiet)


def reward_model(
    *,
    model: str | Path,
    data: Rows,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult:
    """Train a reward model on comparisons, rankings or labels."""
    return run_reward(_learned(RewardSettings, model, data, out, recipe, overrides), quiet=quiet)


def dpo(
    *,
    model: str | Path,
    data: Rows,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult:
    """Learn from comparisons, rankings or labels without a reward model. loss="ipo" and others are DPO's relatives."""
    return run_dpo(_learned(DpoSettings, model, data, out, recipe, overrides), quiet=quiet)


def ilql(
    *,
    model: str | Path,
    data: Rows,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> RunResult:
    """Learn what every token is worth from answers that were scored or judged, so that new answers lean on it."""
    return run_ilql(_learned(IlqlSettings, model, data, out, recipe, overrides), quiet=quiet)


def _scored(
    schema: type[S],
    model: str | Path,
    prompts: Rows,
    reward: Rewarding,
    out: str | Path,
    recipe: str | Path | None,
    overrides: Mapping[str, Any],
) -> S:
    """Settings of a method that answers prompts and is told what the answers are worth."""
    named = reward.name if isinstance(reward, Scorer) else getattr(reward, "__name__", type(reward).__name__)
    scorer = reward if _is_place(reward) else f"python:{named}"
    usual = {
        "model": {"path": str(model)},
        "prompts": {"source": source_of(prompts, texts_are="prompt")},
        "scorer": {"path": scorer if isinstance(scorer, list | tuple) else str(scorer)},
        "run": {"out": str(out)},
    }
    return _settings(schema, recipe, usual, overrides)


def _learned(
    schema: type[S],
    model: str | Path,
    data: Rows,
    out: str | Path,
    recipe: str | Path | None,
    overrides: Mapping[str, Any],
    *,
    texts_are: str | None = None,
) -> S:
    """Settings of a method that learns from rows."""
    usual = {
        "model": {"path": str(model)},
        "data": {"source": source_of(data, texts_are=texts_are)},
        "run": {"out": str(out)},
    }
    return _settings(schema, recipe, usual, overrides)


def source_of(rows: str | Path | Sequence[Any], *, texts_are: str | None) -> str:
    """The name of a source: the one that was given, or one made from the content of a list. `texts_are` is the field that a bare
    text stands for."""
    if isinstance(rows, str | Path):
        return str(rows)
    plain = [_row(row, texts_are) for row in rows]
    if not plain:
        raise UsageError(
            "an empty list was given where rows are wanted; expected at least one, or the name of a source"
        )
    name = digest_of(json.loads(json.dumps(plain, ensure_ascii=False)))
    _given[name] = plain
    register(GIVEN, lambda rest: _given[rest])
    return f"{GIVEN}:{name}"


def _row(row: Any, texts_are: str | None) -> dict[str, Any]:
    if isinstance(row, str) and texts_are is not None:
        return {texts_are: row}
    if isinstance(row, Mapping):
        return dict(row)
    if is_dataclass(row) and not isinstance(row, type):
        return to_dict(row)  # type: ignore[arg-type]
    wanted = "dictionaries or records" if texts_are is None else "texts, dictionaries or records"
    raise UsageError(f"a list of rows holds {wanted}; seen a {type(row).__name__}: {str(row)[:60]!r}")


def _is_place(reward: Any) -> bool:
    return isinstance(reward, str | Path | list | tuple)


def _given_reward(reward: Any) -> Reward | None:
    """What is no place is the function or scorer itself."""
    return None if _is_place(reward) else reward


def _settings(schema: type[S], recipe: str | Path | None, usual: Mapping[str, Any], overrides: Mapping[str, Any]) -> S:
    """A recipe, what the call named, and the overrides, each over the one before."""
    values: dict[str, Any] = read_recipe(recipe) if recipe is not None else {}
    for more in (usual, overrides):
        _lay_over(values, more)
    return check(schema, values)


def _lay_over(values: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        group, dot, rest = key.partition(".")
        value = {rest: value} if dot else value
        here = values.get(group)
        if isinstance(value, Mapping) and isinstance(here, dict | None):
            inner = dict(here or {})
            _lay_over(inner, value)
            values[group] = inner
        else:
            values[group] = value
