"""ILQL finds shortest paths that no walk of its data need have shown whole (the random-walks task of trlX: 21 nodes,
1,000 walks of at most 10 nodes, the reward being how near to the shortest a walk is)."""

import itertools
import random
from collections import deque
from pathlib import Path

import pytest
import torch

from steersman.batches import RewardedRow, TokenRow
from steersman.execution.learner import learner_of
from steersman.methods.ilql import QLearning, collate
from steersman.models.loading import load_causal
from steersman.models.q_heads import Guide, QModel, heads_for
from steersman.parallel.world import World
from steersman.rollout.engine import Sampling
from steersman.rollout.native import NativeEngine
from steersman.rollout.request import Ending
from steersman.settings.base import check
from steersman.settings.ilql import IlqlSettings
from steersman.train.plan import Batching

NODES, LONGEST, GOAL = 21, 10, 0
CPU = torch.device("cpu")


class Graph:
    """Random edges, one way each; every node reaches the goal within a walk's length."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(seed)
        while True:
            self.next = [
                [there for there in range(NODES) if there != here and draw.random() < 0.12] for here in range(NODES)
            ]
            self.steps = self._steps_to_goal()
            if all(steps is not None and steps < LONGEST for steps in self.steps) and all(self.next):
                return

    def _steps_to_goal(self) -> list[int | None]:
        found: list[int | None] = [None] * NODES
        found[GOAL], waiting = 0, deque([GOAL])
        while waiting:
            there = waiting.popleft()
            for here in range(NODES):
                if there in self.next[here] and found[here] is None:
                    found[here] = found[there] + 1  # type: ignore[operator]
                    waiting.append(here)
        return found

    def walk(self, draw: random.Random) -> list[int]:
        walk = [draw.randrange(1, NODES)]
        while walk[-1] != GOAL and len(walk) < LONGEST:
            walk.append(draw.choice(self.next[walk[-1]]))
        return walk

    def optimality(self, walk: list[int]) -> float:
        """1 for a shortest walk to the goal, 0 for one that does not get there or takes an edge that is not there."""
        real = all(there in self.next[here] for here, there in itertools.pairwise(walk))
        if not real or walk[-1] != GOAL:
            return 0.0
        shortest = self.steps[walk[0]]
        assert shortest is not None
        return (LONGEST - (len(walk) - 1)) / (LONGEST - shortest)


def small_llama(folder: Path):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=NODES,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=16,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return load_causal(folder, dtype=torch.float32, device="cpu")


def learned(graph: Graph, folder: Path, seed: int, *, steps: int = 500) -> tuple[QModel, list[float]]:
    draw = random.Random(seed)
    walks = [graph.walk(draw) for _ in range(1000)]
    rows: list[RewardedRow] = []
    for walk in walks:
        ids, rewards = torch.tensor(walk), torch.zeros(len(walk) - 1)
        rewards[-1] = graph.optimality(walk)
        rows.append(RewardedRow(TokenRow(ids, torch.arange(len(ids)) >= 1), rewards))
    groups = {
        "model": {"path": "x"},
        "data": {"source": "y"},
        "run": {"out": "z"},
        "optimiser": {"learning_rate": 2e-3, "schedule": "linear"},
    }
    settings = check(IlqlSettings, {**groups, "expectile": 0.8, "polyak": 0.1, "conservative": 0.03})
    backbone = small_llama(folder)
    model = QModel(backbone, heads_for(backbone))
    learner = learner_of(
        model,
        settings.optimiser,
        Batching(lambda units: collate(units, pad_id=0, device=CPU), 4096),
        steps=steps,
        world=World.alone(),
        precision="fp32",
        notice=print,
    )
    learner.optimiser.register_step_post_hook(lambda *_: model.heads.update_targets(settings.polyak))
    objective = QLearning(settings)
    for _ in range(steps):
        learner.step(draw.sample(rows, 100), objective)
    return model, [graph.optimality(walk) for walk in walks]


def score(graph: Graph, model: QModel, *, beta: float, temperature: float, samples: int) -> float:
    engine = NativeEngine(model.backbone, Ending((GOAL,)), guide=Guide(model.heads, beta))
    prompts = [[start] for start in range(1, NODES)]
    answers = engine.generate(prompts, Sampling(LONGEST - 1, temperature), samples=samples, seeds=5)
    found = [graph.optimality([*answer.prompt_ids, *answer.ids]) for answer in answers]
    return sum(found) / len(found)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_walks_that_lean_on_q_are_the_shortest(seed, tmp_path):
    graph = Graph(seed)
    model, seen = learned(graph, tmp_path, seed)
    mean = sum(seen) / len(seen)
    imitated = score(graph, model, beta=0.0, temperature=1.0, samples=16)
    likeliest = score(graph, model, beta=0.0, temperature=0.0, samples=1)
    leaning = score(graph, model, beta=100.0, temperature=1.0, samples=16)
    best = score(graph, model, beta=100.0, temperature=0.0, samples=1)
    print(
        f"\nseed {seed}: data {mean:.3f}; beta 0 {imitated:.3f}, greedy {likeliest:.3f}; beta 100 {leaning:.3f}, "
        f"greedy {best:.3f}"
    )
    assert leaning >= 0.95
    assert best >= 0.95
    # imitation does as the data do
    assert abs(imitated - mean) < 0.12
    assert leaning > max(imitated, likeliest) + 0.1
