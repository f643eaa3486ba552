"""`steersman label` in a real terminal: a pseudo-terminal that types keys and reads the screen as a person would."""

import codecs
import fcntl
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pyte
import pytest
import typer
from typer.testing import CliRunner

from steersman.cli.label import label
from steersman.errors import DataError, RunLocked, UsageError
from steersman.records import Answers, Comparison, Completion, Message, Prompt, from_dict, to_dict

pytestmark = pytest.mark.slow

RUN = """
import sys, typer
from steersman.cli.label import label
from steersman.errors import SteersmanError
try:
    typer.run(label)
except SteersmanError as error:
    print(f"steersman: {error}", file=sys.stderr)
    sys.exit(error.exit_code)
"""
SETTLED = 0.25  # longer than a sitting forgets keys after a new page


class Typist:
    """A terminal of its own for one command: `type` keys, `wait_for` words on the screen."""

    def __init__(self, *words: object, size=(80, 24), **environment: str) -> None:
        self.screen = pyte.Screen(*size)
        self._stream, self._decoder = pyte.Stream(self.screen), codecs.getincrementaldecoder("utf-8")("replace")
        self.raw = b""
        self.hand, self.line = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.line)
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, *map(str, words)],
            stdin=self.line,
            stdout=self.line,
            stderr=self.line,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **environment},
        )

    def resize(self, columns: int, rows: int) -> None:
        self.screen.resize(rows, columns)
        fcntl.ioctl(self.line, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float) -> bool:
        if not select.select([self.hand], [], [], seconds)[0]:
            return False
        data = os.read(self.hand, 65536)
        self.raw += data
        self._stream.feed(self._decoder.decode(data))
        return True

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, pattern: str, seconds: float = 120) -> "re.Match[str]":
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = re.search(pattern, self.text)
            if found:
                return found
            self.read(0.05)
        raise AssertionError(f"{pattern!r} did not appear; the screen shows\n{self.text}")

    def type(self, keys: str | bytes) -> None:
        os.write(self.hand, keys.encode() if isinstance(keys, str) else keys)

    def judge(self, keys: str, pattern: str) -> None:
        """Reads the page a while, types, and waits for what should follow."""
        time.sleep(SETTLED)
        self.type(keys)
        try:
            self.wait_for(pattern, 60)
        except AssertionError:  # on a busy machine the page came late, and the keys were forgotten
            self.type(keys)
            self.wait_for(pattern, 60)

    def quit(self) -> int:
        time.sleep(SETTLED)
        self.type("q")
        return self.end()

    def end(self) -> int:
        """The exit code, with everything that was still printed read."""
        deadline = time.monotonic() + 120
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read(0.05)
        while self.read(0.05):
            pass
        return self.process.wait(10)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.hand)
        os.close(self.line)


@pytest.fixture
def terminal():
    opened: list[Typist] = []

    def make(*words, **facts) -> Typist:
        opened.append(Typist(*words, **facts))
        return opened[-1]

    yield make
    for typist in opened:
        typist.close()


def write_answers(path: Path, count: int, texts=("Answer one", "Answer two"), prompt="Question") -> Path:
    rows = [
        Answers(
            Prompt(messages=(Message("user", f"{prompt} {n}?"),)),
            tuple(Completion(f"{text} to {n}.", model=f"model-{k}") for k, text in enumerate(texts)),
        )
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(to_dict(row)) + "\n" for row in rows))
    return path


def judgements(path: Path) -> list:
    return [from_dict(json.loads(line)) for line in path.read_text().splitlines()]


