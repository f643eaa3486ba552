"""Training on a project: on a snapshot, which the same command reads again however many labels have come since."""

import json
import tomllib

import pytest
from commandline import call
from store_pairs import pair

from steersman.errors import DataError, UsageError
from steersman.store.imports import ImportReport, Wishes, from_records, import_arriving
from steersman.store.labelling import Submission, submit_label, undo_last
from steersman.store.reading import read_records
from steersman.store.reading_cursor import cursor_of
from steersman.store.snapshots import find_snapshot, freeze, list_snapshots, read_snapshot
from steersman.store.sources import frozen_source, open_studio, parsed_source, source_going_on


def judge(project, numbers, **more) -> None:
    records = [pair(number, annotator="ann", id=f"i{number}", **more) for number in numbers]
    import_arriving(project, from_records(records, Wishes()), ImportReport())


def secret_address(address: str) -> str:
    """The same address with a password, where it is a server's (which trusts everybody)."""
    return address.replace("postgres@", "postgres:sesame@")


def text_of_run(folder) -> str:
    names = ("recipe.toml", "stamp.json", "journal.jsonl")
    return "".join((folder / name).read_text() for name in names)


@pytest.mark.slow
def test_a_run_freezes_a_snapshot_and_goes_on_with_it(address, project, tiny, tmp_path, capsys):
    judge(project, range(12))
    source = f"studio:helpful?store={secret_address(address)}"
    words = ["reward", "--model", str(tiny("llama")), "--data", source, "data.held_out=none", "run.device=cpu"]
    words += ["train.batch_size=4", "train.kernels=default", "run.threads=1", "--json"]
    run = ["--out", str(tmp_path / "run")]
    assert call([*words, *run, "train.steps=2"]) == 0, capsys.readouterr().err
    recipe = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    assert recipe["data"]["source"].startswith("studio:helpful?snapshot=1&store=")
    stamp = json.loads((tmp_path / "run" / "stamp.json").read_text())
    content = list_snapshots(project)[0].content
    assert list(stamp["data"].values()) == [content]
    assert "sesame" not in text_of_run(tmp_path / "run")
    judge(project, range(12, 20))
    assert call([*words, *run, "train.steps=2"]) == 0
    assert call([*words, *run, "train.steps=3", "--extend"]) == 0, capsys.readouterr().err
    assert "12 judged prompts" in (tmp_path / "run" / "journal.jsonl").read_text()
    assert [one.number for one in list_snapshots(project)] == [1]
    assert call([*words, "--out", str(tmp_path / "new"), "train.steps=1"]) == 0
    assert "studio:helpful?snapshot=2" in (tmp_path / "new" / "recipe.toml").read_text()
    assert "20 judged prompts" in (tmp_path / "new" / "journal.jsonl").read_text()


def test_several_processes_are_asked_to_name_the_snapshot(address, project, tmp_path, monkeypatch):
    from steersman.execution.frozen_sources import with_frozen_sources
    from steersman.loading.sources import register_sources
    from steersman.runs.folder import RunFolder
    from steersman.settings.base import load_settings
    from steersman.settings.reward import RewardSettings

    register_sources()
    judge(project, range(3))
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("STEERSMAN_STORE", address)
    settings = load_settings(
        RewardSettings, None, ["data.source=studio:helpful", "model.path=m", f"run.out={tmp_path}"]
    )
    with pytest.raises(UsageError, match=r"name it: data.source=studio:helpful\?snapshot=1"):
        with_frozen_sources(settings, RunFolder(tmp_path))


def test_a_snapshot_holds_what_counted_then(project, tasks):
    one, two = tasks(2)
    submit_label(project, Submission("ann", one.id, "1", {"preference": 1.0}))
    first = freeze(project)
    assert freeze(project) == first
    before = list(read_records(project, cursor_of(project)))
    submit_label(project, Submission("ann", one.id, "2", {"preference": 0.0}))
    submit_label(project, Submission("ann", two.id, "3", {"preference": 0.0}))
    second = freeze(project)
    undo_last(project, "ann", "4")
    undo_last(project, "ann", "5")
    undo_last(project, "ann", "6")
    assert list(read_snapshot(project, first)) == before
    assert [first.rows, second.rows, second.number] == [2, 2, 2]
    assert [r.preference for r in read_snapshot(project, second)] == [0.0, 0.0]  # pyright: ignore
    with pytest.raises(UsageError, match="helpful has no snapshot 7; there are 1 to 2"):
        find_snapshot(project, 7)


def test_a_snapshot_whose_labels_were_altered_is_refused(project):
    judge(project, range(3))
    one = freeze(project)
    with project.database.write() as connection:
        connection.exec_driver_sql("UPDATE event SET body = replace(body, '1.0', '0.0') WHERE number = 2")
    with pytest.raises(DataError, match="snapshot 1 of helpful is not what it was: 3 records with the hash"):
        list(read_snapshot(project, one))


def test_a_source_names_snapshot_round_and_store(address, project, monkeypatch):
    monkeypatch.setenv("STEERSMAN_STORE", address)
    judge(project, range(3))
    assert frozen_source("helpful") == "studio:helpful?snapshot=1"
    assert len(list(open_studio("helpful?snapshot=1"))) == len(list(open_studio("helpful"))) == 3
    assert str(parsed_source("p?round=r1&store=a.db")) == "studio:p?round=r1&store=a.db"
    assert source_going_on("p", "p?snapshot=3") == "studio:p?snapshot=3"
    assert source_going_on("p?round=2", "p?snapshot=3") is None
    assert source_going_on("p?snapshot=4", "p?snapshot=3") is None
    assert source_going_on("q", "p?snapshot=3") is None
    secret = parsed_source("p?store=postgresql%3A%2F%2Fann%3Asesame%40h%2Fd")
    assert str(secret) == "studio:p?store=postgresql://ann@h/d"
    for wrong, message in {
        "helpful?snapshot=x": "a number from 1",
        "helpful?limit=3": "has no option 'limit'",
        "": "names a project",
    }.items():
        with pytest.raises(UsageError, match=message):
            parsed_source(wrong)
