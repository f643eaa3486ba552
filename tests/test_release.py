"""What a release consists of: its version, the distributions, and the files beside the code."""

import importlib.util
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def versions():
    spec = importlib.util.spec_from_file_location("release_version", ROOT / "release" / "version.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder, *words):
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_version_is_that_of_the_tag_or_follows_it(versions, tmp_path):
    (tmp_path / "CHANGELOG.md").write_text(
        "# Changelog\n\n## Unreleased\n\n## 0.2.0 (2026-11-30)\n\n## 0.1.0 (2026-11-01)\n"
    )
    assert versions.version(tmp_path) == "0.2.0"
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    assert versions.version(tmp_path) == "0.2.0"
    git(tmp_path, "tag", "v0.3.0")
    git(tmp_path, "tag", "nightly")
    assert versions.version(tmp_path) == "0.3.0"
    git(tmp_path, "commit", "-qm", "two", "--allow-empty")
    commit = git(tmp_path, "rev-parse", "--short", "HEAD")
    assert versions.version(tmp_path) == f"0.3.1.dev1+g{commit}"
    (tmp_path / "CHANGELOG.md").write_text("changed")
    assert versions.version(tmp_path) == f"0.3.1.dev1+g{commit}.dirty"


def test_a_source_distribution_keeps_its_version(versions, tmp_path):
    (tmp_path / "CHANGELOG.md").write_text("## 0.2.0 (2026-11-30)\n")
    (tmp_path / "PKG-INFO").write_text("Metadata-Version: 2.4\nName: steersman\nVersion: 0.3.1.dev2+gabc\n")
    assert versions.version(tmp_path) == "0.3.1.dev2+gabc"
    (tmp_path / "PKG-INFO").unlink()
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n")
    with pytest.raises(RuntimeError, match="has no release"):
        versions.version(tmp_path)


def test_changelog_and_citation_name_the_same_release(versions):
    newest = versions.released(ROOT)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == newest
    assert f"## {newest} ({cited['date-released']})" in (ROOT / "CHANGELOG.md").read_text()
    assert {"cff-version", "message", "title", "authors", "license"} <= cited.keys()


@pytest.mark.slow
def test_both_distributions_are_built_and_checked(tmp_path):
    def run(*words):
        done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
        return done.stdout

    run("-m", "build", "--no-isolation", "--outdir", str(tmp_path))
    assert "checked" in run("release/check.py", str(tmp_path))
    (tmp_path / "steersman-9.9.9-py3-none-any.whl").write_bytes(b"")
    done = subprocess.run([sys.executable, "release/check.py", str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "has 2 files *.whl" in done.stderr


@pytest.mark.slow
def test_the_bill_of_materials_is_valid_and_names_what_is_required(tmp_path):
    file = tmp_path / "sbom.json"
    program = Path(sys.executable).parent / "cyclonedx-py"
    words = [
        program,
        "environment",
        "--pyproject",
        "pyproject.toml",
        "--of",
        "JSON",
        "--output-file",
        file,
        sys.executable,
    ]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    found = json.loads(file.read_text())
    assert (found["bomFormat"], found["metadata"]["component"]["name"]) == ("CycloneDX", "steersman")
    names = {re.sub("[-_.]+", "-", one["name"]).lower() for one in found["components"]}
    required = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert {re.split("[><=]", one)[0].lower() for one in required} <= names


# The rules of hadolint that a Dockerfile breaks most often.
def instructions(text):
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def test_the_dockerfile_keeps_to_the_rules():
    found = instructions((ROOT / "Dockerfile").read_text())
    names = [name for name, _ in found]
    assert set(names) <= {
        *("FROM", "ARG", "ENV", "RUN", "COPY", "USER", "WORKDIR", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD", "SHELL")
    }
    for name, words in found:
        if name == "FROM":
            assert re.search(r":(?!latest)\S+", words), f"pin the image: {words}"
        if name == "WORKDIR":
            assert words.startswith("/"), words
        if name in ("CMD", "ENTRYPOINT"):
            assert json.loads(words), f"{name} is a JSON array"
        if name == "RUN":
            assert "sudo" not in words
            assert "apt-get" not in words or "rm -rf /var/lib/apt/lists" in words
            if "|" in words.replace("||", ""):
                assert any(n == "SHELL" and "pipefail" in w for n, w in found)
    last = [words for name, words in found if name == "USER"][-1]
    assert last not in ("root", "0"), "the container does not run as root"
    assert names.count("CMD") == names.count("ENTRYPOINT") == 1
    # every copied path is there, and the ignore file lets it in
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for name, words in found:
        if name == "COPY" and not words.startswith("--from"):
            for source in words.split()[:-1]:
                path = source.removeprefix("./")
                assert (ROOT / path).exists(), path
                assert path in allowed, path


def test_the_workflows_say_what_runs_where():
    folder = ROOT / ".github" / "workflows"
    found = {path.stem: yaml.safe_load(path.read_text()) for path in folder.glob("*.yml")}
    assert found.keys() == {"tests", "docs", "release"}
    assert found["tests"]["jobs"]["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, workflow in found.items():
        # `on` is true for YAML 1.1
        assert True in workflow or "on" in workflow, name
        assert workflow["permissions"] == {"contents": "read"}, name
        for job in workflow["jobs"].values():
            assert job["timeout-minutes"] <= 120
            for step in job["steps"]:
                assert re.fullmatch(r"[\w.-]+/[\w./-]+@(v\d+|release/v1)", step.get("uses", "a/b@v1")), step
                for word in re.findall(r"^make ([a-z ]+?)(?= [A-Z]|$)", step.get("run", "")):
                    assert set(word.split()) <= targets, step
                if step.get("run", "").startswith("."):
                    assert (ROOT / step["run"]).exists()
    pythons = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    for python in ("3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {python}" in pythons


def test_security_says_how_to_report_and_nothing_that_is_not_there():
    text = (ROOT / "SECURITY.md").read_text()
    assert "Report a vulnerability" in text
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (ROOT / link).exists(), link
