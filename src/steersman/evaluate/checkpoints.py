"""Every checkpoint of a run as a model to evaluate, and the curves of over-optimisation out of what was found."""

import json
import math
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from steersman.errors import ModelError, UsageError
from steersman.evaluate.answers import ModelAnswers, per_prompt
from steersman.evaluate.contests import WinRate
from steersman.evaluate.overoptimisation import Overoptimisation, Walk, measure_overoptimisation
from steersman.evaluate.overoptimisation_picture import picture
from steersman.maths.statistics import Interval, best_of_n_estimate, best_of_n_kl
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.folder import atomic_write_text
from steersman.runs.stamp import read_stamp
from steersman.settings.base import check
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.score import ScorerSettings

START = "start"
PROXY = "proxy"
CURVES, PICTURE = "overoptimisation.json", "overoptimisation.svg"
"""What an evaluation of checkpoints leaves in its folder."""


def with_checkpoints(settings: EvaluateSettings) -> EvaluateSettings:
    """The same settings with the runs' checkpoints, and what they began as, among the models."""
    if not settings.checkpoints:
        return settings
    recipes = {run: _recipe(run) for run in settings.checkpoints}
    starts = {str(recipe["model"]["path"]) for recipe in recipes.values()}
    if len(starts) > 1:
        raise UsageError(
            f"the runs of checkpoints began as different models ({', '.join(sorted(starts))}), and gain and distance are measured from where a "
            "run began; evaluate them one by one"
        )
    if settings.reference not in (None, START):
        raise UsageError(
            f"reference={settings.reference}: with checkpoints the distance is measured from where the run began ({START}); leave it out"
        )
    models: dict[str, str] = {START: starts.pop()}
    for run in settings.checkpoints:
        models |= {_name(settings, run, step): str(path) for step, path in _checkpoints(run)}
    if also := sorted(set(models) & set(settings.models)):
        raise UsageError(
            f"models.{also[0]} has the name that a checkpoint is given ({', '.join(models)}); give it another"
        )
    return settings.model_copy(
        update={
            "models": {**models, **settings.models},
            "scorers": _scorers(settings, next(iter(recipes.values()))),
            "baseline": settings.baseline or START,
            "reference": START,
        }
    )


def _recipe(run: str) -> dict[str, Any]:
    path = Path(run).expanduser() / "recipe.toml"
    try:
        found = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(
            f"checkpoints={run}: there is no run ({path} cannot be read); expected a run's folder"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML ({error}); put it back as it was") from error
    if "path" not in found.get("model", {}):
        raise ModelError(f"checkpoints={run}: its recipe names no model that it began as; expected a run such as ppo's")
    return found


def _checkpoints(run: str) -> list[tuple[int, Path]]:
    store = CheckpointStore(Path(run).expanduser() / "checkpoints")
    steps = [step for step in store.steps() if step > 0]
    if not steps:
        raise UsageError(
            f"checkpoints={run}: there are none. A run keeps those that run.keep_every names; train it with, say, "
            "run.checkpoint_every=5 run.keep_every=5"
        )
    return [(step, store.path_of(step)) for step in steps]


def _name(settings: EvaluateSettings, run: str, step: int) -> str:
    several = f"{Path(run).name}-" if len(settings.checkpoints) > 1 else ""
    return f"{several}step-{step:06d}"


def _scorers(settings: EvaluateSettings, recipe: dict[str, Any]) -> dict[str, ScorerSettings]:
    """What the run was optimised for, first; then the others."""
    if "scorer" not in recipe:
        return settings.scorers
    own = check(ScorerSettings, recipe["scorer"])
    same = [name for name, given in settings.scorers.items() if _same(given, own)]
    if same:
        return {same[0]: settings.scorers[same[0]], **settings.scorers}
    if PROXY in settings.scorers:
        raise UsageError(
            f"scorers.{PROXY} is not what the run was optimised for ({own.path}); leave it out, or give it another name"
        )
    return {PROXY: own, **settings.scorers}


def _same(one: ScorerSettings, other: ScorerSettings) -> bool:
    return one.path is not None and one.path == other.path


def curves_of(
    settings: EvaluateSettings, models: Sequence[ModelAnswers], wins: Sequence[WinRate]
) -> Overoptimisation | None:
    """The curves of every run, and of the best of n answers of the start; None where no checkpoints were asked for."""
    if not settings.checkpoints or not settings.scorers:
        return None
    by_name = {model.name: model for model in models}
    start = by_name[START]
    deviations = {name: max(float(start.scores(name).std()), 1e-12) for name in settings.scorers}
    of_start = {name: start.scores(name).mean(axis=1) for name in settings.scorers}
    walks: list[Walk] = []
    for run in settings.checkpoints:
        names = [_name(settings, run, step) for step, _ in _checkpoints(run)]
        mine = [by_name[name] for name in names]
        gains = {
            s: np.array([(m.scores(s).mean(axis=1) - of_start[s]) / deviations[s] for m in mine])
            for s in settings.scorers
        }
        kl = np.array([per_prompt(model, lambda answer: answer.kl) for model in mine])
        walks.append(Walk("trained", _walk_name(settings, run), tuple(names), kl, gains))
    if len(start.grid[0]) > 1:
        walks.append(_best_of_n(start, list(settings.scorers), deviations))
    of_people = {win.model: win.rate for win in wins if win.by == "people" and win.baseline == START}
    judged: list[tuple[str, float, Interval]] = [
        (name, math.sqrt(max(float(walk.kl[i].mean()), 0.0)), of_people[name])
        for walk in walks
        for i, name in enumerate(walk.names)
        if name in of_people
    ]
    return measure_overoptimisation(
        walks,
        start=START,
        proxy=next(iter(settings.scorers)),
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.run.seed,
        wins=judged,
    )


def _walk_name(settings: EvaluateSettings, run: str) -> str:
    if len(settings.checkpoints) > 1:
        return Path(run).name
    kind = str(read_stamp(Path(run).expanduser() / "stamp.json").get("kind", "run"))
    return kind.upper() if len(kind) <= 4 else kind


def _best_of_n(start: ModelAnswers, scorers: Sequence[str], deviations: dict[str, float]) -> Walk:
    """The best by the first scorer among 2, 3, 4, 6, 8, 12, … answers of the start. Its KL is known (exact where no two scores are equal)."""
    most = len(start.grid[0])
    sizes = sorted({n for power in range(1, 32) for n in (2**power, 3 * 2 ** (power - 1)) if n < most} | {most})
    chosen_by = start.scores(scorers[0])
    gains = {
        name: np.array(
            [
                [
                    (best_of_n_estimate(one, other, n) - other.mean()) / deviations[name]
                    for one, other in zip(chosen_by, start.scores(name), strict=True)
                ]
                for n in sizes
            ]
        )
        for name in scorers
    }
    kl = np.array([[best_of_n_kl(n)] * len(chosen_by) for n in sizes])
    return Walk("best of n", "best of n", tuple(f"best of {n}" for n in sizes), kl, gains)


def write_curves(found: Overoptimisation, folder: Path) -> None:
    """The curves, and their picture."""
    atomic_write_text(folder / CURVES, json.dumps(found.as_dict(), indent=1, allow_nan=False))
    atomic_write_text(folder / PICTURE, picture(found) + "\n")
