"""The page of plain torch in the docs: it learns, and Steersman's loop computes its numbers."""

import copy
import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import steersman
from steersman.methods.ppo.loop import iterate
from steersman.methods.ppo.update import minibatches

FILE = Path(__file__).parents[3] / "docs" / "ppo_on_one_page.py"
PROMPTS = ["What is a dog?", "I like cricket.", "Why?", "Hello", "Please write a summary.", "So"]


@pytest.fixture(scope="module")
def page() -> Any:
    spec = importlib.util.spec_from_file_location("ppo_on_one_page", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def count_vowels(answer: str) -> float:
    return 0.3 * sum(answer.count(letter) for letter in "aeiou") - 0.7


def settings_of(page: Any) -> dict[str, Any]:
    """The page's constants as Steersman's settings."""
    return {
        "sampling": {"max_new_tokens": page.MAX_NEW_TOKENS, "temperature": page.TEMPERATURE},
        "kl": {"coefficient": page.KL_COEFFICIENT},
        "advantage": {"gamma": page.GAMMA, "gae_lambda": page.LAMBDA},
        "update": {
            "epochs": page.EPOCHS,
            "minibatches": page.MINIBATCHES,
            "clip": page.CLIP,
            "value_clip": page.VALUE_CLIP,
            "value_coefficient": page.VALUE_COEFFICIENT,
            "entropy_coefficient": page.ENTROPY_COEFFICIENT,
        },
        "optimiser": {
            "learning_rate": page.LEARNING_RATE,
            "epsilon": page.EPSILON,
            "max_grad_norm": page.MAX_GRAD_NORM,
            "schedule": "constant",
            "warmup": 0,
        },
    }


def test_the_page_fits_one_page():
    lines = FILE.read_text().splitlines()
    assert len(lines) <= 120
    assert max(map(len, lines)) <= 120


def test_the_page_learns(page, capsys):
    scores = page.main(iterations=8)
    assert scores[-1] > scores[0] + 1.0
    assert "iteration 8: score" in capsys.readouterr().out


def test_steersmans_loop_computes_the_numbers_of_the_page(page, tiny_llama, tmp_path):
    page.LEARNING_RATE, page.EPSILON = 1e-3, 1e-3
    with steersman.open_ppo(
        model=tiny_llama,
        prompts=PROMPTS,
        reward=count_vowels,
        out=tmp_path / "run",
        prompts_per_iteration=12,
        iterations=3,
        **settings_of(page),
        compute={"kernels": "default"},
        **{"prompts.held_out": "none", "run.device": "cpu", "run.threads": 1},
    ) as run:
        policy = page.Policy(AutoModelForCausalLM.from_pretrained(tiny_llama))
        reference = copy.deepcopy(policy)
        optimiser = torch.optim.AdamW(policy.parameters(), lr=page.LEARNING_RATE, eps=page.EPSILON, weight_decay=0.0)
        for iteration in range(3):
            done = iterate(run.parts, run.settings, run.memory)
            rollouts = [one.scored.sample.rollout for one in done.experience]
            ids, mask = page.padded([list(one.prompt_ids) for one in rollouts], [list(one.ids) for one in rollouts])
            scores = torch.tensor([one.scored.raw_score for one in done.experience])
            columns = page.experience(policy, reference, ids, mask, scores)
            ours = [
                torch.cat([one.scored.old_log_probs for one in done.experience]),
                torch.cat([one.scored.values for one in done.experience if one.scored.values is not None]),
                torch.cat([one.advantages for one in done.experience]),
                torch.cat([one.returns for one in done.experience]),
            ]
            for seen, expected in zip(ours, columns, strict=True):
                torch.testing.assert_close(seen, expected[mask], atol=1e-3, rtol=1e-3)
            update = run.settings.update
            orders = [
                members
                for epoch in range(page.EPOCHS)
                for members in minibatches(12, update, seed=0, iteration=iteration, epoch=epoch)
            ]
            steps = page.update(policy, optimiser, (ids, mask, *columns), orders)
            assert len(steps) == done.stats.steps == 16
            for name, mean in done.stats.terms.items():
                assert mean == pytest.approx(sum(step[name] for step in steps) / 16, abs=1e-3), name
            trained = dict(run.actors.backbone.hf.named_parameters())
            for name, parameter in policy.model.named_parameters():
                torch.testing.assert_close(trained[name], parameter, atol=1e-4, rtol=0, msg=name)
            torch.testing.assert_close(run.actors.value_head.weight, policy.value_head.weight, atol=1e-4, rtol=0)
        start = dict(reference.model.named_parameters())
        moved = max(float((p - start[name]).detach().abs().max()) for name, p in policy.model.named_parameters())
        assert moved > 1e-2, "far more than the rounding that is allowed"
