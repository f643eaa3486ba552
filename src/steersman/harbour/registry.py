"""Harbour's data sources by name; they are registered so that a recipe may say `harbour:prompts`."""

import gzip
import itertools
import json
import random
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from importlib import resources
from typing import Any

from steersman.constitution.load import load_constitution
from steersman.errors import UsageError
from steersman.harbour.demonstrations import demonstrations
from steersman.harbour.documents import draw_documents
from steersman.harbour.grammar.replies import draw_style, write
from steersman.harbour.grammar.situations import read_prompt
from steersman.harbour.labellers import LABELLERS, compare, fonder, label, rank
from steersman.harbour.prompts import as_prompt, draw_situations, prompts, red_team, vague
from steersman.harbour.taste import features
from steersman.records import (
    Answers,
    ClassifiedText,
    Comparison,
    Completion,
    Demonstration,
    Document,
    Label,
    Principle,
    Prompt,
    Ranking,
)

Source = Callable[..., Iterator[Any]]


def sources() -> dict[str, Source]:
    """Name -> function that yields records. Each takes `count` and `seed`."""
    found: dict[str, Source] = {
        "harbour:documents": documents,
        "harbour:principles": principles,
        "harbour:classified": classified,
    }
    split_sources: dict[str, Source] = {
        "harbour:prompts": prompts,
        "harbour:red-team": red_team,
        "harbour:vague": vague,
        "harbour:demonstrations": demonstrations,
        "harbour:answers": answers,
        "harbour:comparisons": comparisons,
        "harbour:rankings": rankings,
        "harbour:labels": labels,
    }
    for name, source in split_sources.items():
        found[name] = partial(source, split="train")
        found[f"{name}/heldout"] = partial(source, split="heldout")
    return found


@lru_cache
def _shipped() -> dict[str, tuple[Answers, ...]]:
    packed = resources.files("steersman.harbour").joinpath("resources", "answers.jsonl.gz").read_bytes()
    found: dict[str, list[Answers]] = {"train": [], "heldout": []}
    for line in gzip.decompress(packed).decode().splitlines():
        split, prompt, given = json.loads(line)
        # three in eight thousand are empty, and an empty answer cannot be judged
        completions = tuple(Completion(text, model=f"harbour:{model}") for model, text in given if text.strip())
        found[split].append(Answers(prompt_of(prompt), completions))
    return {split: tuple(rows) for split, rows in found.items()}


def answers(*, split: str = "train", count: int = 0, seed: int = 0) -> Iterator[Answers]:
    """Prompts with eight sampled answers each (seven where one was empty); `count` 0 means all prompts.

    Six answers are from the fine-tuned base model, two from the base model itself.
    """
    rows = list(_shipped()[split])
    random.Random(seed).shuffle(rows)
    yield from rows[: count or len(rows)]


def comparisons(
    *,
    split: str = "train",
    count: int = 4000,
    seed: int = 0,
    labellers: int = len(LABELLERS),
    ties: bool = True,
    fondness: float | int = 1.0,
) -> Iterator[Comparison]:
    """Pairs of sampled answers, each judged by one labeller.

    `ties=False` skips ties and samples further pairs. `fondness` is a factor on the labellers' bias towards
    exaggeration.
    """
    if not 1 <= labellers <= len(LABELLERS):
        raise UsageError(f"labellers={labellers}; expected 1 to {len(LABELLERS)}")
    people = fonder(LABELLERS[:labellers], fondness)
    rng = random.Random(seed)
    rows = _shipped()[split]
    given = 0
    while given < count:
        row = rng.choice(rows)
        first, second = rng.sample(row.completions, 2)
        judgement = compare(rng.choice(people), row.prompt, first, second, seed=seed)
        if first.text == second.text or (judgement.tied and not ties):
            continue
        given += 1
        yield judgement


def rankings(
    *, split: str = "train", count: int = 1000, seed: int = 0, size: int = 4, fondness: float | int = 1.0
) -> Iterator[Ranking]:
    """`size` answers to a prompt, ranked by one labeller."""
    if not 2 <= size <= 8:
        raise UsageError(f"size={size} answers per ranking; expected 2 to 8")
    people = fonder(LABELLERS, fondness)
    rng = random.Random(seed)
    rows = _shipped()[split]
    for _ in range(count):
        row = rng.choice(rows)
        yield rank(rng.choice(people), row.prompt, tuple(rng.sample(row.completions, size)), seed=seed)


def labels(*, split: str = "train", count: int = 2000, seed: int = 0, fondness: float | int = 1.0) -> Iterator[Label]:
    """Single answers with a thumb up or down."""
    people = fonder(LABELLERS, fondness)
    rng = random.Random(seed)
    rows = _shipped()[split]
    for _ in range(count):
        row = rng.choice(rows)
        yield label(rng.choice(people), row.prompt, rng.choice(row.completions), seed=seed)


def classified(*, count: int = 2000, seed: int = 0) -> Iterator[ClassifiedText]:
    """Answers labelled toxic or clean, half of each, for training a toxicity classifier."""
    rng = random.Random(seed)
    stream = draw_situations("train", seed)
    given = {"toxic": 0, "clean": 0}
    wanted = {"toxic": count // 2, "clean": count - count // 2}
    while given != wanted:
        situation = next(stream)
        text = write(rng, situation, draw_style(rng, situation))
        kind = "toxic" if features(situation.prompt, text).toxic else "clean"
        if given[kind] < wanted[kind]:
            given[kind] += 1
            yield ClassifiedText(text, kind)


def documents(*, count: int = 1000, seed: int = 0) -> Iterator[Document | Demonstration]:
    """Pretraining documents, for PPO's pretraining mix: plain texts, and conversations up to their last answer.

    Conversations are not given as one text: turn markers in a text would be encoded as ordinary characters.
    """
    for conversation in itertools.islice(draw_documents(seed), count):
        messages = conversation.messages
        if not messages:
            yield Document(conversation.text)
            continue
        last = max(i for i, message in enumerate(messages) if message.role == "assistant")
        yield Demonstration(Prompt(messages[:last]), Completion(messages[last].content))


def principles(*, count: int = 0, seed: int = 0) -> Iterator[Principle]:
    """The constitution that the base model understands: principles with a question and a request for revision."""
    found = load_constitution("harbour").principles
    yield from found[: count or len(found)]


def prompt_of(text: str) -> Prompt:
    """Any text as a prompt record, with Harbour's metadata."""
    return as_prompt(read_prompt(text))