def test_a_sitting_judges_skips_undoes_and_resumes(terminal, tmp_path):
    answers, out = write_answers(tmp_path / "answers.jsonl", 6), tmp_path / "labels.jsonl"
    person = terminal(answers, "--out", out, "--annotator", "ann")
    person.wait_for(r"0 of 6")
    question = person.wait_for(r"Question \d").group()
    left = person.wait_for(r"│ (Answer \w+ to \d\.)").group(1)
    assert "model-" not in person.text
    person.judge("a", "A is better")
    first = judgements(out)[0]  # on disk before the next appeared
    assert first.chosen.text == left
    assert question in first.prompt.shown
    person.judge("t", "saved: a tie")
    person.judge("x", "both bad")
    person.judge("s", "skipped")
    person.judge("Sno idea\r", "skipped: no idea")
    person.wait_for("83% · 2 skipped")  # 3 judged and 2 skipped of 6
    person.judge("u", "67% · 1 skipped")
    assert "undone; it had been skipped" in person.text
    person.judge("u", "3 of 6 · 50%")
    person.judge("u", "undone; it was: both bad")
    assert len(judgements(out)) == 2
    person.judge("b", "B is better")
    assert person.quit() == 0
    assert "3 judged, 0 skipped, 3 left" in person.text
    said = person.raw.decode().replace("\r\n", "")
    assert re.search(rf"next: steersman reward --model model-\w+ --data {out} --out {out.with_suffix('')}-reward", said)
    again = terminal(answers, "--out", out, "--annotator", "ann")
    again.wait_for("3 of 6")
    again.judge("\x1a", "undone; it was: B was better")  # Ctrl-Z, a day later
    again.type("\x03")  # a signal, which no new page swallows
    assert again.end() == 0
    records = judgements(out)
    assert [record.tied for record in records] == [False, True]
    assert all(isinstance(record, Comparison) and record.annotator == "ann" for record in records)


def test_keys_typed_before_a_page_was_seen_judge_nothing(terminal, tmp_path):
    out = tmp_path / "labels.jsonl"
    person = terminal(write_answers(tmp_path / "answers.jsonl", 9), "--out", out, "--annotator", "ann")
    person.wait_for("0 of 9")
    person.type("aaaa")
    person.wait_for("1 of 9")
    assert person.quit() == 0
    assert len(judgements(out)) == 1


def test_killed_at_any_time_nothing_acknowledged_is_lost_and_nothing_doubled(terminal, tmp_path):
    answers, out = write_answers(tmp_path / "answers.jsonl", 40), tmp_path / "labels.jsonl"
    acknowledged = 0
    for delay in (0.0, 0.002, 0.005, 0.02):
        person = terminal(answers, "--out", out, "--annotator", "ann")
        done = int(person.wait_for(r"(\d+) of 40").group(1))
        assert acknowledged <= done <= acknowledged + 1  # the last key before a kill may have been in time
        for number in range(done + 1, done + 3):
            person.judge("b", f"{number} of 40")
        acknowledged = done + 2
        time.sleep(SETTLED)
        person.type("b")
        time.sleep(delay)
        person.process.kill()
        person.process.wait()
    person = terminal(answers, "--out", out, "--annotator", "ann")
    done = int(person.wait_for(r"(\d+) of 40").group(1))
    assert person.quit() == 0
    ids = [record.id for record in judgements(out)]
    assert len(ids) == len(set(ids)) == done >= acknowledged


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP])
def test_an_end_from_outside_gives_the_terminal_back(terminal, tmp_path, end):
    out = tmp_path / "labels.jsonl"
    person = terminal(write_answers(tmp_path / "answers.jsonl", 3), "--out", out, "--annotator", "ann")
    person.judge("", "0 of 3")
    assert termios.tcgetattr(person.line) != person.before
    person.judge("a", "1 of 3")
    person.process.send_signal(end)
    assert person.end() == 75
    assert termios.tcgetattr(person.line) == person.before
    after = person.raw[person.raw.rindex(b"\x1b[?2026l") :]
    assert b"\x1b[?1049l" in after
    assert b"\x1b[?25h" in after
    assert "all 1 judgements are in" in person.text
    assert len(judgements(out)) == 1


def test_a_crash_gives_the_terminal_back_too(terminal, tmp_path):
    write_answers(tmp_path / "answers.jsonl", 3)
    crash = "import steersman.judging.sitting as s\ns.press = lambda *_: 1 / 0\n"
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(crash)
    person = terminal(tmp_path / "answers.jsonl", "--annotator", "ann", PYTHONPATH=str(site))
    person.judge("", "0 of 3")
    person.type("a")
    assert person.end() == 1
    assert "ZeroDivisionError" in person.text
    assert termios.tcgetattr(person.line) == person.before


