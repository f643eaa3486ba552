"""The picture of over-optimisation with every coordinate worked by hand.

The picture is 760 wide with margins of 58 and 132, so 570 are left for the axis; the main part is 330 high and begins
at 44. Points at distances 1 and 2 with gains up to 2.5: the axis ends at 1.04 * 2 = 2.08, and 6 % of 2.5 = 0.15 are
added above and below, so that it goes from -0.15 to 2.65, which is 2.8 high."""

from typing import Any
from xml.etree import ElementTree

import pytest

from steersman.evaluate.curves import ticks
from steersman.evaluate.overoptimisation import Fit, GainCurve, Overoptimisation, Point
from steersman.evaluate.overoptimisation_picture import LEFT, picture, spoken
from steersman.maths.statistics import Interval

SVG = "{http://www.w3.org/2000/svg}"


def x(distance: float) -> float:
    return 58 + distance / 2.08 * 570


def y(value: float) -> float:
    return 44 + 330 - (value + 0.15) / 2.8 * 330


def near(value: float) -> Any:
    """Coordinates are written with one decimal."""
    return pytest.approx(value, abs=0.051)


FIRST = Point("step 5", 1.0, 1.0, Interval(1.0, 0.5, 1.5))
SECOND = Point("step 10", 4.0, 2.0, Interval(2.0, 1.5, 2.5))
LOWER = Point("step 10", 4.0, 2.0, Interval(0.5, 0.25, 0.75))
HOLDS = Fit("d (a - b log d)", Interval(1.0, 0.9, 1.1), Interval(0.5, 0.4, 0.6), 0.95, 2.0, None)


def curve(
    measure: str = "reward",
    *points: Point,
    shape: Any = "trained",
    walk: str = "PPO",
    fit: Fit | None = None,
    fallen: Interval | None = None,
) -> GainCurve:
    return GainCurve(walk, shape, measure, points or (FIRST, SECOND), fit, None if fit else "too few", fallen)


def drawn(*curves: GainCurve, wins: Any = ()) -> ElementTree.Element:
    found = Overoptimisation("start", "reward", curves or (curve(),), 40, 0.95, wins)
    return ElementTree.fromstring(picture(found))


def numbers(element: ElementTree.Element, *names: str) -> tuple[float, ...]:
    return tuple(float(element.get(name, "nan")) for name in names)


def texts(root: ElementTree.Element) -> dict[str, tuple[float, float]]:
    return {str(one.text): numbers(one, "x", "y") for one in root.iter(SVG + "text")}  # pyright: ignore[reportReturnType]


def lines(root: ElementTree.Element, kind: str | None) -> list[tuple[float, ...]]:
    return [numbers(one, "x1", "x2", "y1", "y2") for one in root.iter(SVG + "line") if one.get("class") == kind]


def test_a_point_is_a_mark_with_the_line_of_its_interval():
    root = drawn()
    circles = [numbers(one, "cx", "cy", "r") for one in root.iter(SVG + "circle")]
    # the legend's own mark, then the two points
    assert circles[1:] == [(near(x(1)), near(y(1)), 4), (near(x(2)), near(y(2)), 4)]
    bars = [line for line in lines(root, None) if line[0] == line[1]]
    assert bars == [
        (near(x(1)), near(x(1)), near(y(0.5)), near(y(1.5))),
        (near(x(2)), near(x(2)), near(y(1.5)), near(y(2.5))),
    ]
    told = [one.text for one in root.iter(SVG + "title")]
    assert told == [
        "step 5, reward: +1.00 (+0.50 to +1.50) at a KL of 1.00 nats",
        "step 10, reward: +2.00 (+1.50 to +2.50) at a KL of 4.00 nats",
    ]


