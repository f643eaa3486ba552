"""`compare` put together: the same prompts to two models or more, drawn with the same seeds, side by side. One model is in memory at a
time; nothing is measured but what a scorer says, if one is given. For numbers with intervals there is `evaluate`."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.data.kinds import WITH_PROMPTS, as_prompts
from steersman.data.load import ReadReport
from steersman.errors import DataError, UsageError
from steersman.evaluate.numerals import numeral
from steersman.execution.machine import resolve_device
from steersman.loading.engines import engine_of
from steersman.loading.saved import open_any_model
from steersman.loading.scorers import load_scorer
from steersman.loading.sources import read_source
from steersman.pages.parts import Commands, Example, Examples, Mark, Report, Section, Sentence, Shown
from steersman.pages.render import html_of
from steersman.pages.word_diff import Stretch, told_apart, unmarked
from steersman.records import Message, Prompt
from steersman.rollout.engine import Sampling, sample_seed
from steersman.rollout.stops import answer_text
from steersman.runs.folder import atomic_write_text
from steersman.settings.score import ScorerSettings, SourceSettings
from steersman.text.template import encode_prompt

LIMIT = 10


@dataclass(frozen=True, slots=True)
class Said:
    """One model's answer to one prompt."""

    model: str
    text: str
    finish_reason: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class Compared:
    """`answers[i][j]`: what model j said to prompt i."""

    models: tuple[str, ...]
    paths: Mapping[str, str]
    prompts: tuple[Prompt, ...]
    answers: tuple[tuple[Said, ...], ...]
    scorers: tuple[str, ...]
    sampling: Sampling
    seed: int

    def as_dict(self) -> dict[str, Any]:
        return {
            "models": dict(self.paths),
            "temperature": self.sampling.temperature,
            "seed": self.seed,
            "rows": [
                {
                    "prompt": prompt.shown,
                    "answers": {
                        one.model: {"text": one.text, "finish": one.finish_reason, **one.scores} for one in row
                    },
                }
                for prompt, row in zip(self.prompts, self.answers, strict=True)
            ],
            "mean": {name: {model: self.mean(name, model) for model in self.models} for name in self.scorers},
        }

    def mean(self, scorer: str, model: str) -> float:
        told = [one.scores[scorer] for row in self.answers for one in row if one.model == model]
        return sum(told) / len(told)


def run_compare(
    models: Mapping[str, str],
    *,
    source: str | None,
    asked: Sequence[str] = (),
    limit: int | None = None,
    scorers: Mapping[str, str] | None = None,
    sampling: Sampling,
    seed: int = 0,
    device: str = "auto",
) -> Compared:
    """Every model's answer to every prompt: those of the source (the first `limit`, each once) and those asked in words."""
    if len(models) < 2:
        raise UsageError(
            f"compare puts answers of two models or more side by side; seen {', '.join(models) or 'none'}. Give --model twice; with one "
            "model `steersman sample` or `steersman chat` answers"
        )
    prompts = _prompts(source, asked, limit)
    columns = [_answers(name, path, prompts, sampling, seed, device) for name, path in models.items()]
    scores: dict[str, list[float]] = {}
    items = [(prompt, said.text) for said_all in columns for prompt, said in zip(prompts, said_all, strict=True)]
    for name, path in (scorers or {}).items():
        found = load_scorer(ScorerSettings(path=path), resolve_device(device)).score(items)
        scores[name] = [one.value for one in found]
    rows = tuple(
        tuple(
            Said(
                said.model,
                said.text,
                said.finish_reason,
                {name: told[j * len(prompts) + i] for name, told in scores.items()},
            )
            for j, said in enumerate(row)
        )
        for i, row in enumerate(zip(*columns, strict=True))
    )
    return Compared(tuple(models), dict(models), tuple(prompts), rows, tuple(scores), sampling, seed)


