"""Where one can go: the pages of the studio, and those of a project. A new page is one line here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from steersman.store.people import Person

ADMIN, RUNS = "admin", "runs"


@dataclass(frozen=True, slots=True)
class NavigationEntry:
    """A page in the navigation. `right` is what it asks for: in a project one of `access.MAY`; in the studio "", for
    whoever is signed in, ADMIN, or RUNS for those who may see the runs."""

    title: str
    address: str
    right: str = ""


STUDIO: tuple[NavigationEntry, ...] = (
    NavigationEntry("Projects", "/"),
    NavigationEntry("Runs", "/runs", RUNS),
    NavigationEntry("People", "/people", ADMIN),
    NavigationEntry("Audit log", "/audit", ADMIN),
)
"""The pages of the studio, in the bar at the top and in the menu."""

PROJECT: tuple[NavigationEntry, ...] = (
    NavigationEntry("Progress", "/projects/{project}", "see"),
    NavigationEntry("Label", "/projects/{project}/label", "label"),
    NavigationEntry("Quality", "/projects/{project}/quality", "see"),
    NavigationEntry("Doubtful items", "/projects/{project}/quality/doubtful", "see"),
    NavigationEntry("Tasks", "/projects/{project}/tasks", "manage"),
    NavigationEntry("Guidelines", "/projects/{project}/guidelines", "manage"),
    NavigationEntry("Gold items", "/projects/{project}/gold", "manage"),
    NavigationEntry("People", "/projects/{project}/people", "manage"),
    NavigationEntry("Export", "/projects/{project}/export", "see"),
    NavigationEntry("Settings", "/projects/{project}/settings", "manage"),
    NavigationEntry("Audit log", "/projects/{project}/audit", "manage"),
)
"""The pages of a project, beside the page (`project.html`)."""


@dataclass(frozen=True, slots=True)
class NavigationLink:
    """A page to go to. `current` is "page" where it is shown now, "true" where a page below it is, else ""."""

    title: str
    address: str
    current: str


def studio_links(person: Person | None, path: str, *, sees_runs: bool = False) -> list[NavigationLink]:
    rights = set[str]() if person is None else {"", ADMIN} if person.admin else {""}
    below = "/" if path.startswith("/projects/") else "/runs" if path.startswith("/rounds/") else ""
    return _shown(STUDIO, rights | ({RUNS} if sees_runs else set()), path, below=below)


def project_links(rights: Collection[str], project: str, path: str) -> list[NavigationLink]:
    places = [NavigationEntry(one.title, one.address.replace("{project}", project), one.right) for one in PROJECT]
    return _shown(places, rights, path)


def _shown(
    places: Sequence[NavigationEntry], rights: Collection[str], path: str, below: str = ""
) -> list[NavigationLink]:
    open_ones = [one for one in places if one.right in rights]
    above = [one.address for one in open_ones if one.address == below or path.startswith(f"{one.address}/")]
    nearest = max(above, key=len, default="")  # the first page of a project is above all others
    if any(one.address == path for one in open_ones):
        nearest = ""
    return [
        NavigationLink(
            one.title,
            one.address,
            "page" if one.address == path else "true" if nearest and one.address == nearest else "",
        )
        for one in open_ones
    ]
