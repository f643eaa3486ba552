"""The Observatory: the list of runs, a run as it goes on, comparisons, lineage, and rounds."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from steersman.pages.parts import Section
from steersman.reports.distance import PeoplePoint
from steersman.reports.facts import facts_of
from steersman.reports.reading import ReadRun, read_run
from steersman.reports.rounds import ReadRounds, duration_words, flows_of, read_rounds, sentences_of, table_by_round
from steersman.reports.run import live_sections
from steersman.reports.through_time import changed_most, parts_of_story
from steersman.runs.columns import JournalColumns
from steersman.runs.started import started_from
from steersman.store.people import roles_of
from steersman.store.projects import find_project, list_projects
from steersman.studio.access import MAY, Door, SeesRuns
from steersman.studio.observatory.drawn import charts_for
from steersman.studio.observatory.folders import FoundFolder, RunFolders
from steersman.studio.observatory.people import points_of
from steersman.studio.observatory.standing import (
    flat,
    kind_of,
    moment_of,
    recipe_of,
    standing_of,
)
from steersman.studio.observatory.standing import sentences_of as said_by
from steersman.studio.observatory.trees import lineage_of
from steersman.studio.problems import Problem, nothing_here
from steersman.studio.rendering import page

router = APIRouter(include_in_schema=False)

LEAST, MOST = 2, 4
"""How many runs are compared."""
PROMPTS = 12
"""Prompts that a page of rounds begins with."""


@router.get("/runs")
def runs_page(request: Request, door: SeesRuns) -> HTMLResponse:
    folders = door.studio.runs
    found = [standing_of(one) for one in folders.runs().values()]
    found.sort(key=lambda one: (moment_of(one.summary.started), one.run.name), reverse=True)
    graphs = [(one, read_rounds(one.path)) for one in folders.graphs().values()]
    return page(
        request,
        "runs.html",
        title="Runs",
        runs=[one for one in found if not one.run.within],
        graphs=[(one, read, [each for each in found if each.run.within == one.id]) for one, read in graphs],
        roots=[str(root) for root in folders.roots],
        most=MOST,
    )


@router.get("/runs/compare")
def compare_page(request: Request, door: SeesRuns, run: Annotated[list[str], Query(max_length=50)]) -> HTMLResponse:
    chosen = chosen_runs(door.studio.runs, run)
    standings = [standing_of(one) for one in chosen]
    return page(
        request,
        "compare.html",
        title="Compare runs",
        runs=standings,
        settings=differing([one.run for one in standings]),
    )


@router.get("/runs/{run}")
def run_page(request: Request, door: SeesRuns, run: str) -> HTMLResponse:
    found = door.studio.runs.run(run)
    with door.studio.runs.journal(found) as journal:
        read = read_run(found.path, journal)
        context: dict[str, Any] = {
            "sections": live_sections(read, people_of(door, found, read, journal)),
            "standing": standing_of(found, journal),
            "sentences": said_by(journal),
            "has_curves": any(charts_for(journal)[which] for which in ("main", "others")),
        }
    others = [one for one in door.studio.runs.runs().values() if one.id != found.id and kind_of(one) == read.kind]
    return page(
        request,
        "run.html",
        title=found.name,
        duration=duration_words,
        facts=facts_of({read.name: read.stamp}) if read.stamp else None,
        others=others,
        **context,
    )


@router.get("/runs/{run}/sections")
def run_sections(request: Request, door: SeesRuns, run: str) -> HTMLResponse:
    """The sections of a run's page as they are now, for a page that is open."""
    found = door.studio.runs.run(run)
    with door.studio.runs.journal(found) as journal:
        read = read_run(found.path, journal)
        sections = live_sections(read, people_of(door, found, read, journal))
    return page(request, "run_sections.html", sections=sections)


@router.get("/runs/{run}/lineage")
def lineage_page(request: Request, door: SeesRuns, run: str) -> HTMLResponse:
    found = door.studio.runs.run(run)
    sections = lineage_of(found, door.studio.runs, visible_projects(door))
    return page(request, "lineage.html", title=f"Lineage of {found.name}", run=standing_of(found), sections=sections)


@router.get("/rounds/{rounds}")
def rounds_page(
    request: Request, door: SeesRuns, rounds: str, q: Annotated[str, Query(max_length=200)] = ""
) -> HTMLResponse:
    found = door.studio.runs.graph(rounds)
    read = read_rounds(found.path)
    stories = list(read.stories.values())
    if q:
        stories = [one for one in stories if q.lower() in one.prompt.lower()]
    else:
        stories = changed_most(read.stories, len(stories)) or stories
    table = table_by_round(read)
    sections = [] if table is None else [Section("By round", "By round", "", (table,))]
    flows = tuple(flows_of(read, lambda one: _href_of(door.studio.runs, one.output)))
    return page(
        request,
        "rounds.html",
        title=read.plan.name,
        found=found,
        read=read,
        sentences=sentences_of(read),
        sections=[*sections, Section("Stages", "Stages", "", flows)],
        stories=stories[:PROMPTS],
        more=max(0, len(stories) - PROMPTS),
        q=q,
        duration=duration_words,
    )


@router.get("/rounds/{rounds}/prompts/{prompt}")
def prompt_page(request: Request, door: SeesRuns, rounds: str, prompt: str) -> HTMLResponse:
    found = door.studio.runs.graph(rounds)
    read: ReadRounds = read_rounds(found.path)
    story = read.stories.get(prompt)
    if story is None:
        raise nothing_here()
    return page(
        request,
        "prompt.html",
        title="A prompt through time",
        found=found,
        read=read,
        story=story,
        told=list(parts_of_story(story, read.promoted)),
    )


def _href_of(folders: RunFolders, output: Any) -> str:
    found = folders.run_at(output)
    return "" if found is None or found.path != output else f"/runs/{found.id}"


def chosen_runs(folders: RunFolders, names: Sequence[str]) -> list[FoundFolder]:
    """The runs that are compared."""
    chosen = [folders.run(name) for name in dict.fromkeys(names)]
    if not LEAST <= len(chosen) <= MOST:
        raise Problem(400, "refused", f"{len(chosen)} runs were chosen; choose {LEAST} to {MOST} to compare")
    return chosen


def differing(runs: Sequence[FoundFolder]) -> list[tuple[str, list[str | None]]]:
    """Settings in which runs differ, each with its value in every run; None where a run has none of the name."""
    recipes = [flat(recipe_of(run)) for run in runs]
    keys = sorted({key for recipe in recipes for key in recipe})
    rows = [(key, [recipe.get(key) for recipe in recipes]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def visible_projects(door: Door) -> list[str]:
    """The projects in which whoever asks may see what people said."""
    assert door.person is not None
    with door.studio.database.read() as connection:
        roles = dict(roles_of(connection, door.person.id))
    if door.person.admin:
        return [one.name for one in list_projects(door.studio.database)]
    return [name for name, role in roles.items() if "see" in MAY[role]]


def people_of(door: Door, run: FoundFolder, read: ReadRun, journal: JournalColumns) -> list[PeoplePoint]:
    """What people in these projects said of the run's answers."""
    start = read.recipe.get("model", {})
    start = str(start.get("path", "") if isinstance(start, Mapping) else start)
    if not read.in_the_loop or not start:
        return []
    database = door.studio.database
    results = [door.studio.judged.of(find_project(database, name)) for name in visible_projects(door)]
    return points_of(run.path, start, journal, results, started_from(run.path, read.recipe))
