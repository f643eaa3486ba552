"""Curves as pictures: what is drawn is what was measured, and the picture needs nothing from elsewhere."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steersman.evaluate.curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Curve,
    line_chart,
    thinned,
    ticks,
)


def places(svg: str, number: int) -> list[tuple[float, float]]:
    """The points of the curve of this number."""
    path = re.search(rf'class="curve \w+ c{number}" d="M([^"]+)"', svg)
    assert path is not None
    return [(float(x), float(y)) for x, y in (point.split() for point in path[1].split("L"))]


def test_a_curve_spans_the_picture_with_a_margin_above_and_below():
    svg = line_chart("Loss", [Curve("loss", ((0, 2.0), (5, 1.5), (10, 1.0)), "dots")], x_name="step")
    # The margin is 8 % of the span of 1: 0.92 to 2.08 over the height of 216 - 10 - 34 = 172, so 2.0 stands at
    # 182 - 172 * 1.08 / 1.16 = 21.9 and 1.0 at 182 - 172 * 0.08 / 1.16 = 170.1.
    assert HEIGHT - TOP - BOTTOM == 172
    assert places(svg, 1) == [(LEFT, 21.9), ((LEFT + WIDTH - RIGHT) / 2, 96.0), (WIDTH - RIGHT, 170.1)]
    assert svg.count("h0") == 3


def test_the_picture_is_well_formed_speaks_and_escapes_its_words():
    svg = line_chart('"a" < b', [Curve("<loss>", ((0, 1.0), (1, 0.5)), "faint")], x_name="step & more")
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == '"a" < b: <loss> from 1 to 0.5'
    assert "http" not in svg
    assert "h0" not in svg


def test_what_is_not_finite_is_left_out_and_nothing_is_drawn_from_one_point():
    broken = ((0, 1.0), (1, float("nan")), (2, 3.0))
    assert len(places(line_chart("t", [Curve("c", broken, "faint")], x_name="step"), 1)) == 2
    assert line_chart("t", [Curve("c", ((0, 1.0), (1, float("inf"))), "faint")], x_name="step") == ""
    assert line_chart("t", [], x_name="step") == ""


def test_a_flat_curve_is_drawn_in_the_middle():
    svg = line_chart("t", [Curve("c", ((0, 3.0), (1, 3.0)), "faint")], x_name="step")
    assert [y for _, y in places(svg, 1)] == [96.0, 96.0]


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [(0.0, 1.0, [0.0, 0.5, 1.0]), (0.61, 0.72, [0.65, 0.7]), (0.0, 94.0, [0, 50]), (-3.0, 5.0, [-2, 0, 2, 4])],
)
def test_ticks_are_round(low, high, wanted):
    # At most 4: the smallest of 1, 2, 5, 10 times a power of ten that is at least a quarter of the span.
    assert ticks(low, high, 4) == pytest.approx(wanted)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 8))
def test_ticks_lie_within_the_range_and_are_few(low, span, most):
    found = ticks(low, low + span, most)
    assert len(found) <= most + 1
    assert all(low - 1e-6 * span <= value <= low + span * (1 + 1e-6) for value in found)


def test_long_curves_are_thinned_to_means_of_neighbours():
    points = [(float(i), float(i % 2)) for i in range(1000)]
    kept = thinned(points)
    # 1,000 points in groups of 3: means of 0, 1, 2 and so on.
    assert len(kept) == 334 <= MOST_POINTS
    assert kept[0] == (1.0, pytest.approx(1 / 3))
    assert thinned(points[:400]) == tuple(points[:400])


def test_a_band_is_drawn_as_far_as_it_is_on_the_picture():
    rising = [Curve("KL", ((0, 1.0), (10, 3.0)), "faint")]
    inside = line_chart("KL", rising, x_name="step", band=(-100.0, 100.0))
    top, height = (
        float(found) for found in re.search(r'class="band" .*? y="([\d.]+)" .*? height="([\d.]+)"', inside).groups()
    )
    assert (top, top + height) == pytest.approx((TOP, HEIGHT - BOTTOM), abs=0.1)
    # The frame of the curve is 0.84 to 3.16; a band up to 2 covers its lower half.
    half = line_chart("KL", rising, x_name="step", band=(-100.0, 2.0))
    height = float(re.search(r'class="band" .*? height="([\d.]+)"', half).group(1))
    assert height == pytest.approx((HEIGHT - TOP - BOTTOM) / 2, abs=0.1)
    assert "band" not in line_chart("KL", rising, x_name="step", band=(50.0, 100.0))
    assert "band" not in line_chart("KL", rising, x_name="step")
