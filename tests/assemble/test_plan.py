"""What is forecast before anything is loaded against what runs really took."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from steersman.assemble import plan
from steersman.assemble.plan import SLOWER, plan_ppo, plan_supervised
from steersman.assemble.plan_shapes import shape_of_model
from steersman.cli.main import app
from steersman.costs.forecast import TypicalLengths
from steersman.costs.work import forward_operations
from steersman.errors import ModelError, UsageError
from steersman.execution.capacity import memory_there
from steersman.models.tiny import tiny_tokeniser
from steersman.records import Comparison, Completion, Document, Prompt, to_dict
from steersman.settings.base import check
from steersman.settings.dpo import DpoSettings
from steersman.settings.parts import ModelSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

SIZES = {"1 M": (128, 4), "6 M": (256, 6), "16 M": (384, 8)}
ANSWER, PROMPT, ROW = 48, 24, 80
SCORER = "def score(answer):\n    return float(len(answer))\n"


def write_model(folder: Path, hidden: int, layers: int) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokeniser = tiny_tokeniser()
    config = LlamaConfig(
        vocab_size=max(1024, len(tokeniser)),
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokeniser.eos_token_id,
        pad_token_id=tokeniser.pad_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokeniser.save_pretrained(folder)
    return folder


def text_of(tokens: int, seed: int) -> str:
    """Words that make about so many tokens."""
    tokeniser, words = tiny_tokeniser(), ["the", "cat", "sat", "on", "a", "mat"]
    text = ""
    while len(tokeniser(text)["input_ids"]) < tokens:
        text += " " + words[(seed * 7 + len(text)) % len(words)]
    return text.strip()


def settings_of(method: str, folder: Path, hidden: int, layers: int, **more: Any) -> dict[str, Any]:
    model = write_model(folder / "model", hidden, layers)
    values: dict[str, Any] = {"model": {"path": str(model)}, "run": {"out": str(folder / "run"), "threads": 1}, **more}
    if method == "ppo":
        rows = [{"prompt": text_of(PROMPT, seed)} for seed in range(32)]
        (folder / "score.py").write_text(SCORER)
        # no token of a model with random weights is likelier than another, so answers go on to their limit
        values |= {
            "prompts": {"source": str(folder / "rows.jsonl"), "held_out": 0.0},
            "scorer": {"path": f"{folder / 'score.py'}:score"},
            "sampling": {"max_new_tokens": ANSWER, "min_new_tokens": ANSWER},
            # the second minibatch finds gradients and the optimiser's moments
            "iterations": 1,
            "prompts_per_iteration": 32,
            "update": {"epochs": 1, "minibatches": 2},
            # which kernels are faster is measured, and a busy machine may choose others, with more memory
            "compute": {"kernels": "default"},
        }
    else:
        texts = [text_of(ROW, seed) for seed in range(48)]
        pairs = zip(texts[::2], texts[1::2], strict=True)
        rows = (
            [to_dict(Document(text)) for text in texts]
            if method == "sft"
            else [
                to_dict(Comparison(Prompt(text="a"), Completion(" " + a), Completion(" " + b), 1.0)) for a, b in pairs
            ]
        )
        values |= {
            "data": {"source": str(folder / "rows.jsonl"), "held_out": 0.0},
            "train": {"batch_size": 12 if method == "sft" else 6, "steps": 2, "kernels": "default"},
        }
        if method == "dpo":
            values["distance"] = {"prompts": 0}
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return values


def measured(method: str, values: dict[str, Any]) -> tuple[float, float]:
    """Without and with the pages of libraries' files."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(Path(__file__).parents[1] / "helpers" / "peak.py"), method, json.dumps(values)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    without, taken = json.loads(done.stdout.splitlines()[-1])
    return without, taken


def forecast(method: str, values: dict[str, Any]) -> float:
    if method == "ppo":
        return plan_ppo(check(PpoSettings, values), TypicalLengths(PROMPT, ANSWER), 1e12).chosen.memory.total
    schema = {"sft": SftSettings, "reward": RewardSettings, "dpo": DpoSettings}[method]
    return plan_supervised(check(schema, values), TypicalLengths(row=ROW), 1e12).chosen.memory.total


