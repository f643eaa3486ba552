"""The shapes of the models that a plan counts: of the policy and of the scorer, from their folders or the hub."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from steersman.costs.shape import Shape, shape_of_folder
from steersman.errors import ModelError
from steersman.loading.language_model import base_of, model_path
from steersman.loading.scorers import places_of
from steersman.runs.model_folder import model_folder
from steersman.settings.parts import ModelSettings
from steersman.settings.score import ScorerSettings


def shape_of_model(settings: ModelSettings) -> Shape:
    """The model's shape from its folder, a run's folder, or a hub id (only its config is downloaded)."""
    with TemporaryDirectory() as scratch:
        path = model_path(settings.path, Path(scratch))
        base = model_path(base_of(path), Path(scratch) / "base")
        if Path(base).expanduser().is_dir():
            return replace(shape_of_folder(base), name=settings.path)
        return replace(_shape_from_hub(base, settings.revision), name=settings.path)


def _shape_from_hub(name: str, revision: str | None) -> Shape:
    from transformers.utils import cached_file

    try:
        config = cached_file(name, "config.json", revision=revision)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"there is no folder {name!r}, and no config.json of that name on the hub or in its cache "
            f"({str(error).splitlines()[0]}); expected a model folder, a run's folder or a hub id. Check the name"
        ) from error
    assert config is not None
    return shape_of_folder(Path(config).parent)


def shape_of_scorer(settings: ScorerSettings) -> Shape | None:
    """The shape of a scorer that is a model in a folder; None for functions, services and rules.

    An ensemble has the largest shape, with the parameters of all its models.
    """
    paths = [settings.path] if settings.path is not None else [part.path for part in settings.sum.values()]
    folders = [Path(place).expanduser() for path in paths if path is not None for place in places_of(path)]
    shapes: list[Shape] = []
    for folder in folders:
        found = model_folder(folder)
        if (found / "adapter_config.json").exists():
            found = Path(base_of(str(found))).expanduser()
        if (found / "config.json").exists():
            shapes.append(shape_of_folder(found))
    if not shapes:
        return None
    return replace(max(shapes, key=lambda one: one.parameters), parameters=sum(one.parameters for one in shapes))
