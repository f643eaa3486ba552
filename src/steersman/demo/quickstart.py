"""The quickstart on Harbour: SFT, reward model, PPO, measurement, report.

Each stage is the ordinary command with its shipped recipe. So it has an ordinary run folder, resumes, and can be
repeated by hand. A further stage is one more entry in STAGES.
"""

import contextlib
import io
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

from steersman.assemble.ppo.run import run_ppo
from steersman.assemble.reward.run import run_reward
from steersman.assemble.sft import run_sft
from steersman.demo.microscope import demo_microscope
from steersman.demo.page import mark_of, write_page
from steersman.demo.panel import held_out_pairs, hold_panel
from steersman.demo.story import (
    Chapter,
    JournalChart,
    JournalRows,
    Place,
    ProgressReporter,
    QuickstartExample,
    QuickstartExamples,
    QuickstartStage,
    QuickstartStory,
    Sizes,
)
from steersman.demo.table import REFERENCE, table
from steersman.demo.taste import KeptScorer, MeasuredModel, Measurer, held_out_prompts
from steersman.demo.verdict import verdict
from steersman.errors import Preempted, UsageError
from steersman.execution.ending import RunResult
from steersman.harbour.demonstrations import demonstrations
from steersman.harbour.taste import true_taste
from steersman.records import Answers, to_dict
from steersman.runs.folder import RunFolder, atomic_write_text
from steersman.runs.journal import read_rows
from steersman.runs.listing import show_run
from steersman.settings.base import load_settings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

FULL = Sizes(
    demonstrations=1000,
    judgements=4000,
    held_out=300,
    iterations=40,
    prompts_per_iteration=192,
    evaluation_prompts=64,
    prompts=400,
    pairs=400,
)
FAST = Sizes(
    demonstrations=160,
    judgements=160,
    held_out=40,
    iterations=3,
    prompts_per_iteration=16,
    evaluation_prompts=16,
    prompts=48,
    pairs=40,
)
ANSWERS, NUMBERS, REPORT = "answers.jsonl", "numbers.json", "report.html"
BASE = "harbour:base"
THREADS = 1
GAINED, LOST, DRAWN = 4, 2, 6
LARGE = 0.5
"""Smallest change of true taste for an example."""


def _tune(words: Sequence[str], quiet: bool) -> RunResult:
    return run_sft(load_settings(SftSettings, "sft-harbour", words), quiet=quiet)


def _judge(words: Sequence[str], quiet: bool) -> RunResult:
    # Its report on held-out judgements is in quality.json; here the panel shows the same in one line.
    with contextlib.redirect_stdout(io.StringIO()):
        return run_reward(load_settings(RewardSettings, "reward-harbour", words), quiet=quiet)


def _improve(words: Sequence[str], quiet: bool) -> RunResult:
    return run_ppo(load_settings(PpoSettings, "ppo-harbour", words), quiet=quiet)


def _sft_settings(place: Place) -> list[str]:
    return [
        f"data.source=harbour:demonstrations?count={place.sizes.demonstrations}&seed={place.seed}",
        f"data.held_out=harbour:demonstrations/heldout?count={place.sizes.held_out // 2}",
        f"run.out={place.folder('sft')}",
        f"run.seed={place.seed}",
    ]


def _reward_settings(place: Place) -> list[str]:
    return [
        f"model.path={place.folder('sft')}",
        f"data.source=harbour:comparisons?count={place.sizes.judgements}&seed={place.seed}",
        f"data.held_out=harbour:comparisons/heldout?count={place.sizes.held_out}",
        f"run.out={place.folder('reward')}",
        f"run.seed={place.seed}",
    ]


def _ppo_settings(place: Place) -> list[str]:
    sizes = place.sizes
    return [
        f"model.path={place.folder('sft')}",
        f"scorer.path={place.folder('reward')}",
        f"prompts.source=harbour:prompts?count={sizes.iterations * sizes.prompts_per_iteration}&seed={place.seed}",
        f"prompts.held_out=harbour:prompts/heldout?count={sizes.evaluation_prompts}&seed={place.seed}",
        f"iterations={sizes.iterations}",
        f"prompts_per_iteration={sizes.prompts_per_iteration}",
        f"evaluation.every={max(1, sizes.iterations // 8)}",
        f"run.out={place.folder('ppo')}",
        f"run.seed={place.seed}",
    ]


