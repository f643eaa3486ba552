"""What a report measures with the run's own models, if they are available: before and after on held-out prompts, and
answers token by token with alternative continuations."""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from steersman.errors import SteersmanError
from steersman.evaluate.numerals import numeral
from steersman.inference.before_after import of_models, of_policy
from steersman.inference.opened_policy import OpenedPolicy, asks_a_service, open_policy
from steersman.inference.token_paths import paths_of
from steersman.methods.ppo.advantage import advantage
from steersman.methods.ppo.journal_rows import sample_rows
from steersman.methods.ppo.records import Experience, Sample
from steersman.methods.ppo.score import Scoring, score
from steersman.methods.ppo.shaping import RunningScale
from steersman.pages.microscope import entry_of
from steersman.records import Message, Prompt
from steersman.reports.answers import shortened
from steersman.reports.before_after import BeforeAfter, headline_of, most_changed, sentences_of, table_of
from steersman.reports.reading import ReadRun
from steersman.reports.run import NOTHING_MEASURED, Measured, name_of
from steersman.runs.kinds import WITH_LANGUAGE_MODEL
from steersman.runs.started import started_from
from steersman.settings.base import check
from steersman.settings.score import ScorerSettings

DRAWN = 8
"""Answers sampled to each prompt of the token view. The distinct ones are shown, the most frequent first."""
SHOWN = 2
NOTE = (
    "Drawn and measured when this page was made, with the weights that the run kept; its advantages are not whitened."
)


def measure(run: ReadRun, *, microscope: int | None, prompts: Sequence[str], device: str) -> Measured:
    """All measurements that need the models. A measurement that fails becomes a note with its reason; the report is
    made in any case."""
    run = replace(run, folder=run.folder.resolve())
    if microscope == 0:
        return NOTHING_MEASURED
    if run.summary.state == "running":
        return _noted("It is still running, so nothing was measured with its models.")
    try:
        with contextlib.chdir(started_from(run.folder, run.recipe)):
            return _with_models(run, microscope, prompts, device)
    except (SteersmanError, OSError, ValueError) as error:
        return _noted(f"Nothing was measured anew with the run's models: {error}.".replace("..", "."))


def _with_models(run: ReadRun, microscope: int | None, prompts: Sequence[str], device: str) -> Measured:
    if not run.in_the_loop:
        makes_one = run.kind in WITH_LANGUAGE_MODEL and (run.folder / "model").is_dir()
        return _told(run, of_models(run, device=device) if makes_one else None, (), ())
    if microscope is None and asks_a_service(check(ScorerSettings, run.recipe.get("scorer", {}))):
        words = (
            "The run's scorer is a service that may have to be paid, so nothing was scored anew; --microscope "
            "N asks it."
        )
        return _noted(words)
    opened = open_policy(run.folder, device=device)
    entries, notes = look_at(run, opened, microscope, prompts)
    return _told(run, of_policy(opened), entries, (*opened.notes, *notes))


def _told(
    run: ReadRun, found: BeforeAfter | None, entries: Sequence[Mapping[str, Any]], notes: Sequence[str]
) -> Measured:
    name = name_of(run)
    if found is None:
        return Measured(None, None, (), None, entries, notes)
    return Measured(
        table=table_of(found),
        headline=headline_of(found, name[:1].upper() + name[1:]),
        sentences=sentences_of(found),
        changed=most_changed(found),
        entries=entries,
        notes=notes,
    )


def _noted(words: str) -> Measured:
    return Measured(None, None, (), None, (), (words,))


def look_at(
    run: ReadRun, opened: OpenedPolicy, microscope: int | None, prompts: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Some answers of the trained policy, token by token, with the alternatives at each token."""
    wanted = [Prompt(messages=(Message("user", words),)) for words in prompts]
    most = microscope if microscope is not None else max(2, len(wanted))
    wanted += [one for one in opened.held_out() if one.shown not in prompts][: max(0, most - len(wanted))]
    context, longest = opened.model.backbone.context_length, opened.sampling.max_new_tokens
    room = [p for p in wanted[:most] if context is None or len(opened.language.encode(p)) + longest <= context]
    notes = (
        [f"{len(wanted[:most]) - len(room)} prompts do not fit the model's context."]
        if len(room) < len(wanted[:most])
        else []
    )
    gamma = opened.settings.advantage.gamma
    entries: list[dict[str, Any]] = []
    for prompt in room:
        experience = _measured(run, opened, opened.answers(opened.updated, [prompt], samples=DRAWN))
        for one in _commonest(experience)[: SHOWN if prompt.shown in prompts else 1]:
            row = sample_rows([one], opened.language, 1)[0]
            told = numeral(one.scored.score)
            label = f"now, score {told}: {shortened(prompt.shown)} {shortened(one.scored.sample.text, 40)}"
            entry = entry_of(row, label=label, gamma=gamma, note=NOTE)
            try:
                entry["alternatives"] = paths_of(opened, one.scored.sample)
            except SteersmanError as error:
                notes.append(f"No paths were followed: {error}")
            entries.append({**entry, "start": _start(entry)})
    return entries, notes


def _measured(run: ReadRun, opened: OpenedPolicy, samples: Sequence[Sample]) -> list[Experience]:
    settings = opened.settings
    coefficient = next((value for _, value in reversed(run.values("KL coefficient"))), settings.kl.coefficient)
    scoring = Scoring(
        opened.scorer,
        opened.actors,
        opened.language,
        opened.forward,
        settings.score.model_copy(update={"normalise": "none"}),
        settings.kl,
        longest=settings.sampling.max_new_tokens,
    )
    scored = score(samples, scoring, RunningScale())
    plain = settings.advantage.model_copy(update={"whiten": False, "whiten_rewards": False})
    return advantage(scored, plain, kl_coefficient=coefficient, importance=None)


def _commonest(experience: Sequence[Experience]) -> list[Experience]:
    """One sample of each distinct answer, the most frequent first."""
    found: dict[str, list[Experience]] = {}
    for one in experience:
        found.setdefault(one.scored.sample.text, []).append(one)
    return [group[0] for group in sorted(found.values(), key=len, reverse=True)]


def _start(entry: Mapping[str, Any]) -> int:
    """The token that is selected at first: among tokens with alternatives (or all, if none has any), the one after
    which the critic's values differ most."""
    values = entry["columns"].get("values") or [0.0] * len(entry["tokens"])
    steps = [abs(after - before) for before, after in itertools.pairwise(values)] or [0.0]
    open_places = [int(place) for place in entry["alternatives"] if int(place) < len(steps)]
    return max(open_places or range(len(steps)), key=lambda place: steps[place])
