"""When a checkpoint is due by time, worked out by hand."""

from collections.abc import Iterator

from steersman.runs.save_clock import SaveClock


def saves(seconds: float | None, steps: list[float], *, cost: float = 0.0) -> list[int]:
    """The steps after which a checkpoint is due, if steps take so long."""
    now = 0.0

    def walk() -> Iterator[int]:
        nonlocal now
        clock = SaveClock(seconds, lambda: now)
        clock.begin()
        for number, step in enumerate(steps, 1):
            now += step
            if clock.due():
                now += cost
                clock.saved(cost)
                yield number

    return list(walk())


def test_short_steps_are_saved_every_so_many_seconds():
    # After the third step 180 s have passed, and the fourth would end at 240; after the fifth the next ends at 360.
    assert saves(300.0, [60.0] * 12) == [5, 10]


def test_steps_that_are_nearly_as_long_are_each_saved():
    assert saves(300.0, [200.0] * 4) == [1, 2, 3, 4]
    assert saves(300.0, [1000.0] * 3) == [1, 2, 3]


def test_checkpoints_that_take_long_are_written_less_often():
    # 60 s are a twentieth of 1,200 s, which is twelve steps of 100 s.
    assert saves(300.0, [100.0] * 30, cost=60.0) == [3, 15, 27]


def test_none_switches_it_off():
    assert saves(None, [10_000.0] * 5) == []


def test_a_clock_runs_from_its_making_until_it_begins():
    now = 1000.0
    clock = SaveClock(300.0, lambda: now)
    now = 1140.0
    assert not clock.due(), "140 s have passed, and the next step would end at 280"
    now = 1230.0
    assert clock.due(), "90 s more would be 320"
