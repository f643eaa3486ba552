"""`compute.offload` in whole runs: what is where in each stage, the same bits as without, and a run that was stopped
goes on.

Without a GPU nothing would leave the device. Here the processor's memory is taken for one that something can leave:
models and moments then move between two places in it, by the same steps as to a GPU and back."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import steersman
from steersman.errors import UsageError
from steersman.execution.machine import planned_device
from steersman.methods.ppo import offload
from steersman.methods.ppo.loop import iterate
from steersman.methods.ppo.offload import Offload
from steersman.methods.ppo.roles import ModelActors
from steersman.models.backbone import Backbone
from steersman.models.loading import load_causal
from steersman.models.offloaded import Offloaded
from steersman.models.reward_model import Scale, new_reward_model, save_reward_model
from steersman.models.tiny import write_tiny_model
from steersman.parallel.world import World
from steersman.reward.function import FunctionScorer
from steersman.reward.model import open_reward_scorer
from steersman.rollout.native import NativeEngine
from steersman.runs.checkpoints import CheckpointStore
from steersman.runs.journal import read_rows
from steersman.settings.base import load_settings
from steersman.settings.ppo import PpoComputeSettings, PpoSettings
from steersman.text.tokeniser import load_tokeniser

ALL = ["reference", "scorer", "critic", "optimiser"]
PROMPTS = ["What is a dog?", "I like cricket.", "Why is exercise good?", "Hello", "So it is", "Tell me a story."]


@pytest.fixture(scope="module")
def judges(tmp_path_factory) -> list[str]:
    """Two reward models that know nothing and agree on nothing."""
    root = tmp_path_factory.mktemp("judges")
    found: list[str] = []
    for seed in (5, 6):
        base = write_tiny_model(root / f"base-{seed}", "llama", seed=seed)
        model = new_reward_model(load_causal(base, dtype=torch.float32, device="cpu"))
        model.scale = Scale(mean=0.0, std=1.0)
        found.append(str(save_reward_model(model, load_tokeniser(base), root / str(seed))))
    return found


@pytest.fixture
def arguments(tiny, judges, tmp_path) -> Callable[..., dict]:
    def make(out: str, wished: list[str], **more) -> dict:
        return {
            "model": str(tiny("llama")),
            "prompts": PROMPTS,
            "reward": judges[0],
            "out": str(tmp_path / out),
            "layout": "separate",
            "iterations": 4,
            "prompts_per_iteration": 4,
            "sampling": {"max_new_tokens": 6},
            "update": {"epochs": 1, "minibatches": 2},
            "optimiser": {"learning_rate": 1e-3},
            "compute": {"kernels": "default", "tokens_per_micro_batch": 60, "offload": wished},
            "run": {"device": "cpu", "threads": 1, "checkpoint_every": 1},
            "evaluation": {"every": 2, "prompts": 2},
            "keep": "best",
            "prompts.held_out": 0.2,
            **more,
        }

    return make


@pytest.fixture
def as_if_on_a_gpu(monkeypatch):
    monkeypatch.setattr(offload, "has_its_own_memory", lambda device: True)


def addresses(module: nn.Module) -> set[int]:
    return {tensor.data_ptr() for tensor in (*module.parameters(), *module.buffers())}


def moments_of(run) -> set[int]:
    return {value.data_ptr() for state in run.parts.learner.optimiser.state.values() for value in state.values()}


class Spy:
    """What was on the device whenever something computed."""

    def __init__(self) -> None:
        self.homes: dict[str, tuple[nn.Module, set[int]]] = {}
        self.seen: dict[str, set[tuple[str, ...]]] = {}
        self.moments: dict[str, set[int]] = {}

    def knows(self, name: str, module: nn.Module | None) -> None:
        """The module is at home now."""
        assert module is not None
        self.homes[name] = (module, addresses(module))

    def looks(self, event: str) -> None:
        here: list[str] = []
        for name, (module, home) in self.homes.items():
            now = addresses(module)
            assert now == home or not now & home, f"{name} is half at home during {event}"
            here += [] if now == home else [name]
        self.seen.setdefault(event, set()).add(tuple(here))

    def name_of(self, module: nn.Module) -> str | None:
        return next((name for name, (known, _) in self.homes.items() if known is module), None)


@pytest.mark.slow
def test_everything_is_on_the_device_in_its_own_stage_and_at_home_in_the_others(
    arguments, judges, as_if_on_a_gpu, monkeypatch
):
    spy, scorers = Spy(), []
    usual_open, hidden, generate, step = (
        offload.models_of,
        Backbone.hidden,
        NativeEngine.generate,
        torch.optim.AdamW.step,
    )
    monkeypatch.setattr(offload, "models_of", lambda scorer: scorers.append(usual_open(scorer)) or scorers[-1])
    second = {"held_out_scorer": {"path": judges[1]}, "held_out_every": 1}
    with steersman.open_ppo(**arguments("run", ALL, watch=second, iterations=3)) as run:
        spy.knows("reference", run.actors.frozen)
        spy.knows("critic", run.actors.critic)
        assert len(scorers) == 2
        spy.knows("held-out scorer", scorers[0][1])
        spy.knows("scorer", scorers[1][1])

        def moments() -> set[int]:
            return moments_of(run)

        def spied_hidden(self, *given, **more):
            spy.looks(f"hidden of {spy.name_of(self)}")
            return hidden(self, *given, **more)

        def spied_generate(self, *given, **more):
            spy.looks("generate")
            at_home.append(moments())
            return generate(self, *given, **more)

        def spied_step(self, *given, **more):
            spy.looks("step")
            before = moments()
            found = step(self, *given, **more)
            stepping.append((before, moments()))
            return found

        at_home: list[set[int]] = []
        stepping: list[tuple[set[int], set[int]]] = []
        monkeypatch.setattr(Backbone, "hidden", spied_hidden)
        monkeypatch.setattr(NativeEngine, "generate", spied_generate)
        monkeypatch.setattr(torch.optim.AdamW, "step", spied_step)
        for _ in range(3):
            iterate(run.parts, run.settings, run.memory)
        monkeypatch.setattr(Backbone, "hidden", hidden)

    assert spy.seen["generate"] == {()}
    assert spy.seen["step"] == {("critic",)}
    assert spy.seen["hidden of scorer"] == {("scorer",)}
    assert spy.seen["hidden of held-out scorer"] == {("held-out scorer",)}
    assert spy.seen["hidden of reference"] == {("reference", "critic")}
    assert spy.seen["hidden of critic"] == {("reference", "critic"), ("critic",)}
    # The policy reads in both: to check the engine, and to learn.
    assert spy.seen["hidden of None"] == {("reference", "critic"), ("critic",)}
    # Adam's moments: made in the first update; at home, always in the same place, while answers are drawn
    assert len(at_home) == 3
    assert len(stepping) == 6
    assert not at_home[0]
    assert at_home[1]
    assert at_home[1] == at_home[2]
    later = [found for found in stepping if found[0] and found[0] == found[1]]
    assert len(later) >= 4
    assert all(not at_home[1] & now for _, now in later[-4:])


def journal(out: str | Path) -> list[dict]:
    rows, _ = read_rows(Path(out) / "journal.jsonl")
    numbers = [row for row in rows if "score" in row or "held-out score" in row]
    return [{k: v for k, v in row.items() if "second" not in k and k != "time"} for row in numbers]


def assert_the_same_bits(one: str | Path, other: str | Path, step: int) -> None:
    for file in ("weights.safetensors", "optimiser.safetensors", "generators.safetensors"):
        mine, theirs = (load_file(Path(out) / "checkpoints" / f"step-{step:06d}" / file) for out in (one, other))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine), file
    assert journal(one) == journal(other)


class StopsOnce:
    """A reward model in Python's hands that fails in the middle of a run, once."""

    name = "stops once"

    def __init__(self, folder: str, at: int) -> None:
        self._scorer, self._calls, self._at = open_reward_scorer(folder), 0, at

    def score(self, items):
        self._calls += 1
        if self._calls == self._at:
            raise RuntimeError("the power went")
        return self._scorer.score(items)

    def models(self) -> list[nn.Module]:
        return self._scorer.models()


