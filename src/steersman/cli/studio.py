"""`steersman studio`: projects of people's judgements in a database: create, import, export, snapshot, back up."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe
from steersman.runs.commands import command_line

app = typer.Typer(
    help="People judge in a browser; projects of judgements in a database: create, import, export, snapshot, back up."
)

Name = Annotated[str, typer.Argument(metavar="PROJECT", help="The project's name.", show_default=False)]
Store = Annotated[
    str | None,
    typer.Option(
        help="The database: a file, or postgresql://user@host/database (its password from PGPASSWORD). Default: "
        "STEERSMAN_STORE, or ~/.local/share/steersman/studio.db",
        show_default=False,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that are there already.")]
Round = Annotated[str, typer.Option("--round", help="The round of data collection.", show_default=False)]
Labels = Annotated[
    str, typer.Option("--labels", help="soft: one soft label for each pair and thumb, from all its labels.")
]
Choice = Annotated[
    str, typer.Option("--choice", help="Only tasks chosen so: random, disagreement or information.", show_default=False)
]


@app.command(epilog="Example: steersman studio create helpful --guidelines guidelines.md --licence CC-BY-4.0")
def create(
    project: Name,
    guidelines: Annotated[Path | None, typer.Option(help="A file with the guidelines for annotators.")] = None,
    licence: Annotated[str, typer.Option(help="The licence of the data, for the data card.")] = "",
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Create a project, and the database if there is none."""
    from steersman.store.database import open_store
    from steersman.store.projects import create_project

    text = guidelines.read_text(encoding="utf-8") if guidelines else ""
    with open_store(store, create=True) as database:
        create_project(database, project, guidelines=text, licence=licence)
        shown = database.place.shown
    after = command_line("studio", "import", project, "answers.jsonl", "--task", "pair")
    lines = [f"{project} is a project in {shown}", f"  next: {after}"]
    say({"project": project, "store": shown}, as_json=json, lines=lines)


