"""The picture of over-optimisation: one mark for each point where its numbers are, a line for each curve, nothing from
elsewhere."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from steersman.evaluate.overoptimisation import Walk, measure_overoptimisation
from steersman.evaluate.overoptimisation_picture import LEFT, MAIN, RIGHT, TOP, WIDTH, picture, ticks
from steersman.maths.statistics import Interval

SVG = "{http://www.w3.org/2000/svg}"


def found(*, wins=(), b=0.8, prompts=40, names=("reward", "taste")):
    draw = np.random.default_rng(0)
    distances = np.array([0.4, 0.8, 1.2, 1.8, 2.5])
    kl = np.tile(distances[:, None] ** 2, (1, prompts))
    noise = 0.05 * draw.normal(size=(2, 5, prompts))
    proxy = (distances * (1.5 - 0.1 * np.log(distances)))[:, None] + noise[0]
    gold = (distances * (1.0 - b * np.log(distances)))[:, None] + noise[1]
    trained = Walk("trained", "PPO", tuple("abcde"), kl, {names[0]: proxy, names[1]: gold})
    best = Walk("best of n", "best of n", ("best of 2",), kl[:1], dict.fromkeys(names, proxy[:1]))
    return measure_overoptimisation(
        [trained, best], start="start", proxy=names[0], confidence=0.95, resamples=100, seed=0, wins=wins
    )


def marks(root, kind):
    return [next(mark for mark in group if mark.tag == SVG + kind) for group in root.iter(SVG + "g") if len(group) > 1]


def test_every_point_is_marked_where_it_is_and_says_its_numbers():
    curves = found()
    root = ElementTree.fromstring(picture(curves))
    circles = [m for g in root.iter(SVG + "g") for m in g if m.tag == SVG + "circle"]
    assert len(circles) == 10
    across = sorted({float(circle.get("cx", 0)) for circle in circles})
    assert len(across) == 5
    # Distance is on the axis to scale: the gaps between marks are as the gaps between distances.
    assert (across[1] - across[0]) / (across[4] - across[3]) == pytest.approx(0.4 / 0.7, abs=0.01)
    assert all(LEFT <= x <= WIDTH - RIGHT for x in across)
    assert all(TOP <= float(circle.get("cy", 0)) <= TOP + MAIN for circle in circles)
    heights = {c.get("cx"): float(c.get("cy", 0)) for c in circles[:5]}
    gains = [point.gain.estimate for point in curves.curves[0].points]
    assert np.argsort([-y for y in heights.values()]).tolist() == np.argsort(gains).tolist(), "higher is better"
    told = [title.text for title in root.iter(SVG + "title")]
    assert any("e, taste: " in str(one) and "at a KL of 6.25 nats" in str(one) for one in told)


def test_a_fit_that_holds_is_a_line_and_others_are_dots():
    svg = picture(found())
    root = ElementTree.fromstring(svg)
    lines = [p for p in root.iter(SVG + "path") if p.get("fill") == "none"]
    assert len(lines) == 4
    assert sum(p.get("stroke-dasharray") == "1 5" for p in lines) == 2, "one point of best-of-n is not fitted"
    assert "fit that holds" in svg
    assert "best by taste: KL 1.44" in svg


def test_peoples_wins_have_a_panel_of_their_own_below():
    with_wins = picture(found(wins=[("c", 1.2, Interval(0.6, 0.5, 0.7))]))
    assert "win rate by people against the start" in with_wins
    assert "c: 60% (50% to 70%)" in with_wins
    assert "people" not in picture(found())
    height = lambda svg: int(re.search(r'viewBox="0 0 \d+ (\d+)"', svg)[1])  # noqa: E731
    assert height(with_wins) > height(picture(found()))


def test_nothing_comes_from_elsewhere_and_names_are_only_text():
    svg = picture(found(names=("<script>", 'a"b&c')))
    ElementTree.fromstring(svg)
    assert "<script" not in svg
    assert not re.findall(r"(?:href|src|url|@import)\b", svg)
    assert set(re.findall(r"https?://[^\"']+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme:dark" in svg
    assert 'role="img"' in svg
    assert "aria-label=" in svg


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.0, 4.1, [0, 1, 2, 3, 4]), (-0.4, 0.35, [-0.4, -0.2, 0.0, 0.2]), (0.0, 260.0, [0, 50, 100, 150, 200, 250])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high, 6) == expected
