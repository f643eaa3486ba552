"""A model is known by all of its content, not by its name or the beginnings of its files."""

import hashlib
import json
from pathlib import Path

import pytest

from steersman.errors import ModelError
from steersman.runs import hashes
from steersman.runs.identity import identity_of, name_in, same_as_before, scorer_identity, upgraded


def folder_of(path: Path, weights: bytes, config: str = "{}") -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(config)
    (path / "model.safetensors").write_bytes(weights)
    return path


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x40
    file.write_bytes(content)


def identity_of_version_02(folder: Path) -> str:
    """By hand: the hash over each file's name and size and the hash of its first 64 KB."""
    whole = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        content = (folder / name).read_bytes()
        whole.update(f"{name} {len(content)} ".encode() + hashlib.sha256(content[:65536]).digest())
    return f"{folder} {whole.hexdigest()[:16]}"


@pytest.mark.parametrize("place", [0, 70_000, 199_999])
def test_a_bit_anywhere_makes_another_model(tmp_path, place):
    model = folder_of(tmp_path / "model", bytes(200_000))
    before = identity_of(str(model))
    assert identity_of(str(model)) == before
    flip(model / "model.safetensors", place)
    assert identity_of(str(model)) != before


def test_the_identity_is_the_hash_of_names_and_contents(tmp_path):
    model = folder_of(tmp_path / "model", b"weights")
    lines = [
        f"{name}\0{hashlib.sha256(text).hexdigest()}"
        for name, text in (("config.json", b"{}"), ("model.safetensors", b"weights"))
    ]
    expected = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]
    assert identity_of(str(model)) == f"{model} sha256:{expected}"
    assert name_in(identity_of(str(model))) == str(model)


def test_a_model_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    model = folder_of(tmp_path / "model", b"weights")

    def refuse(path, *, stored=True):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(hashes, "known_hash", refuse)
    with pytest.raises(
        ModelError, match=r"model/config\.json cannot be read: Permission denied; check the file's perm"
    ):
        identity_of(str(model))


def test_what_is_no_folder_is_its_own_name():
    for name in ("owner/name", "harbour:base", "https://example.org/score"):
        assert identity_of(name) == name_in(name) == name


def test_the_base_of_an_adapter_counts(tmp_path):
    base = folder_of(tmp_path / "base", b"base")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    before = identity_of(str(adapter))
    flip(base / "model.safetensors", 2)
    assert identity_of(str(adapter)) != before
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(adapter)}))
    assert identity_of(str(adapter)).startswith(f"{adapter} sha256:")


def test_a_scorer_is_known_by_each_of_its_models(tmp_path):
    one, two = folder_of(tmp_path / "one", b"1"), folder_of(tmp_path / "two", b"2")
    places = [str(one), "verify:exact", str(two)]
    before = scorer_identity("sum", places)
    assert name_in(before) == "sum"
    assert scorer_identity("verify:exact", ["verify:exact"]) == "verify:exact"
    flip(two / "model.safetensors", 0)
    assert scorer_identity("sum", places) != before


def test_an_identity_of_version_02_still_fits_the_model_it_was_of(tmp_path):
    model = folder_of(tmp_path / "a model", bytes(range(256)) * 400)
    old, now = identity_of_version_02(model), identity_of(str(model))
    assert same_as_before(old, now)
    assert same_as_before(str(model), now), "a scorer was known by its name"
    assert name_in(old) == str(model)
    assert not same_as_before(now, now)
    assert not same_as_before(str(tmp_path / "another"), now)
    flip(model / "model.safetensors", 3)
    assert not same_as_before(old, identity_of(str(model)))


def test_only_old_identities_that_fit_are_renewed(tmp_path):
    model = folder_of(tmp_path / "model", b"weights")
    now = {"model": identity_of(str(model)), "scorer": "verify:exact", "reference": identity_of(str(model))}
    before = {"model": identity_of_version_02(model), "scorer": "verify:exact", "reference": f"{model} {'0' * 16}"}
    renewed, names = upgraded(before, now)
    assert names == ["model"]
    assert renewed == {**before, "model": now["model"]}


def test_an_identity_without_a_name_is_that_of_no_model():
    assert not same_as_before("", "gone sha256:0123")
    assert same_as_before("gone", "gone sha256:0123")
