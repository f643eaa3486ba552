"""The Python API: three lines are a run, lists are data, and importing the package costs nothing."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import steersman
from steersman.api import ppo_settings, source_of
from steersman.errors import UsageError
from steersman.methods.ppo.advantage import advantage
from steersman.methods.ppo.collect import collect
from steersman.methods.ppo.score import score
from steersman.methods.ppo.update import PpoObjective, update
from steersman.records import Prompt
from steersman.reward.scorer import Score

FEW = {
    "iterations": 2,
    "prompts_per_iteration": 2,
    "sampling": {"max_new_tokens": 4},
    "update": {"epochs": 1, "minibatches": 1},
    "run": {"device": "cpu", "threads": 1},
    "compute": {"kernels": "default"},
    "prompts.held_out": "none",
}
FITTING = {"run": {"device": "cpu", "threads": 1}, "train": {"kernels": "default", "steps": 2, "batch_size": 2}}


def test_importing_the_package_imports_no_torch_and_an_unknown_name_is_told():
    code = "import sys, steersman; steersman.Prompt; dir(steersman); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(steersman.__all__) <= set(dir(steersman))
    assert all(getattr(steersman, name) is not None for name in steersman.__all__)
    with pytest.raises(AttributeError, match="module 'steersman' has no attribute 'grpo'"):
        _ = steersman.grpo  # type: ignore[attr-defined]


def test_three_lines_are_a_run_and_the_same_lines_again_find_it_finished(tiny, tmp_path):
    def run():
        return steersman.ppo(
            model=tiny("llama"), prompts=["A dog", "Hello"], reward=len_of, out=tmp_path / "run", quiet=True, **FEW
        )

    first = run()
    assert (first.ending, first.step) == ("finished", 2)
    assert (Path(first.model) / "config.json").exists()
    assert run().ending == "already finished"
    with pytest.raises(UsageError, match=r"prompts\.source"):
        steersman.ppo(model=tiny("llama"), prompts=["Another"], reward=len_of, out=tmp_path / "run", **FEW)


def test_quiet_prints_nothing_and_its_notices_are_in_the_journal(tiny, tmp_path, capfd):
    def run(out: str, *, quiet: bool):
        few: dict[str, Any] = {**FEW, "kl": {"coefficient": 0.1}}
        result = steersman.ppo(
            model=tiny("llama"), prompts=["A dog", "Hello"], reward=len_of, out=tmp_path / out, quiet=quiet, **few
        )
        return result, capfd.readouterr()

    result, printed = run("quiet", quiet=True)
    assert (printed.out, printed.err) == ("", "")
    journal = [json.loads(line) for line in (Path(result.out) / "journal.jsonl").read_text().splitlines()]
    assert any("2 prompts to learn from" in row.get("notice", "") for row in journal)
    _, printed = run("loud", quiet=False)
    assert "steersman: 2 prompts to learn from" in printed.err


def len_of(prompt: str, answer: str) -> float:
    return float(len(answer))


def test_a_scorer_takes_the_place_of_a_function(tiny, tmp_path):
    class Constant:
        name = "constant"

        def score(self, items):
            return [Score(1.5, {"why": 0.5}) for _ in items]

    result = steersman.ppo(
        model=tiny("llama"), prompts=["A dog"], reward=Constant(), out=tmp_path / "run", quiet=True, **FEW
    )
    assert '"score part why":0.5' in (Path(result.out) / "journal.jsonl").read_text().replace(": ", ":")


@pytest.mark.slow
def test_sft_and_reward_models_take_lists_too(tiny, tmp_path):
    rows = [{"prompt": f"Say {i}", "completion": f"It is {i}."} for i in range(8)]
    tuned = steersman.sft(model=tiny("llama"), data=rows, out=tmp_path / "sft", quiet=True, **FITTING)
    assert tuned.step == 2
    pairs = [{"prompt": f"Say {i}", "chosen": f"It is {i}.", "rejected": "No."} for i in range(8)]
    judged = steersman.reward_model(model=tiny("llama"), data=pairs, out=tmp_path / "reward", quiet=True, **FITTING)
    assert judged.step == 2
    result = steersman.ppo(
        model=tuned.out, prompts=["A dog"], reward=judged.out, out=tmp_path / "ppo", quiet=True, **FEW
    )
    assert result.ending == "finished"


PAIRS = [{"prompt": f"Say {i}", "chosen": f"It is {i}.", "rejected": "No."} for i in range(8)]


@pytest.mark.parametrize("method", [steersman.dpo, steersman.ilql], ids=["dpo", "ilql"])
def test_methods_that_learn_from_judgements_take_a_list_of_them(method, tiny, tmp_path):
    def run(rows):
        return method(model=tiny("llama"), data=rows, out=tmp_path / "run", quiet=True, **FITTING)

    assert (run(PAIRS).ending, run(PAIRS).ending) == ("finished", "already finished")
    with pytest.raises(UsageError, match=r"data\.source"):
        run(PAIRS[1:])


@pytest.mark.slow
def test_a_relative_of_dpo_is_one_word_away(tiny, tmp_path):
    result = steersman.dpo(model=tiny("llama"), data=PAIRS, out=tmp_path / "run", loss="ipo", quiet=True, **FITTING)
    assert 'loss = "ipo"' in (Path(result.out) / "recipe.toml").read_text()


def test_rloo_has_no_critic_and_takes_a_function(tiny, tmp_path):
    few = {**FEW, "samples_per_prompt": 2}
    result = steersman.rloo(
        model=tiny("llama"), prompts=["A dog", "Hello"], reward=len_of, out=tmp_path / "run", quiet=True, **few
    )
    assert (result.ending, result.step) == ("finished", 2)
    assert 'estimator = "rloo"' in (Path(result.out) / "recipe.toml").read_text()
    assert not (Path(result.model) / "heads.safetensors").exists()


@pytest.mark.slow
def test_online_dpo_and_best_of_n_ask_the_function_that_python_gave(tiny, tmp_path):
    asked: list[str] = []

    def longest(prompt: str, answer: str) -> float:
        asked.append(prompt)
        return float(len(answer))

    usual = {"model": tiny("llama"), "reward": longest, "quiet": True, "sampling": {"max_new_tokens": 4}, **FITTING}
    prompts = [f"Say {i}" for i in range(8)]
    learned = steersman.online_dpo(prompts=prompts, out=tmp_path / "online", **{**usual, "prompts.held_out": "none"})
    assert (learned.ending, len(asked)) == ("finished", 2 * 2 * 2)  # steps, prompts a step, answers
    asked.clear()
    best = steersman.best_of_n(prompts=prompts, n=2, out=tmp_path / "best", **usual)
    assert (best.ending, sorted(asked)) == ("finished", sorted(2 * prompts))
    assert best.measured["score, best of 2"] >= best.measured["score of one answer"]


def test_the_stages_of_an_iteration_can_be_called_one_by_one(tiny, tmp_path):
    arguments = {"model": tiny("llama"), "prompts": ["A dog", "Hello"], "reward": len_of}
    with steersman.open_ppo(**arguments, out=tmp_path / "one", **FEW) as run:
        parts, settings, memory = run.parts, run.settings, run.memory
        samples = collect(list(parts.prompts), parts.engine, parts.language, parts.asking, iteration=0)
        scored = score(samples, parts.scoring(settings, memory), memory.scale)
        experience = advantage(scored, settings.advantage, kl_coefficient=memory.kl_coefficient, importance=None)
        stats = update(
            parts.learner,
            experience,
            PpoObjective(settings.update, settings.kl, settings.sampling),
            seed=0,
            iteration=0,
            pretraining=None,
        )
        assert memory.kl_coefficient == 0.05
        assert stats.first["ratio from 1"] < 1e-4
        assert [one.raw_score for one in scored] == [float(len(sample.text)) for sample in samples]


def test_the_stages_that_the_guide_to_ppo_calls_one_by_one_run_as_they_are_shown(tiny, tmp_path):
    guide = (Path(__file__).parents[1] / "docs" / "ppo.md").read_text(encoding="utf-8")
    shown = re.search(r"^    from steersman\.methods\.ppo\.advantage.*?(?=^\S)", guide, re.DOTALL | re.MULTILINE)
    assert shown

    def open_small(**named: Any) -> Any:
        return steersman.open_ppo(**{**named, "model": tiny("llama"), "out": tmp_path / "run", **FEW})

    names: dict[str, Any] = {
        "steersman": SimpleNamespace(open_ppo=open_small),
        "prompts": ["A dog", "Hello"],
        "reward": len_of,
    }
    exec(textwrap.dedent(shown[0]), names)
    assert names["stats"].steps == 1


def test_overrides_lie_over_the_recipe_group_by_group(tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("iterations = 7\n[kl]\ncoefficient = 0.3\ntarget = 4.0\n")
    usual = {"model": "m", "prompts": "p", "reward": "r", "out": "o"}
    settings = ppo_settings(**usual, recipe=recipe, kl={"coefficient": 0.1}, **{"update.epochs": 2})
    assert (settings.iterations, settings.kl.coefficient, settings.kl.target, settings.update.epochs) == (
        7,
        0.1,
        4.0,
        2,
    )
    assert settings.scorer.path == "r"
    assert ppo_settings(**{**usual, "reward": ["a", "b"]}, recipe=None).scorer.path == ["a", "b"]
    assert ppo_settings(**{**usual, "reward": len_of}, recipe=None).scorer.path == "python:len_of"
    with pytest.raises(UsageError, match=r"did you mean 'kl\.coefficient'"):
        ppo_settings(**usual, recipe=None, kl={"coeficient": 0.1})


def test_a_list_is_named_by_what_it_holds():
    assert source_of(["a", "b"], texts_are="prompt") == source_of(["a", "b"], texts_are="prompt")
    assert source_of(["a", "b"], texts_are="prompt") != source_of(["a", "c"], texts_are="prompt")
    assert source_of([Prompt(text="a")], texts_are="prompt").startswith("given:")
    assert source_of("harbour:prompts", texts_are="prompt") == "harbour:prompts"
    with pytest.raises(UsageError, match="an empty list was given"):
        source_of([], texts_are="prompt")
    with pytest.raises(UsageError, match="holds texts, dictionaries or records; seen a int: '3'"):
        source_of([3], texts_are="prompt")
    with pytest.raises(UsageError, match="holds dictionaries or records; seen a str"):
        source_of(["a"], texts_are=None)
