"""A PPO run opened for reading: policy, critic and frozen reference with the saved weights, engine and scorer. Nothing
in the run's folder is changed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from steersman.batches import pad_rows
from steersman.errors import CheckpointError, ModelError
from steersman.execution.machine import resolve_device, usual_token_budget
from steersman.execution.recorded import as_recorded
from steersman.loading.engines import native_engine
from steersman.loading.language_model import load_language_model
from steersman.loading.scorers import ScorerCache, load_scorer, name_of, places_of
from steersman.methods.ppo.actors import make_actors
from steersman.methods.ppo.collect import Asking, collect
from steersman.methods.ppo.records import Sample
from steersman.methods.ppo.roles import ModelActors
from steersman.methods.ppo.score import ForwardSetup
from steersman.models.answer_kl import ModelView
from steersman.models.language_model import LanguageModel
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.open import ADDRESSES
from steersman.reward.scorer import Scorer
from steersman.rollout.engine import Sampling
from steersman.rollout.language import ModelLanguage, room_for_prompts
from steersman.runs.checkpoints import Checkpoint, CheckpointStore
from steersman.runs.folder import RunFolder
from steersman.runs.identity import identity_of, name_in, same_as_before
from steersman.runs.stamp import read_stamp
from steersman.settings.base import check, read_recipe
from steersman.settings.ppo import PpoSettings
from steersman.settings.score import ScorerSettings
from steersman.train.checkpoint import load_weight_tensors
from steersman.train.precision import autocast
from steersman.training_data.prompts import prompts_of


@dataclass(frozen=True)
class OpenedPolicy:
    settings: PpoSettings
    step: int
    model: LanguageModel
    actors: ModelActors
    scorer: Scorer
    language: ModelLanguage
    forward: ForwardSetup
    sampling: Sampling
    notes: tuple[str, ...]

    @property
    def updated(self) -> ModelView:
        return self.model.backbone, self.model.adapter

    @property
    def frozen(self) -> ModelView:
        return (self.model.backbone, None) if self.actors.frozen is None else (self.actors.frozen, None)

    def held_out(self) -> list[Prompt]:
        """The run's held-out prompts. None of them was trained on."""
        room = room_for_prompts(self.model.backbone, self.sampling)
        return prompts_of(self.settings.prompts, self.language, lambda text: None, room=room)[1]

    def answers(
        self, voice: ModelView, prompts: Sequence[Prompt], *, samples: int, purpose: str = "report"
    ) -> list[Sample]:
        """Answers sampled as in training. Every model gets the same seeds, so that differences come from the model.

        purpose="held-out" has the seeds of the run's own evaluations.
        """
        asking = Asking(self.sampling, samples, self.settings.run.seed, purpose)
        return collect(prompts, native_engine(voice, self.model.tokeniser), self.language, asking, iteration=0)


def open_policy(folder: Path, *, device: str) -> OpenedPolicy:
    """The run's models with the weights that it kept: the best checkpoint if `keep` says so, else the last."""
    settings = as_recorded(check(PpoSettings, read_recipe(folder / "recipe.toml")), RunFolder(folder))
    notes = (*still_there(folder, settings.model.path), *_other_scale(settings))
    kept = _kept(folder, settings)
    where = resolve_device(device)
    model = load_language_model(settings.model, where)
    actors = make_actors(settings, model)
    load_weight_tensors(actors, load_file(kept.path / "weights.safetensors"))
    actors.eval()
    language = ModelLanguage(model.tokeniser, tuple(settings.sampling.stop))
    pad = model.pad_id
    return OpenedPolicy(
        settings=settings,
        step=kept.step,
        model=model,
        actors=actors,
        scorer=_scorer(folder, settings.scorer, where),
        language=language,
        forward=ForwardSetup(
            settings.sampling.temperature,
            usual_token_budget(where.type, model.backbone.hidden_size),
            lambda rows: pad_rows(rows, pad_id=pad).to(where),
            autocast("fp32", where),
            World.alone(),
        ),
        sampling=Sampling(**{**settings.sampling.model_dump(), "stop": language.stop}),
        notes=notes,
    )


def _other_scale(settings: PpoSettings) -> Iterator[str]:
    """A note if the reward in training differed from the scorer's score."""
    if settings.score.preference_over is not None or settings.score.normalise != "none":
        how = (
            "in preferences over reference answers"
            if settings.score.preference_over is not None
            else "in running deviations"
        )
        yield (
            f"The run was paid {how}, and so its critic expects those; answers drawn for this page are scored by "
            "the scorer itself, on its "
            "own scale."
        )


def asks_a_service(settings: ScorerSettings) -> bool:
    """Whether scoring would call an HTTP service, which may cost money."""
    paths = [settings.path] if settings.path is not None else [part.path for part in settings.sum.values()]
    return any(place.startswith(ADDRESSES) for path in paths for place in places_of(path))


def still_there(folder: Path, start: str) -> tuple[str, ...]:
    """Raise if the model that the run started from is missing; it must not be searched on a hub. A note if it has
    changed."""
    stamped = str(read_stamp(folder / "stamp.json").get("parents", {}).get("model", ""))
    path = name_in(stamped)
    if path in ("", stamped) or path != start:
        return ()
    if not Path(path).expanduser().is_dir():
        raise ModelError(
            f"the model that the run began from, {path}, is not there (seen from {Path.cwd()}); it is the frozen "
            "reference. Put it "
            "back, or call from the folder where the run was started"
        )
    now = identity_of(path)
    if now != stamped and not same_as_before(stamped, now):
        return (f"{path}, the frozen reference, has changed since the run began; distances are from the new one.",)
    return ()


def _kept(folder: Path, settings: PpoSettings) -> Checkpoint:
    store = CheckpointStore(folder / "checkpoints")
    best = store.best() if settings.keep == "best" else None
    if best is not None and store.holds(best.step):
        return Checkpoint(store.path_of(best.step), best.step, {})
    found = store.latest()
    if found is None:
        raise CheckpointError(f"{folder} has no checkpoint yet; one is written every run.checkpoint_every iterations")
    return found


def _scorer(folder: Path, settings: ScorerSettings, device: torch.device) -> Scorer:
    if settings.path is None and not settings.sum:
        raise ModelError(f"the run's reward was a function of the program that started it ({name_of(settings)})")
    keeping = ScorerCache(None, folder / "scorer" / "scales.json", World.alone(), lambda text: None)
    return load_scorer(settings, device, keeping)
