"""The Python API: each stage as one call. Settings are those of the command line, by the same names.

    steersman.ppo(model="harbour:base", prompts=["Tell me about cricket."], reward=lambda answer: ..., out="runs/ppo")

Data are given as a source (a file, a folder, a named source) or as a list; a list gets a name from its content, so that
the same call on the same folder goes on where it stopped. With `quiet=True` nothing is printed; notices are in the
run's journal. `callbacks` are objects whose methods are called while a run trains (`runs.callbacks`).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from steersman.assemble.ppo.run import OpenRun
from steersman.assemble.ppo.run import open_ppo as open_run
from steersman.assemble.stages import stage_of
from steersman.data.sources import register
from steersman.errors import UsageError
from steersman.execution.ending import RunResult
from steersman.loading.scorers import Reward
from steersman.printing import silenced
from steersman.records import Document, Record, digest_of, to_dict
from steersman.reward.scorer import Scorer
from steersman.runs.callbacks import calling
from steersman.settings.base import Settings, check, read_recipe
from steersman.settings.ppo import PpoSettings

Rows = str | Path | Sequence[str | Mapping[str, Any] | Record]
"""A source, or the rows themselves: texts (prompts only), dictionaries in any format that a file may have, or
records."""

Rewarding = str | Path | Sequence[str] | Callable[..., Any] | Scorer
"""What answers are worth: a place (or several), a Python function, or a scorer."""

S = TypeVar("S", bound=Settings)
C = TypeVar("C", bound=Callable[..., RunResult])
GIVEN = "given"
_given: dict[str, list[Any]] = {}


def _from_prompts(command: str, text: str):
    """The call of a stage that answers prompts and learns what `reward` makes of the answers."""

    def call(
        *,
        model: str | Path,
        prompts: Rows,
        reward: Rewarding,
        out: str | Path,
        recipe: str | Path | None = None,
        quiet: bool = False,
        callbacks: Any = (),
        **overrides: Any,
    ) -> RunResult:
        stage = stage_of(command)
        usual = _on_prompts(model, prompts, reward, out)
        settings = settings_from(stage.schema, recipe, usual, overrides)
        with silent(quiet), calling(callbacks):
            return stage.run(settings, quiet=quiet, reward=given_reward(reward))

    return _named(call, command, text)


def _from_rows(command: str, text: str):
    """The call of a stage that learns from rows."""

    def call(
        *,
        model: str | Path,
        data: Rows,
        out: str | Path,
        recipe: str | Path | None = None,
        quiet: bool = False,
        callbacks: Any = (),
        **overrides: Any,
    ) -> RunResult:
        stage = stage_of(command)
        source = source_of(data, texts_are="text" if Document in stage.reads else None)
        usual = {"model": {"path": str(model)}, "data": {"source": source}, "run": {"out": str(out)}}
        settings = settings_from(stage.schema, recipe, usual, overrides)
        with silent(quiet), calling(callbacks):
            return stage.run(settings, quiet=quiet)

    return _named(call, command, text)


@contextmanager
def silent(quiet: bool) -> Iterator[None]:
    """Context manager in which nothing is printed if `quiet`, also by transformers (progress bars, notices)."""
    if not quiet:
        yield
        return
    from transformers.utils import logging

    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with silenced():
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _named(call: C, command: str, text: str) -> C:
    """The call under the name and with the docstring that `help` shows."""
    call.__name__ = call.__qualname__ = "reward_model" if command == "reward" else command.replace("-", "_")
    call.__doc__ = text
    return call


ppo = _from_prompts(
    "ppo",
    "Improve a model's answers to prompts by PPO. `reward` is a reward model or run, several of them (an "
    "ensemble), file.py:function, a Python function of prompt and answer, or a scorer. Further settings by group: "
    'kl={"coefficient": 0.1}, iterations=50.',
)
rloo = _from_prompts(
    "rloo",
    "PPO without a critic (RLOO): each answer is compared with the other answers to its prompt. "
    'advantage={"estimator": "grpo"} is GRPO.',
)
best_of_n = _from_prompts(
    "best-of-n",
    "Answer each prompt n times, keep the best by `reward`, and fine-tune on those.",
)
online_dpo = _from_prompts(
    "online-dpo",
    "DPO on pairs of the model's own answers, judged by `reward` as it learns.",
)
sft = _from_rows(
    "sft",
    "Fine-tune a model on demonstrations.",
)
reward_model = _from_rows(
    "reward",
    "Train a reward model on comparisons, rankings or labels.",
)
dpo = _from_rows(
    "dpo",
    'Learn from comparisons, rankings or labels without a reward model. loss="ipo" and others are DPO\'s relatives.',
)
ilql = _from_rows(
    "ilql",
    "Learn what every token is worth from answers that were scored or judged, to guide generation by it.",
)


@contextmanager
def open_ppo(
    *,
    model: str | Path,
    prompts: Rows,
    reward: Rewarding,
    out: str | Path,
    recipe: str | Path | None = None,
    callbacks: Any = (),
    **overrides: Any,
) -> Iterator[OpenRun]:
    """PPO's run opened with all its parts, for calling `methods.ppo.loop.iterate` or the stages one by one."""
    settings = ppo_settings(model=model, prompts=prompts, reward=reward, out=out, recipe=recipe, **overrides)
    with calling(callbacks), open_run(settings, reward=given_reward(reward)) as run:
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
    return settings_from(PpoSettings, recipe, _on_prompts(model, prompts, reward, out), overrides)


def _on_prompts(model: str | Path, prompts: Rows, reward: Rewarding, out: str | Path) -> dict[str, Any]:
    """What a call says of a stage that answers prompts and is told what the answers are worth."""
    named = reward.name if isinstance(reward, Scorer) else getattr(reward, "__name__", type(reward).__name__)
    scorer = reward if _is_place(reward) else f"python:{named}"
    return {
        "model": {"path": str(model)},
        "prompts": {"source": source_of(prompts, texts_are="prompt")},
        "scorer": {"path": scorer if isinstance(scorer, list | tuple) else str(scorer)},
        "run": {"out": str(out)},
    }


def source_of(rows: str | Path | Sequence[Any], *, texts_are: str | None) -> str:
    """The name of a source: the one that was given, or one made from the content of a list. `texts_are` is the field
    that a bare text stands for."""
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


def given_reward(reward: Any) -> Reward | None:
    """What is no place is the function or scorer itself."""
    return None if _is_place(reward) else reward


def settings_from(
    schema: type[S], recipe: str | Path | None, usual: Mapping[str, Any], overrides: Mapping[str, Any]
) -> S:
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
