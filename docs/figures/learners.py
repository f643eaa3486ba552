"""Draws docs/figures/learners.svg, or prints the tables of docs/choosing.md and docs/dpo.md, from the rows of bench/harbour_learners.py.

python docs/figures/learners.py docs/figures/learners.jsonl docs/figures/learners.svg
python docs/figures/learners.py docs/figures/learners.jsonl methods | variants
"""

import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

Rows = list[dict[str, float]]
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 460, 62, 52, 26, 58
INK, PALE = "#22303c", "#7b8794"
# name -> what it is called, its colour, and where its label stands beside its mean: across, down, anchor
METHODS: dict[str, tuple[str, str, tuple[float, float, str]]] = {
    "sft": ("fine-tuned: the common start", "#5f6b76", (12, 5, "start")),
    "preferred": ("SFT on preferred answers", "#a26a1f", (16, 40, "start")),
    "best-of-n": ("best of 8", "#2a9d6f", (14, 5, "start")),
    "dpo": ("DPO", "#c8553d", (17, 13, "start")),
    "ilql": ("ILQL", "#7a4fa3", (-4, 26, "middle")),
    "rloo": ("RLOO", "#d1912f", (0, -15, "middle")),
    "ppo": ("PPO", "#1f6f8b", (12, -12, "start")),
    "online-dpo": ("online DPO", "#b8376d", (0, -15, "middle")),
}
TICKS = (0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0, 32.0)


class Frame:
    """From nats and taste to places on the page. Distances grow as the square root of the KL: near steps can be told apart."""

    def __init__(self, rows: Rows) -> None:
        self.far = max(row["kl"] for row in rows) * 1.12
        self.low = min(row["taste"] for row in rows) - 0.08
        self.high = max(1.0, *(row["taste"] for row in rows)) + 0.06

    def x(self, kl: float) -> float:
        return round(LEFT + 14 + (WIDTH - LEFT - RIGHT - 14) * (kl / self.far) ** 0.5, 1)

    def y(self, taste: float) -> float:
        return round(TOP + (HEIGHT - TOP - BOTTOM) * (self.high - taste) / (self.high - self.low), 1)


def mean_of(rows: Rows, key: str) -> float:
    return statistics.fmean(row[key] for row in rows)


def text(x: float, y: float, words: str, **style: str | float) -> str:
    how = "".join(f' {key.replace("_", "-")}="{value}"' for key, value in style.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{how}>{words}</text>'


def axes(frame: Frame, seeds: int) -> list[str]:
    drawn = [
        text(
            LEFT,
            22,
            "True taste of the answers against KL from the fine-tuned model",
            font_size=16,
            font_weight=600,
        )
    ]
    drawn.append(
        text(
            LEFT,
            40,
            "large dots: means over the seeds; small dots: each seed" if seeds > 1 else "one seed",
            fill=PALE,
        )
    )
    bottom = HEIGHT - BOTTOM
    step = 0.25
    ticks = [step * i for i in range(int(frame.low / step) - 1, int(frame.high / step) + 1) if frame.low <= step * i]
    for taste in ticks:
        y = frame.y(taste)
        drawn.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH - RIGHT}" y2="{y}" stroke="#e6eaee"/>')
        drawn.append(text(LEFT - 8, y + 4, f"{taste:g}".replace("-", "−"), text_anchor="end", fill=PALE))
    for kl in (tick for tick in TICKS if tick <= frame.far):
        x = frame.x(kl)
        drawn.append(f'<line x1="{x}" y1="{bottom}" x2="{x}" y2="{bottom + 5}" stroke="{PALE}"/>')
        drawn.append(text(x, bottom + 19, f"{kl:g}", text_anchor="middle", fill=PALE))
    drawn.append(f'<line x1="{LEFT}" y1="{bottom}" x2="{WIDTH - RIGHT}" y2="{bottom}" stroke="{PALE}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    drawn.append(
        text(
            middle,
            HEIGHT - 16,
            "KL from the fine-tuned model, nats per answer (square-root scale)",
            text_anchor="middle",
        )
    )
    upright = (TOP + bottom) / 2
    drawn.append(text(18, upright, "true taste", text_anchor="middle", transform=f"rotate(-90 18 {upright:.1f})"))
    return drawn


