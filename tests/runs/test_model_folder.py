"""Which model a folder means, for each kind of folder; and that every command that is given a name goes by it."""

import json

import pytest
import torch

from steersman.errors import ModelError
from steersman.harbour.base_model import base_path
from steersman.loading.language_model import model_path
from steersman.loading.saved import STEP
from steersman.models.adapters import add_lora, save_adapter
from steersman.models.files import describe
from steersman.models.loading import load_causal
from steersman.models.reward_model import new_reward_model, save_reward_model
from steersman.reward.open import ENSEMBLE, members_of
from steersman.runs.identity import identity_of
from steersman.runs.model_folder import finished_model_folder, model_folder
from steersman.text.tokeniser import load_tokeniser


@pytest.fixture
def run(tmp_path):
    """A run's folder that has not finished."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text("")
    (folder / "stamp.json").write_text("{}")
    return folder


def test_a_finished_run_means_its_model(run, tmp_path):
    (run / "model").mkdir()
    assert model_folder(run) == finished_model_folder(str(run)) == run / "model"
    assert model_path(str(run), tmp_path) == str(run / "model")


@pytest.mark.parametrize("missing", ["recipe.toml", "stamp.json"])
def test_a_run_with_one_of_its_two_files_is_a_run(run, missing):
    (run / missing).unlink()
    assert model_folder(run) == run / "model"


def test_an_unfinished_run_has_no_model_yet(run, tmp_path):
    assert model_folder(run) == run / "model"
    for open_it in (finished_model_folder, lambda name: model_path(str(name), tmp_path)):
        with pytest.raises(ModelError, match="has not made its model yet"):
            open_it(run)
    assert identity_of(str(run)) == str(run), "what is not there has no content to be told by"


def test_a_checkpoint_s_folder_is_itself_and_known_by_its_name(run):
    step = run / "checkpoints" / "step-000120"
    step.mkdir(parents=True)
    assert model_folder(step) == finished_model_folder(step) == step
    assert STEP.fullmatch(step.name)


@pytest.mark.parametrize("file", ["config.json", "adapter_config.json"])
def test_a_model_s_own_folder_is_itself_even_beside_a_recipe(run, file):
    (run / file).write_text("{}")
    assert model_folder(run) == finished_model_folder(run) == run


def test_a_language_model_an_adapter_and_a_reward_model_are_themselves(tiny, tmp_path):
    base = tiny("llama")
    backbone = load_causal(base, dtype=torch.float32, device=torch.device("cpu"))
    add_lora(backbone, "policy", rank=2, alpha=4)
    save_adapter(backbone, "policy", tmp_path / "adapter")
    reward = new_reward_model(load_causal(base, dtype=torch.float32, device=torch.device("cpu")), adapter=None)
    save_reward_model(reward, load_tokeniser(str(base)), tmp_path / "reward")
    for folder, kind in ((base, "causal"), (tmp_path / "adapter", "adapter"), (tmp_path / "reward", "reward")):
        assert model_folder(folder) == finished_model_folder(folder) == folder
        assert describe(folder).kind == kind


def test_an_ensemble_is_itself_and_its_members_are_read_first(tmp_path):
    (tmp_path / ENSEMBLE).write_text(json.dumps({"kind": "ensemble", "members": ["member-1/model", "member-2/model"]}))
    assert model_folder(tmp_path) == tmp_path
    assert members_of(str(tmp_path)) == [str(tmp_path / f"member-{i}" / "model") for i in (1, 2)]


def test_a_name_that_is_no_folder_is_itself_if_the_hub_has_it(tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no model 'owner/model' was found"):
        model_path("owner/model", tmp_path)
    monkeypatch.setattr("steersman.loading.language_model.refuse_unknown", lambda name, revision: None)
    assert model_path("owner/model", tmp_path) == "owner/model"
    assert model_path("harbour:base", tmp_path) == str(base_path())
    assert describe(model_path("tiny:gpt2", tmp_path)).family == "gpt2"
