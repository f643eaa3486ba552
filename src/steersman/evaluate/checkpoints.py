"""Evaluation of every checkpoint of a run, and the over-optimisation curves from the results."""

import json
import math
from collections.abc import Mapping, Sequence
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
from steersman.settings.base import check, is_file
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.score import ScorerSettings
from steersman.settings.toml import read_toml

START = "start"
PROXY = "proxy"
CURVES, PICTURE = "overoptimisation.json", "overoptimisation.svg"
"""Files written by an evaluation of checkpoints."""


def with_checkpoints(settings: EvaluateSettings) -> EvaluateSettings:
    """The settings with the runs' checkpoints and their initial model added to the models."""
    if not settings.checkpoints:
        return settings
    recipes = {run: _recipe(run) for run in settings.checkpoints}
    starts = {str(recipe["model"]["path"]) for recipe in recipes.values()}
    if len(starts) > 1:
        raise UsageError(
            f"the runs of checkpoints began as different models ({', '.join(sorted(starts))}), and gain and distance "
            "are measured from where a run began; evaluate them one by one"
        )
    if settings.reference not in (None, START):
        raise UsageError(
            f"reference={settings.reference}: with checkpoints the distance is measured from where the run began "
            f"({START}); leave it out"
        )
    models: dict[str, str] = {START: starts.pop()}
    for run in settings.checkpoints:
        models |= {_name(settings, run, step): str(path) for step, path in _checkpoints(run)}
    if also := sorted(set(models) & set(settings.models)):
        raise UsageError(f"models.{also[0]} has the name of a checkpoint ({', '.join(models)}); give it another name")
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
    if not is_file(path):
        raise UsageError(f"checkpoints={run}: there is no run ({path} cannot be read); expected a run folder")
    recipe = read_toml(path, otherwise="restore the file")
    model = recipe.get("model")
    if not isinstance(model, Mapping) or "path" not in model:
        raise ModelError(f"checkpoints={run}: its recipe names no model that it began as; expected a run such as ppo's")
    return recipe


def _checkpoints(run: str) -> list[tuple[int, Path]]:
    store = CheckpointStore(Path(run).expanduser() / "checkpoints")
    steps = [step for step in store.steps() if step > 0]
    if not steps:
        raise UsageError(
            f"checkpoints={run}: there are none. run.keep_every sets which checkpoints a run keeps; train it with, for "
            "example, run.checkpoint_every=5 run.keep_every=5"
        )
    return [(step, store.path_of(step)) for step in steps]


def _name(settings: EvaluateSettings, run: str, step: int) -> str:
    several = f"{Path(run).name}-" if len(settings.checkpoints) > 1 else ""
    return f"{several}step-{step:06d}"


def _scorers(settings: EvaluateSettings, recipe: dict[str, Any]) -> dict[str, ScorerSettings]:
    """The scorers, with the one that the run was optimised for (the proxy) first."""
    if "scorer" not in recipe:
        return settings.scorers
    own = check(ScorerSettings, recipe["scorer"])
    same = [name for name, given in settings.scorers.items() if _same(given, own)]
    if same:
        return {same[0]: settings.scorers[same[0]], **settings.scorers}
    if PROXY in settings.scorers:
        raise UsageError(
            f"scorers.{PROXY} is not what the run was optimised for ({own.path}); leave it out, or rename it"
        )
    return {PROXY: own, **settings.scorers}


def _same(one: ScorerSettings, other: ScorerSettings) -> bool:
    return one.path is not None and one.path == other.path


def curves_of(
    settings: EvaluateSettings, models: Sequence[ModelAnswers], wins: Sequence[WinRate]
) -> Overoptimisation | None:
    """The curves of every run, and of best-of-n with the initial model; None without checkpoints."""
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
    """Best-of-n by the first scorer for n = 2, 3, 4, 6, 8, 12, … answers of the initial model.

    Its KL is known (exact if no two scores are equal).
    """
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
    """Write the curves and their SVG."""
    atomic_write_text(folder / CURVES, json.dumps(found.as_dict(), indent=1, allow_nan=False))
    atomic_write_text(folder / PICTURE, picture(found) + "\n")
