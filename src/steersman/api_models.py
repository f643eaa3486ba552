"""The Python API beside training: sample from models, score, evaluate, judge and look inside, by the names of the
command line.

    model = steersman.open_model("runs/ppo")
    answers = steersman.sample(model, ["Tell me about cricket."], answers=4, temperature=0.7)
    scores = steersman.score("runs/reward", answers)
    steersman.forward(model, "Tell me about cricket.", answers[0].completions[0].text).logits

A model is a name (a run, a folder, a hub id, harbour:base) or what `open_model` returned, which is loaded once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steersman.api import Rewarding, Rows, given_reward, settings_from, silent, source_of
from steersman.assemble.evaluate import run_evaluate
from steersman.assemble.judge import run_judge
from steersman.assemble.report import ReportResult, write_report
from steersman.assemble.stages import JUDGED
from steersman.data.kinds import WITH_PROMPTS, answers_of, as_prompts, prompt_of
from steersman.data.load import ReadReport, load_records
from steersman.errors import DataError, UsageError
from steersman.evaluate.evaluation import Evaluation
from steersman.execution.machine import resolve_device
from steersman.inference.conversation import Conversation
from steersman.inference.draw import AnsweringModel, answer_group, plan_slots
from steersman.judges.result import JudgeResult
from steersman.loading.saved import open_any_model
from steersman.loading.scorers import scorer_of
from steersman.loading.sources import register_sources
from steersman.models.acting import acting_as
from steersman.models.language_model import LanguageModel
from steersman.records import Answers, Completion, Demonstration, Prompt, Record
from steersman.reward.scorer import Score, Scorer
from steersman.rollout.engine import Sampling
from steersman.settings.base import check
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.judge_run import JudgeRunSettings
from steersman.settings.sample import SampleSettings
from steersman.settings.score import ScorerSettings
from steersman.text.template import encode_completion, encode_prompt

Model = str | Path | LanguageModel
"""A name, or a model that `open_model` returned."""
_TOGETHER = 64
_SCORED = (Answers, Demonstration, *JUDGED)


@dataclass(frozen=True)
class TokenStates:
    """What a model computes at each token of a conversation: one row, without padding.

    `log_probs[t]` is the log-probability of token t given tokens before it, and NaN for the first. `logits[t]` and
    `hidden_states[layer][t]` are of position t and predict token t + 1; layer 0 is the embedding. `answer_mask` is True
    at the answer and the token that ends it.
    """

    ids: Int[Tensor, " time"]
    pieces: tuple[str, ...]
    answer_mask: Bool[Tensor, " time"]
    logits: Float[Tensor, "time vocab"]
    hidden_states: tuple[Float[Tensor, "time hidden"], ...]
    log_probs: Float[Tensor, " time"]
    entropies: Float[Tensor, " time"]

    @property
    def answer_log_prob(self) -> float:
        """Log-probability of the whole answer, with the token that ends it."""
        return float(self.log_probs[self.answer_mask].sum())


def open_model(name: str | Path, *, device: str = "auto") -> LanguageModel:
    """A model by name: a run, a model or adapter folder, a checkpoint, a hub id, harbour:base or tiny:<family>.

    `.backbone.hf` is the transformers model, `.tokeniser` its tokeniser."""
    return open_any_model(str(name), device=device)


def forward(model: Model, prompt: str | Prompt, answer: str = "", *, device: str = "auto") -> TokenStates:
    """Logits, hidden states of all layers, log-probabilities and entropies of a prompt and an answer to it."""
    opened = _opened(model, device)
    asked = _prompt(prompt)
    before = encode_prompt(opened.tokeniser, asked)
    # an answer is encoded with its prompt, as in training: tokens may merge over the border
    row = encode_completion(opened.tokeniser, asked, Completion(answer), max_length=2**31) if answer else None
    ids = torch.tensor(before if row is None else row.ids, device=opened.backbone.device)
    mask = torch.tensor([False] * len(ids) if row is None else row.loss, device=ids.device)
    if opened.context_length is not None and len(ids) > opened.context_length:
        raise DataError(f"the text has {len(ids)} tokens, and the model's context {opened.context_length}; shorten it")
    with torch.no_grad(), acting_as(opened.backbone, opened.adapter):
        found = opened.backbone.hf(input_ids=ids[None], output_hidden_states=True, use_cache=False)
    logits = found.logits[0].float()
    spread = logits.log_softmax(-1)
    chosen = spread[:-1].gather(-1, ids[1:, None])[:, 0]
    return TokenStates(
        ids,
        tuple(opened.tokeniser.decode([token]) for token in ids.tolist()),
        mask,
        logits,
        tuple(layer[0] for layer in found.hidden_states),
        torch.cat([chosen.new_full((1,), float("nan")), chosen]),
        -(spread.exp() * spread).sum(-1),
    )


def sample(
    model: Model | Sequence[Model], prompts: Rows, *, seed: int = 0, device: str = "auto", **settings: Any
) -> list[Answers]:
    """Answers to prompts, the same that `steersman sample` gives: answers=4, temperature=0.7, max_new_tokens=64, ….

    Several models answer in turn. A prompt that fills the context is left without answers."""
    several: list[Model] = [model] if isinstance(model, str | Path | LanguageModel) else list(model)
    opened = [_opened(one, device) for one in several]
    names = [_name(one) for one in several]
    values = {"model": names, "prompts": {"source": "given"}, "out": "memory", "seed": seed, **settings}
    chosen = check(SampleSettings, values)
    asked = _prompts(prompts)
    slots = plan_slots(chosen, len(opened))
    answering = [AnsweringModel.of(name, one) for name, one in zip(names, opened, strict=True)]
    found: list[Answers] = []
    for start in range(0, len(asked), chosen.prompts_at_once):
        group = asked[start : start + chosen.prompts_at_once]
        drawn = answer_group(group, answering, slots, seed=chosen.seed, distinct=chosen.distinct)
        found += [Answers(prompt, answers) for prompt, answers in zip(group, drawn.answers, strict=True)]
    return found


def score(scorer: Rewarding, answers: Rows, *, device: str = "auto", **settings: Any) -> list[Score]:
    """The score of every answer, in order. `scorer` is a reward model or run, several of them, a place that
    `steersman score --scorer` takes, a Python function, or a scorer. `answers` are records with answers (of `sample`,
    comparisons, demonstrations), dictionaries, or a source."""
    place, given = _scorer(scorer, settings)
    opened = scorer_of(place, given, resolve_device(device))
    records = _records(answers, _SCORED, "answers")
    items = [(asked, one.text) for record in records if (asked := prompt_of(record)) for one in answers_of(record)]
    return [
        found for start in range(0, len(items), _TOGETHER) for found in opened.score(items[start : start + _TOGETHER])
    ]


def chat(
    model: Model,
    *,
    system: str | None = None,
    temperature: float | int = 1.0,
    top_p: float | int = 1.0,
    max_new_tokens: int = 256,
    seed: int = 0,
    device: str = "auto",
) -> Conversation:
    """A conversation: `chat("runs/ppo").say("Hello")` is the answer. `say(text, print)` streams it."""
    sampling = Sampling(max_new_tokens, float(temperature), top_p=float(top_p))
    return Conversation(_opened(model, device), system=system, sampling=sampling, seed=seed)


def evaluate(
    models: Mapping[str, str | Path],
    *,
    prompts: Rows,
    out: str | Path,
    scorers: Mapping[str, str | Path] | None = None,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> Evaluation:
    """Models side by side on the same prompts, as `steersman evaluate` does; the first is the baseline. Further
    settings by group: drawing={"answers": 2}."""
    usual = {
        "models": {name: str(place) for name, place in models.items()},
        "prompts": {"source": source_of(prompts, texts_are="prompt")},
        "scorers": {name: {"path": str(place)} for name, place in (scorers or {}).items()},
        "run": {"out": str(out)},
    }
    settings = settings_from(EvaluateSettings, recipe, usual, overrides)
    with silent(quiet):
        return run_evaluate(settings, quiet=quiet)


def report(
    *places: str | Path, out: str | Path | None = None, force: bool = False, device: str = "auto", **more: Any
) -> ReportResult:
    """One HTML page about runs and evaluations, as `steersman report` writes it: microscope=0, prompts=[…]."""
    return write_report(
        [str(place) for place in places], out=None if out is None else str(out), force=force, device=device, **more
    )


def judge(
    constitution: str | Path,
    answers: Rows,
    *,
    model: str | Path,
    out: str | Path,
    recipe: str | Path | None = None,
    quiet: bool = False,
    **overrides: Any,
) -> JudgeResult:
    """Preferences of an AI judge by a constitution, as `steersman judge` gives them; `labels` of the result is their
    file. `model` judges: a local model, or an endpoint."""
    usual = {
        "judge": {"constitution": str(constitution), "model": str(model)},
        "data": {"source": source_of(answers, texts_are=None)},
        "run": {"out": str(out)},
    }
    settings = settings_from(JudgeRunSettings, recipe, usual, overrides)
    with silent(quiet):
        return run_judge(settings, quiet=quiet)


def _opened(model: Model, device: str) -> LanguageModel:
    return model if isinstance(model, LanguageModel) else open_model(model, device=device)


def _name(model: Model) -> str:
    return model.backbone.name if isinstance(model, LanguageModel) else str(model)


def _prompt(prompt: str | Prompt) -> Prompt:
    return Prompt(text=prompt) if isinstance(prompt, str) else prompt


def _prompts(prompts: Rows) -> list[Prompt]:
    return list(as_prompts(_records(prompts, WITH_PROMPTS, "prompts", texts_are="prompt"), unique=True))


def _records(rows: Rows, kinds: tuple[type, ...], what: str, texts_are: str | None = None) -> list[Record]:
    """The records of a source or a list. Bad rows of a list are an error: nobody would see a count of them."""
    register_sources()
    report = ReadReport()
    strict = not isinstance(rows, str | Path)
    found = list(load_records(source_of(rows, texts_are=texts_are), kind=kinds, strict=strict, report=report))
    if not found:
        raise DataError(report.nothing(what, f"at least one row with {what}"))
    return found


def _scorer(
    scorer: Rewarding, settings: Mapping[str, Any]
) -> tuple[ScorerSettings, Callable[..., Any] | Scorer | None]:
    given = given_reward(scorer)
    if given is not None:
        if settings:
            raise UsageError(f"the settings {', '.join(settings)} are for a scorer by its place; a function has none")
        return check(ScorerSettings, {"path": "python:given"}), given
    place = [str(one) for one in scorer] if isinstance(scorer, list | tuple) else str(scorer)
    return check(ScorerSettings, {"path": place, **settings}), None