def test_the_frame_and_its_numbers():
    root = drawn()
    said = texts(root)
    assert ticks(-0.15, 2.65, 6, apart=(1.0, 2.0, 2.5, 5.0, 10.0)) == [0, 0.5, 1, 1.5, 2, 2.5]
    for value in ("0.5", "1", "1.5", "2.5"):
        at = [
            numbers(one, "x", "y")
            for one in root.iter(SVG + "text")
            if one.text == value and one.get("text-anchor") == "end"
        ]
        assert at == [(50, near(y(float(value)) + 4))]
    across = [
        one for one in root.iter(SVG + "text") if one.get("text-anchor") == "middle" and one.get("transform") is None
    ]
    steps = ticks(0.0, 2.08, 7, apart=(1.0, 2.0, 2.5, 5.0, 10.0))
    assert steps == [0, 0.5, 1, 1.5, 2]
    # below the main part, which ends at 44 + 330 = 374: the distance, and under it its square
    expected = [(step, offset) for step in steps for offset in (18, 34)]
    assert [numbers(one, "x", "y") for one in across] == [  # pyright: ignore[reportReturnType]
        (near(x(step)), near(374 + offset)) for step, offset in expected
    ]
    assert [one.text for one in across] == ["0", "0", "0.5", "0.25", "1", "1", "1.5", "2.25", "2", "4"]
    # beyond the axis, whose end is at 760 - 132
    assert said["√KL"] == (636, near(392))
    assert said["KL, nats per answer"] == (636, near(408))
    assert lines(root, "zero") == [(58, 628, near(y(0)), near(y(0)))]
    assert len(lines(root, "grid")) == 5
    assert lines(root, "grid")[0] == (58, 628, near(y(0.5)), near(y(0.5)))
    side = next(one for one in root.iter(SVG + "text") if one.get("transform"))
    assert (side.text, side.get("transform"), side.get("x"), side.get("y"), side.get("text-anchor")) == (
        "gain over the start, in its standard deviations",
        "rotate(-90 16 209.0)",
        "16",
        "209.0",
        "middle",
    )
    # 44 + 330 + 58
    assert root.get("viewBox") == "0 0 760 432"


def test_points_without_a_fit_are_joined_by_dots_from_the_start_in_the_order_of_distance():
    root = drawn(curve("reward", SECOND, FIRST))
    (path,) = [one for one in root.iter(SVG + "path") if one.get("fill") == "none"]
    corners = [tuple(float(n) for n in corner.split()) for corner in str(path.get("d"))[1:].split("L")]
    assert corners == [(near(x(0)), near(y(0))), (near(x(1)), near(y(1))), (near(x(2)), near(y(2)))]
    assert (path.get("stroke-dasharray"), path.get("stroke-width")) == ("1 5", "1.8")


def test_a_fit_that_holds_is_drawn_as_its_formula():
    root = drawn(curve(fit=HOLDS), curve("best", fit=HOLDS, shape="best of n", walk="best of n"))
    trained, best = [one for one in root.iter(SVG + "path") if one.get("fill") == "none"]
    corners = [tuple(float(n) for n in corner.split()) for corner in str(trained.get("d"))[1:].split("L")]
    assert len(corners) == 80
    assert corners[0] == (58, near(y(0)))
    # at 2: 2 (1 - 0.5 log 2) = 2 - log 2 = 1.30685
    assert corners[-1] == (near(x(2)), near(y(1.30685)))
    assert (trained.get("stroke-width"), trained.get("stroke-dasharray")) == ("2.2", None)
    # at 2: 2 (1 - 0.5 * 2) = 0
    assert tuple(float(n) for n in str(best.get("d")).split("L")[-1].split()) == (near(x(2)), near(y(0)))
    assert (best.get("stroke-width"), best.get("stroke-dasharray")) == ("1.8", "7 5")


def test_a_fit_does_not_leave_the_picture():
    steep = Fit("d (a - b log d)", Interval(9.0, 9.0, 9.0), Interval(0.5, 0.4, 0.6), 0.95, 2.0, None)
    (path,) = [one for one in drawn(curve(fit=steep)).iter(SVG + "path") if one.get("fill") == "none"]
    heights = [float(corner.split()[1]) for corner in str(path.get("d"))[1:].split("L")]
    assert min(heights) == 44.0