def leaning(rows: Rows, frame: Frame) -> list[str]:
    """ILQL's answers at other betas, which cost no further training: a line through the means."""
    names = sorted(
        {str(row["name"]) for row in rows if str(row["name"]).startswith("ilql@")}, key=lambda n: float(n[5:])
    )
    if not names:
        return []
    colour = METHODS["ilql"][1]
    groups = {name: [row for row in rows if row["name"] == name] for name in [*names, "ilql"]}
    places = sorted((mean_of(group, "kl"), mean_of(group, "taste"), name) for name, group in groups.items())
    line = " ".join(f"{frame.x(kl)},{frame.y(taste)}" for kl, taste, _ in places)
    drawn = [f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.2" stroke-dasharray="4 3"/>']
    for kl, taste, name in places:
        if name != "ilql":
            x, y = frame.x(kl), frame.y(taste)
            drawn.append(f'<circle cx="{x}" cy="{y}" r="2.6" fill="{colour}"/>')
            drawn.append(text(x, y + 16, f"β {name[5:]}", text_anchor="middle", fill=colour, font_size=11))
    return drawn


def method(name: str, rows: Rows, frame: Frame) -> list[str]:
    colour = METHODS[name][1]
    x, y = frame.x(mean_of(rows, "kl")), frame.y(mean_of(rows, "taste"))
    drawn = [
        f'<line x1="{x}" y1="{y}" x2="{frame.x(row["kl"])}" y2="{frame.y(row["taste"])}" stroke="{colour}" stroke-opacity=".35"/>'
        for row in rows
    ]
    drawn += [
        f'<circle cx="{frame.x(row["kl"])}" cy="{frame.y(row["taste"])}" r="3.2" fill="{colour}" fill-opacity=".5"/>'
        for row in rows
    ]
    drawn.append(f'<circle cx="{x}" cy="{y}" r="7.5" fill="{colour}" stroke="white" stroke-width="2"/>')
    return drawn


def label(name: str, rows: Rows, frame: Frame) -> str:
    words, colour, (across, down, anchor) = METHODS[name]
    x, y = frame.x(mean_of(rows, "kl")), frame.y(mean_of(rows, "taste"))
    halo = {"paint_order": "stroke", "stroke": "white", "stroke_width": 4, "stroke_linejoin": "round"}
    return text(x + across, y + down, words, fill=colour, font_weight=600, font_size=13, text_anchor=anchor, **halo)


def draw(rows: Rows) -> str:
    known = [row for row in rows if str(row["name"]).partition("@")[0] in METHODS]
    frame = Frame(known)
    body = axes(frame, len({row["seed"] for row in rows})) + leaning(known, frame)
    groups = {name: of_it for name in METHODS if (of_it := [row for row in known if row["name"] == name])}
    # Names last, so that no dot lies on them.
    for name, of_it in groups.items():
        body += method(name, of_it, frame)
    body += [label(name, of_it, frame) for name, of_it in groups.items()]
    style = f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {style}>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *body, "</svg>"]) + "\n"


def spread(rows: Rows, key: str, digits: int = 2, share: bool = False) -> str:
    """Mean ± standard deviation over seeds; without a deviation where there is one seed, and nothing where it was not noted."""
    values = [row[key] * (100 if share else 1) for row in rows if key in row]
    if not values:
        return ""
    told = f"{statistics.fmean(values):.{digits}f}"
    if len(values) > 1:
        told += f" ± {statistics.stdev(values):.{digits}f}"
    return told.replace("-", "−") + (" %" if share else "")


def table(rows: Rows, names: Sequence[str]) -> str:
    heads = "seeds | true taste | nats | on point | toxic | exaggerated | reward model | CPU s | peak GB"
    lines = [f"| | {heads} |", "|" + "---|" * (heads.count("|") + 2)]
    for name in names:
        of_it = [row for row in rows if row["name"] == name]
        if not of_it:
            continue
        shares = [spread(of_it, key, 0, share=True) for key in ("on_point", "toxic", "exaggerated")]
        peak = max((row["peak_gb"] for row in of_it if "peak_gb" in row), default=None)
        last = [spread(of_it, "reward"), spread(of_it, "processor_seconds", 0), "" if peak is None else f"{peak:.2f}"]
        cells = [str(len(of_it)), spread(of_it, "taste"), spread(of_it, "kl"), *shares, *last]
        lines.append(f"| {METHODS[name][0] if name in METHODS else name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    rows: Rows = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    if sys.argv[2].endswith(".svg"):
        Path(sys.argv[2]).write_text(draw(rows))
        return
    names = list(dict.fromkeys(str(row["name"]) for row in rows))
    if sys.argv[2] == "methods":
        print(table(rows, [*METHODS, *(name for name in names if "@" in name)]))
    else:
        print(table(rows, ["sft", "dpo", *(name for name in names if name not in METHODS and "@" not in name)]))


if __name__ == "__main__":
    main()