def _went(rows: JournalRows, key: str, words: str) -> str:
    values = [float(row[key]) for row in rows if row.get(key) is not None]
    return f"{words} {values[0]:.3f} → {values[-1]:.3f}" if values else f"{words}: not measured"


def _improved(rows: JournalRows) -> str:
    """The reward model's score of answers to held-out prompts, and their KL."""
    scores = _went(rows, "held-out score", "score of held-out answers")
    distances = [
        float(row["held-out KL to reference"]) for row in rows if row.get("held-out KL to reference") is not None
    ]
    return f"{scores} at a KL of {distances[-1]:.2f} nats from {REFERENCE}" if distances else scores


STAGES = (
    QuickstartStage(
        name="sft",
        title="Fine-tune on demonstrations",
        why="People have answered {demonstrations:,} prompts, and the base model is fine-tuned on their answers. "
        "It knows the language already and learns only the style, so the loss changes little and the answers a lot.",
        column=REFERENCE,
        settings=_sft_settings,
        run=_tune,
        summary=lambda rows: _went(rows, "held-out loss", "loss on held-out demonstrations"),
        charts=(JournalChart("Loss per token", {"each step": "loss"}, {"held out": "held-out loss"}),),
    ),
    QuickstartStage(
        name="reward",
        title="Train a reward model on judgements",
        why="Six simulated annotators have judged {judgements:,} pairs of answers. They disagree, as people do, and "
        "are biased towards enthusiasm. A copy of the model learns to predict which answer they prefer.",
        column="",
        settings=_reward_settings,
        run=_judge,
        summary=lambda rows: _went(rows, "held-out accuracy", "right on held-out judgements"),
        charts=(
            JournalChart("Loss per judgement", {"each step": "loss preference"}, {"held out": "held-out preference"}),
            JournalChart("Share of judgements predicted", {"each step": "accuracy"}, {"held out": "held-out accuracy"}),
        ),
    ),
    QuickstartStage(
        name="ppo",
        title="Improve the answers by PPO",
        why="In each of {iterations} iterations the policy answers {prompts_per_iteration:,} prompts, the reward model "
        "scores the answers, and PPO raises the probability of answers that scored better than expected. A KL penalty "
        "keeps the policy near the SFT model, since the reward model is unreliable far from it.",
        column="PPO",
        settings=_ppo_settings,
        run=_improve,
        summary=_improved,
        charts=(
            JournalChart(
                "Score of an answer",
                {"each iteration": "score"},
                {"held out": "held-out score", "minus the KL penalty": "held-out objective"},
            ),
            JournalChart(
                f"KL from {REFERENCE}, nats per answer",
                {"each iteration": "KL to reference"},
                {"held out": "held-out KL to reference"},
            ),
        ),
    ),
)


def run_quickstart(out: Path, *, seed: int, fast: bool, quiet: bool, reporter: ProgressReporter) -> QuickstartStory:
    """Run the quickstart. The same call on the same folder resumes it, or reports from the existing results."""
    began = time.monotonic()
    _check_folder(out)
    place = Place(out, seed, FAST if fast else FULL)
    reporter.started(STAGES, place)
    chapters: list[Chapter] = []
    for number, stage in enumerate(STAGES, 1):
        reporter.stage_started(number, len(STAGES) + 1, stage)
        chapters.append(_play(stage, place, quiet=quiet))
        reporter.stage_ended(chapters[-1])
    prompts = held_out_prompts(place.sizes.prompts, seed)
    models = {"base": BASE} | {c.stage.column: c.result.model for c in chapters if c.stage.column}
    reporter.measuring(len(STAGES) + 1, len(STAGES) + 1, len(prompts), list(models))
    reward = next(c.result.model for c in chapters if c.stage.name == "reward")
    measurer = Measurer(
        prompts, reward=reward, other=models[REFERENCE], seed=seed, kept=out / "measured", threads=THREADS, quiet=quiet
    )
    measured = [measurer.measure(name, model) for name, model in models.items()]
    rows = table(measured)
    scorer = KeptScorer(reward, kept=out / "measured" / "panel.json", threads=THREADS)
    panel = hold_panel(held_out_pairs(place.sizes.pairs, seed), scorer, seed=seed)
    people = _people(place.sizes.prompts, seed)
    looked_at, looked_notes = demo_microscope(
        out / "ppo", out / "measured" / "microscope.json", number_of_threads=THREADS
    )
    story = QuickstartStory(
        place,
        fast,
        tuple(chapters),
        tuple(measured),
        rows,
        panel,
        people,
        choose_examples(measured, seed),
        verdict([model.name for model in measured], rows, panel, people),
        looked_at,
        looked_notes,
        time.monotonic() - began,
    )
    _write(story)
    reporter.finished(story)
    return story


