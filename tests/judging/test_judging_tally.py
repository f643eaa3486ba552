"""The summary counts what was judged, and says a leaning only when chance does not explain it."""

from steersman.judging.session import Verdict
from steersman.judging.tally import Share, Tally, in_words, tally
from steersman.judging.verdicts import record_of
from steersman.records import Completion, Demonstration, Prompt, digest_of


def record(name: str, choice: str, shown=(0, 1), *, seconds=1.0, repeats="", texts=("x", "yy"), ranks=()):
    from steersman.judging.queue import Item

    item = Item(name, Prompt(text="?"), tuple(Completion(text) for text in texts), shown, repeats)
    return record_of(item, Verdict(choice, ranks=ranks), "ann", "", seconds)


def test_counts_by_hand():
    found = tally(
        [
            record("1", "left", seconds=2.0),  # x: the shorter, left
            record("2", "left", (1, 0), seconds=4.0),  # yy: the longer, left
            record("3", "right", seconds=9.0),  # yy: the longer, right
            record("4", "tie", seconds=1.0),
            record("5", "both_bad", seconds=8.0),
            record("6", "left", texts=("a", "b"), seconds=4.0),  # equally long: says nothing about length
        ]
    )
    assert found == Tally(6, Share(1, 6), Share(1, 6), Share(3, 4), Share(2, 3), Share(0, 0), 4.0)


def test_repeats_show_how_steady_somebody_is():
    found = tally(
        [
            record("1", "left", (0, 1)),
            record("1r", "right", (1, 0), repeats="1"),  # x both times
            record("2", "left", (0, 1)),
            record("2r", "left", (1, 0), repeats="2"),  # x, then yy
            record("3r", "tie", repeats="3"),  # its first time was undone
        ]
    )
    assert found.steady == Share(1, 2)


def test_rankings_and_demonstrations_are_counted_too():
    rankings = [
        record("1", "ranked", ranks=(1, 1)),
        record("2", "all_bad", ranks=(1, 1)),
        record("3", "ranked", ranks=(2, 1)),
    ]
    found = tally(rankings)
    assert (found.judged, found.ties, found.bad) == (3, Share(1, 3), Share(1, 3))
    again = tally([record("1", "ranked", ranks=(2, 1)), record("1r", "ranked", (1, 0), ranks=(1, 2), repeats="1")])
    assert again.steady == Share(1, 1)
    written = tally([Demonstration(Prompt(text="?"), Completion("x"), "ann", f"1-{digest_of('ann')[:6]}")])
    assert (written.judged, written.seconds) == (1, None)
    assert in_words(written, left=2, skipped=1, mode="demonstrate") == ["1 judged, 1 skipped, 2 left"]
    assert "all bad 33% (1 of 3)" in "\n".join(in_words(found, left=0, skipped=0, mode="rank"))


def test_a_leaning_is_said_only_beyond_chance():
    # Of 100, two standard errors are 2 * sqrt(0.25 / 100) = 0.1.
    assert not Share(60, 100).lopsided
    assert Share(61, 100).lopsided
    assert Share(39, 100).lopsided
    assert not Share(5, 5).lopsided
    assert not Share(0, 0).lopsided


def test_the_summary_says_what_to_look_at():
    lines = "\n".join(in_words(tally([record(str(n), "left") for n in range(20)]), left=1, skipped=0, mode="compare"))
    assert "20 judged, 0 skipped, 1 left" in lines
    assert "left answer chosen 100% (20 of 20): significantly different from one half" in lines
    assert "median time 1 s" in lines
    assert in_words(tally([]), left=3, skipped=0, mode="compare") == ["0 judged, 0 skipped, 3 left"]
