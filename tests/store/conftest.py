"""Every test of the store runs twice: in SQLite and in a PostgreSQL server of its own."""

import itertools

import pytest
from postgres import new_database, running_server
from store_pairs import pairs_in

from steersman.store.database import open_store
from steersman.store.projects import create_project

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres_server():
    with running_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request, tmp_path) -> str:
    """The address of a store that does not exist yet."""
    if request.param == "sqlite":
        return str(tmp_path / "studio.db")
    return new_database(request.getfixturevalue("postgres_server"), f"store{next(_numbers)}")


@pytest.fixture
def database(address):
    with open_store(address, create=True) as found:
        yield found


@pytest.fixture
def project(database):
    return create_project(database, "helpful")


@pytest.fixture
def tasks(project):
    """Makes pairs that are handed out, and gives them as they are in the store."""
    return lambda count, *, overlap=1: pairs_in(project, count, overlap=overlap)
