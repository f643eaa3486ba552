"""Whether a folder holds the run that the settings describe: then it continues, and else it is refused.

Settings of where and how a run is carried out may change, settings of what it learns may not.
"""

import shutil
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from steersman.errors import UsageError
from steersman.execution.recorded import absent, notes_of_defaults
from steersman.runs.folder import TEMPORARY, RunFolder, atomic_write_text
from steersman.runs.identity import upgraded
from steersman.runs.journal import read_rows
from steersman.runs.stamp import changes, conflicts, read_stamp, write_stamp
from steersman.secrets import concealed
from steersman.settings.base import Settings, to_toml
from steersman.settings.manner import is_manner
from steersman.settings.nested import flat
from steersman.settings.toml import read_toml

# How long a run is: `run.extend` lets these grow.
LENGTH = {"iterations", "train.steps", "train.epochs"}
# What a run leaves before it has learned anything.
_BEGINNINGS = {
    *(".lock", "recipe.toml", "stamp.json", "lineage.json", "planned.json", "journal.jsonl", "ending.json"),
    *("quarantine.jsonl", "samples", "checkpoints", "tokens", "scorer", "held-out-scorer", "tensorboard", "profile"),
    *("wandb", "wandb-id.txt", "mlflow-run.txt", "trackio-run.txt"),
}
_OF_THE_OLD_RUN = (
    "stamp.json",
    "lineage.json",
    "planned.json",
    "journal.jsonl",
    "quarantine.jsonl",
    "tokens",
    "tensorboard",
    "profile",
    "wandb-id.txt",
    "mlflow-run.txt",
    "trackio-run.txt",
)


def continue_or_begin(folder: RunFolder, settings: Settings, stamp: Mapping[str, Any]) -> tuple[bool, list[str]]:
    """Write the recipe, and the stamp of a new run. Returns whether a run continues, and notices.

    Raises if the folder holds another run.

    A folder whose run has learned nothing belongs to nobody: another run begins there.
    """
    notes: list[str] = []
    continues = folder.stamp_path.exists()
    if folder.recipe_path.exists():
        refuse_another_recipe(folder, settings)
        notes = [*_words_of_extension(folder, settings), *notes_of_defaults(settings)]
    if continues:
        old, renewed = _with_whole_identities(read_stamp(folder.stamp_path), stamp)
        another = conflicts(old, stamp)
        if (another or _changed(folder, settings)) and learned_nothing(folder):
            discard(folder)
            continues = False
            notes = ["the run that was begun in this folder had learned nothing, and this one takes its place"]
        elif another:
            raise UsageError(
                f"{folder.path} holds another run: {'; '.join(another)}. Choose another folder, or remove this one."
            )
        else:
            notes = [*changes(old, stamp), *notes]
            if renewed:
                write_stamp(folder.stamp_path, old)
                notes.append(_words_of_renewed(renewed))
    if not continues:
        write_stamp(folder.stamp_path, stamp)
    atomic_write_text(folder.recipe_path, to_toml(settings))
    return continues, notes


def _words_of_renewed(names: Sequence[str]) -> str:
    return (
        f"the stamp of this run, begun by an earlier version, identified {' and '.join(names)} by name or by the first "
        "bytes of the files only. The whole content is recorded from now on; a change before this cannot be ruled out"
    )


def _with_whole_identities(old: dict[str, Any], new: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The old stamp with today's identities of its parents, where it has ones of an earlier version that fit; and the
    names of those."""
    parents = old.get("parents")
    if not isinstance(parents, Mapping):
        return old, []
    renewed, names = upgraded(parents, new["parents"])
    return {**old, "parents": renewed}, names


def refuse_another_recipe(folder: RunFolder, settings: Settings) -> None:
    """Raise if the folder's run has learned something with other settings of what is learned."""
    changed = _changed(folder, settings)
    if not changed or learned_nothing(folder):
        return
    told = ", ".join(f"{key} (was {was!r}, now {now!r})" for key, (was, now) in list(changed.items())[:5])
    if not changed.keys() <= LENGTH:
        raise UsageError(
            f"{folder.path} holds a run with other settings: {told}. Choose another run.out, or use the old settings."
        )
    if not _flat(settings).get("run.extend"):
        raise UsageError(
            f"{folder.path} holds a run of another length: {told}. To go on with it to a greater length, give "
            "--extend; or choose another run.out."
        )
    shorter = [key for key, (was, now) in changed.items() if _is_number(was) and _is_number(now) and now < was]
    if shorter:
        raise UsageError(f"--extend makes a run longer, and here it would be shorter: {told}. Give a greater number.")


def extends(folder: RunFolder, settings: Settings) -> bool:
    """Whether the settings make the folder's run longer than its recipe says."""
    return bool(_changed(folder, settings).keys() & LENGTH) and bool(_flat(settings).get("run.extend"))


def learned_nothing(folder: RunFolder) -> bool:
    """Whether the folder holds the beginning of a run only: no step, no checkpoint, and no file of anything else."""
    for entry in folder.path.iterdir():
        if entry.name not in _BEGINNINGS and not entry.name.startswith(TEMPORARY):
            return False
    later = [path for path in folder.samples.glob("*") if path != folder.held_out_path(0)]
    if later or any(folder.checkpoints.glob("*")):
        return False
    return all(row["step"] == 0 for row in read_rows(folder.journal_path)[0])


def discard(folder: RunFolder) -> None:
    """Delete what a run that learned nothing has left. Replies of services, which may have been paid for, stay."""
    paths = [folder.path / name for name in _OF_THE_OLD_RUN]
    paths.append(folder.held_out_path(0))
    paths += [path for path in folder.path.glob("*scorer/*") if not path.match("replies*")]
    for path in paths:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _words_of_extension(folder: RunFolder, settings: Settings) -> list[str]:
    if not extends(folder, settings):
        return []
    told = ", ".join(f"{key} was {was} and is now {now}" for key, (was, now) in _changed(folder, settings).items())
    return [f"the run is extended: {told}. The learning rate's schedule runs to the new end"]


def _changed(folder: RunFolder, settings: Settings) -> dict[str, tuple[Any, Any]]:
    """Settings of what is learned, by name: what they are in the folder's recipe, and what they are now."""
    kept = read_toml(folder.recipe_path, otherwise="put it back as it was, or choose another folder")
    old = flat(concealed(kept))
    new = _flat(settings)
    began = {key: old[key] if key in old else absent(settings, key, old) for key in {*old, *new}}
    # A folder that was moved is still the same run.
    compared = sorted(key for key in {*old, *new} if not is_manner(key) and key != "run.out")
    return {key: (began[key], new.get(key)) for key in compared if began[key] != new.get(key)}


def _flat(settings: Settings) -> dict[str, Any]:
    return flat(tomllib.loads(to_toml(settings)))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