def _check_folder(out: Path) -> None:
    """Raise UsageError if files of this folder would be overwritten that no quickstart made."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; the quickstart needs a folder of its own. Choose another name")
    theirs = [name for name in (ANSWERS, NUMBERS, REPORT) if (out / name).exists()]
    if theirs and not RunFolder(out / STAGES[0].name).is_run:
        raise UsageError(
            f"{out / theirs[0]} exists and is from no quickstart; the quickstart needs a folder of its own. Choose "
            "another name"
        )


def _play(stage: QuickstartStage, place: Place, *, quiet: bool) -> Chapter:
    result = stage.run(stage.settings(place), quiet)
    if result.ending == "stopped":
        raise Preempted(f"stopped in {result.out} on request, and saved; run the same command again to continue")
    summary, _ = show_run(Path(result.out))
    rows, _ = read_rows(Path(result.out) / "journal.jsonl")
    return Chapter(stage, result, rows, summary.seconds or 0.0, stage.command(place))


def _people(count: int, seed: int) -> float:
    """The mean true taste of demonstrations to held-out prompts."""
    written = list(demonstrations(split="heldout", count=count, seed=seed))
    return sum(true_taste(shown.prompt.shown, shown.completion.text) for shown in written) / len(written)


def choose_examples(measured: Sequence[MeasuredModel], seed: int) -> QuickstartExamples:
    """The largest gains that end in a good answer, one per kind of prompt; the largest losses; and a random sample."""
    steps = [(now.taste - before.taste, i) for i, (before, now) in enumerate(_ends(measured))]
    up, down = sorted(steps, reverse=True), sorted(steps)
    last = measured[-1].features
    forms: set[str] = set()
    gained: list[int] = []
    for step, i in up:
        good = mark_of(measured[-1].answers[i]).tone == "good"
        if step >= LARGE and good and last[i].form not in forms and len(gained) < GAINED:
            forms.add(last[i].form)
            gained.append(i)
    lost = [i for step, i in down if step <= -LARGE][:LOST]
    rest = [i for i in range(len(last)) if i not in (*gained, *lost)]
    drawn = random.Random(seed).sample(rest, min(DRAWN, len(rest)))

    def shown(chosen: Sequence[int], why: str) -> tuple[QuickstartExample, ...]:
        return tuple(QuickstartExample(tuple(model.answers[i] for model in measured), why) for i in chosen)

    return QuickstartExamples(shown(gained, "gained"), shown(lost, "lost"), shown(drawn, "random"))


def _ends(measured: Sequence[MeasuredModel]):
    return zip(measured[0].features, measured[-1].features, strict=True)


def _write(story: QuickstartStory) -> None:
    """Write the page, the numbers, and all models' answers in a file that `label` and `score` read."""
    out = story.place.out
    lines = [
        json.dumps(to_dict(answers_to(story.measured, i)), ensure_ascii=False)
        for i in range(len(story.measured[0].answers))
    ]
    atomic_write_text(out / ANSWERS, "\n".join(lines) + "\n")
    atomic_write_text(out / NUMBERS, json.dumps(story.as_dict(), indent=1, ensure_ascii=False) + "\n")
    write_page(story)


def answers_to(measured: Sequence[MeasuredModel], index: int) -> Answers:
    completions = [model.completion(index) for model in measured]
    # Identical answers cannot be judged against one another.
    unique = {completion.text: completion for completion in reversed(completions)}
    return Answers(measured[0].answers[index].prompt, tuple(reversed(unique.values())))