def test_a_window_that_closes_ends_the_sitting(tmp_path):
    person = Typist(write_answers(tmp_path / "answers.jsonl", 3), "--annotator", "ann")
    person.judge("a", "1 of 3")
    os.close(person.hand)
    os.close(person.line)
    assert person.process.wait(120) in (75, 1)  # 1: nothing can be printed any more
    assert len(judgements(tmp_path / "answers.ann.compare.jsonl")) == 1


def test_strength_note_help_scroll_and_a_changed_window(terminal, tmp_path):
    long = "\n".join(f"line {n}" for n in range(60)) + "\nthe very end"
    answers, out = write_answers(tmp_path / "answers.jsonl", 2, texts=("Short", long)), tmp_path / "labels.jsonl"
    person = terminal(answers, "--out", out, "--annotator", "ann", "--strength")
    person.judge("?", "undo, repeatedly")
    person.judge("\x1b", "A better")
    person.judge("\x1b[F", "the very end")
    person.judge("\x1b[H", "line 3")
    person.judge("nbecause\r", "note: because")
    person.judge("b", "far better")
    person.judge("3", "B is far better")
    person.resize(60, 30)
    person.process.send_signal(signal.SIGWINCH)
    person.wait_for(r"(?s)╭─ A ─{50,}.*╭─ B ─{50,}")
    assert person.quit() == 0
    (record,) = judgements(out)
    assert (record.margin, record.rationale) == (3.0, "because")


def test_hostile_answers_do_not_touch_the_terminal(terminal, tmp_path):
    hostile = "\x1b[2J\x1b[31m\x1b]0;owned\x07 \u202egnorts \x9b5n"
    answers = write_answers(tmp_path / "answers.jsonl", 1, texts=(hostile, "Kind"), prompt=hostile)
    person = terminal(answers, "--annotator", "ann")
    person.judge("", r"␛\[2J␛\[31m␛\]0;owned")
    assert b"\x1b]0;" not in person.raw
    assert b"\x1b[2J" not in person.raw
    assert "\u202e" not in person.raw.decode()
    assert "⟨U+202E⟩gnorts ⟨U+009B⟩5n" in person.text
    person.judge("a", "All done")
    assert person.screen.title == ""


def test_ranking_in_the_terminal(terminal, tmp_path):
    texts, out = ("Alpha", "Beta", "Gamma"), tmp_path / "ranks.jsonl"
    person = terminal(
        write_answers(tmp_path / "answers.jsonl", 2, texts), "--mode", "rank", "--out", out, "--annotator", "ann"
    )
    best = person.wait_for(r"(?s)╭─ 3 ─.*?│ (\w+) to").group(1)
    person.judge("3", "best first: 3 >")
    person.judge("1", "best first: 3 > 1")
    person.judge("=", "= …")
    person.judge("2", "best first: 3 > 1 = 2")
    person.judge("\r", r"ranked 3 > 1 = 2")
    assert person.quit() == 0
    (record,) = judgements(out)
    assert record.completions[record.ranks.index(1)].text.startswith(best)
    assert sorted(record.ranks) == [1, 2, 2]


def test_demonstrations_in_the_terminal_and_in_an_editor(terminal, tmp_path):
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nstty -a | grep -q " echo " && sed -i "1s/.*/From the editor./" "$1"\n')
    editor.chmod(0o755)
    out = tmp_path / "demonstrations.jsonl"
    person = terminal(
        write_answers(tmp_path / "answers.jsonl", 3), "--mode", "demonstrate", "--out", out, "--annotator", "ann",
        EDITOR=str(editor), VISUAL="",
    )  # fmt: skip
    person.judge("w", "your answer")
    person.judge("Zwei Wörter 猫\rand more", "and more")
    person.judge("\x13", "saved: your answer")
    person.judge("e", "From the editor.")
    person.judge("\x13", "2 of 3")
    model = person.wait_for(r"(?s)╭─ 1 ─.*?│ (Answer \w+ to \d\.)").group(1)
    person.judge("1", "from answer 1")
    person.judge("\x1b[200~ Pasted\nq\x1b[201~", "Pasted")
    person.judge("\x13", "All done")
    time.sleep(SETTLED)
    person.type("\r")
    assert person.end() == 0
    assert "next: steersman sft --model model-" in person.text
    texts = [record.completion.text for record in judgements(out)]
    assert texts == ["Zwei Wörter 猫\nand more", "From the editor.", f"{model} Pasted\nq"]


