"""Learning curves with every coordinate worked by hand.

A picture is 360 by 216 with margins of 44 left, 10 right, 10 above and 34 below: 306 by 172 for the curves. The 306 are
stretched to the page's width; labels are placed in per cent of it. Values from 0 to 10 get 8 % more on both sides, so
that the frame goes from -0.8 to 10.8, which is 11.6 high."""

import math
from typing import Any
from xml.etree import ElementTree

import pytest

from steersman.evaluate.curves import MOST_POINTS, Curve, line_chart, thinned, ticks


def near(value: float) -> Any:
    return pytest.approx(value, abs=0.051)


def x(step: float) -> float:
    return 44 + step / 10 * 306


def y(value: float) -> float:
    return 216 - 34 - (value + 0.8) / 11.6 * 172


RISING = ((0, 0.0), (5, 2.5), (10, 10.0))


def drawn(*points: tuple[float, float], style: Any = "dots", **more: Any) -> ElementTree.Element:
    return ElementTree.fromstring(
        line_chart("loss", [Curve("held-out", points or RISING, style)], x_name="step", **more)
    )


def corners(path: ElementTree.Element, between: str = "L") -> list[tuple[float, ...]]:
    places = str(path.get("d")).removeprefix("M").removesuffix("h0")
    return [tuple(float(n) for n in corner.split()) for corner in places.split(between)]


def dots_of(root: ElementTree.Element) -> list[ElementTree.Element]:
    return [one for one in root.iter("path") if "dots-of" in str(one.get("class"))]


def curve_of(root: ElementTree.Element) -> ElementTree.Element:
    return next(one for one in root.iter("path") if str(one.get("class")).startswith("curve "))


def test_a_curve_goes_through_its_points_and_marks_them():
    root = drawn()
    (stretched,) = root.findall("svg")
    assert root.get("viewBox") is None, "labels are in pixels"
    assert (stretched.get("viewBox"), stretched.get("preserveAspectRatio")) == ("44 0 306 216", "none")
    assert curve_of(root).get("class") == "curve dots c1"
    assert corners(curve_of(root)) == [(near(x(at)), near(y(value))) for at, value in RISING]
    (dots,) = dots_of(root)
    assert dots.get("class") == "dots-of c1"
    assert corners(dots, "h0M") == [(near(x(at)), near(y(value))) for at, value in RISING]


def test_what_jumps_from_step_to_step_is_a_faint_line_without_marks():
    root = drawn(style="faint")
    assert curve_of(root).get("class") == "curve faint c1"
    assert dots_of(root) == []


def test_curves_are_numbered_and_share_one_frame():
    both = [Curve("a", ((0, 0.0), (10, 5.0)), "faint"), Curve("b", ((5, 5.0), (10, 10.0)), "faint")]
    root = ElementTree.fromstring(line_chart("t", both, x_name="step"))
    paths = [one for one in root.iter("path") if str(one.get("class")).startswith("curve ")]
    assert [one.get("class") for one in paths] == ["curve faint c1", "curve faint c2"]
    assert corners(paths[1]) == [(near(x(5)), near(y(5))), (near(x(10)), near(y(10)))]


def test_the_grid_and_its_numbers():
    root = drawn()
    said = [(one.text, one.get("x"), float(str(one.get("y"))), one.get("text-anchor")) for one in root.iter("text")]
    # at most four lines: 11.6 / 4 = 2.9, so one every 5
    assert said == [
        *[(str(value), "-6", near(y(value) + 4), "end") for value in (0, 5, 10)],
        *[(str(step), f"{10 * step}.00%", 198, "middle") for step in (0, 2, 4, 6, 8, 10)],
        ("step", "50%", 213, "middle"),
    ]
    grid = [one.get("d") for one in root.iter("path") if one.get("class") == "grid"]
    assert grid == [f"M44 {y(value):.1f}H350" for value in (0, 5, 10)]


def test_the_usual_range_is_shaded_as_far_as_it_is_on_the_picture():
    (band,) = drawn(band=(2.0, 100.0)).iter("rect")
    assert (band.get("x"), band.get("width")) == ("44", "306")
    assert float(str(band.get("y"))) == near(10)
    assert float(str(band.get("height"))) == near(y(2) - 10)
    (whole,) = drawn(band=(-100.0, 5.0)).iter("rect")
    assert float(str(whole.get("y"))) == near(y(5))
    assert float(str(whole.get("height"))) == near(182 - y(5))
    assert list(drawn(band=(20.0, 30.0)).iter("rect")) == list(drawn().iter("rect")) == []
    assert list(drawn(band=(10.8, 30.0)).iter("rect")) == []


def test_a_constant_curve_stands_in_the_middle():
    for value, margin in ((5.0, 0.5), (-5.0, 0.5), (0.0, 1.0)):
        root = drawn((0, value), (10, value))
        assert corners(curve_of(root)) == [(near(44), near(96)), (near(350), near(96))]
        assert 2 * margin > 0


def test_points_of_one_step_are_at_its_left():
    assert corners(curve_of(drawn((3, 0.0), (3, 10.0)))) == [(near(44), near(y(0))), (near(44), near(y(10)))]


def test_fewer_than_two_finite_points_are_no_picture():
    assert line_chart("t", [Curve("a", ((0, 1.0), (1, math.nan), (2, math.inf)), "dots")], x_name="step") == ""
    assert line_chart("t", [], x_name="step") == ""
    two = [Curve("a", ((0, 1.0),), "dots"), Curve("b", RISING, "dots")]
    assert "a from" not in line_chart("t", two, x_name="step")


def test_what_is_no_number_is_left_out_of_a_curve():
    root = drawn((0, 0.0), (3, math.nan), (5, 2.5), (10, 10.0))
    assert corners(curve_of(root)) == [(near(x(at)), near(y(value))) for at, value in RISING]


def test_a_picture_is_told_to_who_cannot_see_it():
    assert drawn().get("aria-label") == "loss: held-out from 0 to 10"
    assert 'aria-label="&lt;b&gt;: ' in line_chart("<b>", [Curve("a", RISING, "dots")], x_name="step")


def test_many_points_become_the_means_of_neighbours():
    assert MOST_POINTS == 400
    assert thinned([(i, 2.0 * i) for i in range(400)]) == tuple((i, 2.0 * i) for i in range(400))
    # of 401 points 201 groups: 200 pairs and the last one alone
    found = thinned([(i, 2.0 * i) for i in range(401)])
    assert (len(found), found[0], found[-1]) == (201, (0.5, 1.0), (400, 800.0))
    assert len(thinned([(i, 0.0) for i in range(1200)])) == 400
    assert thinned([]) == ()


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (0.0, 10.0, 5, [0, 2, 4, 6, 8, 10]),
        (0.0, 10.0, 4, [0, 5, 10]),
        (0.0, 10.0, 1, [0, 10]),
        (-0.3, 0.3, 3, [-0.2, 0.0, 0.2]),
        (0.1, 0.3, 2, [0.1, 0.2, 0.3]),
        (1000.0, 1003.0, 3, [1000, 1001, 1002, 1003]),
    ],
)
def test_ticks_are_one_two_or_five_times_a_power_of_ten(low: float, high: float, most: int, expected: list[float]):
    assert ticks(low, high, most) == expected