@app.command("import", epilog="Example: steersman studio import helpful answers.jsonl --task pair --overlap 2")
def import_(
    project: Name,
    source: Annotated[str, typer.Argument(help="A file in any format, a label file with its history, or a source.")],
    task: Annotated[
        str,
        typer.Option(help="Make tasks of answers: pair, ranking, rating, thumb; of prompts: demonstration, red_team."),
    ] = "",
    overlap: Annotated[int, typer.Option(min=1, max=1000, help="How many people judge each task.")] = 1,
    round: Round = "",
    annotator: Annotated[str, typer.Option(help="Pseudonym for labels that name nobody.", show_default=False)] = "",
    purpose: Annotated[
        str, typer.Option(help="Make judgements known answers: gold (among all tasks) or practice.", show_default=False)
    ] = "",
    format: Annotated[str | None, typer.Option(help="The format of the rows; detected if not given.")] = None,
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Import prompts, answers and judgements. The same import again adds nothing twice."""
    from steersman.assemble.studio import import_into
    from steersman.data.show import reading_lines
    from steersman.store.imports import Wishes

    report = import_into(store, project, source, Wishes(round, annotator, task, overlap, purpose), format)
    lines = [
        *reading_lines(report.read),
        f"{project}: {report.labels:,} labels and {report.items:,} items are new, {report.tasks:,} of them tasks",
    ]
    if report.known_answers:
        which = "gold items" if purpose != "practice" else "practice items"
        lines.append(f"  {report.known_answers:,} items that were there already are {which} now")
    if report.refused:
        lines.append(f"  {report.refused:,} items have been judged, so they cannot be practice; they stay as they are")
    if report.repeated:
        lines.append(f"  {report.repeated:,} labels were there already")
    say({"project": project, **report.as_dict()}, as_json=json, lines=lines)


@app.command(epilog="Example: steersman studio export helpful labels.parquet")
def export(
    project: Name,
    out: Annotated[Path, typer.Argument(help="The file to write. Full exports: .jsonl, .jsonl.gz or .parquet.")],
    to: Annotated[
        str, typer.Option(help="full (all that is known, with a data card), native, trl, or another format's name.")
    ] = "full",
    round: Round = "",
    labels: Labels = "",
    choice: Choice = "",
    snapshot: Annotated[
        int | None, typer.Option(min=1, help="Export this snapshot instead of what is there now.")
    ] = None,
    force: Force = False,
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Export labels, and items without one, with a data card; or records in another format."""
    from steersman.store.database import open_store
    from steersman.store.export import export_project
    from steersman.store.projects import find_project
    from steersman.store.reading_cursor import cursor_of
    from steersman.store.snapshots import find_snapshot

    with open_store(store) as database:
        found = find_project(database, project)
        if snapshot is None:
            cursor = cursor_of(found, round, labels=labels, choice=choice)
        else:
            cursor = find_snapshot(found, snapshot).cursor
        report = export_project(found, out, to=to, cursor=cursor, force=force)
    lines = [f"{report.path}: {report.rows:,} rows ({report.format})"]
    lines += [f"  data card: {report.card}"] if report.card else []
    if report.set_aside:
        lines.append(f"  {report.set_aside:,} records that {report.format} cannot express: {report.set_aside_path}")
    say(asdict(report), as_json=json, lines=lines)


@app.command(epilog="Example: steersman studio snapshot helpful")
def snapshot(
    project: Name,
    round: Round = "",
    labels: Labels = "",
    choice: Choice = "",
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Freeze a numbered snapshot to train on. If nothing has changed since an earlier one, it is that one."""
    from steersman.store.database import open_store
    from steersman.store.projects import find_project
    from steersman.store.snapshots import freeze

    with open_store(store) as database:
        one = freeze(find_project(database, project), round, labels=labels, choice=choice)
    source = f"studio:{project}?snapshot={one.number}"
    lines = [
        f"snapshot {one.number} of {project}: {one.rows:,} records, hash {one.content[:12]}",
        f"  source: {source}",
    ]
    say(
        {"project": project, "snapshot": one.number, "rows": one.rows, "hash": one.content, "source": source},
        as_json=json,
        lines=lines,
    )


@app.command("list", epilog="Example: steersman studio list")
def list_(
    project: Annotated[str | None, typer.Argument(metavar="[PROJECT]", help="Only this one.")] = None,
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """List projects: state, items, labels, annotators, rounds and snapshots."""
    from steersman.store.database import open_store
    from steersman.store.projects import Project, facts_of, find_project, list_projects
    from steersman.store.snapshots import list_snapshots

    rows: list[dict[str, Any]] = []
    with open_store(store) as database:
        found = list_projects(database) if project is None else [facts_of(find_project(database, project))]
        for facts in found:
            one: Project = find_project(database, facts.name)
            rows.append({**asdict(facts), "snapshots": [each.number for each in list_snapshots(one)]})
        shown = database.place.shown
    lines = [f"{len(rows)} projects in {shown}" if rows else f"{shown} has no projects yet"]
    lines += [
        f"  {row['name']}: {row['state']}, {row['items']:,} items, {row['labels']:,} labels by {row['annotators']} "
        f"annotators, {len(row['rounds'])} rounds, {len(row['snapshots'])} snapshots"
        for row in rows
    ]
    say({"store": shown, "projects": rows}, as_json=json, lines=lines)


@app.command(epilog="Example: steersman studio backup backups/monday.db")
def backup(
    out: Annotated[Path, typer.Argument(help="The file to write: an SQLite database, whatever the store is in.")],
    force: Force = False,
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Back up the whole database into one file, while others go on working."""
    from steersman.store.backup import back_up
    from steersman.store.database import open_store

    with open_store(store) as database:
        counts = back_up(database, out, force=force)
    again = command_line("studio", "restore", out, "--store", "new.db")
    lines = [f"{out}: {counts['project']:,} projects, {counts['event']:,} events", f"  to restore: {again}"]
    say({"out": str(out), "rows": counts}, as_json=json, lines=lines)


@app.command(epilog="Example: steersman studio restore backups/monday.db --store new.db")
def restore(
    backup: Annotated[Path, typer.Argument(help="A file that `steersman studio backup` wrote.")],
    store: Store = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Copy a backup into an empty store: a new file, or an empty PostgreSQL database."""
    from steersman.store.backup import restore as restore_backup
    from steersman.store.place import place_of

    counts = restore_backup(backup, store)
    shown = place_of(store).shown
    lines = [f"{shown}: {counts['project']:,} projects, {counts['event']:,} events from {backup}"]
    say({"store": shown, "rows": counts}, as_json=json, lines=lines)


@app.command(epilog="Example: steersman studio migrate --store old.db")
def migrate(store: Store = None, recipe: Recipe = None, json: Json = False) -> None:
    """Bring a database of an earlier release to this one's tables. Back it up first."""
    from steersman.store.database import open_store
    from steersman.store.versions import migrate_tables

    with open_store(store, any_version=True) as database:
        shown = database.place.shown
        with database.write() as connection:
            before, after = migrate_tables(connection, shown)
    lines = [f"{shown}: version {after}" + (", as before" if before == after else f"; it was {before or 'empty'}")]
    say({"store": shown, "before": before, "after": after}, as_json=json, lines=lines)
