"""The KL coefficient of the next iteration: fixed, adaptive (Ziegler et al. 2019, section 2.2) or target-seeking."""

from steersman.maths.kl import adaptive_coefficient, target_seeking_coefficient
from steersman.settings.shaping import KlSettings

# A KL estimated from few samples may be negative; it then means: very near the reference.
LEAST_KL = 1e-6


def next_coefficient(settings: KlSettings, coefficient: float, measured: float, episodes: int) -> float:
    """The coefficient after an iteration of `episodes` answers with a mean KL to the reference of `measured` nats."""
    if settings.controller == "fixed":
        return coefficient
    measured = max(measured, LEAST_KL)
    if settings.controller == "adaptive":
        horizon = settings.horizon_iterations * episodes if settings.horizon is None else settings.horizon
        # At most a fifth of the coefficient at once, also where one iteration holds more answers than the horizon.
        counted = min(episodes, max(1, int(horizon)))
        return adaptive_coefficient(coefficient, measured, target=settings.target, horizon=horizon, episodes=counted)
    return target_seeking_coefficient(coefficient, measured, target=settings.target, rate=0.1, limit=2.0)
