"""`evaluate`: models x prompts -> answers, scores, and a table in which every number has its interval.

results.json    every figure, win rate, rating and best-of-n estimate, with n, seeds, versions and the exact command
answers.jsonl   one row a prompt with every model's answers and their scores, as `sample` writes them
models/*.json   what each model did; the same command goes on with the models that are not there yet

and, of a run's checkpoints, overoptimisation.json and .svg.
"""

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from steersman.data.choices import read_choices
from steersman.data.kinds import WITH_PROMPTS, as_comparisons, as_demonstrations, as_prompts, prompt_key
from steersman.data.load import ReadReport
from steersman.data.sources import content_hash
from steersman.data.write import RowWriter
from steersman.errors import DataError, Preempted, UsageError
from steersman.evaluate.answer_measures import REFUSED, TOXIC_WORDS, TOXICITY, measure_answers
from steersman.evaluate.answers import ModelAnswers
from steersman.evaluate.best_of import best_of
from steersman.evaluate.checkpoints import curves_of, with_checkpoints, write_curves
from steersman.evaluate.contests import Rating, WinRate, ratings, results_of_people, results_of_scores, win_rates
from steersman.evaluate.evaluation import Evaluation
from steersman.evaluate.figures import Intervals
from steersman.evaluate.refusal import USUAL, Refusals, harmful_of, read_phrases
from steersman.evaluate.toxic_words import read_words
from steersman.execution.beginning import begins_run
from steersman.execution.kept import OpenRunFolder, keep_run
from steersman.execution.machine import on_threads, resolve_device
from steersman.inference.one_model import EvaluationTask, Opened, evaluate_model
from steersman.inference.toxicity import toxic_probabilities
from steersman.loading.saved import open_any_model
from steersman.loading.scorers import ScorerCache, load_scorer
from steersman.loading.sources import read_source, register_sources
from steersman.parallel.world import World
from steersman.printing import tell
from steersman.records import (
    Answers,
    Comparison,
    Completion,
    Demonstration,
    Document,
    Prompt,
    Ranking,
    digest_of,
    to_dict,
)
from steersman.runs.folder import atomic_write_text
from steersman.runs.identity import identity_of
from steersman.runs.stamp import MachineFacts, RunIdentity, read_stamp
from steersman.secrets import concealed
from steersman.settings.evaluate import EvaluateSettings
from steersman.settings.score import SourceSettings
from steersman.training_data.chat import settle_template

PEOPLE = "people"


@begins_run
def run_evaluate(settings: EvaluateSettings, *, quiet: bool = False) -> Evaluation:
    """Evaluate; the same call on the same folder continues."""
    settings, place = with_checkpoints(settings), settings.run
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("evaluate works in one process, and several were started; leave torchrun out")
    run = place.as_run()
    register_sources()
    task = _task(settings)
    device = resolve_device(place.device)
    threads = place.threads or torch.get_num_threads()
    data = {name: content_hash(source.source) for name, source in _sources(settings).items()}
    parents = {name: identity_of(path) for name, path in _paths(settings).items()}
    world = World.alone()
    identity = RunIdentity("evaluate", {"run": run.seed}, data, parents)
    facts = MachineFacts(threads, world.device.type, world.size, {})
    with on_threads(threads), keep_run(settings, run, identity, facts, world) as kept:
        kept.resume_point(world)
        models = _all_models(settings, task, kept, identity, threads, quiet=quiet)
        _score(models, task, settings, device, kept)
        notes = [note for model in models for note in model.notes]
        found = _evaluation(settings, models, notes, harmful_of(settings.refusals.harmful, task.prompts))
        _write(found, models, task, settings, kept)
        kept.end("finished", len(models), "finished")
    return found


def _paths(settings: EvaluateSettings) -> dict[str, str]:
    reference = settings.reference
    apart = reference is not None and reference not in settings.models
    return {**settings.models, **({"reference": str(reference)} if apart else {})}


def _sources(settings: EvaluateSettings) -> dict[str, SourceSettings]:
    exam = None if settings.exam is None else SourceSettings(source=settings.exam.source, limit=settings.exam.limit)
    given = {
        "prompts": settings.prompts,
        "judged": settings.judged,
        "corpus": settings.corpus,
        "choices": settings.choices,
        "exam": exam,
    }
    return {name: source for name, source in given.items() if source is not None}