def test_what_is_written_loads_straight_into_the_data_reader(terminal, tmp_path):
    from steersman.data.load import load_records

    out = tmp_path / "labels.jsonl"
    person = terminal(write_answers(tmp_path / "answers.jsonl", 2), "--out", out, "--annotator", "ann")
    person.judge("a", "1 of 2")
    person.judge("x", "All done")
    assert person.quit() == 0
    assert list(load_records(str(out), kind=Comparison, strict=True)) == judgements(out)


def call(*words: object) -> None:
    """The command in this process, where its errors can be seen."""
    app = typer.Typer()
    app.command()(label)
    app([str(word) for word in words], standalone_mode=False)


@pytest.fixture
def answers(tmp_path):
    return write_answers(tmp_path / "answers.jsonl", 3)


@pytest.fixture
def at_a_terminal(monkeypatch):
    monkeypatch.setattr("steersman.judging.terminal.require_terminal", lambda: None)


def test_without_a_terminal_it_says_how_to_get_one(answers):
    with pytest.raises(UsageError, match=r"needs a terminal, but its \w+ is a pipe or a file.*ssh -t HOST"):
        call(answers, "--annotator", "ann")


def test_a_dumb_terminal_and_a_system_without_terminals_are_refused(monkeypatch):
    from steersman.judging.terminal import require_terminal

    class Tty:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Tty())
    monkeypatch.setattr(sys, "stdout", Tty())
    monkeypatch.setenv("TERM", "dumb")
    with pytest.raises(UsageError, match="TERM is dumb or unset"):
        require_terminal()
    monkeypatch.setenv("TERM", "xterm")
    require_terminal()
    monkeypatch.setitem(sys.modules, "termios", None)
    with pytest.raises(UsageError, match="inside WSL"):
        require_terminal()


@pytest.mark.usefixtures("at_a_terminal")
@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--mode", "juggle"], UsageError, "unknown mode 'juggle'"),
        (["--pairs", "some"], UsageError, "unknown choice of pairs"),
        (["--pairs", "all:3"], UsageError, "--pairs all:3 cannot be read"),
        (["--part", "second"], UsageError, "--part second cannot be read"),
        (["--overlap", "0.2"], UsageError, "give each a part"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(answers, words, error, message):
    with pytest.raises(error, match=message):
        call(answers, "--annotator", "ann", *words)


@pytest.mark.usefixtures("at_a_terminal")
def test_wrong_input_is_refused_with_what_to_do(answers, tmp_path):
    with pytest.raises(DataError, match="missing"):
        call(tmp_path / "missing.jsonl", "--annotator", "ann")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps(to_dict(Prompt(text="One?"))) + "\n")
    with pytest.raises(DataError, match=r"nothing to compare \(1 rows: a prompt where"):
        call(prompts, "--annotator", "ann")
    with pytest.raises(DataError, match="none of the 2 prompts has two different answers"):
        call(write_answers(tmp_path / "one.jsonl", 2, texts=("Only",)), "--annotator", "ann")
    with pytest.raises(UsageError, match="is one of the files to judge"):
        call(answers, "--annotator", "ann", "--out", answers)


def test_the_login_name_is_asked_for_when_there_is_none(answers, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: (_ for _ in ()).throw(OSError("no name")))
    with pytest.raises(UsageError, match="give --annotator NAME"):
        call(answers, "--summary")


def test_a_summary_needs_judgements_and_no_terminal(terminal, answers, tmp_path, capsys):
    out = tmp_path / "labels.jsonl"
    with pytest.raises(DataError, match="there are no judgements"):
        call(answers, "--annotator", "ann", "--out", out, "--summary")
    person = terminal(answers, "--out", out, "--annotator", "ann")
    person.judge("a", "1 of 3")
    with pytest.raises(RunLocked):
        call(answers, "--annotator", "ann", "--out", out, "--summary")
    assert person.quit() == 0
    call(answers, "--annotator", "ann", "--out", out, "--summary")
    assert "1 judged, 0 skipped, 2 left" in capsys.readouterr().out
    with pytest.raises(DataError, match="--mode rank writes rankings"):
        call(answers, "--annotator", "ann", "--out", out, "--summary", "--mode", "rank")
    other = write_answers(tmp_path / "other.jsonl", 3, prompt="Something else")
    with pytest.raises(DataError, match="it belongs to another task"):
        call(other, "--annotator", "ann", "--out", out, "--summary")


