"""`best-of-n`: prompts -> n answers each -> the best by a scorer -> a model fine-tuned on them.

The parts are the commands `sample`, `score` and `sft`. Each writes its file into the run's folder, so that a killed run
continues with the part in which it stopped:

    answers.jsonl    every answer, row by row          scored.jsonl    the same with their scores
    chosen.jsonl     the best of each prompt, as demonstrations with their scores
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from steersman.assemble.sample import run_sample
from steersman.assemble.score import run_score
from steersman.assemble.sft import fine_tune
from steersman.data.load import load_records
from steersman.data.write import RowWriter
from steersman.errors import DataError, Preempted
from steersman.execution.beginning import begins_run
from steersman.execution.context import Job
from steersman.execution.ending import RunResult, already_finished
from steersman.execution.machine import on_threads, resolve_device
from steersman.execution.same_run import refuse_another_recipe
from steersman.loading.language_model import refuse_missing_folder
from steersman.loading.scorers import Reward, places_of, stamped_scorer
from steersman.loading.sources import refuse_missing_source
from steersman.maths.statistics import best_of_n_estimate, best_of_n_kl
from steersman.parallel.world import join
from steersman.records import Answers, Demonstration, to_dict
from steersman.reward.open import check_place
from steersman.runs.commands import command_line
from steersman.runs.folder import RunFolder, atomic_write_text
from steersman.runs.lock import lock_run
from steersman.settings.base import to_toml
from steersman.settings.best_of_n import BestOfNSettings
from steersman.settings.parts import DataSettings
from steersman.settings.sample import SampleSettings
from steersman.settings.score import ScoreSettings, SourceSettings
from steersman.settings.sft import SftSettings

SCORE = "score"
"""The key under which the answers keep their scores."""


@dataclass(frozen=True)
class Files:
    answers: Path
    scored: Path
    chosen: Path


@begins_run
def run_best_of_n(settings: BestOfNSettings, *, quiet: bool = False, reward: Reward | None = None) -> RunResult:
    """Sample, choose and fine-tune; the same call on the same folder resumes.

    `reward` replaces settings.scorer.
    """
    out = Path(settings.run.out)
    files = Files(out / "answers.jsonl", out / "scored.jsonl", out / "chosen.jsonl")
    job = Job("best-of-n", settings, settings.run, settings.train, command_line("chat", settings.run.out), quiet)
    result = already_finished(job)
    if result is None:
        with join(resolve_device(settings.run.device)) as world:
            world.first_alone("choosing the answers", lambda: _choose(settings, files, reward, quiet=quiet))
        parents = {"scorer": stamped_scorer(settings.scorer, reward)}
        result = fine_tune(job, _fine_tuning(settings, files), parents=parents)
    return replace(result, measured=_measure(settings, files.scored))


def _choose(settings: BestOfNSettings, files: Files, reward: Reward | None, *, quiet: bool) -> None:
    """Write the answers, their scores and the best of them. Each file is complete before the next is begun."""
    if files.chosen.exists():
        return
    folder = RunFolder.create_or_open(Path(settings.run.out))
    with lock_run(folder.path), on_threads(settings.run.threads or torch.get_num_threads()):
        if folder.recipe_path.exists():
            refuse_another_recipe(folder, settings)
        atomic_write_text(folder.recipe_path, to_toml(settings))
        folder.mark_started()
        if not files.scored.exists():
            if reward is None:
                _check(settings)
            try:
                run_sample(_sampling(settings, files), quiet=quiet)
            except Preempted as stopped:
                folder.mark_ended("stopped", 0, str(stopped))
                raise
            run_score(_scoring(settings, files), quiet=quiet, reward=reward)
        best = [_best(row) for row in _scored(files.scored)]
        kept = [row for row in best if settings.least_score is None or _score_of(row) >= settings.least_score]
        if not kept:
            raise DataError(
                f"no prompt has an answer that scores least_score={settings.least_score} or more; the best of all "
                f"scores {max(_score_of(row) for row in best):.4g}. Lower least_score, or raise n, in a new folder"
            )
        with RowWriter(files.chosen) as writer:
            for row in kept:
                writer.write(to_dict(row))


def _check(settings: BestOfNSettings) -> None:
    """Raise if there is no such source or scorer, before hours of sampling."""
    refuse_missing_source(settings.prompts.source)
    scorer = settings.scorer
    paths = [scorer.path] if scorer.path is not None else [part.path for part in scorer.sum.values()]
    for place in [place for path in paths if path is not None for place in places_of(path)]:
        check_place(place)
        refuse_missing_folder(place)


def _scored(path: Path) -> Iterator[Answers]:
    for record in load_records(str(path), kind=(Answers,), strict=True):
        if isinstance(record, Answers):
            yield record


def _best(row: Answers) -> Demonstration:
    """The answer with the highest score; the first of equal ones."""
    best = max(row.completions, key=lambda completion: completion.scores[SCORE])
    return Demonstration(row.prompt, best, annotator=f"best of {len(row.completions)}", id=row.id)


def _score_of(row: Demonstration) -> float:
    return row.completion.scores[SCORE]


def _measure(settings: BestOfNSettings, scored: Path) -> dict[str, float]:
    """Mean score of the best of 1, 2, 4, … n answers, and an upper bound on the KL.

    The estimates use all answers and are unbiased: the best of 2, say, over all pairs.
    """
    rows = [[completion.scores[SCORE] for completion in row.completions] for row in _scored(scored)]
    sizes = [2**power for power in range(settings.n.bit_length()) if 2**power < settings.n] + [settings.n]
    found: dict[str, float] = {}
    for size in sizes:
        means = [best_of_n_estimate(scores, scores, size) for scores in rows if len(scores) >= size]
        if means:
            found["score of one answer" if size == 1 else f"score, best of {size}"] = sum(means) / len(means)
    return {**found, f"KL at most, best of {settings.n}": best_of_n_kl(settings.n)}


def _sampling(settings: BestOfNSettings, files: Files) -> SampleSettings:
    return SampleSettings(
        **settings.sampling.model_dump(),
        model=settings.model.path,
        revision=settings.model.revision,
        prompts=settings.prompts,
        answers=settings.n,
        out=str(files.answers),
        seed=settings.run.seed,
        device=settings.run.device,
    )


def _scoring(settings: BestOfNSettings, files: Files) -> ScoreSettings:
    return ScoreSettings(
        data=SourceSettings(source=str(files.answers), strict=True),
        scorer=settings.scorer,
        name=SCORE,
        out=str(files.scored),
        force=True,  # the run's own file
        device=settings.run.device,
    )


def _fine_tuning(settings: BestOfNSettings, files: Files) -> SftSettings:
    return SftSettings(
        model=settings.model,
        data=DataSettings(source=str(files.chosen), held_out=settings.held_out, max_length=settings.max_length),
        loss_on="answer",
        optimiser=settings.optimiser,
        train=settings.train,
        run=settings.run,
    )
