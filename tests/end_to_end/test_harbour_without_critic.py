"""On Harbour every method without a critic learns what people like: its known taste is the reward, the base model the
beginning."""

from pathlib import Path

import pytest

import steersman
from steersman.runs.journal import read_rows

TASTE = f"{Path(__file__).parents[2] / 'docs' / 'figures' / 'taste.py'}:taste"


@pytest.mark.slow
@pytest.mark.parametrize(
    "estimator",
    ["rloo", *(pytest.param(name, marks=pytest.mark.soak) for name in ("grpo", "dr-grpo", "reinforce++"))],
)
def test_held_out_answers_please_more_than_before(estimator, tmp_path):
    result = steersman.ppo(
        recipe="rloo-harbour",
        model="harbour:base",
        prompts="harbour:prompts",
        reward=TASTE,
        out=tmp_path / "run",
        quiet=True,
        advantage={"estimator": estimator},
        kl={"coefficient": 0.05},
        iterations=10,
        optimiser={"learning_rate": 1e-4},
        compute={"kernels": "default"},
        run={"device": "cpu"},
    )
    rows = [row for row in read_rows(tmp_path / "run" / "journal.jsonl")[0] if "held-out score" in row]
    before, after = rows[0]["held-out score"], result.held_out["score"]
    print(f"\n{estimator}: true taste of held-out answers {before:.3f} -> {after:.3f}")
    assert rows[0]["step"] == 0
    assert after > before + 0.15
