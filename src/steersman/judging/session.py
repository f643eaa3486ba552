"""State machine of a labelling session: (state, key) -> (state, effects). Pure; `sitting` carries out the effects.

A key has at most one effect. It is carried out, and the next item is shown, before another key is read. So no key can
judge an item that was not yet on the screen.
"""

from dataclasses import dataclass, field, replace

from steersman.judging.editor import Buffer, edit
from steersman.judging.queue import Item

STRENGTHS = {1: "slightly", 2: "clearly", 3: "far"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement. `choice`: left, right, tie, both_bad; ranked, all_bad; written.

    `ranks` are by screen place, 1 is the best; `unordered` are the places that were not named and share the last rank.
    `source` is the place of the model's answer that a written one started from.
    """

    choice: str
    strength: int | None = None
    ranks: tuple[int, ...] = ()
    unordered: tuple[int, ...] = ()
    text: str = ""
    source: int | None = None
    note: str = ""

    @property
    def words(self) -> str:
        if self.choice in ("left", "right"):
            how = f"{STRENGTHS[self.strength]} better" if self.strength else "better"
            return f"{'A' if self.choice == 'left' else 'B'} is {how}"
        if self.choice == "ranked":
            return "ranked " + order_in_words(self.ranks)
        return {"tie": "a tie", "both_bad": "both bad", "all_bad": "all bad", "written": "your answer"}[self.choice]


@dataclass(frozen=True, slots=True)
class Save:
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Skip:
    reason: str


@dataclass(frozen=True, slots=True)
class Undo:
    pass


@dataclass(frozen=True, slots=True)
class Revisit:
    """Put the skipped items back into the queue."""


@dataclass(frozen=True, slots=True)
class Quit:
    pass


@dataclass(frozen=True, slots=True)
class Draft:
    """Save an unfinished answer, so that it survives a crash."""

    text: str


@dataclass(frozen=True, slots=True)
class OpenEditor:
    text: str


Effect = Save | Skip | Undo | Revisit | Quit | Draft | OpenEditor


@dataclass(frozen=True, slots=True)
class State:
    """The state of a session. `phase`: judge, strength, note, reason, prompt, help, write. `item` is None at the end.

    `groups` are the places ranked so far, best first, ties in one group. `scroll`, `page` and `limit` are screen lines.
    """

    mode: str
    item: Item | None = None
    ask_strength: bool = False
    phase: str = "judge"
    side: str = ""
    groups: tuple[tuple[int, ...], ...] = ()
    joining: bool = False
    source: int | None = None
    note: str = ""
    buffer: Buffer = field(default_factory=Buffer)
    stacked: bool | None = None
    scroll: int = 0
    page: int = 10
    limit: int = 0
    message: str = ""
    trouble: bool = False


def show(state: State, item: Item | None, *, draft: str = "", note: str = "", message: str = "") -> State:
    """The state in which `item` has just been shown."""
    return replace(
        state,
        item=item,
        phase="judge",
        side="",
        groups=(),
        joining=False,
        source=None,
        note=note,
        buffer=Buffer.of(draft),
        scroll=0,
        message=message,
        trouble=False,
    )


def order_in_words(ranks: tuple[int, ...]) -> str:
    """Ranks by place as text, such as 2 > 1 = 3."""
    tiers: dict[int, list[str]] = {}
    for place, rank in enumerate(ranks):
        tiers.setdefault(rank, []).append(str(place + 1))
    return " > ".join(" = ".join(tiers[rank]) for rank in sorted(tiers))


def press(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    """The state and effects after a key. Unknown keys change nothing."""
    if key == "interrupt" or (key == "ctrl-d" and state.phase != "write"):
        return state, (Quit(),)
    if state.phase in ("note", "reason"):
        return _line(state, key)
    if state.phase == "write":
        return _write(state, key)
    if state.phase in ("help", "prompt"):
        return _read(state, key)
    state = replace(state, message="", trouble=False)
    plain = key.lower() if len(key) == 1 else key
    scrolled = _scroll(state, plain)
    if scrolled is not None:
        return scrolled, ()
    if state.phase == "strength":
        return _strength(state, plain)
    if plain == "q":
        return state, (Quit(),)
    if plain == "?":
        return replace(state, phase="help", scroll=0), ()
    if state.item is None:
        return _finished(state, plain)
    if plain in ("u", "ctrl-z"):
        return _undo(state)
    if plain == "s":
        return (replace(state, phase="reason", buffer=Buffer()), ()) if key == "S" else (state, (Skip(""),))
    if plain == "p":
        return replace(state, phase="prompt", scroll=0), ()
    if plain == "v" and state.mode == "compare":
        return replace(state, stacked=not state.stacked), ()
    if plain == "n" and state.mode != "demonstrate":
        return replace(state, phase="note", buffer=Buffer.of(state.note)), ()
    return {"compare": _compare, "rank": _rank, "demonstrate": _demonstrate}[state.mode](state, key)


def _undo(state: State) -> tuple[State, tuple[Effect, ...]]:
    if state.groups:
        shorter = state.groups[:-1] + ((state.groups[-1][:-1],) if len(state.groups[-1]) > 1 else ())
        return replace(state, groups=shorter, joining=False), ()
    return state, (Undo(),)


def _finished(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    if key in ("u", "ctrl-z"):
        return state, (Undo(),)
    if key == "r":
        return state, (Revisit(),)
    return state, (Quit(),) if key == "enter" else ()


def _scroll(state: State, key: str) -> State | None:
    moves = {"up": -1, "down": 1, "page-up": -state.page, "page-down": state.page, " ": state.page}
    if key in moves:
        return replace(state, scroll=max(0, min(state.scroll + moves[key], state.limit)))
    if key in ("home", "end"):
        return replace(state, scroll=0 if key == "home" else state.limit)
    return None


def _read(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    scrolled = _scroll(state, key)
    if scrolled is not None:
        return scrolled, ()
    if key in ("p", "P", "q", "Q", "?", "esc", "enter"):
        return replace(state, phase="judge", scroll=0), ()
    return state, ()


def _line(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    if key == "esc":
        return replace(state, phase="judge"), ()
    if key != "enter":
        return replace(state, buffer=edit(state.buffer, key, lines=False)), ()
    text = state.buffer.text.strip()
    if state.phase == "reason":
        return replace(state, phase="judge"), (Skip(text),)
    return replace(state, phase="judge", note=text), ()


def _compare(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    side = {"a": "left", "1": "left", "left": "left", "b": "right", "2": "right", "right": "right"}.get(
        key.lower() if len(key) == 1 else key
    )
    if side and state.ask_strength:
        if key in ("A", "B"):
            return _save(state, Verdict(side, strength=3))
        return replace(state, phase="strength", side=side), ()
    if side:
        return _save(state, Verdict(side))
    if key in ("t", "T", "="):
        return _save(state, Verdict("tie"))
    if key in ("x", "X", "0"):
        return _save(state, Verdict("both_bad"))
    return state, ()


def _strength(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    if key in ("1", "2", "3"):
        return _save(replace(state, phase="judge"), Verdict(state.side, strength=int(key)))
    if key in ("a", "b"):
        return replace(state, side="left" if key == "a" else "right"), ()
    if key in ("esc", "backspace", "u", "ctrl-z"):
        return replace(state, phase="judge", side=""), ()
    return state, ()


def _save(state: State, verdict: Verdict) -> tuple[State, tuple[Effect, ...]]:
    return state, (Save(replace(verdict, note=state.note)),)


def _rank(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    assert state.item is not None
    count = len(state.item.completions)
    named = {place for group in state.groups for place in group}
    if key in ("t", "T"):
        return _save(state, Verdict("ranked", ranks=(1,) * count))
    if key in ("x", "X", "0"):
        return _save(state, Verdict("all_bad", ranks=(1,) * count))
    if key == "=":
        return replace(state, joining=bool(state.groups) and not state.joining), ()
    if key == "backspace" and state.groups:
        return _undo(state)
    if key in ("esc", "backspace"):
        return replace(state, groups=(), joining=False), ()
    if key == "enter":
        return _rank_done(state, count)
    place = int(key) - 1 if len(key) == 1 and key in "123456789" else -1
    if not 0 <= place < count or place in named:
        return state, ()
    groups = (*state.groups[:-1], (*state.groups[-1], place)) if state.joining else (*state.groups, (place,))
    return replace(state, groups=groups, joining=False), ()


def _rank_done(state: State, count: int) -> tuple[State, tuple[Effect, ...]]:
    if not state.groups:
        return replace(state, message="name the best answer first: press its number", trouble=True), ()
    ranks, unordered = ranks_of(state.groups, count)
    return _save(state, Verdict("ranked", ranks=ranks, unordered=unordered))


def ranks_of(groups: tuple[tuple[int, ...], ...], count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ranks by place (1, 2, 2, 4 if two tie), and the places not named, which share the last rank."""
    named = {place for group in groups for place in group}
    rest = tuple(place for place in range(count) if place not in named)
    ranks = [0] * count
    above = 0
    for group in (*groups, rest) if rest else groups:
        for place in group:
            ranks[place] = above + 1
        above += len(group)
    return tuple(ranks), rest if len(rest) > 1 else ()


def _demonstrate(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    assert state.item is not None
    if key in ("w", "W", "enter"):
        return replace(state, phase="write", scroll=0), ()
    if key in ("e", "E"):
        return state, (OpenEditor(state.buffer.text),)
    place = int(key) - 1 if len(key) == 1 and key in "123456789" else -1
    if not 0 <= place < len(state.item.completions):
        return state, ()
    drafts = {state.item.at(p).text for p in range(len(state.item.completions))} | {""}
    if state.buffer.text not in drafts:
        return replace(
            state, message="you have a draft: w continues it; empty it first to edit another answer", trouble=True
        ), ()
    return replace(state, phase="write", source=place, buffer=Buffer.of(state.item.at(place).text), scroll=0), ()


def _write(state: State, key: str) -> tuple[State, tuple[Effect, ...]]:
    if key == "esc":
        return replace(state, phase="judge", scroll=0), (Draft(state.buffer.text),)
    if key == "ctrl-o":
        return replace(state, phase="judge"), (OpenEditor(state.buffer.text),)
    if key in ("ctrl-s", "ctrl-d"):
        return submit(state)
    buffer = edit(state.buffer, key, lines=True)
    changed = buffer.text != state.buffer.text
    return replace(state, buffer=buffer, message="", trouble=False), (Draft(buffer.text),) if changed else ()


def submit(state: State) -> tuple[State, tuple[Effect, ...]]:
    """Submit the written answer, unless it is empty."""
    text = state.buffer.text.strip("\n").rstrip()
    if not text.strip():
        return replace(state, message="there is no answer yet: write one, or Esc and s to skip", trouble=True), ()
    return _save(state, Verdict("written", text=text, source=state.source))
