"""Advantage estimators that other packages bring (see `extensions`)."""

import torch
from torch import Tensor

from steersman.errors import SteersmanError
from steersman.extensions import FOREIGN, failed, load_extension, unfit
from steersman.methods.ppo.token_rewards import Estimator, Padded, TokenRewards
from steersman.settings.advantage import AdvantageSettings

_GROUPS = ("steersman.advantage_estimators", "steersman.advantage_estimators_with_critic")


def extension_estimator(name: str) -> Estimator:
    """The estimator of this name. Its errors name the package, and what it returns is checked."""
    estimator = load_extension(name, *_GROUPS)
    if not callable(estimator):
        raise unfit(name, estimator, "a function of (TokenRewards, AdvantageSettings)", *_GROUPS)

    def estimate(given: TokenRewards, settings: AdvantageSettings) -> tuple[Padded, Padded]:
        try:
            found = estimator(given, settings)
        except FOREIGN as error:
            raise failed(name, error, *_GROUPS) from error
        shape = given.mask.shape
        if not isinstance(found, tuple) or [_shape(one) for one in found] != [shape, shape]:
            seen = [_shape(one) for one in found] if isinstance(found, tuple) else type(found).__name__
            raise SteersmanError(
                f"the advantage estimator {name!r} returned {seen}; expected two tensors, advantages and returns, each "
                f"of shape {[*shape]}"
            )
        advantages, returns = (torch.where(given.mask, one.float(), 0) for one in found)
        if not bool(torch.isfinite(advantages).all()) or not bool(torch.isfinite(returns).all()):
            raise SteersmanError(f"the advantage estimator {name!r} returned numbers that are not finite")
        return advantages, returns

    return estimate


def _shape(value: object) -> object:
    return value.shape if isinstance(value, Tensor) else type(value).__name__
