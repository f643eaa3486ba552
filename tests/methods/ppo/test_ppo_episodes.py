"""Episodes of several turns on a task that can be enumerated: a token, the environment's reply, a second token.

The reply is a token that depends on the first; the score depends on both turns. The optimum over both tokens is known:
log sum ref(a) ref(b | a, reply) exp(r / beta)."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_ppo_loop import FEW
from torch import Tensor
from toy import PROMPT, KeepsNothing, Problem, Tabular, ToyLanguage, run_toy, toy_settings

from steersman.errors import DataError, SteersmanError, UsageError
from steersman.methods.ppo.episodes import Playing, play
from steersman.parallel.world import World
from steersman.records import Prompt
from steersman.reward.environment import EnvironmentScorer, begin
from steersman.rollout.batch import Rollout, RolloutBatch
from steersman.rollout.engine import Sampling

V = 4


def reply_to(first: int) -> int:
    return (first + 1) % V


class Game:
    """Two turns of one token each; `scores[a][b]` is the score."""

    scores = torch.randn(V, V, generator=torch.Generator().manual_seed(1)).tolist()

    def reset(self) -> None:
        self.first: int | None = None

    def step(self, text: str) -> str | float:
        if self.first is None:
            self.first = int(text)
            return str(reply_to(self.first))
        return self.scores[self.first][int(text)]


class TurnEngine:
    """One token after the prompt and whatever followed it, from the table of the toy."""

    version = 0

    def __init__(self, actors: Tabular) -> None:
        self.actors = actors
        self.asked: list[list[Sequence[int]]] = []

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling, *, samples: int = 1, seeds: Any, **_: Any):
        self.asked.append(list(prompts))
        found = list[Rollout]()
        for i, prompt in enumerate(prompts):
            before = torch.tensor([*prompt[len(PROMPT) :], 0])[None]
            where = int(self.actors.problem.prefix_index(before)[0, -1])
            steps = self.actors.logits[where].detach().log_softmax(-1)
            generator = torch.Generator().manual_seed(seeds[i] % 2**62)
            token = int(torch.multinomial(steps.exp(), 1, generator=generator))
            log_probs = steps[token : token + 1]
            found.append(Rollout(i, 0, tuple(prompt), (token,), log_probs, log_probs, "length", seeds[i], 0))
        return RolloutBatch.of(found)

    def load_weights(self, state: Any, version: int) -> None:
        raise AssertionError


def playing(make: Any = Game, *, unfinished: float | None = 0.0, max_turns: int = 2) -> Playing:
    return Playing(make, max_turns, unfinished, World.alone())


def episodes(count: int = 3, **options: Any) -> list:
    actors = Tabular(Problem(V, 3, 0))
    asked = Prompt(text="?")
    return play([asked], TurnEngine(actors), ToyLanguage(), playing(**options), Sampling(1, 1.0), [list(range(count))])


def test_an_observation_stands_between_the_turns_and_is_no_target():
    for one in episodes():
        first, second = one.rollout.ids
        assert one.row.ids.tolist() == [*PROMPT, first, reply_to(first), second]
        assert one.row.loss_mask.tolist() == [False, False, True, False, True]
        assert one.text == f"{first}\n[observation] {reply_to(first)}\n{second}"
        assert [one.text[a:b] for a, b in one.offsets] == [str(first), str(second)]
        assert (one.turns, one.lengths, len(one.rollout.log_probs)) == (2, (5,), 2)
        assert one.given_score.value == pytest.approx(Game.scores[first][second])


def test_an_episode_that_does_not_end_is_cut_off_and_has_the_unfinished_score():
    for one in episodes(unfinished=-3.0, max_turns=1):
        assert one.row.loss_mask.tolist() == [False, False, True]
        assert one.rollout.finish_reason == "length"
        assert one.given_score.value == -3.0


def test_a_finished_episode_is_asked_no_more():
    class Once(Game):
        def step(self, text: str) -> str | float:
            return 1.0 if text == "0" else super().step(text)

    found = episodes(32, make=Once)
    assert {one.turns for one in found} == {1, 2}
    assert all((one.rollout.ids[0] == 0) == (one.turns == 1) for one in found)


def test_when_all_have_ended_no_turn_is_asked():
    class AtOnce(Game):
        def step(self, text: str) -> float:
            return 2.0

    engine = TurnEngine(Tabular(Problem(V, 3, 0)))
    asked, options = [Prompt(text="?")] * 2, playing(AtOnce, max_turns=5)
    found = play(asked, engine, ToyLanguage(), options, Sampling(1, 1.0), [[1, 2], [3]])
    assert [len(prompts) for prompts in engine.asked] == [3]
    assert [(one.turns, one.given_score.value) for one in found] == [(1, 2.0)] * 3
    assert [(one.rollout.prompt, one.rollout.seed) for one in found] == [(0, 1), (0, 2), (1, 3)]


class Wrong(Game):
    reply: Any = None

    def step(self, text: str) -> Any:
        if isinstance(self.reply, Exception):
            raise self.reply
        return self.reply


@pytest.mark.parametrize(
    ("reply", "unfinished", "error", "message"),
    [
        (None, 0.0, UsageError, "ended an episode with None"),
        (1.0, None, UsageError, "another scorer is set"),
        (float("nan"), 0.0, DataError, "step returned nan"),
        ({"reward": 1}, 0.0, DataError, "expected a text"),
        (KeyError("x"), 0.0, SteersmanError, "step raised KeyError"),
    ],
)
def test_a_wrong_reply_is_said(reply, unfinished, error, message):
    with pytest.raises(error, match=message):
        episodes(make=type("Replying", (Wrong,), {"reply": reply}), unfinished=unfinished)


def test_an_environment_that_is_none_is_said():
    with pytest.raises(UsageError, match="a list has not both"):
        begin(list, Prompt(text="?"))  # type: ignore[arg-type]

    class Asks(Game):
        def reset(self, secret: str) -> None: ...

    with pytest.raises(UsageError, match="reset takes 'secret'; expected arguments among prompt"):
        begin(Asks, Prompt(text="?"))
    with pytest.raises(UsageError, match="these answers come from none"):
        EnvironmentScorer().score([])


def test_reset_is_given_what_it_names():
    seen: dict[str, Any] = {}

    class Sees(Game):
        def reset(self, prompt: str, metadata: dict[str, Any]) -> None:
            seen.update(prompt=prompt, secret=metadata["secret"])

    begin(Sees, Prompt(text="Guess.", metadata={"secret": "7"}))
    assert seen == {"prompt": "Guess.", "secret": "7"}


def both_turns(problem: Problem, logits: Tensor) -> Tensor:
    """log-probs of every pair of turns, [first, second]."""
    first = torch.arange(V)
    start = problem.prefix_index(torch.zeros(1, 1, dtype=torch.long))[0, 0]
    rows = torch.stack([first, torch.tensor([reply_to(int(a)) for a in first]), torch.zeros(V, dtype=torch.long)], 1)
    seconds = problem.prefix_index(rows)[:, -1]
    steps = logits.detach().double().log_softmax(-1)
    return steps[start][:, None] + steps[seconds]


def learn(estimator: str, iterations: int, **more: Any) -> tuple[float, list[dict[str, Any]], Tabular]:
    """J / J*, the journal and the policy."""
    problem, keeper, beta = Problem(V, 3, 0), KeepsNothing(), 1.0
    actors = Tabular(problem, critic=estimator == "gae")
    groups = {"advantage": {"estimator": estimator}, "update": {**FEW, "value_coefficient": 1.0}, **more}
    if estimator != "gae":
        groups["update"] = FEW
    settings = toy_settings(problem, iterations=iterations, batch=96, beta=beta, **groups)
    run_toy(
        problem,
        settings,
        actors,
        TurnEngine(actors),
        learning_rate=0.06,
        value_rate=0.06,
        keeper=keeper,
        environment=playing(),
        scorer=EnvironmentScorer(),
    )
    reference, found = both_turns(problem, problem.reference_logits), both_turns(problem, actors.logits)
    scores = torch.tensor(Game.scores, dtype=torch.float64)
    best = float(beta * torch.logsumexp((reference + scores / beta).flatten(), 0))
    start = float((reference.exp() * scores).sum())
    reached = float((found.exp() * (scores - beta * (found - reference))).sum())
    return (reached - start) / (best - start), keeper.rows, actors


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["gae", "rloo"])
def test_ppo_and_rloo_reach_the_optimum_over_both_turns(estimator):
    share, rows, actors = learn(estimator, 40)
    print(f"\n{estimator}: (J - J_ref) / (J* - J_ref) {share:.4f}")
    assert share > 0.95
    assert rows[0]["ratio from 1, first minibatch"] < 1e-6
    assert [rows[0]["turns"], rows[0]["answer length"]] == [2.0, 2.0]
    # the policy never learned to say the environment's replies: states in which they stand were not touched
    problem = actors.problem
    before_reply = problem.prefix_index(torch.tensor([[a, 0] for a in range(V)]))[:, -1]
    assert torch.equal(actors.logits.detach()[before_reply], problem.reference_logits[before_reply])


def test_the_same_seeds_play_the_same_episodes():
    assert [one.text for one in episodes()] == [one.text for one in episodes()]
    assert len({one.text for one in episodes(16)}) > 4


def test_each_process_asks_every_nth_environment():
    asked = {0: list[int](), 1: list[int]()}

    class Pair(World):
        """Two processes in turn: what one finds, both get."""

        def together(self, what: str, work: Any) -> list[Any]:
            return [replace_rank(rank, work) for rank in (0, 1)]

    def replace_rank(rank: int, work: Any) -> Any:
        object.__setattr__(world, "rank", rank)
        found = work()
        asked[rank] += list(found)
        return found

    world = Pair(**{**vars(World.alone()), "size": 2})
    actors = Tabular(Problem(V, 3, 0))
    found = play(
        [Prompt(text="?")],
        TurnEngine(actors),
        ToyLanguage(),
        replace(playing(), world=world),
        Sampling(1, 1.0),
        [list(range(5))],
    )
    assert asked == {0: [0, 2, 4] * 2, 1: [1, 3] * 2}
    assert [one.text for one in found] == [one.text for one in episodes(5)]
