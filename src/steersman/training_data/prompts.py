"""Prompts from the settings: read, filtered by length, and split into training and held-out prompts."""

import itertools
from collections.abc import Callable, Iterator

from steersman.data.kinds import as_prompts
from steersman.data.load import ReadReport, load_records
from steersman.data.split import split_of
from steersman.errors import DataError, UsageError
from steersman.loading.sources import register_sources
from steersman.records import Prompt
from steersman.rollout.language import Language
from steersman.settings.prompts import PromptSettings


def prompts_of(
    settings: PromptSettings, language: Language, notice: Callable[[str], None], *, room: int | None
) -> tuple[list[Prompt], list[Prompt]]:
    """Training and held-out prompts, each prompt once. Prompts that are too long are left out and counted."""
    if isinstance(settings.held_out, float) and not 0 <= settings.held_out < 1:
        raise UsageError(f"prompts.held_out is a share below 1, or a second source; seen {settings.held_out}")
    longest = settings.max_length if room is None else min(settings.max_length, room)
    if longest < 1:
        raise UsageError(
            f"sampling.max_new_tokens leaves no room for a prompt in the model's context ({room} tokens); lower it"
        )
    report = ReadReport()
    found = list(itertools.islice(_read(settings, settings.source, report), settings.limit))
    fitting = [prompt for prompt in found if len(language.encode(prompt)) <= longest]
    if not fitting:
        why = f"all {len(found):,} are longer than {longest} tokens" if found else f"no prompts in {report.rows:,} rows"
        raise DataError(f"prompts.source={settings.source}: {why}; expected at least one prompt to answer")
    if isinstance(settings.held_out, str):
        held = [
            prompt
            for prompt in _read(settings, settings.held_out, ReadReport())
            if len(language.encode(prompt)) <= longest
        ]
        train = fitting
    else:
        shares = {"train": 1.0 - (settings.held_out or 0.0), "held out": settings.held_out or 0.0}
        sides = {prompt.id: split_of(prompt, shares) if settings.held_out else "train" for prompt in fitting}
        train = [prompt for prompt in fitting if sides[prompt.id] == "train"]
        held = [prompt for prompt in fitting if sides[prompt.id] == "held out"]
    if not train:
        raise DataError(
            f"prompts.source={settings.source}: every prompt fell into the held-out share of {settings.held_out}; "
            "lower it"
        )
    words = f"{len(train):,} prompts to learn from, {len(held):,} held out"
    if len(fitting) < len(found):
        words += f"; {len(found) - len(fitting):,} left out: longer than {longest} tokens"
    if report.malformed:
        words += f"; {report.malformed:,} bad rows, such as {next(iter(report.examples.values()))[0]}"
    notice(words)
    return train, held


def _read(settings: PromptSettings, source: str, report: ReadReport) -> Iterator[Prompt]:
    register_sources()
    records = load_records(
        source,
        format=settings.format if source == settings.source else None,
        split=settings.split if source == settings.source else None,
        strict=settings.strict,
        report=report,
    )
    return as_prompts(records, unique=True)
