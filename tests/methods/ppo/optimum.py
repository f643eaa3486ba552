"""What PPO reaches on the enumerable task, in numbers: python optimum.py table '{"beta": 1.0, "number": 0, ...}'

In a process of its own, since checking every annotation at run time makes these runs four times slower.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from forked import run_script
from toy import KeepsNothing, Problem, Tabular, TabularEngine, policy_log_probs, run_toy, toy_settings, transformer

TABLE = {"epochs": 4, "minibatches": 1, "value_coefficient": 1.0}
NO_CRITIC = {"epochs": 4, "minibatches": 1}
MODEL = {"epochs": 2, "minibatches": 2, "value_clip": None}


def reached(problem: Problem, actors: Any, beta: float) -> tuple[float, float, float]:
    """J / J*, KL and KL*."""
    best, best_kl, _ = problem.optimum(beta)
    found, kl = problem.judge(policy_log_probs(problem, actors), beta)
    return found / best, kl, best_kl


def learn_table(
    beta: float,
    *,
    number: int,
    seed: int,
    iterations: int,
    answers: int = 512,
    size: tuple[int, int] = (6, 5),
    kl: dict[str, Any] | None = None,
) -> tuple[float, float, float]:
    """`size`: tokens of the vocabulary, tokens of an answer."""
    problem = Problem(*size, number)
    actors = Tabular(problem)
    settings = toy_settings(
        problem, iterations=iterations, batch=answers, beta=beta, seed=seed, update=TABLE, **({"kl": kl} if kl else {})
    )
    run_toy(problem, settings, actors, TabularEngine(actors), learning_rate=0.03, value_rate=0.03)
    return reached(problem, actors, beta)


def learn_without_critic(
    beta: float,
    *,
    estimator: str,
    number: int,
    seed: int,
    iterations: int,
    answers: int,
    size: tuple[int, int] = (6, 5),
    kl: dict[str, Any] | None = None,
    update: dict[str, Any] | None = None,
) -> tuple[float, float, float]:
    """512 answers an iteration, in groups of `answers`."""
    problem = Problem(*size, number)
    actors = Tabular(problem, critic=False)
    groups: dict[str, Any] = {"advantage": {"estimator": estimator}, "update": {**NO_CRITIC, **(update or {})}}
    groups |= {"kl": kl} if kl else {}
    groups |= {"prompts_per_iteration": 512 // answers, "samples_per_prompt": answers}
    settings = toy_settings(problem, iterations=iterations, batch=answers, beta=beta, seed=seed, **groups)
    run_toy(problem, settings, actors, TabularEngine(actors), learning_rate=0.03, value_rate=0.03)
    return reached(problem, actors, beta)


def learn_model(
    beta: float, *, number: int, seed: int, folder: Path, iterations: int = 200
) -> tuple[float, float, float]:
    problem, actors, engine = transformer(4, 4, number, folder)
    settings = toy_settings(problem, iterations=iterations, batch=512, beta=beta, seed=seed, update=MODEL)
    keeper = KeepsNothing()
    run_toy(problem, settings, actors, engine, learning_rate=2e-3, value_rate=2e-3, keeper=keeper)
    assert abs(keeper.rows[0]["KL to reference"]) < 1e-5
    assert all(row["ratio from 1, first minibatch"] < 1e-4 for row in keeper.rows)
    assert all(row["engine mismatch"] < 1e-4 for row in keeper.rows)
    return reached(problem, actors, beta)


def steered(factor: float, *, target: float, iterations: int = 100) -> tuple[float, float, float]:
    """KL and beta over the last 20 iterations of the adaptive controller at its defaults, begun at `factor` times the
    beta whose optimum is `target` nats away; and that beta."""
    problem = Problem(5, 4, 0)
    low, high = 1e-2, 10.0
    for _ in range(40):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if problem.optimum(middle)[1] > target else (low, middle)
    actors, keeper = Tabular(problem), KeepsNothing()
    kl = {"controller": "adaptive", "target": target}
    settings = toy_settings(problem, iterations=iterations, batch=256, beta=factor * low, update=TABLE, kl=kl)
    run_toy(problem, settings, actors, TabularEngine(actors), learning_rate=0.1, value_rate=0.1, keeper=keeper)
    last = keeper.rows[-20:]
    return sum(row["KL to reference"] for row in last) / 20, sum(row["KL coefficient"] for row in last) / 20, low


def apart(kind: str, **arguments: Any) -> tuple[float, float, float]:
    """The three numbers of a run in a process of its own: J / J*, KL and KL*, or what `steered` returns."""
    done = run_script(Path(__file__), kind, json.dumps(arguments), timeout=3600)
    assert done.returncode == 0, done.stderr[-3000:]
    share, kl, best_kl = json.loads(done.stdout.splitlines()[-1])
    return share, kl, best_kl


if __name__ == "__main__":
    kind, arguments = sys.argv[1], json.loads(sys.argv[2])
    by_name = {"table": learn_table, "without critic": learn_without_critic, "steered": steered}
    if kind in by_name:
        print(json.dumps(by_name[kind](**arguments)))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            print(json.dumps(learn_model(**arguments, folder=Path(scratch))))
