"""No text from a file, a name, a model or a message controls the terminal, whichever command prints it."""

import contextlib
import io
import json
import sys

import pytest
from commandline import call
from hypothesis import given
from hypothesis import strategies as st

from steersman.inert import inert
from steersman.printing import console, say_json, show_exception

HOSTILE = "\x1b[2J\x1b]0;owned\x07\r\u202egnorts\x9b5n\u2066\U000e0041"


def live(text: str) -> list[str]:
    """The characters of a text that a terminal obeys, besides line ends."""
    return [c for c in text if c != "\n" and inert(c) != c]


@pytest.fixture
def hostile_run(tmp_path):
    run = tmp_path / "runs" / f"run{HOSTILE.replace(chr(0), '')}"
    run.mkdir(parents=True)
    (run / "recipe.toml").write_text("")
    stamp = {"kind": f"ppo{HOSTILE}", "started": f"2026{HOSTILE}"}
    (run / "stamp.json").write_text(json.dumps(stamp))
    rows = [{"step": 1, "time": 1.0, f"loss{HOSTILE}": 0.5, "notice": HOSTILE}, {"step": f"2{HOSTILE}"}]
    (run / "journal.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return run


@pytest.mark.parametrize("as_json", [False, True])
def test_runs_are_listed_and_shown_inert(hostile_run, capfd, as_json):
    options = ["--json"] if as_json else []
    assert call(["runs", "list", str(hostile_run.parent), *options]) == 0
    listed = capfd.readouterr().out
    assert call(["runs", "show", str(hostile_run), *options]) == 0
    shown = capfd.readouterr().out
    assert live(listed + shown) == []
    if as_json:
        assert json.loads(listed)["runs"][0]["kind"] == json.loads(shown)["kind"] == f"ppo{HOSTILE}"
    else:
        assert "␛[2J" in listed
        assert "⟨U+202E⟩gnorts" in shown


def test_error_messages_are_inert(tmp_path, capfd):
    for words in (
        ["data", "inspect", f"{tmp_path}/{HOSTILE}.jsonl"],
        ["runs", "show", HOSTILE],
        ["sft", f"model.path={HOSTILE}", "data.source=x", "run.out=y", f"{HOSTILE}=1"],
        ["score", "x.jsonl", "--scorer", f"https://host/{HOSTILE}", "--out", f"{tmp_path}/x.jsonl"],
        ["report", f"{tmp_path}/{HOSTILE}"],
    ):
        assert call(words) != 0
        told = capfd.readouterr()
        assert "steersman: " in told.err
        assert live(told.out + told.err) == [], words


def test_what_data_and_models_say_is_inert(tmp_path, capfd):
    source = tmp_path / "answers.jsonl"
    row = {"prompt": f"Hi {HOSTILE}", "chosen": f"a {HOSTILE}", "rejected": "b", "annotator": HOSTILE}
    source.write_text(json.dumps(row) + "\n" + json.dumps({"prompt": HOSTILE}) + "\n")
    asking = ["--model", "a=tiny:llama", "--model", "b=tiny:llama", "--max-new-tokens", "3"]
    assert call(["compare", *asking, "--prompts", str(source)]) == 0
    assert call(["data", "inspect", str(source)]) == 0
    told = capfd.readouterr()
    assert "gnorts" in told.out
    assert live(told.out) == []


@given(st.text())
def test_json_stays_the_same_value_and_is_inert(text):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        say_json({text: text})
    assert live(out.getvalue()) == []
    assert json.loads(out.getvalue()) == {text: text}


def test_a_console_keeps_its_own_colours_and_nobody_elses(capsys):
    from rich.text import Text

    shown = console(force_terminal=True, color_system="standard", width=80)
    with shown.capture() as captured:
        shown.print(Text("red \x1b[32m", style="red"))
    assert captured.get() == "\x1b[31mred ␛[32m\x1b[0m\n"


def test_a_traceback_is_inert(capsys):
    try:
        raise RuntimeError(HOSTILE)
    except RuntimeError:
        show_exception(*sys.exc_info())  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert "RuntimeError: ␛[2J" in told
    assert live(told) == []