@pytest.mark.slow
def test_a_run_gives_the_same_bits_and_one_that_stopped_while_parked_goes_on(
    arguments, judges, as_if_on_a_gpu, tmp_path
):
    plain = steersman.ppo(quiet=True, **arguments("plain", [], reward=StopsOnce(judges[0], at=0)))
    parked = steersman.ppo(quiet=True, **arguments("parked", ALL, reward=StopsOnce(judges[0], at=0)))
    assert_the_same_bits(plain.out, parked.out, 4)
    saved = [(Path(run.model) / "model.safetensors").read_bytes() for run in (plain, parked)]
    assert saved[0] == saved[1]
    for then in (ALL, []):
        out, reward = f"stopped-then-{len(then)}", StopsOnce(judges[0], at=5)
        with pytest.raises(RuntimeError, match="the power went"):
            steersman.ppo(quiet=True, **arguments(out, ALL, reward=reward))
        found = CheckpointStore(tmp_path / out / "checkpoints").latest()
        assert found is not None
        assert found.step == 2
        with steersman.open_ppo(**arguments(out, ALL, reward=reward)) as run:
            home = moments_of(run)
            with run.parts.learner.on_device():
                assert home
                assert not home & moments_of(run)
            assert moments_of(run) == home, "they went home as soon as they were loaded"
        resumed = steersman.ppo(quiet=True, **arguments(out, then, reward=reward))
        assert resumed.step == 4
        assert_the_same_bits(plain.out, resumed.out, 4)