def _task(settings: EvaluateSettings) -> EvaluationTask:
    sources = _sources(settings)
    corpus: list[Document | Demonstration] = []
    if "corpus" in sources:
        corpus = list(as_demonstrations(read_source(sources["corpus"], (Document, Demonstration), ReadReport())))
        if len(corpus) < 2:
            raise DataError(
                f"corpus.source={sources['corpus'].source}: {len(corpus)} texts; expected documents or demonstrations, "
                "two or more"
            )
    choices = read_choices(sources["choices"].source, limit=sources["choices"].limit) if "choices" in sources else []
    return EvaluationTask(
        _prompts("prompts", sources["prompts"]),
        corpus,
        choices,
        _prompts("exam", sources["exam"]) if "exam" in sources else [],
    )


def _prompts(setting: str, source: SourceSettings) -> list[Prompt]:
    report = ReadReport()
    found = list(as_prompts(read_source(source, WITH_PROMPTS, report), unique=True))
    if len(found) < 2:
        expected = "two or more, for intervals are taken over prompts"
        raise DataError(f"{setting}.source: {report.nothing(f'set of prompts: {len(found)} of them', expected)}")
    return found


def _all_models(
    settings: EvaluateSettings,
    task: EvaluationTask,
    kept: OpenRunFolder,
    identity: RunIdentity,
    threads: int,
    *,
    quiet: bool,
) -> list[ModelAnswers]:
    """Each model's answers, from a file if it is there. The file's mark is a hash of all inputs."""
    folder = kept.folder.path / "models"
    folder.mkdir(exist_ok=True)
    opening = Opener(settings)
    found: list[ModelAnswers] = []
    for name, path in settings.models.items():
        mark = digest_of(
            [
                identity.parents[name],
                identity.parents[opening.reference_key],
                identity.data,
                [prompt_key(prompt) for prompt in task.prompts],
                settings.drawing.model_dump(mode="json"),
                None if settings.exam is None else settings.exam.model_dump(mode="json"),
                [settings.run.seed, threads],
            ]
        )
        there = _kept(folder / f"{name}.json", mark)
        if there is None:
            opened = opening.model(name, path)
            settle_template(settings.prompts.template, opened.model.tokeniser, task.prompts, kept.notice)
            with kept.progress(name, len(task.prompts), done=0, silent=quiet):
                there = evaluate_model(
                    opened, opening.reference(), task, settings, lambda done: _go_on(kept, done, len(task.prompts))
                )
            content = {"mark": mark, **there.as_dict()}
            atomic_write_text(folder / f"{name}.json", json.dumps(content, ensure_ascii=False))
        found.append(there)
        kept.journal({"step": len(found), "model": name, "answers": len(there.answers)})
    return found


def _go_on(kept: OpenRunFolder, done: int, total: int) -> None:
    kept.show(done, {})
    if kept.stop_requested() and done < total:
        raise Preempted(
            f"stopped after {done:,} of {total:,} prompts of a model, as asked; the same command goes on from there"
        )


def _kept(path: Path, mark: str) -> ModelAnswers | None:
    try:
        content = json.loads(path.read_text())
        return ModelAnswers.from_dict(content) if content["mark"] == mark else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Opener:
    """Opens models; the reference is opened once, when it is needed."""

    def __init__(self, settings: EvaluateSettings) -> None:
        self._settings = settings
        named = settings.reference or settings.against
        self.reference_key = named if named in settings.models else "reference"
        self._path = settings.models.get(named, named)
        self._reference: Opened | None = None

    def reference(self) -> Opened:
        if self._reference is None:
            model = open_any_model(self._path, device=self._settings.run.device)
            self._reference = Opened(self.reference_key, self._path, model)
        return self._reference

    def model(self, name: str, path: str) -> Opened:
        if name == self.reference_key:
            return self.reference()
        return Opened(name, path, open_any_model(path, device=self._settings.run.device))


def _score(
    models: Sequence[ModelAnswers],
    task: EvaluationTask,
    settings: EvaluateSettings,
    device: torch.device,
    kept: OpenRunFolder,
) -> None:
    """Score every answer with every scorer, one scorer after another."""
    answers = [
        (prompt, answer)
        for model in models
        for prompt, row in zip(task.prompts, model.grid, strict=True)
        for answer in row
    ]
    items = [(prompt, answer.drawn.text) for prompt, answer in answers]
    keeping = ScorerCache.of(kept, World.alone())
    for name, opening in settings.scorers.items():
        # What one scorer measures on reference answers is not what another does.
        scales = None if keeping.scales is None else keeping.scales.with_name(f"scales-{name}.json")
        scorer = load_scorer(opening, device, replace(keeping, scales=scales))
        for (_, answer), score in zip(answers, scorer.score(items), strict=True):
            answer.scores[name] = score.value
            answer.scores.update({f"{name}/{part}": value for part, value in score.parts.items()})
    if settings.toxicity.path is not None:
        for (_, answer), value in zip(
            answers, toxic_probabilities(settings.toxicity, items, device, keeping), strict=True
        ):
            answer.scores[TOXICITY] = value
    phrases = Refusals(USUAL if settings.refusals.phrases is None else read_phrases(settings.refusals.phrases))
    for _, answer in answers:
        answer.scores[REFUSED] = float(phrases.refuses(answer.drawn.text))
    if settings.toxicity.words is not None:
        words = read_words(settings.toxicity.words)
        for _, answer in answers:
            answer.scores[TOXIC_WORDS] = float(words.holds(answer.drawn.text))


