"""Detectors that other packages bring (see `extensions`)."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from steersman.extensions import FOREIGN, failed, load_extension, unfit
from steersman.watch.detectors.detector import Detector, DetectorInput

_GROUP = "steersman.detectors"
T = TypeVar("T")


def extension_detector(name: str) -> Detector:
    """The detector of this name. Its errors name the package."""
    brought: Any = load_extension(name, _GROUP)
    if not isinstance(brought, Detector):
        raise unfit(name, brought, "a steersman.watch.detectors.detector.Detector", _GROUP)

    def guarded(call: Callable[..., T]) -> Callable[..., T]:
        def called(*inputs: Any) -> T:
            try:
                return call(*inputs)
            except FOREIGN as error:
                raise failed(name, error, _GROUP) from error

        return called

    def measure(inputs: DetectorInput) -> float | None:
        value = guarded(brought.measure)(inputs)
        if value is None:
            return None
        if not isinstance(value, int | float):
            raise unfit(name, value, "a number from `measure`, or None", _GROUP)
        return float(value)

    return replace(
        brought,
        name=name,
        measure=measure,
        evidence_scores=guarded(brought.evidence_scores),
        verdict=guarded(brought.verdict),
    )
