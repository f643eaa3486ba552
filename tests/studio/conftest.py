"""Every test of the studio's server runs twice: on SQLite, and on a PostgreSQL server of its own."""

import itertools

import pytest
from postgres import new_database, running_server
from store_pairs import pairs_in
from studio_visits import Site

from steersman.store.projects import create_project
from steersman.studio.app import create_app
from steersman.studio.settings import StudioSettings

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server():
    with running_server() as url:
        yield url


@pytest.fixture(scope="session")
def browser():
    """Chromium, for the tests of pages."""
    from studio_browser import chromium

    with chromium() as found:
        yield found


@pytest.fixture
def served(tmp_path):
    """A studio that serves browsers, with a project "helpful"."""
    from studio_browser import Served

    served = Served(str(tmp_path / "studio.db"))
    served.project("helpful", guidelines="Be *kind*.")
    yield served
    served.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path) -> str:
    """The address of a store that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "studio.db")
    return new_database(request.getfixturevalue("postgres_server"), f"studio{next(_numbers)}")


@pytest.fixture
def settings(tmp_path) -> StudioSettings:
    return StudioSettings(runs=(tmp_path / "runs",))


@pytest.fixture
def site(address, settings):
    """The app, with a project "helpful"."""
    app = create_app(address, settings)
    create_project(app.state.studio.database, "helpful", guidelines="Be *kind*.")
    site = Site(app)
    yield site
    site.close()


@pytest.fixture
def tasks(site):
    """Makes pairs that are handed out, and gives them as they are in the store."""
    return lambda count, *, overlap=1: pairs_in(site.project, count, overlap=overlap)