CASES = [
    *(("ppo", size, {"layout": "shared"}) for size in SIZES),
    ("ppo", "6 M", {"layout": "separate"}),
    ("ppo", "6 M", {"layout": "adapters"}),
    ("sft", "16 M", {}),
    ("reward", "6 M", {}),
    ("dpo", "1 M", {}),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "size", "more"), CASES, ids=lambda x: x.get("layout", "") if isinstance(x, dict) else x
)
def test_memory_is_forecast_within_15_percent(method, size, more, tmp_path):
    values = settings_of(method, tmp_path, *SIZES[size], **more)
    if more.get("layout") == "adapters":
        values["model"]["lora"] = {"rank": 8}
    said, (without, took) = forecast(method, values), measured(method, values)
    told = (
        f"forecast {said / 1e6:.0f} MB, took {took / 1e6:.0f} MB, of which {(took - without) / 1e6:.0f} MB are "
        "pages of libraries' files"
    )
    assert 0.85 * without <= said <= 1.15 * took, told


def ppo_settings(folder: Path, **more: Any) -> PpoSettings:
    model = write_model(folder / "model", 128, 2)
    values: dict[str, Any] = {
        "model": {"path": str(model)},
        "prompts": {"source": "prompts.jsonl"},
        "scorer": {"path": "verify:exact"},
        "run": {"out": "runs/x", "threads": 1},
        **more,
    }
    return check(PpoSettings, values)


def test_the_weights_are_counted_from_the_headers(tmp_path):
    # with minibatches so large that the update is the widest moment
    settings = ppo_settings(tmp_path, update={"minibatches": 1}, compute={"tokens_per_micro_batch": 4096})
    from transformers import AutoModelForCausalLM

    parameters = sum(p.numel() for p in AutoModelForCausalLM.from_pretrained(settings.model.path).parameters())
    assert shape_of_model(settings.model).parameters == parameters
    # shared: the policy that learns and its frozen copy, gradients, two moments
    memory = plan_ppo(settings, TypicalLengths(40, 80), 1e12).chosen.memory
    assert memory.weights == 2 * 4 * parameters
    assert memory.gradients == 4 * parameters
    assert memory.optimiser == 2 * 4 * parameters
    (tmp_path / "model" / "model.safetensors").unlink()
    assert shape_of_model(settings.model).parameters == parameters, "and added up where there are none"


def test_moments_in_8_bits_take_a_quarter(tmp_path):
    given = {"update": {"minibatches": 1}, "compute": {"tokens_per_micro_batch": 4096}}
    eight = ppo_settings(tmp_path, optimiser={"states": "8bit"}, **given)
    parameters = shape_of_model(eight.model).parameters
    # a byte for each number of two moments, and 4 for each block of 256
    assert plan_ppo(eight, TypicalLengths(40, 80), 1e12).chosen.memory.optimiser == 2 * (1 + 4 / 256) * parameters
    sft = {"model": {"path": eight.model.path}, "data": {"source": "x.jsonl"}, "run": {"out": "x", "threads": 1}}
    sft["optimiser"] = {"states": "8bit"}
    found = plan_supervised(check(SftSettings, sft), TypicalLengths(row=9), 1e12).chosen.memory
    assert found.optimiser == 2 * (1 + 4 / 256) * parameters


