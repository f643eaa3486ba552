"""`steersman studio quality`: how good the labels of a project are."""

from steersman.cli.command import Json, say
from steersman.cli.recipes import Recipe
from steersman.cli.studio import Name, Store
from steersman.cli.studio_server import app


@app.command(epilog="Example: steersman studio quality helpful")
def quality(project: Name, store: Store = None, recipe: Recipe = None, json: Json = False) -> None:
    """Show how good a project's labels are: agreement, each annotator, biases, time, and the doubtful items."""
    from steersman.quality.figures import measure_quality
    from steersman.quality.words import lines_of
    from steersman.store.database import open_store
    from steersman.store.projects import find_project

    with open_store(store) as database:
        found = measure_quality(find_project(database, project))
    say(found.as_dict(), as_json=json, lines=lines_of(found))
