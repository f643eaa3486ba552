"""Builds the watch over a PPO run from settings, with its held-out scorer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from steersman.errors import UsageError
from steersman.execution.context import RunContext
from steersman.loading.scorers import ScorerCache, load_scorer
from steersman.methods.ppo.distributed import DistributedScorer
from steersman.methods.ppo.watched import Watch
from steersman.parallel.world import World
from steersman.reward.conservative import ConservativeScorer, is_ensemble
from steersman.reward.featured import FeatureKeeper, keep_features
from steersman.reward.scorer import Scorer
from steersman.settings.watch import WatchSettings
from steersman.watch.extension import extension_detector
from steersman.watch.latent import Features
from steersman.watch.records import WatchMemory
from steersman.watch.watching import Watcher, WatchPlan

HELD_OUT_ONLY = ("gap", "fall")


@dataclass(frozen=True)
class ConfiguredWatcher(Watcher):
    """Watcher whose actions follow the [watch] settings."""

    settings: WatchSettings

    @property
    def restores(self) -> bool:
        return self.plan.restores

    def paying(self, scorer: Scorer, memory: WatchMemory) -> Scorer:
        if not memory.conservative:
            return scorer
        return ConservativeScorer(scorer, doubt=self.settings.doubt, pessimism=self.settings.pessimism)

    def raised(self, coefficient: float) -> float:
        return max(coefficient * self.settings.raise_by, self.settings.raise_from)


def open_watch(
    run: RunContext, settings: WatchSettings, scorer: Scorer, offload: Callable[[Scorer], Scorer]
) -> tuple[Scorer, Watch | None]:
    """The scorer (which may now keep its features) and the watch, None if it is off.

    `offload` may move the held-out scorer off the device until it is used.
    """
    world = run.world
    if settings.action == "off":
        return scorer, None
    _check(settings, scorer)
    featured: FeatureKeeper | None = None
    if settings.latent != "off" and settings.limits.outliers is not None:
        scorer, featured = keep_features(scorer)
    if settings.latent == "on" and featured is None:
        raise UsageError(
            f"watch.latent=on looks at a reward model's features, and the scorer {scorer.name!r} has none; score by a "
            "reward model that `steersman reward` saved, or leave watch.latent at auto"
        )
    held_out = None
    if settings.held_out_scorer is not None:
        keeping = ScorerCache.of(run.folder, world, "held-out-scorer")
        held_out = offload(load_scorer(settings.held_out_scorer, world.device, keeping))
        held_out = held_out if world.size == 1 else DistributedScorer(held_out, world)
    more = [extension_detector(name) for name in settings.extensions]
    limits = {name: limit for name, limit in settings.limits.model_dump().items() if limit is not None}
    limits |= settings.extensions
    plan = WatchPlan(
        limits,
        "warn" if settings.action == "off" else settings.action,
        {str(name): action for name, action in settings.actions.items()},
        settings.patience,
        settings.held_out_every,
        settings.held_out_answers,
        settings.evidence,
        settings.pessimism,
        more,
    )
    return scorer, ConfiguredWatcher(
        plan, held_out, _features_of(featured, world), lambda n: world.exchange(n)[0], settings
    )


def _check(settings: WatchSettings, scorer: Scorer) -> None:
    """Raise if the settings ask for an action that is not possible."""
    if "conservative" in settings.chosen and not is_ensemble(scorer):
        raise UsageError(
            f"watch.action=conservative believes an ensemble less, and the scorer {scorer.name!r} is none; give "
            "scorer.path several reward models, or one with several heads (steersman reward, heads=3), or choose "
            "another action"
        )
    if settings.held_out_scorer is None:
        if "restore" in settings.chosen and not is_ensemble(scorer):
            raise UsageError(
                "watch.action=restore keeps the best weights by a second opinion, and there is none; give "
                "watch.held_out_scorer.path, such as a reward model of other judgements, or an ensemble as the scorer"
            )
        alone = [name for name in settings.actions if name in HELD_OUT_ONLY]
        if alone:
            raise UsageError(
                f"watch.actions.{alone[0]} needs watch.held_out_scorer: it compares the scorer with a second one; give "
                "its path"
            )
    if "disagreement" in settings.actions and not is_ensemble(scorer):
        raise UsageError(
            f"watch.actions.disagreement looks at an ensemble's members, and the scorer {scorer.name!r} is none; leave "
            "it out"
        )
    if "outliers" in settings.actions and settings.latent == "off":
        raise UsageError(
            "watch.actions.outliers looks at the reward model's features, and watch.latent=off; leave one out"
        )


def _features_of(featured: FeatureKeeper | None, world: World) -> Callable[[], Features | None]:
    """A function that returns the features of the last scored answers, in order. Each process has every n-th."""

    def features() -> Features | None:
        if featured is None:
            return None
        parts = world.exchange(featured.features)
        found = [part for part in parts if part is not None]
        if len(found) == 1:
            return found[0]
        everything = np.zeros((sum(len(part) for part in found), found[0].shape[1]))
        for rank, part in enumerate(found):
            everything[rank :: len(parts)] = part
        return everything

    return features
