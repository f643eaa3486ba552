"""`compare`: the same prompts to two or more models, sampled with the same seeds, side by side.

One model is in memory at a time. Only a given scorer measures anything; `evaluate` gives numbers with intervals.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.data.kinds import WITH_PROMPTS, as_prompts
from steersman.data.load import ReadReport
from steersman.data.outputs import check_outputs
from steersman.errors import DataError, UsageError
from steersman.evaluate.answers import Answer
from steersman.evaluate.numerals import numeral
from steersman.execution.machine import resolve_device
from steersman.inference.draw import AnsweringModel, draw, prompt_seeds
from steersman.loading.saved import open_any_model
from steersman.loading.scorers import load_scorer
from steersman.loading.sources import read_source
from steersman.pages.parts import Commands, Example, Examples, Mark, Report, Section, Sentence, Shown
from steersman.pages.render import html_of, is_page_of_ours
from steersman.pages.word_diff import Stretch, told_apart, unmarked
from steersman.records import Message, Prompt
from steersman.rollout.engine import Sampling
from steersman.runs.folder import atomic_write_text
from steersman.settings.score import ScorerSettings, SourceSettings

LIMIT = 10


@dataclass(frozen=True)
class Compared:
    """`answers[i][j]` is model j's answer to prompt i, `scores[name][i][j]` its score by the scorer of that name."""

    models: tuple[str, ...]
    paths: Mapping[str, str]
    prompts: tuple[Prompt, ...]
    answers: tuple[tuple[Answer, ...], ...]
    scores: Mapping[str, tuple[tuple[float, ...], ...]]
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
                        model: {"text": one.text, "finish": one.finish_reason, **self.scores_of(i, j)}
                        for j, (model, one) in enumerate(zip(self.models, row, strict=True))
                    },
                }
                for i, (prompt, row) in enumerate(zip(self.prompts, self.answers, strict=True))
            ],
            "mean": {name: {model: self.mean(name, model) for model in self.models} for name in self.scores},
        }

    def scores_of(self, prompt: int, model: int) -> dict[str, float]:
        """One answer's score by each scorer."""
        return {name: rows[prompt][model] for name, rows in self.scores.items()}

    def mean(self, scorer: str, model: str) -> float:
        j = self.models.index(model)
        return sum(row[j] for row in self.scores[scorer]) / len(self.prompts)


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
    """Each model's answer to each prompt: the first `limit` of the source, and those in `asked`."""
    if len(models) < 2:
        raise UsageError(
            f"compare puts answers of two models or more side by side; seen {', '.join(models) or 'none'}. Give "
            "--model twice; with one model `steersman sample` or `steersman chat` answers"
        )
    prompts = _prompts(source, asked, limit)
    columns = [_answers(name, path, prompts, sampling, seed, device) for name, path in models.items()]
    scores: dict[str, tuple[tuple[float, ...], ...]] = {}
    items = [(prompt, answer.text) for column in columns for prompt, answer in zip(prompts, column, strict=True)]
    for name, path in (scorers or {}).items():
        found = [one.value for one in load_scorer(ScorerSettings(path=path), resolve_device(device)).score(items)]
        scores[name] = tuple(tuple(found[i :: len(prompts)]) for i in range(len(prompts)))
    rows = tuple(zip(*columns, strict=True))
    return Compared(tuple(models), dict(models), tuple(prompts), rows, scores, sampling, seed)


def _prompts(source: str | None, asked: Sequence[str], limit: int | None) -> list[Prompt]:
    found = [Prompt(messages=(Message("user", words),)) for words in asked if words.strip()]
    if source is not None:
        report = ReadReport()
        read = as_prompts(read_source(SourceSettings(source=source), WITH_PROMPTS, report), unique=True)
        taken = list(itertools.islice(read, LIMIT if limit is None else limit))
        if not taken:
            raise DataError(
                f"--prompts {source}: no prompts in {report.rows:,} rows ({report.malformed:,} of them bad); expected "
                "prompts, or records that have them. `steersman data inspect` shows what is in a file"
            )
        found += taken
    if not found:
        raise UsageError("there is nothing to ask: give --prompts FILE, or --prompt in words, or both")
    return found


def _answers(
    name: str, path: str, prompts: Sequence[Prompt], sampling: Sampling, seed: int, device: str
) -> list[Answer]:
    model = AnsweringModel.of(name, open_any_model(path, device=device))
    model.refuse_long(prompts)
    return draw(model, prompts, sampling, seeds=prompt_seeds(prompts, seed)).answers


def check_page(out: str, *, reads: Sequence[str], force: bool) -> None:
    """Raise UsageError if the page would overwrite what is read, or a file that is no page of Steersman."""
    path = Path(out).expanduser()
    if path.is_dir():
        raise UsageError(f"--html {out} is a folder; name a file, such as {path / 'compare.html'}")
    check_outputs([path], reads=reads, force=force, is_own=is_page_of_ours)


def write_page(found: Compared, out: str) -> str:
    """The comparison as one HTML file."""
    path = Path(out).expanduser()
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
        for scorer in found.scores
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
        Example(prompt.shown, "", tuple(_shown(found, i, j, text) for j, text in enumerate(sides(found.answers[i]))))
        for i, prompt in enumerate(found.prompts)
    )
    count = f"{len(found.prompts)} prompt{'s' if len(found.prompts) != 1 else ''}"
    note = f"{count}, one answer from each model: {drawn}, {found.sampling.max_new_tokens} tokens at most."
    two = len(found.models) == 2
    sections = (
        Section("Side by side", "Side by side", note, (Examples(examples, min(len(found.models), 4), two),)),
        Section("The models", "Models", "", (Commands(tuple((path, name) for name, path in found.paths.items())),)),
    )
    return Report("steersman compare", f"{names}, side by side.", tuple(sentences), sections)


def sides(row: Sequence[Answer]) -> list[tuple[Stretch, ...]]:
    """The answers' texts; if there are two, their differences are marked."""
    texts = [one.text for one in row]
    return list(told_apart(*texts)) if len(texts) == 2 else [unmarked(text) for text in texts]


def _shown(found: Compared, prompt: int, model: int, text: tuple[Stretch, ...]) -> Shown:
    numbers = ", ".join(f"{name} {numeral(score)}" for name, score in found.scores_of(prompt, model).items())
    mark = Mark("bad", "✗", "cut off") if found.answers[prompt][model].cut_off else None
    return Shown(found.models[model], text, mark, numbers)
