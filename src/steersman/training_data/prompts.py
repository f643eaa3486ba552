"""Prompts from the settings: read, filtered by length, and split into training and held-out prompts."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from steersman.data.kinds import WITH_PROMPTS, as_prompts, under_template
from steersman.data.load import ReadReport, load_records
from steersman.data.split import split_of
from steersman.errors import DataError, UsageError
from steersman.loading.sources import hash_of_source, register_sources
from steersman.records import Prompt
from steersman.rollout.language import Language, ModelLanguage
from steersman.settings.columns import row_format
from steersman.settings.prompts import PromptSettings
from steersman.training_data.chat import settle_template


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
    found = list(itertools.islice(_read(settings, (settings.source, *settings.more), report), settings.limit))
    if isinstance(language, ModelLanguage):
        settle_template(settings.template, language.tokeniser, found, notice)
    fitting = [prompt for prompt in found if len(language.encode(prompt)) <= longest]
    if not fitting:
        if not found:
            raise DataError(report.nothing("prompts", "at least one prompt to answer"))
        raise DataError(
            f"prompts.source={_names(settings)}: all {len(found):,} are longer than {longest} tokens; expected at "
            "least one prompt to answer"
        )
    if isinstance(settings.held_out, str):
        other = ReadReport()
        held = [p for p in _read(settings, (settings.held_out,), other) if len(language.encode(p)) <= longest]
        if not held:
            raise DataError(
                other.nothing(f"held-out prompts of at most {longest} tokens", "at least one, or none at all")
            )
        train = fitting
    else:
        shares = {"train": 1.0 - (settings.held_out or 0.0), "held out": settings.held_out or 0.0}
        sides = {prompt.id: split_of(prompt, shares) if settings.held_out else "train" for prompt in fitting}
        train = [prompt for prompt in fitting if sides[prompt.id] == "train"]
        held = [prompt for prompt in fitting if sides[prompt.id] == "held out"]
    if not train:
        raise DataError(
            f"prompts.source={_names(settings)}: every prompt fell into the held-out share of {settings.held_out}; "
            "lower it"
        )
    words = f"{len(train):,} prompts to learn from, {len(held):,} held out"
    if len(fitting) < len(found):
        words += f"; {len(found) - len(fitting):,} left out: longer than {longest} tokens"
    if report.malformed:
        words += f"; {report.malformed:,} bad rows, such as {next(iter(report.examples.values()))[0]}"
    notice(words)
    return train, held


def hashes_of_prompts(settings: PromptSettings) -> dict[str, str]:
    """Hashes of the sources of the training side, for the stamp: a run does not continue with other prompts."""
    more = {f"more prompts {number}": source for number, source in enumerate(settings.more, 1)}
    return {name: hash_of_source(source) for name, source in {"prompts": settings.source, **more}.items()}


def _names(settings: PromptSettings) -> str:
    return " and ".join((settings.source, *settings.more))


def _read(settings: PromptSettings, sources: Sequence[str], report: ReadReport) -> Iterator[Prompt]:
    """The prompts of the sources, each prompt once."""
    register_sources()
    records = itertools.chain.from_iterable(
        load_records(
            source,
            kind=WITH_PROMPTS,
            format=row_format(settings) if source == settings.source or settings.columns else None,
            split=settings.split if source == settings.source else None,
            strict=settings.strict,
            report=report,
        )
        for source in sources
    )
    return as_prompts(under_template(settings.template, records), unique=True)
