"""Whole sittings, played key by key against real files, and compared with a slow model of what they should leave."""

import json
import os
from dataclasses import replace
from typing import Any

import pyte
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from steersman.errors import Preempted
from steersman.judging.layout import FANCY, PLAIN, painted
from steersman.judging.screen import ProgressLine, draw
from steersman.judging.session import State, press, show
from steersman.records import Answers, Comparison, Completion, Message, Prompt, from_dict


def in_file(desk) -> list[Any]:
    return [from_dict(json.loads(line)) for line in desk.path.read_text().splitlines()]


def screen_of(text: str, width=80, height=24) -> list[str]:
    screen = pyte.Screen(width, height)
    pyte.Stream(screen).feed(text)
    return [line.rstrip() for line in screen.display]


KEYS = ["a", "b", "t", "x", "s", "u", "?", "p", "z", "down", "reopen"]


@pytest.mark.slow
@given(st.lists(st.sampled_from(KEYS), max_size=30))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_typed_the_file_holds_what_stands(desk_for, some_answers, monkeypatch, keys):
    """The model: a list of (item, choice); undo pops; help and the prompt page swallow keys until they are closed."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    desk = desk_for(some_answers(6))
    desk.path.unlink(missing_ok=True)
    desk.path.with_name("labels.jsonl.history").unlink(missing_ok=True)
    order = [item.id for item in desk.queue.items]
    model, reading, stretch = [], "", []
    for key in [*keys, "reopen"]:
        stretch.append(key)
        left = [item for item in order if item not in [done for done, _ in model]]
        if key == "reopen":
            desk.sit(stretch[:-1])
            stretch, reading = [], ""
        elif reading:
            reading = "" if key in "?p" else reading
        elif key == "?" or (key == "p" and left):
            reading = key
        elif key == "u" and model:
            model.pop()
        elif key in ("a", "b", "t", "x", "s") and left:
            model.append((left[0], key))
    assert desk.standing == [(item, key != "s") for item, key in model]
    by_id = {record.id.split("-")[0]: record for record in in_file(desk)}
    assert list(by_id) == [item for item, key in model if key != "s"]
    items = {item.id: item for item in desk.queue.items}
    for name, key in model:
        if key in "ab":
            assert by_id[name].chosen == items[name].at("ab".index(key))
        elif key != "s":
            assert by_id[name].both_bad == (key == "x")


def test_the_item_that_was_undone_comes_back_with_its_note(desk_for, some_answers):
    desk = desk_for(some_answers(3))
    desk.sit(["n", *"because", "enter", "a"])
    records = desk.sit(["u", "b"])
    assert [(record.rationale, record.preference) for record in records] == [
        ("because", 1.0 - desk.queue.items[0].shown[1])
    ]
    assert "undone; it was: A was better" in desk.page.pages[1]


def test_undo_with_nothing_to_undo_says_so(desk_for, some_answers):
    desk = desk_for(some_answers(2))
    assert desk.sit(["u"]) == []
    assert "there is nothing to undo" in desk.page.pages[-1]


def test_undo_of_an_item_that_left_the_queue_still_undoes_it(desk_for, some_answers):
    desk = desk_for(some_answers(1, 3))
    desk.sit(["a", "a", "a"])
    smaller = desk_for(some_answers(1, 3), pairs="adjacent")
    gone = desk.queue.items[-1].id not in {item.id for item in smaller.queue.items}
    assert len(smaller.sit(["u"])) == 2
    assert ("no longer in this queue" in smaller.page.pages[-1]) == gone


def test_strength_becomes_the_margin(desk_for, some_answers):
    records = desk_for(some_answers(3)).sit(["a", "1", "B", "b", "esc", "t"], ask_strength=True)
    assert [record.margin for record in records] == [1.0, 3.0, None]


def test_the_skipped_come_again_when_asked_for(desk_for, some_answers):
    desk = desk_for(some_answers(2))
    records = desk.sit(["s", "a", "r", "t"])
    assert sorted(record.tied for record in records) == [False, True]
    assert (desk.outcome.left, desk.outcome.skipped, desk.outcome.judged) == (0, 0, 2)
    assert "1 skipped item is shown again" in "".join(desk.page.pages)
    desk.sit(["r"])
    assert "nothing was skipped" in desk.page.pages[-1]


def test_rankings_are_kept_by_answer_and_not_by_place(desk_for, some_answers):
    desk = desk_for(some_answers(4, 3), mode="rank")
    records = desk.sit(["3", "1", "enter"] * 4)
    for record, item in zip(records, desk.queue.items, strict=True):
        best = record.completions[record.ranks.index(1)]
        assert best == item.at(2)
        assert record.shown == item.shown


def test_a_demonstration_is_written_undone_and_finished(desk_for, some_answers):
    desk = desk_for([Prompt(text="One?"), Prompt(text="Two?")], mode="demonstrate")
    desk.sit(["w", *"Yes.", "ctrl-s"])
    assert [record.completion.text for record in in_file(desk)] == ["Yes."]
    desk.sit(["u"])
    assert in_file(desk) == []
    desk.sit(["w", "backspace", "!", "ctrl-s"])
    assert [record.completion.text for record in in_file(desk)] == ["Yes!"]


def test_a_draft_waits_for_the_next_sitting(desk_for):
    desk = desk_for([Prompt(text="One?")], mode="demonstrate")
    desk.sit(["w", *"half"])
    desk.sit([])
    assert "your draft is here" in desk.page.pages[0]
    desk.sit(["w", *" and half", "ctrl-s"])
    assert in_file(desk)[0].completion.text == "half and half"


def editor(tmp_path, monkeypatch, script: str) -> None:
    path = tmp_path / "editor.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{path} --wait")


def test_an_editor_gets_the_draft_and_the_prompt_and_gives_the_answer(desk_for, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, f'cp "$2" {tmp_path}/seen; sed -i "1s/.*/Edited.\\x00/" "$2"')
    desk = desk_for([Prompt(text="One?")], mode="demonstrate")
    desk.sit(["w", *"Draft", "ctrl-o", "ctrl-s"])
    seen = (tmp_path / "seen").read_text()
    assert seen.startswith("Draft\n")
    assert "One?" in seen
    assert in_file(desk)[0].completion.text == "Edited."
    assert desk.page.lendings == 1
    assert not list(tmp_path.glob("*.md"))


def test_an_editor_that_fails_takes_nothing(desk_for, tmp_path, monkeypatch):
    editor(tmp_path, monkeypatch, "echo lost > $2; exit 3")
    desk = desk_for([Prompt(text="One?")], mode="demonstrate")
    desk.sit(["w", *"Draft", "ctrl-o"])
    assert "the editor exited with code 3; its text is discarded" in desk.page.pages[-1]
    desk.sit(["w", "ctrl-s"])
    assert in_file(desk)[0].completion.text == "Draft"


def test_an_editor_that_is_not_there_is_named(desk_for, monkeypatch):
    monkeypatch.setenv("VISUAL", "no-such-editor")
    desk = desk_for([Prompt(text="One?")], mode="demonstrate")
    desk.sit(["e"])
    assert "there is no editor 'no-such-editor'" in desk.page.pages[-1]


def test_what_an_editor_held_when_everything_went_down_comes_back(desk_for):
    desk = desk_for([Prompt(text="One?")], mode="demonstrate")
    name = f"labels.jsonl.{desk.queue.items[0].id}.md"
    desk.path.with_name(name).write_text("Saved by the editor.\n\n# ---- >8 ----")
    desk.path.with_name(name).write_text(
        "Saved by the editor.\n\n# ------------------------ >8 ------------------------\nx"
    )
    desk.sit(["w", "ctrl-s"])
    assert in_file(desk)[0].completion.text == "Saved by the editor."


def test_a_full_disk_keeps_the_item_before_the_person(desk_for, some_answers, monkeypatch):
    desk = desk_for(some_answers(2))
    calls = iter(range(99))

    def full_twice(_handle):
        if 0 < next(calls) < 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_twice)
    records = desk.sit(["a", "a", "b"])
    assert [record.id.split("-")[0] for record in records] == [desk.queue.items[0].id]
    assert records[0].chosen == desk.queue.items[0].at(1)
    assert "NOT SAVED (No space left on device)" in "".join(desk.page.pages)


def test_an_end_from_outside_saves_and_says_how_to_go_on(desk_for):
    desk = desk_for([Prompt(text="One?")], mode="demonstrate")
    with pytest.raises(Preempted, match=r"all 0 judgements are in .*labels\.jsonl, and the same command continues"):
        desk.sit(["w", *"dra", "terminate"])
    desk.sit(["w", "ctrl-s"])
    assert in_file(desk)[0].completion.text == "dra"


LONG = "Word after word. " * 200
HOSTILE = "\x1b[2J\x1b[1;1H\x1b]0;owned\x07\x9b31mHidden\x00\r\u202eevil\u2066"


def frame_for(texts, mode="compare", width=80, height=24, prompt="Why?", **facts):
    answers = [Answers(Prompt(text=prompt), tuple(Completion(text, model="secret-model") for text in texts))]
    from steersman.judging.queue import QueuePlan, gather, make_queue

    item = make_queue(gather(answers), QueuePlan(mode, "ann")).items[0]
    state = replace(show(State(mode), item), **facts)
    progress = ProgressLine("ann", 3, 7, 1, 42.0)
    return draw(state, progress, width, height), state


@pytest.mark.parametrize("size", [(80, 24), (40, 16), (60, 24), (200, 50), (79, 17)])
@pytest.mark.parametrize(
    ("mode", "phase"),
    [(mode, phase) for mode in ("compare", "rank", "demonstrate") for phase in ("judge", "help", "prompt", "note")]
    + [("demonstrate", "write"), ("compare", "strength")],
)
def test_every_page_fits_its_window(size, mode, phase):
    for texts in (["x", "y"], [LONG, "猫は静かに眠る。" * 90], [HOSTILE, "z\n" * 99]):
        frame, _ = frame_for(texts, mode, *size, prompt=LONG, phase=phase)
        assert len(frame.rows) == size[1]
        for row in frame.rows:
            assert all(column + text.cell_len <= size[0] for column, text in row)


def test_a_window_too_small_asks_for_more():
    frame, _ = frame_for(["x", "y"], width=30, height=10)
    assert "please make it 40" in " ".join(text.plain for row in frame.rows for _, text in row).replace("\n", " ")
    assert len(frame_for(["x", "y"], width=1, height=1)[0].rows) == 1


@pytest.mark.parametrize("mode", ["compare", "rank", "demonstrate"])
def test_hostile_answers_are_drawn_and_not_obeyed(mode):
    frame, _ = frame_for([HOSTILE, "A good answer."], mode, prompt=HOSTILE)
    drawn = painted(frame, 80, 24)
    for live in ("\x1b[2J", "\x1b]0;", "\x07", "\x9b", "\x00", "\u202e", "\u2066"):
        assert live not in drawn
    lines = screen_of(drawn)
    assert "label" in lines[0]
    assert any("A good answer." in line for line in lines)
    assert any("␛[2J" in line for line in lines)
    assert any("q quit" in line for line in lines)


def test_the_maker_of_an_answer_is_never_shown():
    for mode in ("compare", "rank", "demonstrate"):
        for phase in ("judge", "help", "prompt"):
            frame, _ = frame_for(["x", "y"], mode, phase=phase)
            assert "secret" not in painted(frame, 80, 24)


def test_both_answers_stand_side_by_side_when_wide_and_one_above_the_other_when_narrow():
    wide = screen_of(painted(frame_for(["left answer", "right one"])[0], 80, 24))
    assert any("left answer" in line and "right one" in line for line in wide)
    narrow = screen_of(painted(frame_for(["left answer", "right one"], width=60)[0], 60, 24), 60)
    assert not any("left answer" in line and "right one" in line for line in narrow)


def test_a_character_of_doubtful_width_leaves_the_other_answer_in_its_place():
    lines = screen_of(painted(frame_for(["👩‍👩‍👧 family", "plain"])[0], 80, 24))
    columns = {line.rindex("│") for line in screen_of(painted(frame_for(["x", "y"])[0], 80, 24)) if line.endswith("│")}
    assert columns == {79}
    assert any("plain" in line for line in lines)


def test_a_long_answer_scrolls_to_its_end_and_says_how_much_is_hidden():
    texts = ["\n".join(f"line {n}" for n in range(50)) + "\nthe end", "short"]
    frame, state = frame_for(texts)
    assert any("more lines" in line for line in screen_of(painted(frame, 80, 24)))
    assert frame.limit > 0
    state, _ = press(replace(state, limit=frame.limit, page=frame.page), "end")
    frame = draw(state, ProgressLine("ann", 3, 7, 1), 80, 24)
    assert any("the end" in line for line in screen_of(painted(frame, 80, 24)))


def test_a_conversation_names_its_speakers_and_shows_its_end():
    turns = (
        Message("system", "Be kind."),
        Message("user", LONG),
        Message("assistant", "Yes."),
        Message("user", "And now?"),
    )
    answers = Answers(Prompt(messages=turns), (Completion("x"), Completion("y")))
    from steersman.judging.queue import QueuePlan, gather, make_queue

    state = show(State("compare"), make_queue(gather([answers]), QueuePlan("compare", "a")).items[0])
    lines = screen_of(painted(draw(state, ProgressLine("ann", 0, 1, 0), 80, 24), 80, 24))
    assert any("And now?" in line for line in lines)
    assert any("more lines: p shows all" in line for line in lines)
    whole = draw(replace(state, phase="prompt"), ProgressLine("ann", 0, 1, 0), 80, 24)
    assert any("system" in line for line in screen_of(painted(whole, 80, 24)))


def test_the_top_line_tells_how_far_and_how_fast():
    top = screen_of(painted(frame_for(["x", "y"])[0], 80, 24))[0]
    for words in ("3 of 11", "36%", "1 skipped", "42 an hour", "10 min left"):  # 7 left at 42 an hour: 10 minutes
        assert words in top


def test_a_terminal_without_unicode_gets_plain_strokes():
    _, state = frame_for(["x", "y"])
    drawn = painted(draw(state, ProgressLine("ann", 0, 1, 0), 80, 24, PLAIN), 80, 24)
    drawn.encode("ascii")
    assert FANCY.corners[0] not in drawn


def test_colours_can_be_refused(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    frame, _ = frame_for(["x", "y"])
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[36m" in painted(frame, 80, 24)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[36m" not in painted(frame, 80, 24)


def test_a_comparison_read_back_is_what_was_seen(desk_for, some_answers):
    desk = desk_for(some_answers(1))
    (record,) = desk.sit(["right"])
    assert isinstance(record, Comparison)
    assert record.chosen == desk.queue.items[0].at(1)
    assert record.shown == ("first" if desk.queue.items[0].shown == (0, 1) else "second")
