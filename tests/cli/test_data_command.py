"""`steersman data`: what a person types, and what comes back."""

import json

import pytest
from typer.testing import CliRunner

from steersman.cli.data import app
from steersman.errors import DataError, UsageError


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"Q{n % 40}?", "chosen": f" yes {n}", "rejected": f" no {n}"} for n in range(100)]
    path.write_text("\n".join([*map(json.dumps, rows), "{"]) + "\n")
    return path


def run(*words):
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_inspect_shows_rows_lengths_and_bad_rows(pairs):
    words = run("inspect", pairs).output
    for expected in ("101 rows, 100 records (100 comparison)", "1 × invalid JSON", f"{pairs}:101:", "40 distinct", "█"):
        assert expected in words


def test_inspect_json_is_one_object(pairs, tmp_path):
    found = json.loads(run("inspect", pairs, "--json", "--quarantine", tmp_path / "bad.jsonl").output)
    (source,) = found["sources"]
    assert (source["rows"], source["malformed"], source["distinct_prompts"]) == (101, 1, 40)
    assert json.loads((tmp_path / "bad.jsonl").read_text())["line"] == 101


def test_split_then_inspect_finds_no_leak_and_the_whole_leaks(pairs, tmp_path):
    out = run("split", pairs, tmp_path / "parts", "--shares", "0.5,0.5")
    assert "records" in out.output
    train, test = tmp_path / "parts" / "train.jsonl", tmp_path / "parts" / "test.jsonl"
    assert f"no prompt of {test} is in {train}" in run("inspect", train, test).output
    found = json.loads(run("inspect", pairs, test, "--json").output)
    assert found["leaks"][0]["prompts"] > 0
    wrote = json.loads(run("split", pairs, tmp_path / "gz", "--gz", "--by", "opening", "--json").output)["wrote"]
    assert sum(wrote["records"].values()) == 100
    assert all(path.endswith(".jsonl.gz") for path in wrote["files"].values())


def test_several_sources_have_a_quarantine_each(pairs, tmp_path):
    run("inspect", pairs, pairs, "--quarantine", tmp_path / "bad.jsonl")
    assert sorted(p.name for p in tmp_path.glob("bad*")) == ["bad-1.jsonl", "bad-2.jsonl"]


def test_convert_writes_and_reports(pairs, tmp_path):
    out = run("convert", pairs, tmp_path / "out.jsonl.gz", "--to", "native")
    assert "wrote 100 native rows" in out.output
    found = json.loads(
        run("convert", tmp_path / "out.jsonl.gz", tmp_path / "hh.jsonl", "--to", "hh-rlhf", "--json").output
    )
    assert found["wrote"]["written"] == 0
    assert found["wrote"]["set_aside"] == {"a transcript needs a conversation: this prompt is a plain text": 100}
    words = run("convert", tmp_path / "out.jsonl.gz", tmp_path / "hh.jsonl", "--to", "hh-rlhf", "--force").output
    assert "set aside     100" in words
    assert "hh.set_aside.jsonl" in words


def test_errors_are_ours_and_say_what_to_do(pairs, tmp_path):
    with pytest.raises(DataError, match=r"101: invalid JSON.*strict"):
        run("inspect", pairs, "--strict")
    with pytest.raises(DataError, match="there is no source"):
        run("inspect", tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="did you mean trl-preference"):
        run("inspect", pairs, "--format", "trl-preferense")
    with pytest.raises(UsageError, match="add up to 1"):
        run("split", pairs, tmp_path, "--shares", "0.5,0.4")


def test_lost_fields_are_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        json.dumps(
            {
                "context": [{"role": "user", "content": "Hi"}],
                "response1": "a",
                "response2": "b",
                "overall_preference": -2,
                "domain": "code",
            }
        )
    )
    words = run("convert", path, tmp_path / "b.jsonl", "--to", "trl").output
    assert "lost          metadata of 1 records: trl-preference has no field for it" in words


def test_control_characters_of_the_data_do_not_reach_the_terminal(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": "\x1b[2Jboo"}) + "\n")
    assert "\x1b" not in run("inspect", tmp_path / "a.jsonl", tmp_path / "b.jsonl").output


def test_every_data_command_reads_named_sources(tmp_path):
    source = "harbour:comparisons?count=20"
    assert "20 records (20 comparison)" in run("inspect", source).output
    assert "wrote 20 native rows" in run("convert", source, tmp_path / "out.jsonl").output
    found = json.loads(run("split", source, tmp_path / "parts", "--shares", "0.5,0.5", "--json").output)
    assert sum(found["wrote"]["records"].values()) == 20
