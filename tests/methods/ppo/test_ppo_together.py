"""Shares of prompts and answers put together again, in one process after the other: what the real thing does at once is
tested in tests/parallel/test_two_ppo_processes.py."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import nn

from steersman.errors import DataError
from steersman.methods.ppo.distributed import DistributedEngine, DistributedScorer
from steersman.models.backbone import Backbone
from steersman.models.loading import load_causal
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.scorer import Score
from steersman.rollout.engine import Sampling
from steersman.rollout.native import NativeEngine
from steersman.rollout.request import Ending


class Told(Exception):  # noqa: N818
    """What a process would tell the others."""


@dataclass(frozen=True)
class Heard(World):
    """A world in which all have told their share already, or (None) this process is about to."""

    others: list[Any] | None = None

    def together(self, what: str, work: Callable[[], Any]) -> list[Any]:
        if self.others is None:
            raise Told(work())
        return self.others


class Lengths:
    name = "lengths"

    def __init__(self) -> None:
        self.asked: list[int] = []

    def score(self, items):
        self.asked.append(len(items))
        return [Score(float(len(text))) for _, text in items]


def in_turn(size: int, call: Callable[[World], Any]) -> tuple[list[Any], list[Any]]:
    """Each process's share, and what each makes of all of them."""
    told: list[Any] = []
    for rank in range(size):
        with pytest.raises(Told) as seen:
            call(Heard(rank, size, torch.device("cpu"), None, others=None))
        told.append(seen.value.args[0])
    return told, [call(Heard(rank, size, torch.device("cpu"), None, others=told)) for rank in range(size)]


@pytest.mark.parametrize(("answers", "size"), [(7, 2), (6, 3), (2, 4)])
def test_scores_come_back_in_the_order_of_the_answers(answers, size):
    items = [(Prompt(text="?"), "a" * n) for n in range(answers)]
    scorer = Lengths()
    told, found = in_turn(size, lambda world: DistributedScorer(scorer, world).score(items))
    assert sum(len(share) for share in told) == answers
    for every in found:
        assert [score.value for score in every] == [float(n) for n in range(answers)]
    assert 0 not in scorer.asked, "a scorer is not asked about nothing"


def test_a_scorer_that_gives_too_few_scores_is_named():
    class Forgetful(Lengths):
        def score(self, items):
            return super().score(items)[1:]

    items = [(Prompt(text="?"), "a")] * 3
    with pytest.raises(DataError, match="'lengths' gave 2 scores for 3 answers"):
        DistributedScorer(Forgetful(), World.alone()).score(items)


@pytest.mark.parametrize("size", [2, 5])
def test_shares_of_prompts_make_the_answers_of_one_engine(size, tiny_llama):
    backbone = load_causal(tiny_llama, dtype=torch.float32, device="cpu")
    prompts = [(5, 6, 7), (8, 9), (10,)]
    sampling = Sampling(6, 1.0)
    seeds = [11, 12, 13, 14, 15, 16]
    plain = NativeEngine(backbone, Ending((2,))).generate(prompts, sampling, samples=2, seeds=seeds)
    heard: set[tuple[int, int]] = set()

    def generate(world: World):
        engine = DistributedEngine(NativeEngine(backbone, Ending((2,))), backbone, world)
        return engine.generate(
            prompts, sampling, samples=2, seeds=seeds, on_token=lambda p, n, token, log_prob: heard.add((p, n))
        )

    _, found = in_turn(size, generate)
    for every in found:
        assert [(one.prompt, one.sample, one.ids, one.seed) for one in every] == [
            (one.prompt, one.sample, one.ids, one.seed) for one in plain
        ]
    assert heard == {(p, n) for p in range(3) for n in range(2)}


def test_no_prompts_at_all_are_refused_in_every_process(tiny_llama):
    backbone = load_causal(tiny_llama, dtype=torch.float32, device="cpu")
    engine = DistributedEngine(NativeEngine(backbone, Ending((2,))), backbone, World.alone())
    with pytest.raises(DataError, match="there are no prompts to answer"):
        engine.generate([], Sampling(4, 1.0), seeds=0)


def test_alone_an_error_is_the_error_itself():
    def fails() -> int:
        raise KeyError("mine")

    assert World.alone().exchange((1, "a")) == [(1, "a")]
    assert World.alone().together("adding", lambda: 3) == [3]
    with pytest.raises(KeyError, match="mine"):
        World.alone().together("adding", fails)


def test_its_version_is_that_of_the_weights_that_were_gathered_last():
    inner: Any = Mock(spec=NativeEngine, version=0, backbone=SimpleNamespace(hf=nn.Linear(1, 1)))
    inner.refresh = lambda version: setattr(inner, "version", version)
    learning = Mock(spec=Backbone, hf=nn.Linear(1, 1))
    engine = DistributedEngine(inner, learning, World.alone())
    assert engine.version == 0
    engine.refresh(7)
    assert engine.version == 7
    assert torch.equal(inner.backbone.hf.weight, learning.hf.weight)