def test_a_label_file_that_was_cut_is_repaired_from_its_history_and_that_is_said(terminal, answers, tmp_path, capsys):
    out = tmp_path / "labels.jsonl"
    person = terminal(answers, "--out", out, "--annotator", "ann")
    person.judge("a", "1 of 3")
    person.judge("b", "2 of 3")
    assert person.quit() == 0
    whole = out.read_bytes()
    out.write_bytes(whole.splitlines(keepends=True)[0])
    call(answers, "--annotator", "ann", "--out", out, "--summary")
    told = capsys.readouterr()
    assert "labels.jsonl: 1 judgement missing" in told.err
    assert "2 judged, 0 skipped, 1 left" in told.out
    assert out.read_bytes() == whole


def test_a_row_that_is_left_out_is_said(answers, tmp_path, capsys):
    with answers.open("a") as file:
        file.write(json.dumps(to_dict(Prompt(text="No answers here"))) + "\n")
    out = tmp_path / "labels.jsonl"
    out.touch()
    call(answers, "--annotator", "ann", "--out", out, "--summary")
    told = capsys.readouterr()
    assert "1 rows left out: a prompt where" in told.err
    assert "nothing is judged yet" in told.out


def test_named_sources_can_be_judged(terminal, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    person = terminal("harbour:answers?count=3", "--annotator", "ann")
    person.judge("a", "1 of ")
    assert person.quit() == 0
    assert len(judgements(tmp_path / "harbour-answers.ann.compare.jsonl")) == 1


def test_the_next_line_can_be_pasted_whatever_the_name(terminal, answers, tmp_path):
    out = tmp_path / "my labels $HOME.jsonl"
    person = terminal(answers, "--out", out, "--annotator", "ann", size=(300, 24))
    person.judge("a", "1 of 3")
    assert person.quit() == 0
    (line,) = re.findall(r"next: (.*)", person.text)
    words = shlex.split(line)
    assert words[:2] == ["steersman", "reward"]
    assert words[words.index("--data") + 1] == str(out)


def test_help_names_every_option():
    app = typer.Typer()
    app.command()(label)
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    for option in ("out", "annotator", "mode", "pairs", "strength", "part", "overlap", "repeat", "seed", "summary"):
        assert f"--{option}" in shown


def test_the_command_starts_without_torch():
    code = (
        "import sys, steersman.cli.label, steersman.judging.sitting, steersman.data.load; sys.exit('torch' in "
        "sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_sitting_writes_into_a_project_and_goes_on_there(terminal, tmp_path):
    from steersman.store.database import open_store
    from steersman.store.events import read_events
    from steersman.store.projects import create_project
    from steersman.store.reading import read_records
    from steersman.store.reading_cursor import cursor_of

    store = str(tmp_path / "studio.db")
    answers = write_answers(tmp_path / "answers.jsonl", 4)
    with open_store(store, create=True) as database:
        project = create_project(database, "helpful")
        words = (answers, "--out", "studio:helpful", "--annotator", "ann")
        person = terminal(*words, STEERSMAN_STORE=store)
        person.wait_for(r"0 of 4")
        person.judge("a", "A is better")
        first: list[Any] = list(read_records(project, cursor_of(project)))  # saved before the next appeared
        assert [record.annotator for record in first] == ["ann"]
        person.judge("t", "saved: a tie")
        person.judge("s", "skipped")
        person.judge("u", "undone; it had been skipped")
        person.judge("u", "undone; it was: a tie")
        person.judge("x", "both bad")
        assert person.quit() == 0
        said = person.raw.decode().replace("\r\n", "")
        assert re.search(r"next: steersman reward --model model-\w+ --data studio:helpful --out helpful-reward", said)
        again = terminal(*words, STEERSMAN_STORE=store)
        again.wait_for("2 of 4")
        again.judge("u", "undone; it was: both bad")
        assert again.quit() == 0
        assert list(read_records(project, cursor_of(project)))[-1] == first[0]
        kinds = [event.kind for event in read_events(project)]
        assert kinds == ["session", "label", "label", "skip", "undo", "undo", "label", "session", "undo"]
