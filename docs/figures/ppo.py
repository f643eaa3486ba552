"""Draws docs/figures/ppo.svg from the journal of a run: python docs/figures/ppo.py runs/ppo docs/figures/ppo.svg

The run that the guide shows is named in docs/ppo.md.
"""

import json
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, TOP = 230, 130, 44, 30
PANELS = (
    ("score", ("score", "held-out score")),
    ("KL to reference (nats per answer)", ("KL to reference", "held-out KL to reference")),
    ("entropy (nats per token)", ("entropy",)),
    ("explained variance", ("explained variance",)),
    ("clip fraction", ("clip fraction",)),
    ("KL to old policy (nats per token)", ("KL to old policy",)),
)
COLOURS = ("#1f6f8b", "#d1495b")


def columns(journal: Path) -> dict[str, list[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = {}
    for line in journal.read_text().splitlines():
        row = json.loads(line)
        for name, value in row.items():
            if isinstance(value, int | float):
                found.setdefault(name, []).append((float(row["step"]), float(value)))
    return found


def panel(title: str, lines: list[tuple[str, list[tuple[float, float]]]], x: int, y: int) -> list[str]:
    points = [point for _, line in lines for point in line]
    last = max(step for step, _ in points) or 1.0
    low, high = min(value for _, value in points), max(value for _, value in points)
    high = high if high > low else low + 1.0
    drawn = [f'<text x="{x}" y="{y - 8}" font-weight="600">{title}</text>']
    drawn += [f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>']
    for value, place in ((high, y + 9), (low, y + HEIGHT)):
        drawn.append(f'<text x="{x - 4}" y="{place}" text-anchor="end" fill="#666">{shown(value, high - low)}</text>')
    drawn.append(f'<text x="{x + WIDTH}" y="{y + HEIGHT + 12}" text-anchor="end" fill="#666">iteration {last:g}</text>')
    for (name, line), colour in zip(lines, COLOURS, strict=False):
        where = " ".join(
            f"{x + WIDTH * step / last:.1f},{y + HEIGHT - HEIGHT * (value - low) / (high - low):.1f}"
            for step, value in line
        )
        drawn.append(f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        if len(lines) > 1:
            height = y + HEIGHT - 6 - 13 * (colour == COLOURS[0])
            drawn.append(f'<text x="{x + WIDTH - 6}" y="{height}" text-anchor="end" fill="{colour}">{name}</text>')
    return drawn


def shown(value: float, span: float) -> str:
    """Two digits of the axis' span: what is less than a hundredth of it is 0."""
    return f"{0.0 if abs(value) < span / 100 else value:.2g}"


def draw(journal: Path) -> str:
    found = columns(journal)
    body: list[str] = []
    for i, (title, names) in enumerate(PANELS):
        across, down = i % 3, i // 3
        lines = [(name, found[name]) for name in names if name in found]
        body += panel(title, lines, LEFT + across * (WIDTH + 56), TOP + down * (HEIGHT + 50))
    size = f"{LEFT + 3 * (WIDTH + 56)} {TOP + 2 * (HEIGHT + 50)}"
    style = 'font-family="system-ui, sans-serif" font-size="11"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" {style}>\n' + "\n".join(body) + "\n</svg>\n"


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(draw(Path(sys.argv[1]) / "journal.jsonl"))
