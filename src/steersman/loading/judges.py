"""A judge from its settings: a local model or an endpoint, with its constitution; and the judge as a scorer."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from steersman.constitution.load import load_constitution
from steersman.data.kinds import answers_of, prompt_of, prompt_words
from steersman.data.load import load_records
from steersman.errors import DataError, UsageError
from steersman.execution.machine import TOKEN_BUDGET
from steersman.judges.endpoint import SETTING, EndpointJudge
from steersman.judges.judge import Judge
from steersman.judges.local import LocalJudge
from steersman.judges.scorer import JudgeScorer, Opponents
from steersman.loading.engines import engine_of
from steersman.loading.saved import open_any_model
from steersman.loading.sources import register_sources
from steersman.models.language_model import LanguageModel
from steersman.records import Prompt, digest_of
from steersman.reward.http import ReplyCache
from steersman.reward.scorer import describe_item
from steersman.rollout.engine import Sampling
from steersman.rollout.stops import answer_text
from steersman.settings.judge import JudgeSettings, is_endpoint
from steersman.text.template import encode_prompt

JUDGE = "judge:"
TOGETHER = 64
"""Prompts that the reference answers at once."""
_SHORTEST = (Prompt(text="?"), "yes", "no")


@dataclass
class JudgeModels:
    """The local models of a judge by name. Each is loaded once, frozen, and never the one that is trained."""

    device: torch.device
    loaded: dict[str, LanguageModel] = field(default_factory=dict[str, LanguageModel])

    def open(self, name: str) -> LanguageModel:
        if name not in self.loaded:
            model = open_any_model(name, device=str(self.device))
            model.backbone.requires_grad_(False)
            self.loaded[name] = model
        return self.loaded[name]

    def held(self) -> Sequence[nn.Module]:
        return [model.backbone for model in self.loaded.values()]


def open_judge(
    settings: JudgeSettings, models: JudgeModels, remembered: ReplyCache, notice: Callable[[str], None]
) -> Judge:
    """The judge. A constitution, choices or a context that do not fit are errors here, before anything is judged."""
    constitution = load_constitution(settings.constitution)
    if settings.model is None:
        raise UsageError(
            "judge.model says who judges: a folder, a run, harbour:base, or an endpoint as URL#name; it is needed "
            "where no run has a reference"
        )
    if settings.at_endpoint:
        token = token_of(settings.endpoint.token_env, f"{SETTING}.token_env")
        engine = EndpointJudge(settings.model, settings.endpoint, token=token, remembered=remembered, notice=notice)
        return Judge(engine, constitution, settings)
    model = models.open(settings.model)
    local = LocalJudge(
        model,
        settings.model,
        voice=(model.backbone, model.adapter),
        writer=lambda: engine_of(model),
        token_budget=settings.tokens_per_micro_batch or TOKEN_BUDGET.get(models.device.type, 8192),
    )
    judge = Judge(local, constitution, settings)
    local.refuse_unfit(judge.smallest_requests(*_SHORTEST))
    return judge


def open_judge_scorer(
    settings: JudgeSettings, device: torch.device, remembered: ReplyCache, notice: Callable[[str], None]
) -> JudgeScorer:
    models = JudgeModels(device)
    judge = open_judge(settings, models, remembered, notice)
    return JudgeScorer(judge, _opponents(settings, models) if settings.mode == "compare" else None, models.held)


def _opponents(settings: JudgeSettings, models: JudgeModels) -> Opponents:
    """The answers to compare with: from a source, or sampled greedily from the reference, each once."""
    if settings.answers is not None:
        return _answers_of(settings.answers)
    reference = settings.reference or (None if settings.at_endpoint else settings.model)
    if reference is None or is_endpoint(reference):
        raise UsageError(
            "mode=compare compares each answer with another one to the same prompt; give scorer.judge.reference (a "
            "model that answers), scorer.judge.answers (a file of answers), or mode=rate"
        )
    return ReferenceAnswers(models.open(reference), settings.max_new_tokens)


def _answers_of(source: str) -> Opponents:
    register_sources()
    known: dict[str, str] = {}
    for record in load_records(source):
        prompt = prompt_of(record)
        if prompt is not None and answers_of(record):
            known.setdefault(prompt_words(prompt), answers_of(record)[0].text)

    def of(prompts: Sequence[Prompt]) -> list[str]:
        missing = next((prompt for prompt in prompts if prompt_words(prompt) not in known), None)
        if missing is not None:
            raise DataError(
                f"scorer.judge.answers={source} has no answer to compare with for {describe_item((missing, ''))}; "
                "expected one to every prompt of the run"
            )
        return [known[prompt_words(prompt)] for prompt in prompts]

    return of


class ReferenceAnswers:
    """A model's greedy answers, remembered by prompt."""

    def __init__(self, model: LanguageModel, max_new_tokens: int) -> None:
        self._engine, self._tokeniser = engine_of(model), model.tokeniser
        self._sampling = Sampling(max_new_tokens, 0.0)
        self._known: dict[str, str] = {}

    def __call__(self, prompts: Sequence[Prompt]) -> list[str]:
        keys = [_key(prompt) for prompt in prompts]
        missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if key not in self._known}
        for start in range(0, len(missing), TOGETHER):
            some = list(missing.items())[start : start + TOGETHER]
            encoded = [encode_prompt(self._tokeniser, prompt) for _, prompt in some]
            drawn = self._engine.generate(encoded, self._sampling, seeds=0)
            for (key, _), rollout in zip(some, drawn, strict=True):
                self._known[key] = answer_text(self._tokeniser, rollout, ())
        return [self._known[key] for key in keys]


def _key(prompt: Prompt) -> str:
    return digest_of([prompt_words(prompt), prompt.continued])


def judge_identity(settings: JudgeSettings) -> tuple[str, list[str]]:
    """What a judge stands on, for a run's stamp: its name with the constitution's hash, and the models it reads."""
    name = f"{JUDGE}{settings.constitution} {load_constitution(settings.constitution).hash} {settings.mode}"
    places = [place for place in (settings.model, settings.reference) if place and not is_endpoint(place)]
    shown: Any = settings.model if settings.at_endpoint else ""
    return f"{name} {shown}".strip(), places


def token_of(name: str | None, setting: str) -> str | None:
    """The token in the environment variable of this name; `setting` names it in messages."""
    if name is None:
        return None
    found = os.environ.get(name)
    if not found:
        raise UsageError(f"{setting}={name}: the environment has no such variable, or it is empty; set it to the token")
    if not (found.isascii() and found.isprintable()):
        raise UsageError(
            f"{setting}={name}: the token holds a line break or a letter beyond ASCII, as no header can; "
            "set it to the token alone"
        )
    return found
