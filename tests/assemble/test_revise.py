"""`constitution revise`: a run folder of critiques and revisions, continued after a stop, and learned from by sft."""

import json
from pathlib import Path

import pytest
from commandline import call
from openai_server import openai_server
from plainly import write_rows

from steersman.assemble.revise import run_revise
from steersman.data.kinds import as_demonstrations
from steersman.data.load import load_records
from steersman.errors import DataError, Preempted, ServiceError, UsageError
from steersman.execution.kept import OpenRunFolder
from steersman.inference.revision_batches import read_critiques
from steersman.records import Critique, Demonstration
from steersman.settings.base import load_settings
from steersman.settings.revise import ReviseSettings

MINE = """
kinds = ["greeting"]
[critic]
form = "turns"
[[principles]]
name = "polite"
critique_request = "Was that rude?"
revision_request = "Please say it better."
comparison_question = "Which answer is more polite?"
[[principles]]
name = "brief"
critique_request = "Was that long?"
revision_request = "Please say it shorter."
comparison_question = "Which answer is shorter?"
kinds = ["greeting"]
"""


@pytest.fixture
def settings(tiny, tmp_path):
    (tmp_path / "mine.toml").write_text(MINE)
    rows = [{"prompt": f"Say {i}."} for i in range(7)] + [{"prompt": "Say 0."}, {"nothing": 1}]
    prompts = write_rows(tmp_path / "prompts.jsonl", rows)

    def make(*more: str, out: str = "run") -> ReviseSettings:
        given = [
            *(f"model={tiny('llama')}", f"prompts.source={prompts}", f"constitution={tmp_path / 'mine.toml'}"),
            *("rounds=2", "prompts_at_once=2", "sampling.max_new_tokens=12", "run.device=cpu", "run.threads=1"),
        ]
        return load_settings(ReviseSettings, None, [*given, *more, f"run.out={tmp_path / out}"])

    return make


def texts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "critiques").iterdir())}


def test_every_text_is_kept_and_counted(settings, tmp_path):
    found = run_revise(settings(), quiet=True)
    rows = [record for record in load_records(str(tmp_path / "run")) if isinstance(record, Critique)]
    assert len(rows) == found.rows == 14
    assert found.left_out == {"a prompt that came before": 1, "a bad row": 1}
    assert sum(found.statuses.values()) == 14
    assert {row.principle for row in rows} == {"polite"}, "the other is for greetings"
    results = json.loads((tmp_path / "run" / "counts.json").read_text())
    assert results["statuses"] == dict(found.statuses)
    assert results["left_out"] == {"a bad row": 1, "a prompt that came before": 1}
    stamp = json.loads((tmp_path / "run" / "stamp.json").read_text())
    assert stamp["kind"] == "revise"
    assert stamp["data"]["constitution"] == rows[0].constitution
    assert sorted(texts(tmp_path / "run")) == [f"batch-{i:05d}.jsonl" for i in range(4)]


