"""Whether a folder holds the run that the settings describe: then it continues, and else it is refused.

Settings of where and how a run is carried out may change, settings of what it learns may not.
"""

import re
import tomllib
from collections.abc import Mapping
from typing import Any

from steersman.errors import UsageError
from steersman.execution.recorded import absent, flat, notes_of_defaults
from steersman.runs.folder import RunFolder, atomic_write_text
from steersman.runs.identity import upgraded
from steersman.runs.stamp import changes, conflicts, read_stamp, write_stamp
from steersman.secrets import concealed
from steersman.settings.base import Settings, to_toml

# Settings that say how a run is kept or carried out, not what it learns.
MAY_CHANGE = {
    "run.checkpoint_every",
    "run.checkpoint_minutes",
    "run.keep_last",
    "run.keep_every",
    "run.journal",
    "run.profile",
    "run.device",
    "run.threads",
    "train.tokens_per_micro_batch",
    "compute.tokens_per_micro_batch",
    "compute.offload",
    "model.gradient_checkpointing",
}
# The same for a scorer behind HTTP, which may be part of a sum under any name.
HOW_A_SERVICE_IS_ASKED = re.compile(r"(scorer|watch\.held_out_scorer)(\.sum\..+)?\.http\.\w+")


def continue_or_begin(folder: RunFolder, settings: Settings, stamp: Mapping[str, Any]) -> list[str]:
    """Write the recipe, and the stamp of a new run. Returns notices; raises if the folder holds another run."""
    notes: list[str] = []
    if folder.recipe_path.exists():
        refuse_another_recipe(folder, settings)
        notes = notes_of_defaults(settings)
    if folder.stamp_path.exists():
        old, renewed = _with_whole_identities(read_stamp(folder.stamp_path), stamp)
        another = conflicts(old, stamp)
        if another:
            raise UsageError(
                f"{folder.path} holds another run: {'; '.join(another)}. Choose another folder, or remove this one."
            )
        notes = [*changes(old, stamp), *notes]
        if renewed:
            write_stamp(folder.stamp_path, old)
            notes.append(
                f"the stamp of this run, begun by an earlier version, identified {' and '.join(renewed)} by name or by "
                "the first bytes of the files only. The whole content is recorded from now on; a change before this "
                "cannot be ruled out"
            )
    else:
        write_stamp(folder.stamp_path, stamp)
    atomic_write_text(folder.recipe_path, to_toml(settings))
    return notes


def _with_whole_identities(old: dict[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The old stamp with today's identities of its parents, where it has ones of an earlier version that fit; and the
    names of those."""
    parents = old.get("parents")
    if not isinstance(parents, Mapping):
        return old, []
    renewed, names = upgraded(parents, new["parents"])
    return {**old, "parents": renewed}, names


def refuse_another_recipe(folder: RunFolder, settings: Settings) -> None:
    """Raise if the folder's recipe has other settings of what is learned."""
    try:
        old = flat(concealed(tomllib.loads(folder.recipe_path.read_text())))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{folder.recipe_path} is not valid TOML ({error}); put it back as it was, or choose another folder"
        ) from error
    new = flat(tomllib.loads(to_toml(settings)))
    began = {key: old[key] if key in old else absent(settings, key, old) for key in {*old, *new}}
    differing = sorted(key for key in {*old, *new} if not _may_change(key) and began[key] != new.get(key))
    # A folder that was moved is still the same run.
    differing = [key for key in differing if key != "run.out"]
    if differing:
        told = ", ".join(f"{key} (was {began[key]!r}, now {new.get(key)!r})" for key in differing[:5])
        raise UsageError(
            f"{folder.path} holds a run with other settings: {told}. Choose another run.out, or use the old settings."
        )


def _may_change(key: str) -> bool:
    return key in MAY_CHANGE or HOW_A_SERVICE_IS_ASKED.fullmatch(key) is not None
