"""No command writes onto what it reads, or over a file that it did not make, without --force."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steersman.cli.main import app
from steersman.data.outputs import check_outputs
from steersman.errors import UsageError

PAIR = {"prompt": "Q?", "chosen": " yes", "rejected": " no"}


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(PAIR) + "\n{\n")
    return path


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def refused(message: str, *words: object) -> None:
    with pytest.raises(UsageError, match=message):
        run(*words)


def test_no_data_command_writes_onto_its_source_even_with_force(source):
    before = source.read_bytes()
    link = source.with_name("link.jsonl")
    link.symlink_to(source)
    hard = source.with_name("hard.jsonl")
    hard.hardlink_to(source)
    for words in (
        ["convert", source, source],
        ["convert", source, link],
        ["convert", source, hard],
        ["convert", source.parent, hard],
        ["convert", source, source.with_name("z.jsonl"), "--quarantine", source],
        ["inspect", source, "--quarantine", source],
        ["split", source, source.with_name("parts"), "--quarantine", source],
    ):
        refused("that is read", "data", *words, "--force")
    train = source.rename(source.with_name("train.jsonl"))
    refused("that is read", "data", "split", train, train.parent, "--force")
    assert train.read_bytes() == before


def test_files_that_are_there_are_overwritten_only_with_force(source):
    mine = {}
    for name in ("z.jsonl", "z.set_aside.jsonl", "bad.jsonl", "train.jsonl"):
        mine[name] = source.with_name(name)
        mine[name].write_text("mine\n")
    fresh, bad = source.with_name("fresh.jsonl"), source.with_name("bad.jsonl")
    refused("z.jsonl exists already; give another name, or --force", "data", "convert", source, mine["z.jsonl"])
    mine["z.jsonl"].unlink()
    refused("z.set_aside.jsonl exists already", "data", "convert", source, mine.pop("z.jsonl"))
    refused("bad.jsonl exists already", "data", "convert", source, fresh, "--quarantine", bad)
    refused("bad.jsonl exists already", "data", "inspect", source, "--quarantine", bad)
    refused("train.jsonl exists already", "data", "split", source, source.parent, "--shares", "0.5,0.5")
    assert {path.read_text() for path in mine.values()} == {"mine\n"}
    assert not fresh.exists()
    run("data", "convert", source, fresh, "--quarantine", bad, "--force")
    assert json.loads(bad.read_text())["line"] == 2
    assert json.loads(fresh.read_text())["kind"] == "comparison"


def test_two_outputs_with_one_name_are_refused(source):
    twice = source.with_name("z.jsonl")
    refused("would be written twice", "data", "convert", source, twice, "--quarantine", twice)
    assert not twice.exists()


def test_score_keeps_a_file_that_is_there_and_a_folder_of_other_files(source):
    out = source.with_name("scored.jsonl")
    scoring = ["score", source, "--scorer", "harbour:taste", "--out", out]
    folder = out.with_name("scored.jsonl.replies")
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    refused("holds other files", *scoring)
    (folder / "mine.txt").unlink()
    run(*scoring)
    written = out.read_bytes()
    refused("scored.jsonl exists already", *scoring)
    run(*scoring, "--force")
    assert out.read_bytes() == written


def test_pages_replace_pages_of_ours_and_nothing_else(source):
    asking = ["compare", "--model", "a=tiny:llama", "--model", "b=tiny:llama", "--prompt", "Hi", "--max-new-tokens", 2]
    page = source.with_name("page.html")
    run(*asking, "--html", page)
    run(*asking, "--html", page)
    page.write_text("<p>mine</p>")
    refused("page.html exists already", *asking, "--html", page)
    refused("that is read", *asking, "--prompts", source, "--html", source, "--force")
    assert page.read_text() == "<p>mine</p>"
    run(*asking, "--html", page, "--force")


def test_what_is_no_regular_file_can_be_written(tmp_path):
    check_outputs([Path("/dev/null")])
    with pytest.raises(UsageError, match="is a folder"):
        check_outputs([tmp_path])
