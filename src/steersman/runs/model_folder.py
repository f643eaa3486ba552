"""Which model a folder means: one rule for every command that takes a model, a scorer, a critic or a reference by its
folder.

    a model's own folder (config.json or adapter_config.json in it) itself: a Hugging Face, peft or reward model
    a run's folder (recipe.toml or stamp.json in it)                its model/, there once the run has finished
    any other folder, and a name that is no folder                  itself: an ensemble, a checkpoint, a hub id

A folder that stands for several models is not resolved here: `reward.open.members_of` reads an ensemble's members
first, each of which is a folder by this rule; `loading.saved.open_any_model` opens a checkpoint's folder (step-000120),
whose weights are not a model's folder by themselves; `loading.language_model.model_path` knows harbour:base and
tiny:<family>.
"""

from pathlib import Path

from steersman.errors import ModelError
from steersman.runs.folder import RunFolder

PROMOTION = "promotion.json"
"""In the folder of a policy that rounds of feedback led to: what was decided, and why."""
OF_A_MODEL = ("config.json", "adapter_config.json")


def model_folder(name: str | Path) -> Path:
    """The folder of the model that `name` means, by the rule above. It need not be there."""
    folder = Path(name).expanduser()
    if any((folder / file).exists() for file in OF_A_MODEL):
        return folder
    run = RunFolder(folder)
    return run.model if run.is_run else folder


def finished_model_folder(name: str | Path) -> Path:
    """The same; raises for a run that has no model yet."""
    folder, found = Path(name).expanduser(), model_folder(name)
    if found != folder and not found.is_dir():
        raise ModelError(f"{folder} is a run that has not made its model yet; run its command again until it finishes")
    return found