def test_a_gpu_s_micro_batches_follow_from_its_memory_and_are_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    values = {"model": large(tmp_path), "data": {"source": "x.jsonl"}, "run": {"out": "runs/x"}}
    values["model"]["lora"] = {"rank": 16}

    def tokens(gigabytes: float, **more: Any) -> int:
        settings = check(SftSettings, {**values, **more})
        return plan_supervised(settings, TypicalLengths(row=512), gigabytes * 1e9, memory_said=True).chosen.micro_batch

    # layers of 4,096 keep about 8 MB a token in float32, and the base takes 16 GB in bf16
    assert [tokens(24), tokens(80), tokens(140)] == [1024, 2048, 4096]
    assert tokens(24, train={"tokens_per_micro_batch": 300}) == 300
    words = ["plan", "sft", "--model", values["model"]["path"], "--memory", "80GB", "model.lora.rank=16"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert "micro-batches of up to 2,048 tokens (tokens_per_micro_batch)" in shown
    found = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert {one["tokens per micro-batch"] for one in found["forecasts"] if one["chosen"]} == {2048}


def test_a_layout_with_fewer_models_takes_less_and_some_fit(tmp_path):
    settings = ppo_settings(tmp_path)
    found = plan_ppo(settings, TypicalLengths(10, 10), 1e12)
    sizes = {one.name: one.memory.total for one in found.forecasts}
    assert sizes["layout=adapters"] < sizes["layout=shared"] < sizes["layout=separate"]
    assert all(one.fits(1e12) and one.seconds > 0 for one in found.forecasts)
    between = (sizes["layout=shared"] + sizes["layout=separate"]) / 2
    assert [one.name for one in found.forecasts if one.fits(between)] == [
        "layout=adapters",
        "layout=adapters-own-critic",
        "layout=shared",
    ]


def test_a_scorer_that_is_a_model_counts(tmp_path):
    plain = plan_ppo(ppo_settings(tmp_path), TypicalLengths(10, 10), 1e12)
    scored = plan_ppo(ppo_settings(tmp_path, scorer={"path": str(tmp_path / "model")}), TypicalLengths(10, 10), 1e12)
    assert scored.chosen.memory.weights == 1.5 * plain.chosen.memory.weights
    assert plan_ppo(
        ppo_settings(tmp_path, scorer={"path": "https://x.org/score"}), TypicalLengths(10, 10), 1e12
    ).chosen.memory == (plain.chosen.memory)


def test_what_is_parked_does_not_count_on_the_device(tmp_path):
    more = {"scorer": {"path": str(tmp_path / "model")}, "prompts_per_iteration": 4, "sampling": {"max_new_tokens": 10}}
    settings = ppo_settings(tmp_path, layout="separate", **more)
    model = 4 * shape_of_model(settings.model).parameters

    def planned(*parked: str):
        return plan_ppo(settings, TypicalLengths(10, 10), 1e12, parked=parked).chosen

    plain = planned()
    assert (plain.memory.weights, plain.memory.optimiser, plain.parked) == (4 * model, 4 * model, 0)
    # The widest moment is the update: of reference and scorer nothing is there, of critic and optimiser everything.
    assert planned("reference").memory.weights == 3 * model
    assert planned("reference", "scorer").memory.weights == 2 * model
    assert planned("reference", "scorer").memory.total == plain.memory.total - 2 * model
    assert planned("reference", "scorer").parked == 2 * model
    assert planned("critic", "optimiser").memory == plain.memory
    assert planned("critic", "optimiser").parked == 5 * model


def test_moments_that_are_parked_leave_room_where_answers_take_most(tmp_path):
    more = {"prompts_per_iteration": 256, "update": {"minibatches": 256}, "compute": {"tokens_per_micro_batch": 16}}
    settings = ppo_settings(tmp_path, **more)
    plain, parked = (
        plan_ppo(settings, TypicalLengths(10, 100), 1e12, parked=one).chosen for one in ([], ["optimiser"])
    )
    assert plain.memory.key_value == parked.memory.key_value > 0
    assert (plain.memory.gradients, parked.memory.optimiser) == (0, 0)
    assert parked.memory.total == plain.memory.total - plain.memory.optimiser


def test_the_command_says_what_lies_in_the_processors_memory(tmp_path):
    model = str(write_model(tmp_path / "model", 128, 2))
    words = ["plan", "ppo", "--model", model, "--scorer", "verify:exact", "--prompt", "10", "compute.offload=reference"]
    shown = CliRunner().invoke(app, [*words, "--memory", "1GB"], catch_exceptions=False).stdout
    assert "in CPU memory (compute.offload)" in shown
    shown = CliRunner().invoke(app, [*words, "run.device=cpu"], catch_exceptions=False).stdout
    assert "compute.offload has no effect on a CPU" in shown


# Llama 3.1 8B as its config.json says: 32 layers of 218,112,000 weights, and twice 525,336,576 in both embeddings.
LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
}
MATRICES, EMBEDDINGS = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336), 2 * 128256 * 4096


