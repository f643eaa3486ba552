"""Logistic regression by Newton's method, with standard errors: what several causes at once say about a choice."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

RIDGE = 1e-3
"""A small quadratic penalty: a cause that never varies, or decides every choice, has a finite coefficient."""
STEPS = 50


@dataclass(frozen=True)
class LogisticFit:
    """The coefficient of each column, in logits, and its standard error."""

    coefficient: Float[ndarray, " columns"]
    error: Float[ndarray, " columns"]


def fit_logistic(columns: Float[ndarray, "rows columns"], outcome: Float[ndarray, " rows"]) -> LogisticFit:
    """The fit of outcomes (0 or 1). There is no intercept; give a column of ones for one."""
    weights = np.zeros(columns.shape[1])
    information = np.eye(len(weights))
    for _ in range(STEPS):
        probability = 1.0 / (1.0 + np.exp(-np.clip(columns @ weights, -30, 30)))
        gradient = columns.T @ (outcome - probability) - RIDGE * weights
        information = (columns * (probability * (1 - probability))[:, None]).T @ columns + RIDGE * np.eye(len(weights))
        step = np.linalg.solve(information, gradient)
        weights = weights + np.clip(step, -5, 5)
        if np.abs(step).max(initial=0.0) < 1e-8:
            break
    return LogisticFit(weights, np.sqrt(np.diag(np.linalg.inv(information))))
