"""A name that can only mean a folder is not looked up on the hub."""

import pytest

from steersman.errors import ModelError
from steersman.loading.language_model import refuse_missing_folder
from steersman.runs.folder import RunFolder


@pytest.fixture
def place(tmp_path, monkeypatch):
    RunFolder.create_or_open(tmp_path / "runs" / "sft")
    (tmp_path / "runs" / "sft" / "recipe.toml").write_text("")
    (tmp_path / "Qwen" / "Qwen3-0.6B").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("runs/sftt", r"did you mean 'runs/sft'\?"),
        ("runs/xyz", "runs has sft"),
        ("./sft", "has Qwen, runs"),
        ("a/b/c", "has no folders"),
        ("/gone/model", "has no folders"),
    ],
)
def test_a_missing_folder_is_refused_with_what_is_there(place, name, hint):
    with pytest.raises(ModelError, match=rf"there is no folder '{name}' .*{hint}"):
        refuse_missing_folder(name)


@pytest.mark.parametrize("name", ["gpt2", "Qwen/Qwen3-1.7B", "owner/name", "runs/sft", "tiny:llama", "harbour:base"])
def test_hub_ids_and_what_is_there_are_let_through(place, name):
    refuse_missing_folder(name)
