"""The quickstart's stages as the terminal and the page tell of them: some of a recipe's stages are told of together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.demo.table import REFERENCE
from steersman.rounds.graph import Graph, get_at
from steersman.rounds.plan import read_promotion, rows_in
from steersman.rounds.progress import StageProgress
from steersman.runs.journal import read_rows
from steersman.settings.rounds import RoundsSettings

JournalRows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class JournalChart:
    """A chart of journal values: name in the legend -> key, drawn as a faint line or as dots."""

    title: str
    faint: Mapping[str, str]
    dots: Mapping[str, str]


@dataclass(frozen=True)
class ChapterKind:
    """Stages of the recipe that are told of together, by their names without the round. The last one's output is what
    `summary` makes a line of, with the rows of its journal."""

    stages: tuple[str, ...]
    title: str
    why: str
    summary: Callable[[Mapping[str, StageProgress], JournalRows], str]
    charts: tuple[JournalChart, ...] = ()

    def names(self, number: int) -> tuple[str, ...]:
        """The names of its stages in a round; 0 for those that belong to none."""
        return tuple(f"{name}-{number}" if number else name for name in self.stages)


@dataclass(frozen=True)
class Chapter:
    """One kind in one round, as it stands. `again`: it had been done before this call."""

    kind: ChapterKind
    round: int
    stages: Mapping[str, StageProgress]
    why: str
    again: bool = False

    @property
    def title(self) -> str:
        return f"Round {self.round}: {self.kind.title}" if self.round else self.kind.title

    @property
    def output(self) -> Path:
        return list(self.stages.values())[-1].output

    @property
    def rows(self) -> JournalRows:
        journal = self.output / "journal.jsonl"
        return read_rows(journal)[0] if journal.exists() else []

    @property
    def seconds(self) -> float:
        return sum(one.seconds or 0.0 for one in self.stages.values())

    @property
    def summary(self) -> str:
        return self.kind.summary({name.partition("-")[0]: one for name, one in self.stages.items()}, self.rows)


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


def _judged(stages: Mapping[str, StageProgress]) -> str:
    given, kept = (rows_in(stages[name].output) for name in ("labels", "gate"))
    return f"{given:,} judgements, of which the gate keeps {kept:,}"


def _decided(stages: Mapping[str, StageProgress]) -> str:
    return str((read_promotion(stages["promote"].output) or {}).get("reason", ""))


FINE_TUNING = ChapterKind(
    ("sft",),
    "Fine-tune on demonstrations",
    "People have written answers, and the base model is fine-tuned on them. It knows the language already and learns "
    "only the style, so the loss changes little and the answers a lot.",
    lambda _, rows: _went(rows, "held-out loss", "loss on held-out demonstrations"),
    (JournalChart("Loss per token", {"each step": "loss"}, {"held out": "held-out loss"}),),
)
OF_A_ROUND = (
    ChapterKind(
        ("sample", "labels", "gate"),
        "Have answers judged",
        "The current policy, the one before it and the SFT model answer {prompts:,} prompts. Six simulated annotators "
        "judge {labels:,} pairs of these answers. They disagree, as people do, and are biased towards enthusiasm. A "
        "gate leaves out annotators who cannot be relied on.",
        lambda stages, _: _judged(stages),
    ),
    ChapterKind(
        ("reward",),
        "Train a reward model",
        "A copy of the SFT model learns from the judgements of all rounds so far to predict which of two answers "
        "people prefer.",
        lambda _, rows: _went(rows, "held-out accuracy", "right on held-out judgements"),
        (
            JournalChart("Loss per judgement", {"each step": "loss preference"}, {"held out": "held-out preference"}),
            JournalChart("Share of judgements predicted", {"each step": "accuracy"}, {"held out": "held-out accuracy"}),
        ),
    ),
    ChapterKind(
        ("ppo",),
        "Improve the answers by PPO",
        "In each of {iterations} iterations the policy answers {prompts_per_iteration:,} prompts, the reward model "
        "scores the answers, and PPO raises the probability of answers that scored better than expected. A KL penalty "
        "keeps the policy near the SFT model, since the reward model is unreliable far from it.",
        lambda _, rows: _improved(rows),
        (
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
    ChapterKind(
        ("evaluate", "promote"),
        "Check the new policy",
        "The new policy and the last one answer held-out prompts. The new one is promoted if it is better outside the "
        "interval and refuses no more than before. Otherwise the last one stays.",
        lambda stages, _: _decided(stages),
    ),
)


def outline(graph: Graph) -> list[tuple[ChapterKind, int]]:
    """All chapters of the recipe, in order: a kind and its round."""
    assert graph.rounds is not None
    rounds = range(1, graph.rounds.planned + 1)
    return [(FINE_TUNING, 0), *((kind, number) for number in rounds for kind in OF_A_ROUND)]


def chapter_of(
    graph: Graph, kind: ChapterKind, number: int, progress: Mapping[str, StageProgress], *, again: bool = False
) -> Chapter:
    assert graph.rounds is not None
    stages = {name: progress[name] for name in kind.names(number)}
    why = kind.why.format(**_sizes(graph, graph.rounds.settings.of(number), number)) if number else kind.why
    return Chapter(kind, number, stages, why, again)


def _sizes(graph: Graph, rounds: RoundsSettings, number: int) -> dict[str, int]:
    values = graph[f"{rounds.method}-{number}"].values
    return {
        "prompts": rounds.prompts.count,
        "labels": rounds.labels.count,
        "iterations": get_at(values, "iterations"),
        "prompts_per_iteration": get_at(values, "prompts_per_iteration"),
    }