@pytest.mark.slow
def test_without_a_critic_the_same(arguments, as_if_on_a_gpu):
    for name, more in {"rloo": {"layout": "shared"}, "grpo": {"layout": "adapters", "model.lora": {"rank": 4}}}.items():
        wished = ["scorer", "optimiser", *(["reference"] if more["layout"] == "shared" else [])]
        more |= {"advantage": {"estimator": name}, "samples_per_prompt": 2, "iterations": 2}
        plain, parked = (
            steersman.rloo(quiet=True, **arguments(f"{name}-{len(one)}", one, **more)) for one in ([], wished)
        )
        assert_the_same_bits(plain.out, parked.out, 2)


# ---------------------------------------------------------------- what makes no sense


def test_on_a_processor_it_is_said_that_nothing_leaves(arguments, tmp_path):
    with steersman.open_ppo(**arguments("run", ALL)) as run:
        home = addresses(run.actors.critic)
        with run.parts.forward.on_device(), run.parts.learner.on_device():
            assert addresses(run.actors.critic) == home
    rows, _ = read_rows(tmp_path / "run" / "journal.jsonl")
    assert any("compute.offload changes nothing on cpu" in row.get("notice", "") for row in rows)


def test_a_scorer_without_models_cannot_leave(arguments):
    with (
        pytest.raises(UsageError, match="'vowels' holds no model on the device; take scorer out"),
        steersman.open_ppo(**arguments("run", ["scorer"], reward=vowels)),
    ):
        pass


def vowels(answer: str) -> float:
    return 0.2 * sum(answer.count(letter) for letter in "aeiou")


def test_several_processes_are_refused(tiny):
    backbone = load_causal(tiny("llama"), dtype=torch.float32, device="cpu")
    actors = ModelActors(backbone, None, policy_adapter=None, value_adapter=None, critic=None, frozen=None)
    two = World(0, 2, torch.device("cpu"), None)
    with pytest.raises(UsageError, match="offload=scorer,optimiser is for a run in one process, and this one has 2"):
        Offload(PpoComputeSettings(offload=["scorer", "optimiser"]), actors, two, print)
    Offload(PpoComputeSettings(), actors, two, print)


def test_a_plan_counts_it_where_something_can_leave():
    def wished(device: str, *, memory_said: bool) -> list[str]:
        words = ["model.path=m", "prompts.source=p", "scorer.path=s", "run.out=o", "compute.offload=reference"]
        settings = load_settings(PpoSettings, None, [*words, f"run.device={device}"])
        found = planned_device(settings.run, settings.compute, 24e9, memory_said=memory_said)
        return list(settings.compute.offload) if found.is_gpu else []

    assert wished("auto", memory_said=True) == ["reference"]
    assert wished("cuda", memory_said=True) == ["reference"]
    assert wished("cpu", memory_said=True) == []
    if not torch.cuda.is_available():
        assert wished("auto", memory_said=False) == []