def _evaluation(
    settings: EvaluateSettings, models: Sequence[ModelAnswers], notes: list[str], harmful: Sequence[bool] | None
) -> Evaluation:
    intervals = Intervals(settings.confidence, settings.resamples, settings.run.seed)
    names, scorers = [model.name for model in models], list(settings.scorers)
    reference = settings.reference or settings.against
    wins: list[WinRate] = []
    rated: list[Rating] = []
    for scorer in scorers if len(models) > 1 else ():
        results = results_of_scores(models, scorer)
        wins += win_rates(results, names, settings.against, scorer, intervals)
        rated += ratings(results, names, scorer, intervals)
    if settings.judged is not None:
        pairs = list(as_comparisons(read_source(settings.judged, (Comparison, Ranking), ReadReport())))
        known = {key: i for i, m in enumerate(models) for key in (m.path, m.name)}
        judged = results_of_people(pairs, known, len(models))
        if not len(judged.results):
            raise DataError(
                f"judged.source={settings.judged.source}: none of {len(pairs):,} comparisons is between two of the "
                f"models; expected answers whose model is one of {', '.join(known)}"
            )
        if judged.others:
            notes = [*notes, f"{judged.others:,} judgements are not between two of these models and were left out"]
        wins += win_rates(judged.results, names, settings.against, PEOPLE, intervals, judged.by_order)
        rated += ratings(judged.results, names, PEOPLE, intervals)
    curves = curves_of(settings, models, wins)
    return Evaluation(
        out=settings.run.out,
        models=tuple(names),
        baseline=settings.against,
        reference=reference,
        prompts=len(models[0].grid),
        answers=len(models[0].grid[0]),
        confidence=settings.confidence,
        figures=measure_answers(
            models, scorers, baseline=settings.against, reference=reference, intervals=intervals, harmful=harmful
        ),
        wins=wins,
        ratings=rated,
        best_of_n=best_of(models, scorers, intervals) if settings.drawing.answers > 1 else [],
        notes=notes,
        overoptimisation=curves,
    )


def _write(
    found: Evaluation,
    models: Sequence[ModelAnswers],
    task: EvaluationTask,
    settings: EvaluateSettings,
    kept: OpenRunFolder,
) -> None:
    stamp = read_stamp(kept.folder.stamp_path)
    content = {
        **found.as_dict(),
        "paths": dict(settings.models),
        "stamp": stamp,
        "settings": concealed(settings.model_dump(mode="json")),
    }
    atomic_write_text(
        kept.folder.path / "results.json", json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    )
    if found.overoptimisation is not None:
        write_curves(found.overoptimisation, kept.folder.path)
    with RowWriter(kept.folder.path / "answers.jsonl") as writer:
        for place, prompt in enumerate(task.prompts):
            completions = itertools.chain.from_iterable(_completions(m, place, settings) for m in models)
            writer.write(to_dict(Answers(prompt, tuple(completions))))
    for note in found.notes:
        tell(f"steersman: {note}")


def _completions(model: ModelAnswers, place: int, settings: EvaluateSettings) -> list[Completion]:
    drawing = settings.drawing
    found: list[Completion] = []
    for answer in model.grid[place]:
        numbers = {"KL": answer.kl, "reference log-probability": answer.reference_log_prob}
        scores = {
            **answer.scores,
            "tokens": float(answer.drawn.tokens),
            "log-probability": answer.log_prob,
            "entropy": answer.entropy,
            **{name: value for name, value in numbers.items() if value is not None},
        }
        how = {
            "temperature": drawing.temperature,
            "max_new_tokens": drawing.max_new_tokens,
            "finish": answer.drawn.finish_reason,
        }
        found.append(Completion(answer.drawn.text, model.name, how, answer.drawn.seed, scores))
    return found
