"""The demo's story on Harbour, from settings to a page: fine-tune, train a reward model, improve by PPO, measure, show.

Each stage is the ordinary command on its shipped recipe, so its run lies in an ordinary run folder, resumes, and can be
done again by hand. A further stage is one more entry in STAGES.
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
    Chart,
    Example,
    Examples,
    JournalRows,
    Place,
    ProgressReporter,
    Sizes,
    Stage,
    Story,
)
from steersman.demo.table import REFERENCE, table
from steersman.demo.taste import KeptScorer, Measured, Measurer, held_out_prompts
from steersman.demo.verdict import verdict
from steersman.errors import Preempted, UsageError
from steersman.execution.ending import RunResult
from steersman.harbour.demonstrations import demonstrations
from steersman.harbour.taste import true_taste
from steersman.records import Answers, to_dict
from steersman.runs.folder import atomic_write_text
from steersman.runs.journal import read_rows
from steersman.runs.listing import show_run
from steersman.settings.base import load_settings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

FULL = Sizes(
    demonstrations=1000, judgements=4000, held_out=300, iterations=40, asked=128, watched=64, prompts=400, pairs=400
)
FAST = Sizes(demonstrations=160, judgements=160, held_out=40, iterations=3, asked=16, watched=16, prompts=48, pairs=40)
BASE = "harbour:base"
THREADS = 1
GAINED, LOST, DRAWN = 4, 2, 6
LARGE = 0.5
"""A step of true taste worth showing."""


def _tune(words: Sequence[str], quiet: bool) -> RunResult:
    return run_sft(load_settings(SftSettings, "sft-harbour", words), quiet=quiet)


def _judge(words: Sequence[str], quiet: bool) -> RunResult:
    # Its report on held-out judgements is kept in quality.json; here the panel says the same in a line.
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
        f"prompts.source=harbour:prompts?count={sizes.iterations * sizes.asked}&seed={place.seed}",
        f"prompts.held_out=harbour:prompts/heldout?count={sizes.watched}&seed={place.seed}",
        f"iterations={sizes.iterations}",
        f"prompts_per_iteration={sizes.asked}",
        f"evaluation.every={max(1, sizes.iterations // 8)}",
        f"run.out={place.folder('ppo')}",
        f"run.seed={place.seed}",
    ]


def _went(rows: JournalRows, key: str, words: str) -> str:
    values = [float(row[key]) for row in rows if row.get(key) is not None]
    return f"{words} {values[0]:.3f} → {values[-1]:.3f}" if values else f"{words}: not measured"


def _improved(rows: JournalRows) -> str:
    """What the reward model said of answers to held-out prompts, and what it cost in KL."""
    scores = _went(rows, "held-out score", "score of held-out answers")
    distances = [
        float(row["held-out KL to reference"]) for row in rows if row.get("held-out KL to reference") is not None
    ]
    return f"{scores} at {distances[-1]:.2f} nats from {REFERENCE}" if distances else scores


STAGES = (
    Stage(
        name="sft",
        title="Fine-tune on demonstrations",
        why="People have answered {demonstrations:,} prompts, and the base learns to answer as they do. It knows the language "
        "already; what it learns is which of its many voices to use, so the loss moves little and the answers much.",
        speaks=REFERENCE,
        settings=_sft_settings,
        run=_tune,
        told=lambda rows: _went(rows, "held-out loss", "loss on held-out demonstrations"),
        charts=(Chart("Loss a token", {"each step": "loss"}, {"held out": "held-out loss"}),),
    ),
    Stage(
        name="reward",
        title="Train a reward model on judgements",
        why="Six simulated people have judged {judgements:,} pairs of answers; they disagree, as people do, and are a little "
        "too fond of enthusiasm. A copy of the model learns to predict which answer they prefer.",
        speaks="",
        settings=_reward_settings,
        run=_judge,
        told=lambda rows: _went(rows, "held-out accuracy", "right on held-out judgements"),
        charts=(
            Chart("Loss a judgement", {"each step": "loss preference"}, {"held out": "held-out preference"}),
            Chart("Share of judgements predicted", {"each step": "accuracy"}, {"held out": "held-out accuracy"}),
        ),
    ),
    Stage(
        name="ppo",
        title="Improve the answers by PPO",
        why="The fine-tuned model answers {asked:,} prompts, the reward model scores the answers, and the words of those that were "
        "better than expected become likelier; {iterations} times over. A price on the distance from where it began, the KL, holds it "
        "back, for far from there the reward model only guesses.",
        speaks="PPO",
        settings=_ppo_settings,
        run=_improve,
        told=_improved,
        charts=(
            Chart(
                "Score of an answer",
                {"each iteration": "score"},
                {"held out": "held-out score", "less the price of the KL": "held-out objective"},
            ),
            Chart(
                f"KL from {REFERENCE}, nats an answer",
                {"each iteration": "KL to reference"},
                {"held out": "held-out KL to reference"},
            ),
        ),
    ),
)


def run_quickstart(out: Path, *, seed: int, fast: bool, quiet: bool, teller: ProgressReporter) -> Story:
    """The whole story; the same call on the same folder resumes it, or tells it again from what is there."""
    began = time.monotonic()
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; the quickstart needs a folder of its own. Choose another name")
    place = Place(out, seed, FAST if fast else FULL)
    teller.opening(STAGES, place)
    chapters: list[Chapter] = []
    for number, stage in enumerate(STAGES, 1):
        teller.begins(number, len(STAGES) + 1, stage)
        chapters.append(_play(stage, place, quiet=quiet))
        teller.ended(chapters[-1])
    prompts = held_out_prompts(place.sizes.prompts, seed)
    models = {"base": BASE} | {c.stage.speaks: c.result.model for c in chapters if c.stage.speaks}
    teller.measuring(len(STAGES) + 1, len(STAGES) + 1, len(prompts), list(models))
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
    story = Story(
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
    teller.told(story)
    return story


def _play(stage: Stage, place: Place, *, quiet: bool) -> Chapter:
    result = stage.run(stage.settings(place), quiet)
    if result.ending == "stopped":
        raise Preempted(f"stopped in {result.out} as asked, and saved; run the same command again to go on")
    summary, _ = show_run(Path(result.out))
    rows, _ = read_rows(Path(result.out) / "journal.jsonl")
    return Chapter(stage, result, rows, summary.seconds or 0.0, stage.command(place))


def _people(count: int, seed: int) -> float:
    """The mean true taste of demonstrations to held-out prompts."""
    written = list(demonstrations(split="heldout", count=count, seed=seed))
    return sum(true_taste(shown.prompt.shown, shown.completion.text) for shown in written) / len(written)


def choose_examples(measured: Sequence[Measured], seed: int) -> Examples:
    """The largest steps up to a good answer, one for each kind of prompt; the largest steps down; and some drawn by lot."""
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

    def shown(chosen: Sequence[int], why: str) -> tuple[Example, ...]:
        return tuple(Example(tuple(model.answers[i] for model in measured), why) for i in chosen)

    return Examples(shown(gained, "gained"), shown(lost, "lost"), shown(drawn, "drawn by lot"))


def _ends(measured: Sequence[Measured]):
    return zip(measured[0].features, measured[-1].features, strict=True)


def _write(story: Story) -> None:
    """The page, the numbers, and the answers of all models as a file that `label` and `score` read."""
    out = story.place.out
    lines = [
        json.dumps(to_dict(answers_to(story.measured, i)), ensure_ascii=False)
        for i in range(len(story.measured[0].answers))
    ]
    atomic_write_text(out / "answers.jsonl", "\n".join(lines) + "\n")
    atomic_write_text(out / "numbers.json", json.dumps(story.as_dict(), indent=1, ensure_ascii=False) + "\n")
    write_page(story)


def answers_to(measured: Sequence[Measured], index: int) -> Answers:
    completions = [model.completion(index) for model in measured]
    # Answers that are equal word for word cannot be judged against one another.
    unique = {completion.text: completion for completion in reversed(completions)}
    return Answers(measured[0].answers[index].prompt, tuple(reversed(unique.values())))
