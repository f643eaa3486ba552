"""Bytes become keys however they are cut up, keys edit a text, and foreign text is shown without being obeyed."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from steersman.inert import as_typed, inert
from steersman.judging.editor import PASTE, Buffer, edit
from steersman.judging.keys import KeyDecoder
from steersman.judging.layout import typed, wrapped


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"a1\xc3\xa9", ["a", "1", "é"]),
        (b"\r\n\t\x7f\x08\x13", ["enter", "enter", "tab", "backspace", "backspace", "ctrl-s"]),
        (b"\x1b[A\x1bOB\x1b[5~\x1b[1;5C\x1b[H", ["up", "down", "page-up", "right", "home"]),
        (b"\x1b[200~two\nlines\x1b[A\x1b[201~x", [PASTE + "two\nlines\x1b[A", "x"]),
        (b"\x1b[99~\x00", []),
        (b"\x1bb", ["esc", "b"]),
    ],
)
def test_bytes_become_keys(data, keys):
    assert KeyDecoder().feed(data) == keys


@given(
    st.lists(st.sampled_from([b"\x1b[A", b"\x1b[6~", b"q", "猫".encode(), b"\x1b[200~\xc3\xa4\x1b[201~", b"\x1bOH"]))
)
def test_how_the_bytes_are_cut_changes_nothing(pieces):
    data = b"".join(pieces)
    whole, single = KeyDecoder(), KeyDecoder()
    assert whole.feed(data) == [key for byte in data for key in single.feed(bytes([byte]))]


@given(st.lists(st.binary(max_size=8)))
def test_any_bytes_are_survived(pieces):
    decoder = KeyDecoder()
    for piece in pieces:
        assert all(isinstance(key, str) and key for key in decoder.feed(piece) + decoder.flush())


def test_an_escape_alone_is_the_escape_key_after_a_while():
    decoder = KeyDecoder()
    assert decoder.feed(b"\x1b") == []
    assert decoder.waiting
    assert decoder.flush() == ["esc"]


def test_an_arrow_key_that_a_slow_line_tears_apart_never_becomes_a_judgement():
    decoder = KeyDecoder()
    decoder.feed(b"\x1b")
    decoder.flush()
    assert "A" not in decoder.feed(b"[A") + decoder.feed(b"q")[:-1]
    assert decoder.feed(b"a") == ["a"]


def test_a_paste_under_way_is_not_cut_by_silence():
    decoder = KeyDecoder()
    decoder.feed(b"\x1b[200~half")
    assert decoder.flush() == []
    assert decoder.feed(b" and half\x1b[201~") == [PASTE + "half and half"]


def play(keys, text="", *, lines=True) -> Buffer:
    buffer = Buffer.of(text)
    for key in keys:
        buffer = edit(buffer, key, lines=lines)
    return buffer


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (["a", "b", "left", "c"], "acb"),
        (["a", "enter", "b", "up", "end", "!"], "a!\nb"),
        (["a", "b", "home", "delete"], "b"),
        (["a", "enter", "backspace"], "a"),
        ([*list("one two"), "ctrl-w"], "one "),
        ([*list("one"), "enter", *list("two"), "ctrl-u"], "one\n"),
        ([*list("abc"), "left", "left", "ctrl-k"], "a"),
        ([*list("abc"), "enter", "x", "up", "y", "down", "z"], "aybc\nxz"),
        (["tab", PASTE + "p\r\nq\x1b\x00"], "    p\nq"),
        (["f7", "ctrl-q"], ""),
    ],
)
def test_keys_edit_a_text(keys, text):
    assert play(keys).text == text


def test_a_note_stays_on_one_line():
    assert play(["a", "enter", PASTE + "b\nc"], lines=False).text == "ab c"


@given(
    st.lists(
        st.sampled_from(["a", " ", "猫", "enter", "backspace", "delete", "left", "right", "up", "down", "home", "end"])
        | st.sampled_from(["ctrl-w", "ctrl-u", "ctrl-k", "tab", PASTE + "x\ny"])
    )
)
def test_the_cursor_stays_inside_the_text_and_on_the_page(keys):
    buffer = play(keys)
    assert 0 <= buffer.cursor <= len(buffer.text)
    lines, row, column = typed(buffer.text, buffer.cursor, 10)
    assert 0 <= row < len(lines)
    assert 0 <= column < 10
    assert all(cell_len(line) <= 10 for line in lines)


def test_the_cursor_is_drawn_where_the_next_letter_goes():
    assert typed("one two three", 13, 8) == (["one two", "three"], 1, 5)
    assert typed("one two three", 5, 8)[1:] == (0, 5)
    assert typed("ab\n\ncd", 3, 8)[1:] == (1, 0)
    assert typed("猫猫", 2, 8)[1:] == (0, 4)


HOSTILE = "\x1b[2J\x1b]0;title\x07\x9b31m\x00\u202eevil\u2066\x7f\r\u200b\ud800\u2028\U000e0041"


def test_what_could_move_the_terminal_is_shown_as_a_picture():
    shown = inert(HOSTILE)
    assert "␛[2J" in shown
    assert "⟨U+202E⟩evil" in shown
    assert all(unicodedata.category(letter) not in ("Cc", "Cf", "Cs", "Zl") for letter in shown)


@given(st.text(st.characters(exclude_categories=()), max_size=60), st.integers(4, 30))
def test_no_text_is_live_or_wider_than_its_pane(text, width):
    for line in wrapped(text, width):
        assert cell_len(line) <= width
        assert not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in line)


def test_ordinary_writing_stays_as_it_is():
    words = "naïve 猫 👩‍👩‍👧 שלום می‌خواهم"
    assert inert(words) == words
    assert inert("a\tb\r\nc") == "a    b\nc"


def test_a_pasted_text_loses_what_nobody_types():
    assert as_typed("a\x00\x1b[31mb\r\nc\td\ud800") == "a[31mb\nc\td"
