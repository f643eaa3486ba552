"""The recipes for real models, planned for families that people use, from their published configurations. Nothing is
downloaded: the configurations stand here, and `plan` reads no weights."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from commandline import call

from steersman.assemble.plan_shapes import shape_of_model
from steersman.assemble.stages import STAGES
from steersman.settings.base import load_settings
from steersman.settings.parts import ModelSettings

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5}
QWEN = {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_act": "silu", "rms_norm_eps": 1e-6}
GEMMA = {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "hidden_activation": "gelu_pytorch_tanh"}


def config(kind: dict[str, Any], sizes: tuple[int, ...], *, tied: bool, **more: Any) -> dict[str, Any]:
    """hidden, intermediate, layers, heads, key-value heads, vocabulary, context."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
    names += ("vocab_size", "max_position_embeddings")
    return {
        **kind,
        **dict(zip(names, sizes, strict=True)),
        "tie_word_embeddings": tied,
        "torch_dtype": "bfloat16",
        **more,
    }


# From the config.json of each model's repository; the number is what its page says, in billions.
MODELS = {
    "Qwen2.5-0.5B": (0.494, config(QWEN, (896, 4864, 24, 14, 2, 151936, 32768), tied=True)),
    "Qwen2.5-1.5B": (1.54, config(QWEN, (1536, 8960, 28, 12, 2, 151936, 131072), tied=True)),
    "Qwen2.5-7B": (7.62, config(QWEN, (3584, 18944, 28, 28, 4, 152064, 131072), tied=False)),
    "Llama-3.2-1B": (1.24, config(LLAMA, (2048, 8192, 16, 32, 8, 128256, 131072), tied=True, head_dim=64)),
    "Llama-3.1-8B": (8.03, config(LLAMA, (4096, 14336, 32, 32, 8, 128256, 131072), tied=False)),
    "gemma-2-2b": (2.61, config(GEMMA, (2304, 9216, 26, 8, 4, 256000, 8192), tied=True, head_dim=256)),
    "SmolLM2-360M": (0.362, config(LLAMA, (960, 2560, 32, 15, 5, 49152, 8192), tied=True)),
    "SmolLM2-1.7B": (1.71, config(LLAMA, (2048, 8192, 24, 32, 32, 49152, 8192), tied=True)),
}
METHODS = ("sft", "reward", "ppo", "dpo")
HARDWARE = {"24gb": "24GB", "80gb": "80GB", "8x80gb": "80GB"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("families")
    for name, (_, content) in MODELS.items():
        (place / name).mkdir()
        (place / name / "config.json").write_text(json.dumps(content))
    return {name: place / name for name in MODELS}


def planned(capfd, method: str, recipe: str, hardware: str, *words: str) -> dict[str, Any]:
    assert call(["plan", method, recipe, *words, "--memory", HARDWARE[hardware], "--json"]) == 0
    return json.loads(capfd.readouterr().out)


def chosen(plan: dict[str, Any]) -> dict[str, Any]:
    assert plan["device"] == "cuda"
    return next(one for one in plan["forecasts"] if one["chosen"])


@pytest.mark.parametrize("name", MODELS)
def test_the_configurations_have_the_published_sizes(name, folders):
    billions, _ = MODELS[name]
    assert shape_of_model(ModelSettings(path=str(folders[name]))).parameters / 1e9 == pytest.approx(billions, rel=0.01)


# The frozen base in bf16 and the decoder's copy of it are 32 GB.
TOO_LARGE = {("ppo", "24gb", "Qwen2.5-7B"), ("ppo", "24gb", "Llama-3.1-8B")}


@pytest.mark.parametrize("hardware", HARDWARE)
@pytest.mark.parametrize("method", METHODS)
def test_every_family_fits(method, hardware, folders, capfd):
    for name, folder in folders.items():
        words = [f"model.path={folder}", *([f"scorer.path={folder}"] if method == "ppo" else [])]
        found = chosen(planned(capfd, method, f"{method}-{hardware}", hardware, *words))
        assert found["fits"] == ((method, hardware, name) not in TOO_LARGE), (name, found)


@pytest.mark.parametrize("name", ["Qwen2.5-7B", "Llama-3.1-8B"])
def test_ppo_of_8b_fits_24_gb_with_a_quantised_base_and_a_small_reward_model(name, folders, capfd):
    words = [f"model.path={folders[name]}", f"scorer.path={folders['Qwen2.5-1.5B']}", "model.quantise=4bit"]
    assert chosen(planned(capfd, "ppo", "ppo-24gb", "24gb", *words))["fits"]


@pytest.mark.parametrize(("method", "recipe"), [("sft", "sft-8b-lora"), ("reward", "reward-8b-lora")])
def test_the_recipes_for_8b_fit_what_they_say(method, recipe, folders, capfd):
    words = [f"model.path={folders['Llama-3.1-8B']}"]
    assert chosen(planned(capfd, method, recipe, "24gb", *words))["fits"]


@pytest.mark.parametrize("hardware", HARDWARE)
@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_says_how_it_is_started(method, hardware):
    lines = (resources.files("steersman") / "recipes" / f"{method}-{hardware}.toml").read_text().splitlines()
    start = "torchrun --nproc-per-node 8 -m steersman" if hardware == "8x80gb" else "steersman"
    assert lines[1].startswith(f"#     {start} {method} {method}-{hardware} ")
    schema = next(stage.schema for stage in STAGES.values() if stage.command == method)
    settings: Any = load_settings(
        schema, f"{method}-{hardware}", lines[1].partition(f"{method}-{hardware} ")[2].split()
    )
    assert settings.model.lora is not None
    # offloading is for one process
    assert method != "ppo" or bool(settings.compute.offload) == (hardware != "8x80gb")