def test_a_stopped_run_goes_on_to_the_same_bytes(settings, tmp_path, monkeypatch):
    run_revise(settings(out="whole"), quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(OpenRunFolder, "stop_requested", lambda self: True)
        with pytest.raises(Preempted, match="stopped after 2 of 7 prompts as asked; the same command goes on"):
            run_revise(settings(), quiet=True)
    assert len(texts(tmp_path / "run")) == 1
    assert run_revise(settings(), quiet=True).as_dict() == run_revise(settings(), quiet=True).as_dict()
    assert texts(tmp_path / "run") == texts(tmp_path / "whole")
    results = [(tmp_path / name / "counts.json").read_text() for name in ("run", "whole")]
    assert json.loads(results[0]) == {**json.loads(results[1]), "out": str(tmp_path / "run")}


def test_how_many_prompts_go_together_changes_no_text(settings, tmp_path):
    run_revise(settings(), quiet=True)
    run_revise(settings("prompts_at_once=5", out="other"), quiet=True)
    assert b"".join(texts(tmp_path / "run").values()) == b"".join(texts(tmp_path / "other").values())


def test_another_constitution_or_prompt_is_another_run(settings, tmp_path):
    run_revise(settings(), quiet=True)
    mine = tmp_path / "mine.toml"
    mine.write_text(f"# a comment\n{MINE}")
    run_revise(settings(), quiet=True)
    mine.write_text(MINE.replace("rude", "mean"))
    with pytest.raises(UsageError, match=r"holds another run: .*constitution"):
        run_revise(settings(), quiet=True)
    mine.write_text(MINE)
    with pytest.raises(UsageError, match=r"holds a run with other settings: rounds \(was 2, now 1\)"):
        run_revise(settings("rounds=1"), quiet=True)


def test_damaged_batches_and_empty_sources_are_named(settings, tmp_path):
    run_revise(settings(), quiet=True)
    batch = tmp_path / "run" / "critiques" / "batch-00001.jsonl"
    batch.write_text('{"kind": "critique"')
    with pytest.raises(DataError, match=r"batch-00001.jsonl:1 is damaged .*delete the file"):
        run_revise(settings(), quiet=True)
    batch.write_text('{"kind": "document", "text": "a"}\n')
    with pytest.raises(DataError, match="holds no critique"):
        read_critiques(batch)
    nothing = write_rows(tmp_path / "nothing.jsonl", [{"text": "a", "label": "b"}])
    with pytest.raises(DataError, match="no prompts"):
        run_revise(settings(f"prompts.source={nothing}", out="other"), quiet=True)


@pytest.mark.slow
def test_sft_learns_the_final_revisions(settings, tiny, tmp_path, capfd):
    """Through the command line, as a user would."""
    given = [f"{key}={value}" for key, value in (("rounds", 1), ("sampling.max_new_tokens", 8), ("run.threads", 1))]
    words = [
        *("constitution", "revise", "--model", str(tiny("llama")), "--prompts", str(tmp_path / "prompts.jsonl")),
        *(
            "--constitution",
            str(settings().constitution),
            "--out",
            str(tmp_path / "revised"),
            "--device",
            "cpu",
            *given,
        ),
    ]
    assert call([*words, "--json"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["answers"] == 7
    # A tiny model without training stops for want of room: its texts are cut off. One row is made usable by hand.
    batch = tmp_path / "revised" / "critiques" / "batch-00000.jsonl"
    rows = [json.loads(line) for line in batch.read_text().splitlines()]
    rows = [{key: value for key, value in row.items() if key not in ("status", "final")} for row in rows]
    batch.write_text("".join(json.dumps(row) + "\n" for row in rows))
    small = ["train.steps=2", "train.batch_size=4", "train.kernels=default", "run.threads=1", "data.held_out=none"]
    sft = ["sft", "--data", str(tmp_path / "revised"), "--model", str(tiny("llama")), "--out", str(tmp_path / "sft")]
    assert call([*sft, "--device", "cpu", *small]) == 0
    assert "7 rows to learn from" in capfd.readouterr().err


def test_an_old_row_still_loads(tmp_path):
    row = {
        "kind": "critique",
        "prompt": {"text": "Hi"},
        "original": {"text": "Go."},
        "principle": "kind",
        "critique": "It is cold.",
        "revision": {"text": "Hello."},
    }
    (found,) = load_records(str(write_rows(tmp_path / "old.jsonl", [row])))
    assert isinstance(found, Critique)
    assert (found.round, found.final, found.status) == (1, True, "")
    (demonstration,) = as_demonstrations([found])
    assert isinstance(demonstration, Demonstration)
    assert demonstration.completion.text == "Hello."


def test_a_reviser_behind_an_endpoint_is_asked_once(settings, tmp_path):
    """The first seven requests are for critiques of the first batch and so on: all replies say which they are."""
    replies = lambda number: f"text Reply {number} of many."  # noqa: E731
    with openai_server(replies) as server:
        by_endpoint = [f"reviser={server.url}#large", 'endpoint.allow=["127.0.0.1"]', "rounds=1", "prompts_at_once=7"]
        found = run_revise(settings(*by_endpoint), quiet=True)
        asked = len(server.requests)
        assert found.rows == 7
        assert asked == 14
        rows = [row for row in load_records(str(tmp_path / "run")) if isinstance(row, Critique)]
        assert all(row.model == "large" and row.critique.startswith("Reply") for row in rows)
        assert {row.revision.text for row in rows if not row.status} <= {f"Reply {i} of many." for i in range(7, 14)}
        before = texts(tmp_path / "run")
        for path in (tmp_path / "run" / "critiques").iterdir():
            path.unlink()
        run_revise(settings(*by_endpoint), quiet=True)
        assert len(server.requests) == asked, "replies are kept"
        assert texts(tmp_path / "run") == before


def test_a_dead_endpoint_ends_with_an_error_and_the_run_goes_on_later(settings, tmp_path):
    dead = lambda number: "status 500"  # noqa: E731
    with openai_server(dead) as server:
        url = server.url
        given = [f"reviser={url}#large", 'endpoint.allow=["127.0.0.1"]', "rounds=1", "endpoint.patience=0.2"]
        with pytest.raises(ServiceError):
            run_revise(settings(*given), quiet=True)
        server.moods = lambda number: f"text Reply {number} of many."
        assert run_revise(settings(*given), quiet=True).rows == 7
