"""Methods without a critic as whole runs: no critic in memory or on disk, groups, the command and its recipe."""

import json
from pathlib import Path

import pytest
import torch
from commandline import call
from transformers import AutoModelForCausalLM

import steersman
from steersman.methods.ppo.loop import iterate
from steersman.runs.journal import read_rows
from steersman.runs.listing import list_runs

pytestmark = pytest.mark.slow

PROMPTS = ["What is a dog?", "I like cricket.", "Why is exercise good?", "Hello", "So it is", "Tell me a story."]


def vowels(answer: str) -> float:
    return 0.2 * sum(answer.count(letter) for letter in "aeiou")


def usual(model, out, estimator: str, **more):
    return {
        "model": model,
        "prompts": PROMPTS,
        "reward": vowels,
        "out": out,
        "iterations": 2,
        "prompts_per_iteration": 3,
        "samples_per_prompt": 3,
        "advantage": {"estimator": estimator},
        "sampling": {"max_new_tokens": 6},
        "update": {"epochs": 2, "minibatches": 2},
        "optimiser": {"learning_rate": 1e-3},
        "compute": {"kernels": "default", "tokens_per_micro_batch": 60},
        "run": {"device": "cpu", "threads": 1},
        "prompts.held_out": "none",
        **more,
    }


@pytest.mark.parametrize("layout", ["shared", "adapters"])
@pytest.mark.parametrize("estimator", ["rloo", "grpo", "dr-grpo", "reinforce++"])
def test_no_critic_is_made_and_the_policy_learns(estimator, layout, tiny, tmp_path):
    lora = {"model.lora": {"rank": 4}} if layout == "adapters" else {}
    arguments = usual(tiny("llama"), tmp_path / "run", estimator, layout=layout, **lora)
    with steersman.open_ppo(**arguments) as run:
        assert run.actors.value_head is None
        assert run.actors.critic is None
        assert not any("value" in name for name, _ in run.actors.named_parameters())
        done = iterate(run.parts, run.settings, run.memory)
        assert all(one.scored.values is None for one in done.experience)
        assert not {"value", "value loss", "explained variance"} & set(done.row)
        assert json.dumps(done.row), "the journal row is plain numbers"
        assert abs(done.row["KL to reference"]) < 1e-5
        assert done.stats.first["ratio from 1"] < 1e-4
        if estimator != "reinforce++":
            by_prompt: dict[int, float] = {}
            for one in done.experience:
                number = one.scored.sample.rollout.prompt
                by_prompt[number] = by_prompt.get(number, 0.0) + float(one.advantages[0])
            assert len(by_prompt) == 3
            assert list(by_prompt.values()) == pytest.approx([0.0] * 3, abs=1e-5)
        after = iterate(run.parts, run.settings, run.memory)
        assert max(abs(one.scored.sequence_kl) for one in after.experience) > 1e-3, "the policy has learned"
        assert after.row["engine mismatch"] < 1e-4


def test_a_prompt_that_comes_twice_in_an_iteration_is_two_groups(tiny, tmp_path):
    arguments = usual(tiny("llama"), tmp_path / "run", "rloo", prompts=PROMPTS[:2], prompts_per_iteration=4)
    with steersman.open_ppo(**arguments) as run:
        done = iterate(run.parts, run.settings, run.memory)
        samples = [one.scored.sample for one in done.experience]
        assert len({sample.prompt.text for sample in samples}) == 2
        assert sorted(sample.rollout.prompt for sample in samples) == [n for n in range(4) for _ in range(3)]


def test_the_command_runs_its_recipe_and_saves_a_plain_model_and_no_critic(tmp_path, capsys):
    (tmp_path / "reward.py").write_text("def vowels(answer):\n    return sum(answer.count(c) for c in 'aeiou') / 5\n")
    out = tmp_path / "run"
    words = ["rloo", "rloo-harbour", "--model", "harbour:base", "--scorer", f"{tmp_path / 'reward.py'}:vowels"]
    words += ["--prompts", "harbour:prompts?count=12", "prompts.held_out=harbour:prompts/heldout?count=4"]
    words += ["--out", str(out), "iterations=2", "prompts_per_iteration=2", "sampling.max_new_tokens=8", "--json"]
    words += ["compute.kernels=default", "run.device=cpu"]
    assert call(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["ending"], result["step"]) == ("finished", 2)
    assert {"score", "KL to reference", "objective"} <= set(result["held_out"])
    assert not (out / "critic").exists()
    assert [run.kind for run in list_runs(tmp_path)] == ["rloo"]
    model = AutoModelForCausalLM.from_pretrained(result["model"])
    assert all(torch.isfinite(p).all() for p in model.parameters())
    rows = [row for row in read_rows(out / "journal.jsonl")[0] if "score" in row]
    assert [row["answers so far"] for row in rows] == [8, 16]
    sample = json.loads(next((out / "samples").glob("iteration-*.jsonl")).read_text().splitlines()[0])
    assert "values" not in sample
    assert len(sample["advantages"]) == len(sample["ids"])
    assert call(words) == 0
    assert json.loads(capsys.readouterr().out)["ending"] == "already finished"