def _prompts(source: str | None, asked: Sequence[str], limit: int | None) -> list[Prompt]:
    found = [Prompt(messages=(Message("user", words),)) for words in asked if words.strip()]
    if source is not None:
        report = ReadReport()
        read = as_prompts(read_source(SourceSettings(source=source), WITH_PROMPTS, report), unique=True)
        taken = list(itertools.islice(read, LIMIT if limit is None else limit))
        if not taken:
            raise DataError(
                f"--prompts {source}: no prompts in {report.rows:,} rows ({report.malformed:,} of them bad); expected prompts, or records that "
                "have them. `steersman data inspect` shows what is in a file"
            )
        found += taken
    if not found:
        raise UsageError("there is nothing to ask: give --prompts FILE, or --prompt in words, or both")
    return found


def _answers(name: str, path: str, prompts: Sequence[Prompt], sampling: Sampling, seed: int, device: str) -> list[Said]:
    model = open_any_model(path, device=device)
    encoded = [encode_prompt(model.tokeniser, prompt) for prompt in prompts]
    context = model.backbone.context_length
    long = [prompt for prompt, ids in zip(prompts, encoded, strict=True) if context is not None and len(ids) >= context]
    if long:
        raise DataError(
            f"{len(long)} of {len(prompts)} prompts fill the context of {name} ({context} tokens), such as {long[0].shown[:60]!r}. All models "
            "answer the same prompts: take these out, or leave the model out"
        )
    # The seed of an answer follows from the prompt alone: what differs between models is then less the luck of the draw.
    seeds = [sample_seed(seed, 0, prompt.id, 0) for prompt in prompts]
    rollouts = engine_of(model).generate(encoded, sampling, seeds=seeds)
    return [Said(name, answer_text(model.tokeniser, one, sampling.stop), one.finish_reason, {}) for one in rollouts]


def write_page(found: Compared, out: str) -> str:
    """The comparison as one HTML file."""
    path = Path(out).expanduser()
    if path.is_dir():
        raise UsageError(f"--html {out} is a folder; name a file, such as {path / 'compare.html'}")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(path, html_of(report_of(found)))
    return str(path)


def report_of(found: Compared) -> Report:
    names = ", ".join(found.models[:-1]) + f" and {found.models[-1]}"
    sentences = [
        Sentence(
            f"By {scorer}, in the mean: "
            + ", ".join(f"{m} {numeral(found.mean(scorer, m))}" for m in found.models)
            + ".",
            "",
        )
        for scorer in found.scorers
    ]
    if len(found.prompts) < 100:
        sentences.append(
            Sentence(
                "A few prompts side by side are an impression and no measure; steersman evaluate gives intervals.", ""
            )
        )
    drawn = (
        "the likeliest words"
        if found.sampling.greedy
        else f"drawn at temperature {found.sampling.temperature:g} with the same seeds"
    )
    examples = tuple(
        Example(prompt.shown, "", tuple(_shown(found, *one) for one in zip(row, sides(row), strict=True)))
        for prompt, row in zip(found.prompts, found.answers, strict=True)
    )
    count = f"{len(found.prompts)} prompt{'s' if len(found.prompts) != 1 else ''}"
    note = f"{count}, one answer from each model: {drawn}, {found.sampling.max_new_tokens} tokens at most."
    two = len(found.models) == 2
    sections = (
        Section("Side by side", "Side by side", note, (Examples(examples, min(len(found.models), 4), two),)),
        Section("The models", "Models", "", (Commands(tuple((path, name) for name, path in found.paths.items())),)),
    )
    return Report("steersman compare", f"{names}, side by side.", tuple(sentences), sections)


def sides(row: Sequence[Said]) -> list[tuple[Stretch, ...]]:
    """The answers' texts; of two, with what differs between them marked."""
    texts = [one.text for one in row]
    return list(told_apart(*texts)) if len(texts) == 2 else [unmarked(text) for text in texts]


def _shown(found: Compared, said: Said, text: tuple[Stretch, ...]) -> Shown:
    numbers = ", ".join(f"{name} {numeral(said.scores[name])}" for name in found.scorers)
    mark = Mark("bad", "✗", "cut off") if said.finish_reason == "length" else None
    return Shown(said.model, text, mark, numbers)
