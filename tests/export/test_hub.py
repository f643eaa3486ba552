"""Uploads to a server that speaks the hub's HTTP API: private by default, in one commit, with a card that it takes;
nothing is sent with --dry-run, and no name or path of a person goes out."""

import json

import pytest
from commandline import call
from hub_server import TOKEN, HubRepo, hub_server
from plainly import write_rows

from steersman.errors import DataError, ServiceError, UsageError
from steersman.export.data_set import DataOptions, write_data_set
from steersman.export.hub import check_card, check_repo, licence_fields, push_folder
from steersman.models.tiny import write_tiny_model

# huggingface_hub uploads by a parameter that its HTTP client calls old
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # the stub speaks Git LFS, not Xet
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with hub_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {
            "prompt": f"Say {i}.",
            "completions": [f"It is {i}.", "No."],
            "preference": 1.0,
            "annotator": who,
        }
        for i in range(4)
        for who in ("Ann Smith", "ben@example.org")
    ]
    native = [
        {
            "kind": "comparison",
            "prompt": {"text": row["prompt"]},
            "first": {"text": row["completions"][0], "model": "/home/ann/runs/sft"},
            "second": {"text": row["completions"][1], "model": "org/model"},
            "preference": row["preference"],
            "annotator": row["annotator"],
            "metadata": {"file": "/home/ann/data.csv", "api_key": "sk-very-secret", "topic": "numbers"},
        }
        for row in rows
    ]
    return write_rows(tmp_path / "pairs.jsonl", native) or tmp_path / "pairs.jsonl"


@pytest.mark.slow
def test_an_export_is_pushed_as_a_private_repository_in_one_commit(hub, tmp_path, capfd):
    model = write_tiny_model(tmp_path / "source", "llama")
    words = ["export", str(model), "--out", str(tmp_path / "out"), "--push-to-hub", "me/tiny", "--licence", "mit"]
    assert call([*words, "--json"]) == 0, capfd.readouterr().err
    said = json.loads(capfd.readouterr().out)
    repo = hub.repos["me/tiny"]
    assert (repo.kind, repo.private) == ("model", True)
    assert repo.message.startswith("Upload by Steersman")
    assert repo.files == {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert {"model.safetensors", "config.json", "README.md"} <= repo.files.keys()
    assert said["push"]["private"] is True
    assert said["push"]["url"].startswith(f"{hub.url}/me/tiny/commit/")
    # once more is one more commit to the same repository, which stays as it is
    assert call([*words[:3], str(tmp_path / "again"), *words[4:]]) == 0
    assert len([line for line in hub.seen if line.endswith("/repos/create")]) == 1


@pytest.mark.slow
def test_a_dry_run_sends_nothing_and_needs_no_token(hub, tmp_path, monkeypatch, capfd):
    monkeypatch.delenv("HF_TOKEN")
    model = write_tiny_model(tmp_path / "source", "llama")
    assert call(["export", str(model), "--out", str(tmp_path / "out"), "--push-to-hub", "me/tiny", "--dry-run"]) == 0
    said = capfd.readouterr().out
    assert "dry run: nothing was uploaded. It would push to the private model me/tiny" in said
    assert "model.safetensors" in said
    assert hub.seen == []


def test_data_is_pushed_without_names_paths_and_secrets(hub, pairs, capfd):
    assert call(["data", "push", str(pairs), "me/pairs", "--licence", "cc-by-4.0", "--public"]) == 0
    assert "2 annotators are called by numbers" in capfd.readouterr().out
    repo = hub.repos["me/pairs"]
    assert (repo.kind, repo.private) == ("dataset", False)
    card, rows = repo.files["README.md"].decode(), repo.files["data/train.jsonl"].decode()
    for private in ("Ann Smith", "ben@example.org", "/home/ann", "sk-very-secret"):
        assert private not in card + rows
    first = json.loads(rows.splitlines()[0])
    assert (first["annotator"], first["first"]["model"], first["second"]["model"]) == (
        "annotator-1",
        "sft",
        "org/model",
    )
    assert first["metadata"]["topic"] == "numbers"
    assert "license: cc-by-4.0" in card
    assert "4 comparisons were judged more than once. Two labels of one comparison agree in 100.0 %" in card


def test_the_files_of_a_data_set_open_as_one(pairs, tmp_path):
    from datasets import load_dataset

    (tmp_path / "out").mkdir()
    written = write_data_set(str(pairs), "me/pairs", tmp_path / "out", DataOptions(to="trl", split="test"))
    found = load_dataset(str(tmp_path / "out"), split="test", cache_dir=str(tmp_path / "cache"))
    assert len(found) == written.rows == 8
    assert {"prompt", "chosen", "rejected"} <= set(found.column_names)
    check_card(tmp_path / "out" / "README.md")


def test_a_public_repository_is_not_written_to_by_accident(hub, tmp_path):
    hub.repos["me/open"] = HubRepo("model", private=False)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="there on the hub and public; give --public"):
        push_folder(tmp_path, "me/open", "model", public=False, dry_run=False)
    assert hub.repos["me/open"].files == {}
    push_folder(tmp_path, "me/open", "model", public=True, dry_run=False)
    assert hub.repos["me/open"].files == {"config.json": b"{}"}


def test_a_refused_upload_says_what_the_hub_said_and_not_the_token(hub, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    with pytest.raises(ServiceError, match=r"refused the upload to me/x \(401\).*token may write") as caught:
        push_folder(tmp_path, "me/x", "model", public=False, dry_run=False)
    assert "hf_reader" not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match="could not be reached"):
        push_folder(tmp_path, "me/x", "model", public=False, dry_run=False)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(UsageError, match="no token for the hub"):
        push_folder(tmp_path, "me/x", "model", public=False, dry_run=False)


def test_the_hubs_own_check_of_a_card_is_heeded(hub, tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: [mit, apache-2.0]\n---\n# x\n")
    with pytest.raises(DataError, match=r'does not take the card of me/x.*"license" must be a string'):
        push_folder(tmp_path, "me/x", "model", public=False, dry_run=False)


@pytest.mark.parametrize("repo", ["me", "me/", "a/b/c", "me/my model", "-me/x", "me/a--b", "me/..", "https://hub/me/x"])
def test_a_name_that_is_none_is_refused(repo):
    with pytest.raises(UsageError, match="expected ORG/NAME"):
        check_repo(repo)


def test_metadata_that_the_hub_would_not_read_is_refused_before_an_upload(tmp_path):
    card = tmp_path / "README.md"
    card.write_text("---\nlicense: mine\n---\n# x\n")
    with pytest.raises(DataError, match="no licence 'mine'"):
        check_card(card)
    card.write_text("---\nlicense: [\n---\n# x\n")
    with pytest.raises(DataError, match="metadata that the hub cannot read"):
        check_card(card)
    assert licence_fields("Mine 1.0") == {"license": "other", "license_name": "Mine 1.0"}
    assert licence_fields("MIT") == {"license": "mit"}
    with pytest.raises(UsageError, match="licence is empty"):
        licence_fields(" ")