def test_one_answer_a_prompt_is_refused_at_once(tmp_path, capsys):
    words = ["rloo", "--model", "m", "--scorer", "s", "--prompts", "p", "--out", str(tmp_path), "samples_per_prompt=1"]
    assert call(words) != 0
    assert "samples_per_prompt=1; expected 2 or more" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ["advantage.estimator=grpo", "update.ratio=sequence_mean", "kl.loss_coefficient=0"],
        ["update.policy_loss=cispo", "update.importance=token_mask"],
    ],
)
def test_gspo_and_cispo_from_the_command_line(words, tiny, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    reward = tmp_path / "vowels.py"
    reward.write_text("def vowels(prompt, answer):\n    return 0.2 * sum(answer.count(letter) for letter in 'aeiou')\n")
    out = tmp_path / "run"
    given = [
        "--model",
        str(tiny("llama")),
        "--prompts",
        str(prompts),
        "--scorer",
        f"{reward}:vowels",
        "--out",
        str(out),
    ]
    few = ["iterations=2", "prompts_per_iteration=3", "samples_per_prompt=3", "sampling.max_new_tokens=6"]
    assert call(["rloo", *given, *few, *words]) == 0
    rows = [row for row in read_rows(out / "journal.jsonl")[0] if "policy loss" in row]
    assert len(rows) == 2
    assert all(row["ratio from 1, first minibatch"] < 1e-4 for row in rows)


@pytest.mark.parametrize("command", ["rloo", "ppo"])
def test_the_number_game_of_the_docs_from_the_command_line(command, tiny, tmp_path):
    rows = [{"messages": [{"role": "user", "content": "My number?"}], "answer": "4"}, {"prompt": "Or:", "answer": "7"}]
    prompts = tmp_path / "numbers.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows * 6))
    game = Path(__file__).parents[3] / "docs" / "number_game.py"
    out = tmp_path / "run"
    given = ["--model", str(tiny("llama")), "--prompts", str(prompts), "--scorer", "environment", "--out", str(out)]
    few = ["iterations=2", "prompts_per_iteration=4", "samples_per_prompt=3", "sampling.max_new_tokens=6"]
    played = [f"environment.path={game}:NumberGame", "environment.max_turns=3", "environment.observation_tokens=20"]
    assert call([command, *given, *few, *played]) == 0
    rows = [row for row in read_rows(out / "journal.jsonl")[0] if "policy loss" in row]
    assert len(rows) == 2
    for row in rows:
        assert 1 < row["turns"] <= 3
        assert row["answer length"] <= 18
        assert row["ratio from 1, first minibatch"] < 1e-4
        assert row["engine mismatch"] < 1e-4
    sample = json.loads(next((out / "samples").glob("iteration-*.jsonl")).read_text().splitlines()[0])
    assert "[observation]" in sample["answer"]
    assert len(sample["ids"]) == len(sample["offsets"]) == len(sample["log_probs"])


def test_an_environment_that_is_missing_is_said(tmp_path, capsys):
    words = ["rloo", "--model", "harbour:base", "--scorer", "environment", "--prompts", "harbour:prompts?count=4"]
    game = tmp_path / "game.py"
    game.write_text("class Game:\n    pass\n")
    for path, message in (("nowhere.py:Game", "there is no file"), (f"{game}:Other", "no class 'Other'; it has Game")):
        assert call([*words, "--out", str(tmp_path / "run"), f"environment.path={path}"]) != 0
        assert message in capsys.readouterr().err
    words += ["--out", str(tmp_path / "run"), f"environment.path={game}:Game"]
    assert call(words) != 0
    assert "may take 1,024 tokens, and the model's context is 512" in capsys.readouterr().err
