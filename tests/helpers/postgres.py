"""A real PostgreSQL server for tests: found, or installed where that is allowed, or its absence said clearly; never
missing in CI."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pytest

USER = "postgres"


@lru_cache
def binaries() -> Path | None:
    """The folder of initdb and postgres; as root on Debian they are installed if they are missing."""
    found = _found()
    if found is None and shutil.which("apt-get") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for words in ("update", "install -y --no-install-recommends postgresql"):
            subprocess.run(["apt-get", "-q", *words.split()], env=quiet, capture_output=True, timeout=420, check=False)
        found = _found()
    return found


def _found() -> Path | None:
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    if (program := shutil.which("initdb")) is not None:
        places.append(Path(program).resolve().parent)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def need_postgres() -> Path:
    found = binaries()
    if found is None:
        told = (
            "no PostgreSQL here, and it could not be installed; install it (Debian: apt-get install postgresql) "
            "and run this again"
        )
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    return found


@contextmanager
def running_server() -> Iterator[str]:
    """A server of its own in a temporary folder on a free port. Gives the URL of its first database."""
    programs = need_postgres()
    folder = Path(tempfile.mkdtemp(prefix="steersman-postgres-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # the server refuses to run as root
        shutil.chown(folder, USER)
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    data = folder / "data"
    made = [
        *as_user,
        str(programs / "initdb"),
        "-D",
        str(data),
        "-U",
        USER,
        "--auth=trust",
        "-E",
        "UTF8",
        "--no-locale",
    ]
    server: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run([*made, "--no-sync"], check=True, capture_output=True, cwd=folder)
        port = _free_port()
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [*as_user, str(programs / "postgres"), "-D", str(data), *options], cwd=folder, stdout=log, stderr=log
            )
        _await(port, server)
        yield f"postgresql://{USER}@127.0.0.1:{port}/postgres"
    finally:
        if server is not None:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def new_database(server: str, name: str) -> str:
    """The URL of a new, empty database of this server."""
    from sqlalchemy import create_engine

    engine = create_engine(server.replace("postgresql://", "postgresql+pg8000://"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return server.rpartition("/")[0] + f"/{name}"


def _await(port: int, server: "subprocess.Popen[bytes]") -> None:
    import pg8000.dbapi

    deadline = time.monotonic() + 60
    while True:
        try:
            pg8000.dbapi.connect(USER, host="127.0.0.1", port=port, database="postgres", timeout=5).close()
            return
        except (pg8000.dbapi.InterfaceError, pg8000.dbapi.DatabaseError):
            assert server.poll() is None, "PostgreSQL did not start"
            assert time.monotonic() < deadline, "PostgreSQL did not answer within 60 s"
            time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
