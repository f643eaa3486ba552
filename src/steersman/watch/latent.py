"""Outlier detection in a reward model's features (the reward head's input).

It is the Mahalanobis distance from the features of the reference's own answers (Lee et al. 2018, arXiv 1807.03888).
There are fewer answers than features, so the covariance is that of probabilistic PCA (Tipping and Bishop 1999): the
first `components` directions, and one common variance for all others. Distances are relative to the 95 % quantile of
the reference's answers, each measured by a fit that left it out (cross-validation).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Features = Float[ndarray, "answers features"]

COMPONENTS, FOLDS, USUAL = 16, 5, 0.95
FEWEST = 20


@dataclass(frozen=True, slots=True)
class FeatureGaussian:
    """A Gaussian (probabilistic PCA) fitted to the features of the reference's answers."""

    mean: Float[ndarray, " features"]
    directions: Float[ndarray, "components features"]
    variances: Float[ndarray, " components"]
    rest: float

    def distances(self, features: Features) -> Float[ndarray, " answers"]:
        centred = features - self.mean
        along = centred @ self.directions.T
        beside = np.square(centred).sum(1) - np.square(along).sum(1)
        return np.sqrt((np.square(along) / self.variances).sum(1) + np.maximum(beside, 0.0) / self.rest)


def fit(features: Features, components: int = COMPONENTS) -> FeatureGaussian:
    """Fit the Gaussian, with at most half as many components as answers: the others estimate the common variance."""
    answers, width = features.shape
    mean = features.mean(0)
    _, singular, directions = np.linalg.svd(features - mean, full_matrices=False)
    variances = np.square(singular) / (answers - 1)
    kept = max(1, min(components, answers // 2, width - 1))
    # A variance of 0 must not be divided by.
    floor = max(float(variances[0]), 1e-12) * 1e-6
    rest = variances[kept : min(answers, width)]
    return FeatureGaussian(
        mean,
        directions[:kept],
        np.maximum(variances[:kept], floor),
        max(float(rest.mean()) if len(rest) else 0.0, floor),
    )


@dataclass(frozen=True, slots=True)
class Usual:
    """The Gaussian, and the 95 % quantile of the distances of the reference's answers."""

    cloud: FeatureGaussian
    limit: float

    @staticmethod
    def of(features: Features) -> "Usual | None":
        """Fit to the reference's answers; None if they are too few, or all the same."""
        features = np.asarray(features, dtype=np.float64)
        if len(features) < FEWEST:
            return None
        folds = [np.arange(start, len(features), FOLDS) for start in range(FOLDS)]
        unseen = [fit(np.delete(features, fold, axis=0)).distances(features[fold]) for fold in folds]
        limit = float(np.quantile(np.concatenate(unseen), USUAL))
        return Usual(fit(features), limit) if limit > 0 else None

    def unusual(self, features: Features) -> list[float]:
        """Each answer's distance divided by the limit; 5 % of the reference's answers are above 1."""
        return (self.cloud.distances(np.asarray(features, dtype=np.float64)) / self.limit).tolist()

    def facts(self) -> dict[str, Any]:
        cloud = self.cloud
        return {
            "mean": cloud.mean.tolist(),
            "directions": cloud.directions.tolist(),
            "variances": cloud.variances.tolist(),
            "rest": cloud.rest,
            "limit": self.limit,
        }

    @staticmethod
    def from_facts(facts: dict[str, Any]) -> "Usual":
        names = ("mean", "directions", "variances")
        return Usual(FeatureGaussian(*(np.array(facts[name]) for name in names), rest=facts["rest"]), facts["limit"])
