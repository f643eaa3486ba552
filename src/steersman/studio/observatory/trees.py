"""A run's lineage as trees: up to labels and data, down to what was made from it, with links to pages of the studio."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from steersman.errors import DataError
from steersman.lineage.inputs import path_named
from steersman.lineage.walk import SAID, Ancestor, Descendant, ancestors_of, descendants_of
from steersman.pages.parts import Part, Section, Tree, TreeNode, Words
from steersman.runs.kinds import title_of
from steersman.runs.started import started_from
from steersman.studio.observatory.folders import FoundFolder, RunFolders
from steersman.studio.observatory.standing import recipe_of

PROJECT = "studio:"


def lineage_of(run: FoundFolder, folders: RunFolders, projects: Iterable[str]) -> list[Section]:
    """Both ways: what the run was made from, and what was made from it. `projects` are those that may be linked to."""
    linked = frozenset(projects)
    try:
        base = started_from(run.path, recipe_of(run))
        up: Sequence[Ancestor] = ancestors_of(run.path, base)
        down: list[Descendant] = []
        for root in folders.roots:
            if run.path.is_relative_to(root):
                down += descendants_of(run.path, root)
    except DataError as error:
        return [Section("Lineage", "Lineage", "", (Words(str(error)),))]
    above: Part = (
        Tree(tuple(_up(one, folders, linked, base) for one in up)) if up else Words("Nothing is recorded of it.")
    )
    samples = sorted((run.path / "samples").glob("iteration-*.jsonl"))
    branches = [_down(one, folders) for one in down]
    if samples:
        note = f"answers of {len(samples)} iterations"
        branches.append(TreeNode("", "its samples", note, f"/runs/{run.id}#microscope", ()))
    below: Part = Tree(tuple(branches)) if branches else Words("Nothing that was made from it is in these folders.")
    note = "Artefacts know one another by hash. A line says what each was used as; what is known of it stands below it."
    return [
        Section("Made from", "Made from", note, (above,)),
        Section("Used for", "Used for", "", (below,)),
    ]


def _up(one: Ancestor, folders: RunFolders, projects: frozenset[str], base: Path) -> TreeNode:
    words = (title_of(one.kind) if one.kind else "", one.content[:12], SAID[one.standing], "above" if one.again else "")
    branches = tuple(_up(parent, folders, projects, base) for parent in one.parents)
    return TreeNode(
        one.setting,
        _short(one.name),
        ", ".join(each for each in words if each),
        _href(one.name, folders, projects, base),
        branches,
    )


def _down(one: Descendant, folders: RunFolders) -> TreeNode:
    words = (title_of(one.kind) if one.kind else "", "above" if one.again else "")
    branches = tuple(_down(child, folders) for child in one.children)
    href = _href(one.path, folders, frozenset(), Path())
    return TreeNode(
        f"as its {one.setting}", _short(one.path), ", ".join(each for each in words if each), href, branches
    )


def _href(name: str, folders: RunFolders, projects: frozenset[str], base: Path) -> str:
    """The page of what a name stands for: a project, or a run of these folders; "" for none."""
    if name.startswith(PROJECT):
        project = name.removeprefix(PROJECT).partition("?")[0]
        return f"/projects/{project}" if project in projects else ""
    path = path_named(name, base)
    found = None if path is None else folders.run_at(path)
    return "" if found is None else f"/runs/{found.id}"


def _short(name: str) -> str:
    """A place by its last two parts; sources with a scheme as they are."""
    path = Path(name)
    return name if ":" in name or len(path.parts) < 3 else "/".join(path.parts[-2:])
