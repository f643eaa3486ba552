"""What is written can be read: contrast by WCAG 2.1 (relative luminance), in light and in dark."""

import re
from importlib import resources

import pytest

TEXT = (
    ("ink", "paper"),
    ("ink", "card"),
    ("ink-soft", "paper"),
    ("ink-soft", "card"),
    ("ink-soft", "sea-soft"),
    ("sea", "paper"),
    ("sea", "card"),
    ("card", "sea"),
    ("good", "good-soft"),
    ("bad", "bad-soft"),
    ("bad", "card"),
    ("fair", "fair-soft"),
)
COLOURED = 0.62
"""How much of its colour the strongest token has (microscope.js)."""


def palettes() -> dict[str, dict[str, tuple[float, ...]]]:
    css = resources.files("steersman.pages").joinpath("files", "tokens.css").read_text(encoding="utf-8")
    found = re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);", css)
    return {
        "light": {name: rgb(light) for name, light, _ in found},
        "dark": {name: rgb(dark) for name, _, dark in found},
    }


def rgb(code: str) -> tuple[float, ...]:
    return tuple(int(code[i : i + 2], 16) / 255 for i in (1, 3, 5))


def luminance(colour: tuple[float, ...]) -> float:
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_black_on_white_is_21():
    assert contrast((0, 0, 0), (1, 1, 1)) == pytest.approx(21)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXT)
def test_text_stands_out(scheme, text, ground):
    colours = palettes()[scheme]
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("hue", ["plus", "minus"])
def test_the_strongest_token_can_be_read(scheme, hue):
    colours = palettes()[scheme]
    mixed = tuple(COLOURED * c + (1 - COLOURED) * g for c, g in zip(colours[hue], colours["card"], strict=True))
    assert contrast(colours["ink"], mixed) >= 4.5