def test_the_legend_names_each_way_once_and_what_its_lines_mean():
    root = drawn(curve(), curve("taste", fit=HOLDS), curve("best", shape="best of n", walk="best of n", fit=HOLDS))
    said = texts(root)
    # the name of a mark stands 18 beside it; the next mark 34 and 7.2 a letter further: 58 + 34 + 21.6 = 113.6
    assert said["PPO"] == (76, 18)
    assert said["best of n"] == (pytest.approx(113.6 + 18), 18)
    circle, diamond = (
        next(root.iter(SVG + "circle")),
        next(one for one in root.iter(SVG + "path") if one.get("fill") != "none"),
    )
    assert numbers(circle, "cx", "cy") == (64, 14)
    # a diamond of 5.5 around (119.6, 14)
    assert diamond.get("d") == "M119.6 8.5L125.1 14.0L119.6 19.5L114.1 14.0Z"
    # then 34 + 7.2 * 9 = 98.8 further: 212.4
    assert said["fit that holds"] == (near(212.4 + 38), 18)
    # then 62 + 6.6 * 14 = 154.4 further: 366.8
    assert said["no fit that holds"] == (near(366.8 + 38), 18)
    samples = [line for line in lines(root, None) if line[2] == 14]
    assert samples == [(near(216.4), near(242.4), 14, 14), (near(370.8), near(396.8), 14, 14)]
    looks = [one for one in root.iter(SVG + "line") if one.get("y1") == one.get("y2") == "14.0"]
    assert [(one.get("stroke-dasharray"), one.get("opacity")) for one in looks] == [("", "1.0"), ("1 5", "0.8")]


@pytest.mark.parametrize(
    ("fit", "words"),
    [
        (HOLDS, {"fit that holds"}),
        (None, {"no fit that holds"}),
        (Fit("", *[Interval(0, 0, 0)] * 2, 0.1, None, "no"), {"no fit that holds"}),  # pyright: ignore[reportCallIssue]
    ],
)
def test_the_legend_says_only_what_is_there(fit: Fit | None, words: set[str]):
    assert {text for text in texts(drawn(curve(fit=fit))) if "fit" in text} == words


def test_each_measure_s_name_stands_where_its_curve_ends_and_apart_from_the_next():
    close = Point("step 10", 4.0, 2.0, Interval(1.95, 1.5, 2.5))
    said = texts(drawn(curve(), curve("taste", FIRST, close), curve("a name of eighteen", FIRST, LOWER)))
    assert said["reward"] == (near(x(2) + 12), near(y(2) + 4))
    assert said["taste"] == (near(x(2) + 12), near(y(2) + 17 + 4)), "a line of 17 below"
    assert said["a name of eighte…"] == (near(x(2) + 12), near(y(0.5) + 4))


def test_a_name_stands_at_the_end_of_the_longest_curve_of_its_measure():
    short = curve("reward", FIRST, shape="best of n", walk="best of n")
    assert texts(drawn(curve(), short))["reward"] == (near(x(2) + 12), near(y(2) + 4))
    assert texts(drawn(short, curve()))["reward"] == (near(x(2) + 12), near(y(2) + 4))


def test_measures_have_a_colour_each_whatever_the_way():
    root = drawn(curve(), curve("taste"), curve(shape="best of n", walk="best of n"))
    bars = [one.get("stroke") for one in root.iter(SVG + "line") if one.get("x1") == one.get("x2")]
    assert bars == ["var(--oo-1)"] * 2 + ["var(--oo-2)"] * 2 + ["var(--oo-1)"] * 2
    style = str(next(root.iter(SVG + "style")).text)
    light, dark = style.split("@media")
    for part, colours in ((light, ("#b4532a", "#1f6f8b")), (dark, ("#f0956a", "#66c1dd"))):
        for number, colour in enumerate(colours, 1):
            assert f"--oo-{number}:var(--curve-{number},{colour});" in part


def test_colours_begin_again_where_there_are_more_measures_than_colours():
    root = drawn(*(curve(f"m{i}") for i in range(6)))
    light = str(next(root.iter(SVG + "style")).text).split("@media")[0]
    assert "--oo-5:var(--curve-5,#b4532a);--oo-6:var(--curve-6,#1f6f8b);" in light
    assert "--oo-7" not in light


FELL = Interval(0.5, 0.2, 0.8)


