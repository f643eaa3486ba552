"""The models that a server answers for: language models, each with its rows, and scorers. Each has a name."""

import copy
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.execution.machine import resolve_device
from steersman.loading.engines import engine_of
from steersman.loading.saved import STEP, open_any_model, open_model
from steersman.loading.scorers import load_scorer
from steersman.models.backbone import Backbone
from steersman.models.files import describe
from steersman.models.language_model import LanguageModel
from steersman.reward.open import ADDRESSES, ENSEMBLE, VERIFY
from steersman.reward.scorer import Scorer
from steersman.rollout.live import LiveRows, live_rows
from steersman.rollout.native import NativeEngine
from steersman.runs.model_folder import finished_model_folder
from steersman.serve.problems import ApiError
from steersman.settings.base import check
from steersman.settings.score import ScorerSettings

_NAME = re.compile(r"[\w.:/@+-]{1,200}")


@dataclass(frozen=True, slots=True)
class ServedLanguage:
    """A language model behind a name. `tokeniser` decodes and `encoder` encodes; both are copies, since a tokeniser is
    not for several threads and the worker has its own."""

    name: str
    tokeniser: Any
    encoder: Any
    live: LiveRows
    created: int

    @property
    def engine(self) -> NativeEngine:
        return self.live.engine


@dataclass(frozen=True, slots=True)
class ServedScorer:
    """A scorer behind a name. `label` names what its score measures."""

    name: str
    scorer: Scorer
    label: str
    created: int


@dataclass(frozen=True, slots=True)
class ServedModels:
    languages: dict[str, ServedLanguage]
    scorers: dict[str, ServedScorer]

    @property
    def names(self) -> list[str]:
        return [*self.languages, *self.scorers]

    def language(self, name: str | None) -> ServedLanguage:
        return _found(self.languages, self.scorers, name, "answers", "/classify or /v1/score")

    def scorer(self, name: str | None) -> ServedScorer:
        return _found(self.scorers, self.languages, name, "scores", "/v1/chat/completions")


def _found(mine: dict[str, Any], others: dict[str, Any], name: str | None, does: str, route: str) -> Any:
    """The model of this name; without a name, the only one that does this."""
    if name is None and len(mine) == 1:
        return next(iter(mine.values()))
    if name in mine:
        return mine[name]
    served = ", ".join(mine) or "none"
    if name in others:
        raise ApiError(
            400, f"the model {name!r} does not give {does}; ask {route}. Those that do: {served}", param="model"
        )
    shown = "no model was named" if name is None else f"the model {name[:80]!r} does not exist"
    raise ApiError(404, f"{shown}; this server has: {served}", param="model", code="model_not_found")


def named(places: Sequence[str]) -> dict[str, str]:
    """Each model's place by its name: NAME=PLACE, or the place alone, whose last part is then its name."""
    found: dict[str, str] = {}
    for place in places:
        name, mark, rest = place.partition("=")
        if not mark:
            name, rest = _name_of(place), place
        if not _NAME.fullmatch(name) or not rest:
            raise UsageError(
                f"{place!r} is no model to serve; expected NAME=PLACE, with a name of letters, digits and . : / - _"
            )
        if name in found:
            raise UsageError(f"two models have the name {name!r}: {found[name]} and {rest}; give NAME=PLACE for one")
        found[name] = rest
    if not found:
        raise UsageError("no model was named; expected a run, a model folder, harbour:base or a hub id")
    return found


def _name_of(place: str) -> str:
    folder = Path(place).expanduser()
    return folder.resolve().name if folder.is_dir() else place


def open_models(places: Sequence[str], *, device: str, rows: int | None, length: int | None) -> ServedModels:
    """The models at these places. Adapters on one base share it."""
    languages: dict[str, ServedLanguage] = {}
    scorers: dict[str, ServedScorer] = {}
    bases: dict[str, Backbone] = {}
    created = int(time.time())
    for name, place in named(places).items():
        if is_scorer(place):
            settings = check(ScorerSettings, {"path": place})
            scorers[name] = ServedScorer(name, load_scorer(settings, resolve_device(device)), _label_of(place), created)
            continue
        step = STEP.fullmatch(Path(place).name) is not None
        model = open_any_model(place, device=device) if step else open_model(place, device=device, bases=bases)
        languages[name] = serve_language(name, model, rows=rows, length=length, created=created)
    return ServedModels(languages, scorers)


def serve_language(
    name: str, model: LanguageModel, *, rows: int | None, length: int | None, created: int
) -> ServedLanguage:
    live = live_rows(engine_of(model), rows=rows, length=length)
    return ServedLanguage(name, copy.deepcopy(model.tokeniser), copy.deepcopy(model.tokeniser), live, created)


def is_scorer(place: str) -> bool:
    """Whether a place is something that scores: a reward model, an ensemble, a classifier, a function or a verifier."""
    if place.startswith((VERIFY, *ADDRESSES)) or ".py" in Path(place).name:
        return True
    folder = finished_model_folder(place)
    if (folder / ENSEMBLE).exists():
        return True
    if not folder.is_dir() or STEP.fullmatch(folder.name):
        return False
    found = describe(folder)
    return found.kind in ("reward", "classifier") or found.notes.get("kind") == "reward"


def _label_of(place: str) -> str:
    folder = finished_model_folder(place)
    if not (folder / "config.json").exists() and not (folder / "adapter_config.json").exists():
        return "reward"
    found = describe(folder)
    return str(found.notes.get("label") or found.notes.get("positive") or "reward")
