"""Online DPO on the enumerable task, by its own pairs and objective and the real learner: with soft labels it reaches
the optimum of PPO, with hard ones it goes past it."""

import json
import sys
from pathlib import Path

import pytest
import torch
from forked import run_script
from test_dpo_optimum import CPU, Policy
from toy import PROMPT, Problem, TabularEngine, ToyLanguage, ToyScorer, policy_log_probs

from steersman.methods.dpo import DirectPreference, JudgedBatch, JudgedGroup, collate
from steersman.methods.online_dpo import judged_pairs
from steersman.methods.ppo.collect import Asking, collect
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.rollout.engine import Sampling
from steersman.settings.base import check
from steersman.settings.dpo import OnlineDpoSettings
from steersman.train.core import Learner
from steersman.train.optim import Optimisation
from steersman.train.plan import Batching
from steersman.train.precision import autocast


def learned(beta: float, *, number: int = 0, steps: int = 150, prompts: int = 64, **more: object) -> float:
    """J / J* after online DPO with two answers per prompt."""
    problem = Problem(4, 3, number)
    settings = check(
        OnlineDpoSettings,
        {
            "model": {"path": "x"},
            "prompts": {"source": "y"},
            "scorer": {"path": "z"},
            "run": {"out": "o"},
            "beta": beta,
            **more,
        },
    )
    policy, scorer, language = Policy(problem, critic=False), ToyScorer(problem), ToyLanguage()
    engine, each = TabularEngine(policy), settings.samples_per_prompt
    reference = Policy(problem, critic=False)
    learner: Learner[JudgedGroup, JudgedBatch] = Learner(
        policy,
        Optimisation(
            torch.optim.Adam(policy.parameters(), lr=0.05), rate_at=lambda step: 1 - step / steps, max_grad_norm=1e9
        ),
        Batching(lambda units: collate(units, pad_id=0, device=CPU), 10**6),
        World.alone(),
        precision=autocast("fp32", CPU),
        notice=print,
    )
    asking = Asking(Sampling(problem.length, 1.0), each, 0, "train")
    for step in range(steps):
        samples = collect([Prompt(text="?")] * prompts, engine, language, asking, iteration=step)
        scores = [score.value for score in scorer.score([(one.prompt, one.text) for one in samples])]
        groups = [pair.group for pair in judged_pairs(samples, scores, each=each, labels=settings.labels)]
        rows = [row.ids[len(PROMPT) :] for group in groups for row in group.rows]
        ids = torch.stack(rows)
        steps_of = reference.logits.log_softmax(-1)[problem.prefix_index(ids)].detach()
        there = steps_of.gather(-1, ids[..., None])[..., 0].view(len(groups), -1)
        learner.step([JudgedGroup(*one) for one in zip(groups, there, strict=True)], DirectPreference(settings))
    return problem.judge(policy_log_probs(problem, policy), beta)[0] / problem.optimum(beta)[0]


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_by_default_online_dpo_reaches_the_optimum_of_the_task(beta):
    share = apart(beta)
    print(f"\nbeta {beta}: J/J* {share:.3f}")
    assert share >= 0.95


@pytest.mark.soak
def test_hard_labels_have_no_finite_optimum():
    share = apart(1.0, labels="hard")
    print(f"\nhard labels: J/J* {share:.3f}")
    assert share < 0.8


def apart(beta: float, **more: object) -> float:
    done = run_script(Path(__file__), json.dumps({"beta": beta, **more}), timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    print(json.dumps(learned(**json.loads(sys.argv[1]))))
