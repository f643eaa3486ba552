"""One whole iteration of the product, number by number, against the slow and obvious one."""

import json

import pytest
import torch
from slow_loop import PlainPpo
from transformers import AutoModelForCausalLM

import steersman
from steersman.methods.ppo.loop import iterate
from steersman.methods.ppo.update import minibatches

PROMPTS = [
    "What is a dog?",
    "I like cricket.",
    "Please write a short summary of the story below.",
    "Why?",
    "Hello",
    "So",
]


def count_vowels(answer: str) -> float:
    return 0.3 * sum(answer.count(letter) for letter in "aeiou") - 0.7


VARIANTS = {
    "usual": {},
    "all at once": {
        "kl": {"coefficient": 0.3, "loss_coefficient": 0.2, "loss_estimator": "k3"},
        "advantage": {"gamma": 0.9, "gae_lambda": 0.8, "whiten_rewards": True},
        "score": {"normalise": "running", "clip": 1.1, "missing_eos_penalty": 0.4},
        "sampling": {"temperature": 0.7},
        "update": {"entropy_coefficient": 0.05, "clip_high": 0.3, "clip": 0.05},
    },
    "rloo": {"advantage": {"estimator": "rloo"}, "kl": {"coefficient": 0.3}},
    "grpo": {"advantage": {"estimator": "grpo"}, "sampling": {"temperature": 0.7}, "update": {"clip_high": 0.28}},
    "dapo": {
        "advantage": {"estimator": "grpo", "whiten": True},
        "kl": {"coefficient": 0.1},
        "update": {"mean_over": "tokens", "entropy_coefficient": 0.05},
    },
}


@pytest.mark.parametrize(("name", "budget"), [(name, 40 if name == "all at once" else 100_000) for name in VARIANTS])
def test_every_number_of_an_iteration_is_the_slow_loops(name, budget, tiny_llama, tmp_path):
    more = VARIANTS[name]
    with steersman.open_ppo(
        model=tiny_llama,
        prompts=PROMPTS,
        reward=count_vowels,
        out=tmp_path / "run",
        iterations=4,
        prompts_per_iteration=12 // (samples := 3 if name == "rloo" else 2),
        samples_per_prompt=samples,
        **{key: value for key, value in more.items() if key not in ("update", "sampling")},
        update={"epochs": 2, "minibatches": 2, **more.get("update", {})},
        sampling={"max_new_tokens": 8, **more.get("sampling", {})},
        optimiser={"learning_rate": 1e-3, "epsilon": 1e-2, "max_grad_norm": 0.5, "schedule": "linear", "warmup": 0},
        **{"prompts.held_out": "none", "run.device": "cpu", "run.threads": 1},
        compute={"kernels": "default", "tokens_per_micro_batch": budget},
    ) as run:
        backbone, head = run.actors.backbone, run.actors.value_head
        with torch.no_grad():
            # The iteration is not the first one: the policy has left the reference, and values are not 0.
            for parameter in backbone.parameters():
                parameter.add_(0.01 * torch.randn_like(parameter))
            if head is not None:
                head.weight.normal_(0, 0.1)
                head.bias.fill_(0.2)
        run.parts.engine.refresh(1)  # pyright: ignore[reportAttributeAccessIssue]
        reference = AutoModelForCausalLM.from_pretrained(tiny_llama)
        weights = (None, None) if head is None else (head.weight, head.bias)
        plain = PlainPpo(backbone.hf, reference, *weights, run.settings)
        done = iterate(run.parts, run.settings, run.memory)
        samples = [one.scored.sample for one in done.experience]
        assert any(sample.rollout.finish_reason == "length" for sample in samples)
        raw = [count_vowels(sample.text) for sample in samples]
        ours = plain.experience(samples, raw, beta=run.settings.kl.coefficient)
        for one, expected in zip(done.experience, ours, strict=True):
            assert one.scored.score == pytest.approx(expected.score, abs=1e-6)
            columns = {
                "log_probs": (one.scored.old_log_probs, expected.log_probs),
                "engine": (one.scored.sample.rollout.log_probs, expected.log_probs),
                "reference": (one.scored.reference_log_probs, expected.reference),
                "kl": (one.scored.kl, expected.kl),
                "values": (torch.zeros(one.tokens) if head is None else one.scored.values, expected.values),
                "rewards": (one.rewards, expected.rewards),
                "advantages": (one.advantages, expected.advantages),
                "returns": (one.returns, expected.returns),
            }
            for column, (seen, wanted) in columns.items():
                assert seen.tolist() == pytest.approx(wanted, abs=2e-4), column
        parts = [
            [ours[i] for i in members]
            for epoch in range(2)
            for members in minibatches(12, run.settings.update, seed=0, iteration=0, epoch=epoch)
        ]
        assert sorted(map(len, parts)) == [6, 6, 6, 6]
        told = plain.learn(parts, rate=1e-3)
        for term, value in done.stats.terms.items():
            assert value == pytest.approx(sum(step[term] for step in told) / 4, abs=2e-4), term
        assert done.stats.gradient_norm == pytest.approx(sum(step["norm"] for step in told) / 4, rel=1e-3)
        assert max(step["norm"] for step in told) > 0.5, "the norm is really clipped here"
        start = dict(reference.named_parameters())
        for (key, seen), wanted in zip(backbone.hf.named_parameters(), plain.policy.parameters(), strict=True):
            assert (seen - wanted).abs().max().item() < 3e-5, key
            assert (seen - start[key]).abs().max().item() > 1e-4, key
        assert (head is None) == (run.settings.advantage.estimator != "gae")
        if head is not None:
            assert torch.allclose(head.weight, plain.weight, atol=3e-5)
            assert head.bias.item() == pytest.approx(plain.bias.item(), abs=3e-5)  # pyright: ignore
        assert json.dumps(done.row), "the journal row is plain numbers"
