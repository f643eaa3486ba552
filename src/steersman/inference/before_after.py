"""Draws the answers of the before/after comparison.

A run of PPO or a related method is compared with its own scorer; any other run that trains a language model is compared
by its two models alone.
"""

from collections.abc import Sequence
from typing import Any

from steersman.data.kinds import WITH_PROMPTS, as_prompts, under_template
from steersman.data.load import ReadReport
from steersman.evaluate.answers import Answer
from steersman.harbour.scorer import TrueTaste
from steersman.inference.draw import AnsweringModel, draw, prompt_seeds
from steersman.inference.one_model import same_tokens
from steersman.inference.opened_policy import OpenedPolicy, still_there
from steersman.loading.saved import open_any_model
from steersman.loading.sources import read_source
from steersman.methods.ppo.score import ask
from steersman.models.answer_kl import ModelView, answer_kl
from steersman.models.language_model import LanguageModel
from steersman.records import Prompt
from steersman.reports.before_after import FROZEN, UPDATED, BeforeAfter, ModelSide, compared
from steersman.reports.reading import ReadRun
from steersman.rollout.batch import Rollout
from steersman.rollout.engine import Sampling
from steersman.settings.base import check
from steersman.settings.parts import DataSettings
from steersman.settings.score import SourceSettings
from steersman.training_data.split import DataSide

PROMPTS = 200
TOKEN_BUDGET = 4096
SAMPLING = Sampling(max_new_tokens=64, temperature=1.0)
"""Sampling of runs whose settings have none."""


def of_policy(opened: OpenedPolicy) -> BeforeAfter | None:
    """Before and after of a PPO run, on the prompts and with the seeds of its own evaluations, so that the scores are
    those of its journal. None with fewer than two held-out prompts, since intervals are over prompts."""
    prompts = opened.held_out()[: opened.settings.evaluation.prompts]
    if len(prompts) < 2:
        return None
    sides: list[ModelSide] = []
    for name, voice in ((FROZEN, opened.frozen), (UPDATED, opened.updated)):
        samples = opened.answers(voice, prompts, samples=1, purpose="held-out")
        rollouts = [sample.rollout for sample in samples]
        answers = [
            Answer(one.text, len(one.rollout.ids), one.rollout.finish_reason, one.rollout.seed) for one in samples
        ]
        kl = None
        if name == UPDATED and opened.model.backbone.readout is not None:
            kl = _distances(rollouts, voice, opened.frozen, opened.model, opened.sampling)
        scores = [found.value for found in ask(opened.scorer, samples)]
        sides.append(
            ModelSide(name, prompts, answers, scores, _taste(prompts, answers, opened.settings.prompts.source), kl)
        )
    return compared(*sides)


def of_models(run: ReadRun, *, device: str) -> BeforeAfter | None:
    """Before and after of a run's model and the model that it started from, on the run's held-out prompts. None without
    such prompts."""
    start = str(run.recipe.get("model", {}).get("path", ""))
    still_there(run.folder, start)
    source, prompts = _held_out(run.recipe)
    prompts = _each_once(prompts)
    if len(prompts) < 2:
        return None
    frozen, updated = open_any_model(start, device=device), open_any_model(str(run.folder), device=device)
    sides: list[ModelSide] = []
    for name, model in ((FROZEN, frozen), (UPDATED, updated)):
        drawn = draw(AnsweringModel.of(name, model), prompts, SAMPLING, seeds=prompt_seeds(prompts, 0))
        kl = None
        if name == UPDATED and same_tokens(frozen, updated) and not (model.guide is not None and model.guide.beta):
            there = (frozen.backbone, frozen.adapter)
            kl = _distances(drawn.rollouts, (model.backbone, model.adapter), there, model, SAMPLING)
        sides.append(ModelSide(name, prompts, drawn.answers, None, _taste(prompts, drawn.answers, source), kl))
    return compared(*sides)


def _held_out(recipe: Any) -> tuple[str, list[Prompt]]:
    """The held-out prompts of a run, and the source of its training data."""
    given = recipe.get("prompts") or recipe.get("data") or {}
    source, held_out = str(given.get("source", "")), given.get("held_out")
    if isinstance(held_out, str) and held_out != "none":
        records = read_source(SourceSettings(source=held_out), WITH_PROMPTS, ReadReport())
    elif "data" in recipe and held_out:
        records = DataSide(check(DataSettings, given), held_out=True, quarantine=None).records()
    else:
        return source, []
    records = under_template(str(given.get("template", "none")), records)
    return source, list(as_prompts(records, unique=True))


def _each_once(prompts: Sequence[Prompt]) -> list[Prompt]:
    return list({prompt.shown: prompt for prompt in prompts}.values())[:PROMPTS]


def _taste(prompts: Sequence[Prompt], answers: Sequence[Answer], source: str) -> list[float] | None:
    if not source.startswith("harbour:"):
        return None
    return [found.value for found in TrueTaste().score([(p, a.text) for p, a in zip(prompts, answers, strict=True)])]


def _distances(
    rollouts: Sequence[Rollout], voice: ModelView, frozen: ModelView, model: LanguageModel, sampling: Sampling
) -> list[float]:
    found = answer_kl(
        [rollout.row for rollout in rollouts],
        voice,
        frozen,
        pad_id=model.pad_id,
        token_budget=TOKEN_BUDGET,
        temperature=sampling.logit_temperature,
    )
    return [float(value) for value in found]