def test_where_another_measure_was_best_before_it_fell_is_marked():
    fell = curve("taste", Point("step 5", 1.0, 1.0, Interval(1.5, 1.0, 2.0)), LOWER, fallen=FELL)
    root = drawn(curve(fallen=FELL), fell)
    assert lines(root, "best") == [(near(x(1)), near(x(1)), 44, 374)]
    # beside the line, a little above the zero
    assert texts(root)["best by taste: KL 1"] == (near(x(1) + 6), near(y(0) - 8))
    late = curve("taste", FIRST, Point("step 9", 3.0, 1.9, Interval(1.5, 1.0, 2.0)), LOWER, fallen=FELL)
    root = drawn(curve(), late, fell)
    (mark,) = [one for one in root.iter(SVG + "text") if str(one.text).startswith("best by")]
    assert (mark.text, mark.get("text-anchor")) == ("best by taste: KL 3", "end"), "the first such curve only"
    assert numbers(mark, "x") == (near(x(1.9) - 6),)


def test_the_proxy_s_own_fall_and_that_of_best_of_n_are_not_marked():
    other = curve("taste", shape="best of n", walk="best of n", fallen=FELL)
    assert lines(drawn(curve(fallen=FELL), other, curve("third")), "best") == []


def test_wins_by_people_stand_below_on_the_same_axis():
    root = drawn(wins=[("step 10", 2.0, Interval(0.75, 0.5, 1.0))])
    # 432, and 34 + 96 more; the lower part begins at 44 + 330 + 34 = 408
    assert root.get("viewBox") == "0 0 760 562"
    said = texts(root)
    assert said["win rate by people against the start"] == (58, 400)
    assert (said["0%"], said["50%"], said["100%"]) == ((50, near(508)), (50, near(460)), (50, near(412)))
    assert (58, 628, 456.0, 456.0) in lines(root, "zero")
    assert {(58, 628, 504.0, 504.0), (58, 628, 408.0, 408.0)} <= set(lines(root, "grid"))
    group = list(root.iter(SVG + "g"))[-1]
    bar, circle, title = group
    assert numbers(bar, "x1", "x2", "y1", "y2") == (near(x(2)), near(x(2)), near(456), near(408))
    assert numbers(circle, "cx", "cy", "r") == (near(x(2)), near(432), 4)
    assert title.text == "step 10: 75% (50% to 100%)"
    assert said["√KL"] == (636, near(504 + 18)), "the axis is below both"


def test_a_win_farther_away_than_every_point_widens_the_axis():
    root = drawn(wins=[("far", 4.0, Interval(0.75, 0.5, 1.0))])
    circle = list(root.iter(SVG + "circle"))[-1]
    assert numbers(circle, "cx") == (near(58 + 570 / 1.04),)


def test_points_at_no_distance_and_without_gain_are_drawn_all_the_same():
    nothing = Point("step 5", 0.0, 0.0, Interval(0.0, 0.0, 0.0))
    root = drawn(curve("reward", nothing))
    circle = list(root.iter(SVG + "circle"))[-1]
    # from -0.06 to 0.06: in the middle
    assert numbers(circle, "cx", "cy") == (LEFT, near(44 + 165))


def test_gains_below_zero_are_within_the_frame():
    below = Point("step 5", 1.0, 1.0, Interval(-1.0, -2.0, -0.5))
    root = drawn(curve("reward", below))
    # from -2 to 0, and 0.12 more on both sides
    circle = list(root.iter(SVG + "circle"))[-1]
    assert numbers(circle, "cy") == (near(374 - (1.0 + 0.12) / 2.24 * 330),)
    assert "−2" in texts(root)


def test_the_picture_is_told_to_who_cannot_see_it():
    found = Overoptimisation("start", "reward", (curve("reward", SECOND, FIRST),), 40, 0.95)
    assert spoken(found) == (
        "Gain over start against the distance from it. reward, PPO: best 2.00 at a KL of 4.00, last 1.00 at 1.00"
    )
    root = drawn(curve("reward", SECOND, FIRST))
    assert root.get("aria-label") == spoken(found)


def test_names_that_would_overlap_are_shifted_from_the_highest_down_whatever_their_order():
    close = Point("step 10", 4.0, 2.0, Interval(1.95, 1.5, 2.5))
    said = texts(drawn(curve("taste", FIRST, close), curve()))
    assert said["reward"] == (near(x(2) + 12), near(y(2) + 4))
    assert said["taste"] == (near(x(2) + 12), near(y(2) + 17 + 4))