class Actor(ModelActors):
    """As much of the actors as is asked for what may leave the device."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.frozen, self.critic = nn.Linear(2, 2), nn.Linear(2, 2)


class Judge:
    name = "judge"

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1)

    def score(self, items):
        return []

    def models(self):
        return [self.model]


def made(monkeypatch, *wished: str, moves: bool = True) -> tuple[Offload, Actor, list[str]]:
    """An offload, its actors, and what happened: who was taken to the device and who went back."""
    happened: list[str] = []

    class ScoredAnswer(Offloaded):
        def __init__(self, name: str) -> None:
            self.name = name

        @contextmanager
        def on_device(self):
            happened.append(f"{self.name} comes")
            yield
            happened.append(f"{self.name} goes")

        def to_cpu(self) -> None:
            happened.append(f"{self.name} home")

    def park(modules, device, *, frozen: bool):
        (module,) = modules
        names = {id(actors.frozen): "reference", id(actors.critic): "critic"}
        return ScoredAnswer(f"{names.get(id(module), 'scorer')}{' frozen' if frozen else ''}")

    actors = Actor()
    monkeypatch.setattr(offload, "has_its_own_memory", lambda device: moves)
    monkeypatch.setattr(offload, "offload_modules", park)
    monkeypatch.setattr(offload, "offload_optimiser_state", lambda optimiser, device: ScoredAnswer("moments"))
    one = Offload(PpoComputeSettings(offload=list(wished)), actors, World.alone(), happened.append)
    return one, actors, happened


def inside(context, happened: list[str]) -> list[str]:
    happened.clear()
    with context():
        happened.append("work")
    return list(happened)


def test_each_stage_brings_what_it_needs_and_nothing_else(monkeypatch):
    one, _, happened = made(monkeypatch, *ALL)
    learning = one.learning(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    assert inside(one.reading(), happened) == [
        "reference frozen comes",
        "critic comes",
        "work",
        "critic goes",
        "reference frozen goes",
    ]
    assert inside(learning, happened) == ["critic comes", "moments comes", "work", "moments goes", "critic goes"]
    happened.clear()
    one.after_resuming()
    assert happened == ["moments home"]


@pytest.mark.parametrize("wished", ALL)
def test_only_what_was_wished_for_leaves(monkeypatch, wished: str):
    one, _, happened = made(monkeypatch, wished)
    learning = one.learning(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    assert inside(one.reading(), happened) == {
        "reference": ["reference frozen comes", "work", "reference frozen goes"],
        "critic": ["critic comes", "work", "critic goes"],
    }.get(wished, ["work"])
    assert inside(learning, happened) == {
        "critic": ["critic comes", "work", "critic goes"],
        "optimiser": ["moments comes", "work", "moments goes"],
    }.get(wished, ["work"])
    judge = Judge()
    assert (one.scorer(judge) is judge) == (wished != "scorer")


def test_where_nothing_can_leave_it_is_said_once_and_everything_stays(monkeypatch):
    one, _, happened = made(monkeypatch, *ALL, moves=False)
    assert happened == ["compute.offload changes nothing on cpu: it has no memory besides the CPU's"]
    judge = Judge()
    assert one.scorer(judge) is judge
    learning = one.learning(torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.1))
    assert inside(one.reading(), happened) == inside(learning, happened) == ["work"]
    assert made(monkeypatch, moves=False)[2] == [], "nothing was wished for"


def test_of_several_scorers_one_with_a_model_is_enough(monkeypatch):
    plain = FunctionScorer(lambda answers, **_: [0.0] * len(answers), name="plain")
    one, _, _ = made(monkeypatch, "scorer")
    assert one.scorer(plain) is plain
    with pytest.raises(UsageError, match="'plain' holds no model"):
        one.check_scorers("plain")
    one.scorer(Judge())
    one.check_scorers("plain")
    one.scorer(plain)
    one.check_scorers("plain")
    made(monkeypatch, "critic")[0].check_scorers("plain")
