"""Conversion between kinds of records, such as rankings to pairs, and the text keys used for splits and duplicates."""

import hashlib
import itertools
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace

from steersman.records import (
    KIND_OF,
    KINDS,
    ClassifiedText,
    Comparison,
    Completion,
    Critique,
    Demonstration,
    Document,
    Principle,
    Prompt,
    Ranking,
    Record,
)


def normalised(text: str) -> str:
    """A text for comparing duplicates: without differences of letter case, spacing and Unicode normalisation."""
    plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
    return " ".join(plain.split()).casefold()


def hash64(text: str) -> int:
    """A 64-bit hash of a text. Among a million texts a collision has probability 3·10⁻⁸."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def prompt_of(record: Record) -> Prompt | None:
    return record if isinstance(record, Prompt) else getattr(record, "prompt", None)


def with_prompt(record: Record, change: Callable[[Prompt], Prompt]) -> Record:
    """The record with its prompt changed; the same record if it has none."""
    if isinstance(record, Prompt):
        return change(record)
    prompt = prompt_of(record)
    return record if prompt is None else replace(record, prompt=change(prompt))  # type: ignore[call-arg]


def under_template(template: str, records: Iterable[Record]) -> Iterator[Record]:
    """The records as the setting `template` wants them read: "none" marks plain prompts as texts to be continued."""
    if template != "none":
        return iter(records)
    return (with_prompt(record, Prompt.to_be_continued) for record in records)


def prompt_words(prompt: Prompt) -> str:
    """The whole prompt as one text with marked roles. Two prompts are equal exactly if these texts are."""
    if prompt.text is not None:
        return prompt.text
    return "\x1e".join(f"{message.role}\x1f{message.content}" for message in prompt.messages)


def prompt_key(prompt: Prompt) -> list[str]:
    """What decides a model's answer to a prompt, for hashes of answers that are kept."""
    # Where plain prompts were always continued, this key had two parts.
    by_template = prompt.text is not None and not prompt.continued
    return [prompt.id, prompt_words(prompt), *(["template"] if by_template else [])]


def question_words(record: Record) -> str:
    """The text that decides a record's split and leak check: its prompt, or its own text if it has no prompt."""
    prompt = prompt_of(record)
    if prompt is not None:
        return prompt_words(prompt)
    return record.text if isinstance(record, Document | ClassifiedText | Principle) else ""


def opening_words(record: Record) -> str:
    """The first user message, which all turns of one conversation share."""
    prompt = prompt_of(record)
    if prompt is None or prompt.text is not None:
        return question_words(record)
    return next((m.content for m in prompt.messages if m.role == "user"), prompt.messages[0].content)


def answers_of(record: Record) -> tuple[Completion, ...]:
    if isinstance(record, Comparison):
        return (record.first, record.second)
    if isinstance(record, Ranking):
        return record.completions
    if isinstance(record, Critique):
        return (record.original, record.revision)
    completion = getattr(record, "completion", None)
    return (completion,) if completion is not None else tuple(getattr(record, "completions", ()))


def as_demonstrations(
    records: Iterable[Record], *, take_chosen: bool = False, left_out: Counter[str] | None = None
) -> Iterator[Demonstration | Document]:
    """The demonstrations and documents among the records, for supervised training.

    `take_chosen` adds the chosen answers of comparisons (not of ties). It is off by default: the preferred of two
    answers may still be bad. Of critiques, the usable revision that the rounds have led to is a demonstration.
    """
    for record in records:
        if isinstance(record, Demonstration | Document):
            yield record
        elif take_chosen and isinstance(record, Comparison) and not record.tied:
            yield Demonstration(record.prompt, record.chosen, annotator=record.annotator, id=record.id)
        elif isinstance(record, Critique) and record.final and not record.status:
            yield Demonstration(record.prompt, record.revision, annotator=record.model, id=record.id)
        elif isinstance(record, Critique) and left_out is not None:
            left_out["critique that led to no final revision"] += 1
        else:
            _count(record, left_out)


def as_comparisons(records: Iterable[Record], *, left_out: Counter[str] | None = None) -> Iterator[Comparison]:
    """The comparisons among the records, all pairs of each ranking, and each usable revision against its answer.

    Pairs of one ranking follow one another and share `metadata["ranking"]`, so that they can be kept together.
    """
    for record in records:
        if isinstance(record, Comparison):
            yield record
        elif isinstance(record, Ranking):
            yield from pairs_of(record)
        elif isinstance(record, Critique) and not record.status:
            yield revision_pair(record)
        else:
            _count(record, left_out)


def pairs_of(ranking: Ranking) -> tuple[Comparison, ...]:
    name = ranking.id or ranking.prompt.id
    place = {index: i for i, index in enumerate(ranking.shown)}
    pairs: list[Comparison] = []
    for i, j in itertools.combinations(range(len(ranking.ranks)), 2):
        difference = ranking.ranks[j] - ranking.ranks[i]
        shown = ("first" if place[i] < place[j] else "second") if i in place and j in place else ""
        pairs.append(
            Comparison(
                ranking.prompt,
                ranking.completions[i],
                ranking.completions[j],
                0.5 if difference == 0 else float(difference > 0),
                annotator=ranking.annotator,
                shown=shown,
                time=ranking.time,
                id=f"{name}:{i + 1}-{j + 1}",
                metadata={**ranking.metadata, "ranking": name, "answers": len(ranking.ranks)},
            )
        )
    return tuple(pairs)


def revision_pair(critique: Critique) -> Comparison:
    """A revision as better than the answer that it revises."""
    about = {"principle": critique.principle, "principle_hash": critique.principle_hash}
    return Comparison(
        critique.prompt,
        critique.revision,
        critique.original,
        1.0,
        annotator=f"revision:{critique.model}",
        rationale=critique.critique,
        id=critique.id,
        metadata={key: value for key, value in about.items() if value},
    )


def as_prompts(
    records: Iterable[Record], *, unique: bool = False, left_out: Counter[str] | None = None
) -> Iterator[Prompt]:
    """The prompts of all records that have one. `unique` yields each prompt once."""
    seen: set[int] = set()
    for record in records:
        prompt = prompt_of(record)
        if prompt is None:
            _count(record, left_out)
            continue
        if unique:
            key = hash64(prompt_words(prompt))
            if key in seen:
                continue
            seen.add(key)
        yield prompt


def _count(record: Record, left_out: Counter[str] | None) -> None:
    if left_out is not None:
        left_out[KIND_OF[type(record)]] += 1


WITH_PROMPTS = (Prompt, *(kind for kind in KINDS.values() if any(f.name == "prompt" for f in fields(kind))))
