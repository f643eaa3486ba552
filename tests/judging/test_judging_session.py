"""What each key means, and that no order of keys does what it should not."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.judging.editor import PASTE
from steersman.judging.queue import Item
from steersman.judging.session import (
    Draft,
    OpenEditor,
    Quit,
    Revisit,
    Save,
    Skip,
    State,
    Undo,
    Verdict,
    order_in_words,
    press,
    ranks_of,
    show,
)
from steersman.judging.verdicts import item_of, record_of, words_of
from steersman.records import Comparison, Completion, Demonstration, Prompt, Ranking


def item(count: int = 2, shown: tuple[int, ...] | None = None) -> Item:
    return Item(
        "item", Prompt(text="?"), tuple(Completion("xyzvw"[n]) for n in range(count)), shown or tuple(range(count))
    )


def at(mode: str, count: int = 2, **facts) -> State:
    return show(State(mode, **facts), item(count))


def play(state: State, keys):
    """The state after the keys and every effect on the way."""
    effects = []
    for key in keys:
        state, new = press(state, key)
        effects += new
    return state, effects


@pytest.mark.parametrize("key", ["a", "A", "1", "left"])
def test_one_key_says_that_a_is_better(key):
    assert play(at("compare"), [key])[1] == [Save(Verdict("left"))]


@pytest.mark.parametrize("key", ["b", "B", "2", "right"])
def test_one_key_says_that_b_is_better(key):
    assert play(at("compare"), [key])[1] == [Save(Verdict("right"))]


def test_tie_and_both_bad_are_different_words():
    assert play(at("compare"), ["t"])[1] == [Save(Verdict("tie"))]
    assert play(at("compare"), ["x"])[1] == [Save(Verdict("both_bad"))]


def test_strength_is_asked_only_when_wanted():
    assert play(at("compare", ask_strength=True), ["a"])[1] == []
    assert play(at("compare", ask_strength=True), ["a", "2"])[1] == [Save(Verdict("left", strength=2))]
    assert play(at("compare", ask_strength=True), ["B"])[1] == [Save(Verdict("right", strength=3))]
    assert play(at("compare", ask_strength=True), ["a", "b", "1"])[1] == [Save(Verdict("right", strength=1))]
    assert play(at("compare", ask_strength=True), ["a", "esc", "t"])[1] == [Save(Verdict("tie"))]
    assert play(at("compare", ask_strength=True), ["a", "x", "9", "q"])[1] == []


def test_a_note_goes_with_the_judgement_to_come():
    state, effects = play(at("compare"), ["n", *"too long", "enter", "b"])
    assert effects == [Save(Verdict("right", note="too long"))]
    assert show(state, item()).note == ""


def test_keys_in_a_note_are_letters():
    assert play(at("compare"), ["n", *"abtxsuq?", "esc"])[1] == []


def test_a_skip_may_say_why():
    assert play(at("compare"), ["s"])[1] == [Skip("")]
    assert play(at("compare"), ["S", *"no idea ", "enter"])[1] == [Skip("no idea")]
    assert play(at("compare"), ["S", "esc"])[1] == []


def test_backspace_never_throws_anything_away():
    assert play(at("compare"), ["backspace", "delete", "esc", "enter", "tab"]) == (at("compare"), [])


def test_a_pasted_text_judges_nothing():
    assert play(at("compare"), [PASTE + "aabb"])[1] == []


def test_undo_and_quit():
    assert play(at("compare"), ["u"])[1] == [Undo()]
    assert play(at("compare"), ["ctrl-z"])[1] == [Undo()]
    for key in ("q", "interrupt", "ctrl-d"):
        assert play(at("compare"), [key])[1] == [Quit()]
    assert play(at("compare"), ["n", "interrupt"])[1] == [Quit()]


def test_help_and_the_whole_prompt_open_and_close_without_judging():
    for key in ("?", "p"):
        state, effects = play(at("compare"), [key, "a", "b", "t"])
        assert (state.phase, effects) == ("help" if key == "?" else "prompt", [])
        assert play(state, ["esc"])[0].phase == "judge"


def test_scrolling_stops_at_both_ends():
    state = replace(at("compare"), limit=7, page=5)
    assert play(state, ["down", "page-down", " "])[0].scroll == 7
    assert play(state, ["end", "up"])[0].scroll == 6
    assert play(state, ["end", "home", "up", "page-up"])[0].scroll == 0


def test_the_layout_can_be_turned():
    assert play(at("compare"), ["v"])[0].stacked is True
    assert play(at("compare"), ["v", "v"])[0].stacked is False


def test_when_all_is_done_judging_keys_do_nothing():
    state = show(State("compare"), None)
    assert play(state, [*list("abtxs123"), "p", "n"])[1] == []
    assert [play(state, [key])[1] for key in ("u", "r", "enter", "q")] == [[Undo()], [Revisit()], [Quit()], [Quit()]]


def test_a_ranking_is_typed_best_first():
    _, effects = play(at("rank", 3), ["3", "1", "2", "enter"])
    assert effects == [Save(Verdict("ranked", ranks=(2, 3, 1)))]


def test_answers_can_tie_in_a_ranking():
    # 2 first, then 1 = 3 together in second place, and 4 has three above it.
    _, effects = play(at("rank", 4), ["2", "1", "=", "3", "4", "enter"])
    assert effects == [Save(Verdict("ranked", ranks=(2, 1, 2, 4)))]


def test_a_partial_ranking_puts_the_rest_last_and_says_that_they_were_not_ordered():
    _, effects = play(at("rank", 4), ["3", "enter"])
    assert effects == [Save(Verdict("ranked", ranks=(2, 2, 1, 2), unordered=(0, 1, 3)))]
    _, effects = play(at("rank", 3), ["3", "1", "enter"])  # one left over is simply the last
    assert effects == [Save(Verdict("ranked", ranks=(2, 3, 1)))]


def test_the_last_named_answer_can_be_taken_back():
    state, effects = play(at("rank", 3), ["1", "2", "=", "3", "backspace", "u"])
    assert (state.groups, effects) == (((0,),), [])
    assert play(state, ["backspace", "u"])[1] == [Undo()]


def test_no_answer_is_ranked_twice_and_an_empty_ranking_is_no_ranking():
    assert play(at("rank", 3), ["1", "1", "9", "5"])[0].groups == ((0,),)
    state, effects = play(at("rank", 3), ["enter"])
    assert effects == []
    assert "name the best answer first" in state.message


def test_all_alike_and_all_bad():
    assert play(at("rank", 3), ["t"])[1] == [Save(Verdict("ranked", ranks=(1, 1, 1)))]
    assert play(at("rank", 3), ["x"])[1] == [Save(Verdict("all_bad", ranks=(1, 1, 1)))]


@given(st.permutations(range(5)), st.lists(st.booleans(), min_size=4, max_size=4), st.integers(1, 5))
def test_ranks_count_who_stands_above(order, ties, named):
    groups: list[tuple[int, ...]] = [(order[0],)]
    for place, tied in zip(order[1:named], ties, strict=False):
        groups[-1:] = [(*groups[-1], place)] if tied else [groups[-1], (place,)]
    ranks, _ = ranks_of(tuple(groups), 5)
    tier = {place: number for number, group in enumerate(groups) for place in group}
    for place in range(5):
        above = sum(tier.get(other, 99) < tier.get(place, 99) for other in range(5))
        assert ranks[place] == above + 1


def test_an_answer_is_written_and_handed_in():
    _, effects = play(at("demonstrate", 0), ["w", *"Hi", "enter", *"you", "ctrl-s"])
    assert effects[-1] == Save(Verdict("written", text="Hi\nyou"))
    assert effects[:-1] == [Draft("Hi\nyou"[: n + 1]) for n in range(6)]


def test_an_answer_of_the_model_is_edited():
    _, effects = play(at("demonstrate", 2), ["2", "!", "ctrl-s"])
    assert effects[-1] == Save(Verdict("written", text="y!", source=1))


def test_nothing_written_is_not_handed_in():
    state, effects = play(at("demonstrate", 0), ["w", " ", "enter", "ctrl-s"])
    assert not any(isinstance(effect, Save) for effect in effects)
    assert "no answer yet" in state.message


def test_a_draft_is_not_thrown_away_for_a_model_s_answer():
    state, _ = play(at("demonstrate", 2), ["w", *"mine", "esc", "1"])
    assert state.buffer.text == "mine"
    assert "you have a draft" in state.message


def test_the_own_editor_gets_the_draft():
    assert play(at("demonstrate", 0), ["e"])[1] == [OpenEditor("")]
    assert play(at("demonstrate", 0), ["w", "a", "ctrl-o"])[1][-1] == OpenEditor("a")


KEYS = [
    *"aAbBtTxXsSuUnNpPvVqQ?rR=0123456789wWeE \u200d猫",
    "enter",
    "esc",
    "backspace",
    "delete",
    "tab",
    "back-tab",
    "up",
]
KEYS += [
    "down",
    "left",
    "right",
    "home",
    "end",
    "page-up",
    "page-down",
    "ctrl-s",
    "ctrl-z",
    "ctrl-d",
    "ctrl-o",
    "resize",
]


@given(st.sampled_from(["compare", "rank", "demonstrate"]), st.booleans(), st.lists(st.sampled_from(KEYS), max_size=40))
def test_any_keys_are_survived_and_each_does_at_most_one_thing(mode, ask_strength, keys):
    state = at(mode, 3 if mode == "rank" else 2, ask_strength=ask_strength)
    for key in keys:
        state, effects = press(state, key)
        assert len(effects) <= 1
        for effect in effects:
            if isinstance(effect, Save):
                assert record_of(item(len(state.item.completions)), effect.verdict, "a", "", 1.0)
                state = show(state, item(len(state.item.completions)))
            elif isinstance(effect, Skip | Undo):
                state = show(state, state.item)


@given(st.sampled_from([(0, 1), (1, 0)]), st.sampled_from(["left", "right"]))
def test_the_side_on_the_screen_becomes_the_right_answer(shown, side):
    record = record_of(item(2, shown), Verdict(side, strength=2), "a", "now", 1.234)
    assert isinstance(record, Comparison)
    assert record.chosen.text == "xy"[shown[0 if side == "left" else 1]]
    assert record.shown == ("first" if shown == (0, 1) else "second")
    assert (record.margin, record.annotator, record.time) == (2.0, "a", "now")
    assert record.metadata == {"seconds": 1.23}
    assert words_of(record) == ("A was better" if side == "left" else "B was better")


def test_a_tie_and_both_bad_become_one_half():
    tie = record_of(item(), Verdict("tie", note="why"), "a", "", 0.0)
    bad = record_of(item(), Verdict("both_bad"), "a", "", 0.0)
    assert isinstance(tie, Comparison)
    assert isinstance(bad, Comparison)
    assert (tie.preference, tie.both_bad, tie.rationale) == (0.5, False, "why")
    assert (bad.preference, bad.both_bad) == (0.5, True)
    assert (words_of(tie), words_of(bad)) == ("a tie", "both bad")


@given(st.permutations(range(4)), st.permutations(range(1, 5)))
def test_ranks_on_the_screen_become_ranks_of_the_answers(shown, ranks):
    record = record_of(item(4, tuple(shown)), Verdict("ranked", ranks=tuple(ranks)), "a", "", 0.0)
    assert isinstance(record, Ranking)
    for place in range(4):
        assert record.ranks[shown[place]] == ranks[place]
    assert record.shown == tuple(shown)


def test_a_partial_ranking_names_the_unordered_answers_in_the_file():
    verdict = Verdict("ranked", ranks=(2, 1, 2), unordered=(0, 2), note="why")
    record = record_of(item(3, (2, 0, 1)), verdict, "a", "", 0.0)
    assert isinstance(record, Ranking)
    assert record.ranks == (1, 2, 2)
    assert record.metadata == {"seconds": 0.0, "unordered": [2, 1], "rationale": "why"}
    assert words_of(record) == "a ranking"


def test_an_approved_answer_keeps_what_made_it_and_an_edited_one_does_not():
    made = replace(item(), completions=(Completion("x", model="m"), Completion("y")))
    same = record_of(made, Verdict("written", text="x", source=0), "a", "", 0.0)
    other = record_of(made, Verdict("written", text="x!", source=0), "a", "", 0.0)
    assert isinstance(same, Demonstration)
    assert isinstance(other, Demonstration)
    assert same.completion == Completion("x", model="m")
    assert other.completion == Completion("x!")
    assert item_of(other) == "item"


def test_verdicts_and_orders_in_words():
    assert Verdict("left", strength=1).words == "A is slightly better"
    assert Verdict("ranked", ranks=(2, 1, 2)).words == "ranked 2 > 1 = 3"
    assert order_in_words((1, 1)) == "1 = 2"