def large(folder: Path, **more: Any) -> dict[str, Any]:
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    return {"path": str(folder), "lora": {"rank": 16}, **more}


@pytest.mark.parametrize(
    ("more", "gigabytes"),
    [
        ({}, 2 * (MATRICES + EMBEDDINGS) / 1e9),
        ({"dtype": "float32"}, 4 * (MATRICES + EMBEDDINGS) / 1e9),
        ({"dtype": "bfloat16", "quantise": "8bit"}, (MATRICES + 2 * EMBEDDINGS) / 1e9),
        # four bits, and 0.127 bits for the scales of blocks (QLoRA, section 3)
        ({"dtype": "bfloat16", "quantise": "4bit"}, (MATRICES * 4.127 / 8 + 2 * EMBEDDINGS) / 1e9),
    ],
    ids=lambda case: "-".join(case.values()) or "auto" if isinstance(case, dict) else "",
)
def test_frozen_weights_count_as_they_are_kept(more, gigabytes, tmp_path):
    values = {"model": large(tmp_path, **more), "data": {"source": "x.jsonl"}, "run": {"out": "runs/x"}}
    sft = plan_supervised(check(SftSettings, values), TypicalLengths(row=512), 24e9, memory_said=True)
    values |= {"prompts": {"source": "p"}, "scorer": {"path": "verify:exact"}, "layout": "adapters"}
    del values["data"]
    ppo = plan_ppo(check(PpoSettings, values), TypicalLengths(256, 256), 80e9, memory_said=True)
    for found in (sft, ppo):
        assert found.chosen.memory.weights / 1e9 == pytest.approx(gigabytes, rel=1e-3)


