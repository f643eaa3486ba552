"""The stamp, and what two of them say about each other."""

import json
import os
import platform
import subprocess
from dataclasses import replace
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

import steersman
from steersman.errors import DataError
from steersman.runs.stamp import (
    MachineFacts,
    RunIdentity,
    changes,
    commit_of,
    conflicts,
    make_stamp,
    processor_name,
    read_stamp,
    version_of,
    write_stamp,
)
from steersman.secrets import concealed_arguments


def stamp(**other: Any) -> dict[str, Any]:
    identity = RunIdentity("ppo", {"run": 1}, {"prompts": "ab12"}, {"policy": "cd34"})
    machine = MachineFacts(2, "cpu", 1, {"algorithms": True})
    of_run = {name: value for name, value in other.items() if hasattr(identity, name)}
    of_machine = {name: value for name, value in other.items() if hasattr(machine, name)}
    command = other.get("command")
    return make_stamp(replace(identity, **of_run), replace(machine, **of_machine), command=command)


def test_a_stamp_says_what_made_the_run(tmp_path: Path):
    made = stamp(command=["steersman", "ppo", "--api-key", "sesame"])
    assert made["libraries"]["torch"] == metadata.version("torch")
    assert made["libraries"]["numpy"] == metadata.version("numpy")
    assert made["python"] == platform.python_version()
    assert made["cpus"] == os.cpu_count()
    assert made["command"] == ["steersman", "ppo", "--api-key", "***"]
    assert (made["kind"], made["threads"], made["seeds"], made["data"]) == ("ppo", 2, {"run": 1}, {"prompts": "ab12"})
    write_stamp(tmp_path / "stamp.json", made)
    assert read_stamp(tmp_path / "stamp.json") == made
    assert json.loads(json.dumps(made)) == made
    assert stamp()["command"]


def test_a_stamp_s_commit_is_that_of_this_very_package(monkeypatch: pytest.MonkeyPatch):
    asked: list[Path] = []
    monkeypatch.setattr("steersman.runs.stamp.commit_of", lambda package: asked.append(package) or "abc")
    made = stamp()
    assert (made["commit"], asked) == ("abc", [Path(steersman.__file__).parent])
    assert (made["device"], made["world_size"], made["deterministic"]) == ("cpu", 1, {"algorithms": True})
    assert (made["parents"], made["processor"]) == ({"policy": "cd34"}, processor_name())
    assert datetime.fromisoformat(made["started"]).tzinfo is not None


def test_the_same_machine_and_settings_are_bit_exact():
    assert changes(stamp(), stamp()) == []
    assert conflicts(stamp(), stamp()) == []


def test_each_change_is_said_in_plain_words():
    old = stamp()
    new = stamp(threads=4, world_size=2, device="cuda", deterministic={"algorithms": False})
    new["libraries"] = {**new["libraries"], "torch": "9.9.9"}
    assert changes(old, new) == [
        f"not bit-exact because the torch version was {metadata.version('torch')} and is now 9.9.9",
        "not bit-exact because the thread count was 2 and is now 4",
        "not bit-exact because the world size was 1 and is now 2",
        "not bit-exact because the device was cpu and is now cuda",
        "not bit-exact because the deterministic setting was algorithms=on and is now algorithms=off",
    ]


def test_what_the_old_stamp_does_not_say_is_unknown():
    old = stamp()
    del old["threads"]
    del old["libraries"]
    assert "not bit-exact because the thread count was unknown and is now 2" in changes(old, stamp())


def test_other_data_seeds_or_parents_are_another_run():
    new = stamp(kind="dpo", seeds={"run": 2}, data={"prompts": "ffff", "more": "0"})
    assert conflicts(stamp(), new) == [
        "kind was ppo and is now dpo",
        "seeds.run was 1 and is now 2",
        "data.more was unknown and is now 0",
        "data.prompts was ab12 and is now ffff",
    ]
    assert conflicts({**stamp(), "seeds": None}, stamp()) == ["seeds was unknown and is now run=1"]


def test_a_damaged_stamp_is_named(tmp_path: Path):
    path = tmp_path / "stamp.json"
    path.write_text('{"kind": ')
    with pytest.raises(DataError, match=r"stamp\.json cannot be read as a run's stamp"):
        read_stamp(path)
    path.write_text("[]")
    with pytest.raises(DataError, match="holds a list"):
        read_stamp(path)
    with pytest.raises(DataError, match="No such file"):
        read_stamp(tmp_path / "none")


def test_secrets_do_not_reach_the_stamp():
    assert concealed_arguments(
        [
            "--token=abc",
            "judge.api_key=abc",
            "--password",
            "abc",
            "--api-key",
            "--seed",
            "1",
            "http://me:abc@host/x",
            "a=b",
        ]
    ) == [
        "--token=***",
        "judge.api_key=***",
        "--password",
        "***",
        "--api-key",
        "--seed",
        "1",
        "http://***@host/x",
        "a=b",
    ]
    # A knob whose name only begins like a secret's is kept.
    assert concealed_arguments(["--tokens-per-batch", "512", "token_budget=9"]) == [
        "--tokens-per-batch",
        "512",
        "token_budget=9",
    ]


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=e@example.org", *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip()


def test_the_commit_is_that_of_our_own_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    package = tmp_path / "src" / "steersman"
    package.mkdir(parents=True)
    assert commit_of(package) is None
    git(tmp_path, "init", "-q")
    assert commit_of(package) is None  # a repository without a commit
    (package / "code.py").touch()
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert commit_of(package) == commit
    (package / "code.py").write_text("changed")
    assert commit_of(package) == f"{commit}+changes"
    # Installed inside somebody's repository, the repository is not ours.
    assert commit_of(tmp_path / "lib" / "steersman") is None
    monkeypatch.setenv("PATH", "")
    assert commit_of(package) is None


def test_a_library_that_is_not_installed_has_no_version():
    assert version_of("no-such-distribution") is None


def test_a_machine_without_cpuinfo_still_has_a_processor(monkeypatch: pytest.MonkeyPatch):
    assert processor_name()

    def fail(path: Path) -> str:
        raise FileNotFoundError(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_text", fail)
        named = processor_name()
    assert named == (platform.processor() or platform.machine())


def test_a_stamp_can_be_read_by_people(tmp_path: Path):
    write_stamp(tmp_path / "stamp.json", {"kind": "é", "seeds": {"run": 1}})
    assert (tmp_path / "stamp.json").read_text() == '{\n  "kind": "é",\n  "seeds": {\n    "run": 1\n  }\n}\n'
