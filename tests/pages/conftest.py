"""A sample of four tokens, as a PPO run keeps it."""

from typing import Any

import pytest


@pytest.fixture
def sample() -> dict[str, Any]:
    return {
        "prompt": "A dog is ...",
        "answer": "a furry pet",
        "score": 1.5,
        "finish": "end",
        "ids": [5, 6, 7, 1],
        "offsets": [[0, 1], [1, 7], [7, 11], [11, 11]],
        "log_probs": [-0.1, -0.2, -0.3, -0.4],
        "reference_log_probs": [-0.1, -0.5, -0.3, -0.4],
        "kl": [0.0, 0.3, 0.0, 0.0],
        "entropies": [0.5, 0.6, 0.7, 0.1],
        "values": [0.2, 0.4, 1.0, 1.2],
        "rewards": [0.0, -0.03, 0.0, 1.5],
        "advantages": [1.0, 0.9, 0.5, 0.3],
        "returns": [1.47, 1.47, 1.5, 1.5],
    }