def test_a_plan_for_a_gpu_elsewhere_samples_as_a_gpu_does(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    values = {"model": large(tmp_path), "run": {"out": "runs/x"}, "prompts": {"source": "p"}, "layout": "adapters"}
    values |= {"scorer": {"path": "verify:exact"}, "prompts_per_iteration": 512, "sampling": {"max_new_tokens": 256}}

    def planned(gigabytes: float, *parts: str):
        settings = check(PpoSettings, {**values, "compute": {"offload": list(parts), "tokens_per_micro_batch": 2048}})
        return plan_ppo(settings, TypicalLengths(256, 256), gigabytes * 1e9, memory_said=True)

    found = planned(80, "optimiser")
    assert (found.device, found.as_dict()["device"]) == ("cuda", "cuda")
    # the copy of the weights is in bf16, with the output layer apart from the embedding
    assert found.chosen.memory.decoder == 2 * (MATRICES + EMBEDDINGS)
    # 256 rows of up to 640 tokens would take 21 GB in bf16: 131,072 bytes a token
    assert found.chosen.memory.key_value == 2 * 32 * 8 * 128 * 2 * (256 * (384 + 256) + 4096)
    # and with less memory, fewer at once: no more than half of what the weights leave
    assert planned(40).chosen.memory.key_value < 0.5 * (40e9 - 2 * (MATRICES + EMBEDDINGS)) + 4096 * 131072
    # how fast that GPU is, is not known
    assert [one.seconds for one in found.forecasts] == [None] * 4
    assert found.chosen.parked > 0
    with pytest.raises(UsageError, match=r"torch .* finds none"):
        plan_ppo(check(PpoSettings, {**values, "run": {"out": "x", "device": "cuda"}}), TypicalLengths(9, 9), 1e12)


def test_the_command_plans_for_a_gpu_where_its_memory_is_given(tmp_path):
    folder = str(write_model(tmp_path / "model", 128, 2))
    words = ["plan", "sft", "--model", folder, "--row", "10", "--memory", "24GB"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert "planned for a GPU of this memory; to plan for a CPU: run.device=cpu" in shown
    shown = CliRunner().invoke(app, [*words, "run.device=cpu"], catch_exceptions=False).stdout
    assert "planned for a GPU" not in shown
    assert " s  fits" in shown


def test_layers_computed_again_keep_less(tmp_path):
    model = {"path": str(write_model(tmp_path / "model", 128, 4))}
    values = {"model": model, "data": {"source": "x.jsonl"}, "run": {"out": "runs/x", "threads": 1}}
    found = plan_supervised(check(SftSettings, values), TypicalLengths(row=100), 1e12)
    kept = {one.name: one.memory.activations for one in found.forecasts}
    assert kept["full fine-tuning, model.gradient_checkpointing=true"] < 0.5 * kept["full fine-tuning"]
    assert found.chosen.name == "full fine-tuning"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("no/such/folder", "there is no folder"),
        ("bert", "its family is 'bert'"),
        ("broken", "config.json cannot be read"),
    ],
)
def test_a_model_whose_costs_are_not_known_is_refused(path, words, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name, text in (("bert", '{"model_type": "bert", "hidden_size": 8}'), ("broken", "{")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(text)
    place = str(tmp_path / path) if (tmp_path / path).exists() else path
    with pytest.raises(ModelError, match=words):
        shape_of_model(ModelSettings(path=place))


def test_damaged_weights_are_told(tmp_path):
    folder = write_model(tmp_path / "model", 128, 2)
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match="cannot be read as a safetensors file"):
        shape_of_model(ModelSettings(path=str(folder)))


def test_memory_is_said_in_usual_units():
    assert memory_there("24GB") == 24e9
    assert memory_there("1.5 gib") == 1.5 * 2**30
    assert memory_there(None) > 0
    for words in ("24", "lots", "-3GB", "GB"):
        with pytest.raises(UsageError, match="is no amount"):
            memory_there(words)


def test_the_command_prints_roles_and_layouts(tmp_path):
    model = str(write_model(tmp_path / "model", 128, 2))
    words = ["plan", "ppo", "--model", model, "--scorer", "verify:exact", "--memory", "100MB", "--prompt", "10"]
    shown = CliRunner().invoke(app, words, catch_exceptions=False).stdout
    assert "weights" in shown
    assert "→ layout=shared" in shown
    assert "does not fit" in CliRunner().invoke(app, [*words[:-4], "--memory", "1MB"], catch_exceptions=False).stdout
    told = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert [one["name"] for one in told["forecasts"] if one["chosen"]] == ["layout=shared"]
    with pytest.raises(UsageError, match="there is no plan for 'sleep'"):
        CliRunner().invoke(app, ["plan", "sleep"], catch_exceptions=False)


def test_an_episode_of_several_turns_is_one_long_answer_that_is_read_again_before_each_turn(tmp_path, monkeypatch):
    monkeypatch.setattr(plan, "operations_a_second", lambda *_: 1.0)
    environment = {"path": "game.py:Game", "max_turns": 3, "observation_tokens": 4}
    # with minibatches so large that the update is the widest moment
    wide: dict[str, Any] = {"update": {"minibatches": 1}, "compute": {"tokens_per_micro_batch": 4096}}
    game = {"environment": environment, "scorer": {"path": "environment"}}
    episodes = plan_ppo(ppo_settings(tmp_path / "a", **wide, **game), TypicalLengths(10, 8), 1e12)
    plain = plan_ppo(ppo_settings(tmp_path / "b", **wide), TypicalLengths(10 + 2 * 4, 3 * 8), 1e12)
    assert "64 episodes of 3 turns, together of 24 tokens to prompts and observations of 18" in episodes.words
    assert episodes.chosen.memory.activations == plain.chosen.memory.activations
    # before the second turn the prompt and one turn are read again, before the third two and what was observed
    again = 64 * forward_operations(episodes.shape, [10 + 8, 10 + 8 + 4 + 8], [0, 0], logits=False)
    assert episodes.chosen.seconds is not None
    assert plain.chosen.seconds is not None
    assert episodes.chosen.seconds - plain.chosen.seconds == pytest.approx(again * SLOWER["collect"])
    assert episodes.chosen.memory.key_value > plain.chosen.memory.key_value, "the last turn comes after all others"
