"""A small text editor: a text with a cursor, and the effect of each key. For notes and answers. Pure functions."""

from dataclasses import dataclass

from steersman.inert import as_typed

PASTE = "paste\n"  # a pasted text arrives as one key with this prefix


@dataclass(frozen=True, slots=True)
class Buffer:
    text: str = ""
    cursor: int = 0

    @classmethod
    def of(cls, text: str) -> "Buffer":
        return cls(text, len(text))

    @property
    def line_start(self) -> int:
        return self.text.rfind("\n", 0, self.cursor) + 1

    @property
    def line_end(self) -> int:
        end = self.text.find("\n", self.cursor)
        return len(self.text) if end < 0 else end

    def put(self, text: str) -> "Buffer":
        return Buffer(self.text[: self.cursor] + text + self.text[self.cursor :], self.cursor + len(text))

    def cut(self, start: int, end: int) -> "Buffer":
        """The buffer without the characters from start to end, with the cursor at start."""
        return Buffer(self.text[:start] + self.text[end:], start)

    def to(self, cursor: int) -> "Buffer":
        return Buffer(self.text, max(0, min(cursor, len(self.text))))


def edit(buffer: Buffer, key: str, *, lines: bool) -> Buffer:
    """The buffer after a key. Unknown keys change nothing. `lines` allows more than one line."""
    if key.startswith(PASTE):
        pasted = as_typed(key.removeprefix(PASTE))
        return buffer.put(pasted if lines else " ".join(pasted.split()))
    if len(key) == 1 and (key.isprintable() or key == "\u200d"):
        return buffer.put(key)
    if key in ("enter", "tab"):
        return buffer.put("\n" if key == "enter" else "    ") if lines else buffer
    if key in ("backspace", "delete", "ctrl-u", "ctrl-k", "ctrl-w"):
        return _erase(buffer, key)
    return _move(buffer, key)


def _erase(buffer: Buffer, key: str) -> Buffer:
    at = buffer.cursor
    match key:
        case "backspace":
            return buffer.cut(max(0, at - 1), at)
        case "delete":
            return Buffer(buffer.text[:at] + buffer.text[at + 1 :], at)
        case "ctrl-u":
            return buffer.cut(buffer.line_start, at)
        case "ctrl-k":
            return buffer.cut(at, buffer.line_end)
    before = buffer.text[:at].rstrip(" ")
    word = max(before.rfind(" "), before.rfind("\n")) + 1
    return buffer.cut(word, at)


def _move(buffer: Buffer, key: str) -> Buffer:
    column = buffer.cursor - buffer.line_start
    match key:
        case "left":
            return buffer.to(buffer.cursor - 1)
        case "right":
            return buffer.to(buffer.cursor + 1)
        case "home" | "ctrl-a":
            return buffer.to(buffer.line_start)
        case "end" | "ctrl-e":
            return buffer.to(buffer.line_end)
        case "up" if buffer.line_start > 0:
            above = buffer.to(buffer.line_start - 1)
            return buffer.to(min(above.line_start + column, above.line_end))
        case "down" if buffer.line_end < len(buffer.text):
            below = buffer.to(buffer.line_end + 1)
            return buffer.to(min(below.line_start + column, below.line_end))
    return buffer
