"""A finished model is verified by its manifest when it is loaded: no bit of it may differ."""

import random

import pytest

from steersman.errors import ModelError
from steersman.runs import hashes, verified
from steersman.runs.manifest import MANIFEST
from steersman.runs.verified import model_problems, seal, verification, verify_model


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "more").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(random.Random(1).randbytes(5000))
    (folder / "more" / "heads.safetensors").write_bytes(b"heads")
    seal(folder, 12, {"kind": "sft"})
    return folder


def test_a_model_as_it_was_written_is_good(model):
    verify_model(model)
    assert model_problems(model) == []
    seal(model, 13, {"kind": "sft"})
    verify_model(model)


def test_every_flipped_bit_is_found(model):
    draw = random.Random(0)
    files = [path for path in model.rglob("*") if path.is_file()]
    for _ in range(100):
        file = draw.choice(files)
        whole = file.read_bytes()
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        file.write_bytes(content)
        with pytest.raises(ModelError, match=r"is damaged or was changed after it was saved: .*delete its manifest"):
            verify_model(model)
        file.write_bytes(whole)
    verify_model(model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json: missing"),
        (lambda folder: (folder / "config.json").write_text("{ }"), "config.json: 3 bytes instead of 2"),
        (lambda folder: (folder / "config.json").write_text("[]"), "config.json: contents altered"),
        (lambda folder: (folder / MANIFEST).write_bytes((folder / MANIFEST).read_bytes()[:-9]), "unreadable"),
    ],
)
def test_what_differs_is_named(model, change, reason):
    change(model)
    with pytest.raises(ModelError, match=reason):
        verify_model(model)
    with verification(False):
        verify_model(model)
    with pytest.raises(ModelError, match=reason), verification(True):
        verify_model(model)


def test_a_file_that_cannot_be_read_is_named_beside_the_others(model, monkeypatch):
    (model / "config.json").unlink()
    (model / "more" / "heads.safetensors").write_bytes(b"longer than before")

    def refuse(path, *, stored=True):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(hashes, "known_hash", refuse)
    assert model_problems(model) == [
        "config.json: missing",
        "more/heads.safetensors: 18 bytes instead of 5",
        f"{model / 'model.safetensors'}: unreadable (Input/output error)",
    ]


def test_files_that_were_added_are_the_users_own(model):
    (model / "README.md").write_text("my model")
    verify_model(model)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"models": ["x.gguf"], "format": 1}', b"\xff\xfe"])
def test_a_manifest_of_another_program_is_not_ours(model, content):
    (model / MANIFEST).write_bytes(content)
    (model / "config.json").write_text("{ }")
    verify_model(model)


def test_a_model_without_a_manifest_is_loaded_as_it_is(model):
    (model / MANIFEST).unlink()
    (model / "config.json").write_text("{ }")
    verify_model(model)


def test_a_flipped_bit_in_a_file_with_its_old_times_is_found_though_its_hash_is_stored(tmp_path, monkeypatch):
    """Damage on the disk changes no time of a file; a hash that this machine stored earlier would hide it."""
    monkeypatch.setattr(hashes, "WORTH_STORING", 1)
    monkeypatch.setattr(hashes, "_in_this_process", {})
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    seal(folder, 1, {})
    asked: list[bool] = []
    real = verified.known_hashes
    monkeypatch.setattr(
        verified, "known_hashes", lambda paths, *, stored=True: (asked.append(stored), real(paths, stored=stored))[1]
    )
    assert model_problems(folder) == []
    assert asked == [False]
