"""Models that a run stands on, through the command line: a changed one is noticed, a damaged one refused."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from forked import run_command
from plainly import demonstrations, judged, write_rows
from safetensors.torch import load_file

from steersman.models.tiny import write_tiny_model
from steersman.runs.manifest import MANIFEST, read_manifest
from steersman.runs.verified import model_problems

pytestmark = pytest.mark.slow


def steersman(*words: object):
    return run_command([str(word) for word in words])


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 0x40
    file.write_bytes(content)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Two finished runs with the default settings, and their data."""
    root = tmp_path_factory.mktemp("made")
    rows, pairs = (
        write_rows(root / "rows.jsonl", demonstrations(40, 1)),
        write_rows(root / "pairs.jsonl", judged(40, 1)),
    )
    for words in (("sft", f"data.source={rows}"), ("reward", f"data.source={pairs}")):
        ended = steersman(*words, "model.path=tiny:llama", f"run.out={root / words[0]}", "train.steps=2")
        assert ended.returncode == 0, ended.stderr
    return root


def test_a_finished_model_has_the_manifest_of_its_files(made):
    for kind in ("sft", "reward"):
        model = made / kind / "model"
        assert model_problems(model) == []
        manifest = read_manifest(model)
        assert manifest["facts"] == {"kind": kind}
        assert {*manifest["files"], MANIFEST} == {path.name for path in model.iterdir()}


@pytest.mark.parametrize("command", ["chat", "sft", "dpo", "reward", "score", "ppo", "ppo, its scorer"])
def test_a_flipped_exponent_bit_in_a_finished_model_is_refused(command, made, tmp_path):
    kind = "reward" if command in ("score", "ppo, its scorer") else "sft"
    shutil.copytree(made / kind, tmp_path / kind)
    damaged = tmp_path / kind / "model" / "model.safetensors"
    # bit 6 of a float32's highest byte is of its exponent; the file's end is of the last weight
    flip(damaged, damaged.stat().st_size - 1)
    out = f"run.out={tmp_path / 'out'}"
    ppo = ("ppo", f"prompts.source={made / 'rows.jsonl'}", out, "iterations=1", "prompts_per_iteration=2")
    words = {
        "chat": ("chat", tmp_path / "sft", "--prompt", "hello", "--max-new-tokens", "2"),
        "sft": ("sft", f"model.path={tmp_path / 'sft'}", f"data.source={made / 'rows.jsonl'}", out),
        "dpo": ("dpo", f"model.path={tmp_path / 'sft'}", f"data.source={made / 'pairs.jsonl'}", out),
        "reward": ("reward", f"model.path={tmp_path / 'sft'}", f"data.source={made / 'pairs.jsonl'}", out),
        "score": ("score", made / "pairs.jsonl", "--scorer", tmp_path / "reward", "--out", tmp_path / "scored.jsonl"),
        "ppo": (*ppo, f"model.path={tmp_path / 'sft'}", "scorer.path=verify:exact"),
        "ppo, its scorer": (*ppo, "model.path=tiny:llama", f"scorer.path={tmp_path / 'reward'}"),
    }[command]
    ended = steersman(*words)
    assert ended.returncode == 4, ended.stderr
    assert "is damaged or was changed after it was saved: model.safetensors: contents altered" in ended.stderr
    assert "Traceback" not in ended.stderr
    if command in ("chat", "score"):
        flip(damaged, damaged.stat().st_size - 1)
        # with another bit of the mantissa the model can still be used, if one insists
        flip(damaged, damaged.stat().st_size - 3)
        assert steersman(*words).returncode == 4
        assert steersman(*words, "--no-verify").returncode == 0


def unfinish(run: Path) -> None:
    (run / "ending.json").unlink()
    shutil.rmtree(run / "model")


def test_a_parent_that_changed_past_its_first_bytes_is_noticed_on_resume(made, tmp_path):
    base = write_tiny_model(tmp_path / "base", "llama")
    words = ("sft", f"model.path={base}", f"data.source={made / 'rows.jsonl'}", f"run.out={tmp_path / 'run'}")
    assert steersman(*words, "train.steps=2").returncode == 0
    unfinish(tmp_path / "run")
    assert (base / "model.safetensors").stat().st_size > 100_000
    whole = (base / "model.safetensors").read_bytes()
    flip(base / "model.safetensors", 100_000)
    ended = steersman(*words, "train.steps=2")
    assert ended.returncode == 2, ended.stderr
    assert f"holds another run: parents.model was {base} sha256:" in ended.stderr
    (base / "model.safetensors").write_bytes(whole)
    assert steersman(*words, "train.steps=2").returncode == 0


def test_a_scorer_that_changed_is_noticed_on_resume(made, tmp_path):
    shutil.copytree(made / "reward", tmp_path / "reward")
    words = ("ppo", "model.path=tiny:llama", f"scorer.path={tmp_path / 'reward'}", f"run.out={tmp_path / 'run'}")
    words = (*words, f"prompts.source={made / 'rows.jsonl'}", "iterations=1", "prompts_per_iteration=2")
    words = (*words, "sampling.max_new_tokens=4")
    ended = steersman(*words)
    assert ended.returncode == 0, ended.stderr
    unfinish(tmp_path / "run")
    weights = tmp_path / "reward" / "model" / "model.safetensors"
    flip(weights, weights.stat().st_size - 3)
    ended = steersman(*words, "--no-verify")
    assert ended.returncode == 2, ended.stderr
    assert "holds another run: parents.scorer was" in ended.stderr


def test_a_run_begun_by_version_02_resumes_with_a_notice_and_is_whole_from_then_on(made, tmp_path):
    base = write_tiny_model(tmp_path / "base", "llama")
    words = ("sft", f"model.path={base}", f"data.source={made / 'rows.jsonl'}", f"run.out={tmp_path / 'run'}")
    words = (*words, "train.steps=2")
    assert steersman(*words).returncode == 0
    first = load_file(tmp_path / "run" / "model" / "model.safetensors")
    stamp = tmp_path / "run" / "stamp.json"
    content = json.loads(stamp.read_text())
    whole = content["parents"]["model"]
    content["parents"]["model"] = identity_of_version_02(base)
    stamp.write_text(json.dumps(content))
    unfinish(tmp_path / "run")
    ended = steersman(*words)
    assert ended.returncode == 0, ended.stderr
    assert "identified model by name or by the first bytes of the files only" in ended.stderr
    assert json.loads(stamp.read_text())["parents"]["model"] == whole
    again = load_file(tmp_path / "run" / "model" / "model.safetensors")
    assert all(first[name].equal(again[name]) for name in first)
    unfinish(tmp_path / "run")
    assert "first bytes" not in steersman(*words).stderr


def identity_of_version_02(folder: Path) -> str:
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = file.read_bytes()
        whole.update(f"{file.relative_to(folder)} {len(content)} ".encode() + hashlib.sha256(content[:65536]).digest())
    return f"{folder} {whole.hexdigest()[:16]}"
