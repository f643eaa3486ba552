"""Tables and curves of the runs of harbour_fast_paths.py: each fast path off against the default, paired by seed."""

import statistics
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

Runs = list[dict[str, Any]]
Rows = Sequence[dict[str, Any]]
Pair = tuple[Rows, Rows]
"""A seed's iterations as shipped, and another way."""
NAMES = {
    "micro-batches": "other micro-batches",
    "layers": "transformers' own layers",
    "engine": "the plain decoding step",
    "reading": "full forward passes",
    "rows": "padded rows",
    "kernels": "the other kernels",
    "all": "all of it off",
    "rate": "a learning rate 1.001 times as high",
}
ANOTHER = "rate"
"""A slightly different learning rate: a positive control, not counted among the variants that should agree."""
CURVES = ("score", "taste", "KL")
# Two-sided 5 % points of Student's t, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36}
ROUNDING = 1e-4
"""A difference that is no larger is no difference."""


def by_seed(runs: Runs, variant: str) -> dict[int, list[dict[str, Any]]]:
    return {run["seed"]: run["rows"] for run in runs if run["variant"] == variant}


def pairs(runs: Runs, variant: str) -> list[Pair]:
    shipped, mine = by_seed(runs, "shipped"), by_seed(runs, variant)
    return [(shipped[seed], mine[seed]) for seed in sorted(shipped.keys() & mine.keys())]


def mean_curve(curves: Sequence[Sequence[dict[str, Any]]], key: str) -> list[float]:
    return [statistics.fmean(row[key] for row in rows) for rows in zip(*curves, strict=True)]


def last_half(values: Sequence[Any]) -> Sequence[Any]:
    return values[len(values) // 2 :]


def compared(runs: Runs, variant: str, key: str) -> tuple[float, float, list[float]]:
    """In the last half: the largest and the mean distance of the curves of means, and each seed's mean difference."""
    both = pairs(runs, variant)
    shipped, mine = (mean_curve([pair[i] for pair in both], key) for i in (0, 1))
    apart = [abs(one - other) for one, other in zip(last_half(mine), last_half(shipped), strict=True)]
    each = [
        statistics.fmean(b[key] - a[key] for a, b in zip(last_half(one), last_half(other), strict=True))
        for one, other in both
    ]
    return max(apart), statistics.fmean(apart), each


def error_of(values: Sequence[float]) -> float:
    """The standard error of a mean; 0 where one value says nothing of it."""
    return statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0


def short(value: float, *, sign: bool = False) -> str:
    """Three decimals, or the power of ten of what would vanish in them."""
    plus = "+" if sign else ""
    told = f"{value:{plus}.3f}" if abs(value) >= 0.0005 else f"{value:{plus}.0e}".replace("e-0", "e-") if value else "0"
    # the exponent's sign stays as it is, so that numbers can be copied
    return "−" + told[1:] if told.startswith("-") else told


def tables(runs: Runs) -> str:
    """How far the curves are apart in the last half; then how they began to differ, and what the fast path saves."""
    variants = [name for name in NAMES if pairs(runs, name)]
    heads = " | ".join(f"{key}: largest, mean | by seed" for key in CURVES)
    lines = [f"| | seeds | {heads} |", "|" + "---|" * (2 + 2 * len(CURVES))]
    outside = 0
    for name in variants:
        cells: list[str] = []
        for key in CURVES:
            largest, mean, each = compared(runs, name, key)
            middle, error = statistics.fmean(each), error_of(each)
            beyond = len(each) - 1 in STUDENT and abs(middle) > max(ROUNDING, STUDENT[len(each) - 1] * error)
            outside += beyond and name != ANOTHER
            told = short(middle, sign=True) + (f" ± {short(error)}" if len(each) > 1 else "")
            cells += [f"{short(largest)}, {short(mean)}", f"**{told}**" if beyond else told]
        lines.append(f"| {NAMES[name]} | {len(pairs(runs, name))} | {' | '.join(cells)} |")
    ways = [name for name in variants if name != ANOTHER]
    counted = (
        f"{outside} of {len(ways) * len(CURVES)} differences by seed are beyond Student's 5 % point and {ROUNDING:g} "
        f"(bold); chance alone gives at most one in 20. {NAMES[ANOTHER].capitalize()} is not counted: it is a positive "
        "control."
    )
    told = [counted, spread_of_seeds(runs)]
    return "\n".join([*lines, "", *(line for words in told for line in (words, "")), *beginnings(runs, variants)])


def spread_of_seeds(runs: Runs) -> str:
    curves = list(by_seed(runs, "shipped").values())
    told: list[str] = []
    for key in CURVES:
        ends = [statistics.fmean(row[key] for row in last_half(rows)) for rows in curves]
        first = statistics.fmean(rows[0][key] for rows in curves)
        error = f" ± {error_of(ends):.3f}" if len(ends) > 1 else ""
        told.append(f"{key} from {short(first)} to {short(statistics.fmean(ends))}{error}")
    heading = f"{len(curves)} seeds; first iteration, and mean of the last half ± standard error over seeds"
    return f"As shipped ({heading}): {', '.join(told)}."


def beginnings(runs: Runs, variants: Sequence[str]) -> list[str]:
    """How the runs began to differ: by rounding, and then by the first answer that was another one."""
    heads = (
        "first iteration",
        "while answers are the same",
        "same answers",
        "first different answers, by seed",
        "CPU time",
    )
    lines = [f"| | {' | '.join(heads)} |", "|" + "---|" * (len(heads) + 1)]
    for name in variants:
        both = pairs(runs, name)
        parted = [parting(pair) for pair in both]
        intact = [(one[:n], other[:n]) for (one, other), n in zip(both, parted, strict=True)]
        first = ", ".join(furthest([(one[:1], other[:1]) for one, other in both], key) for key in FIRST)
        whole = ", ".join(furthest(intact, key) for key in FIRST)
        told = [
            f"{n + 1}: {others(pair, n)}" if n < len(pair[0]) else "none" for n, pair in zip(parted, both, strict=True)
        ]
        # The first iteration chooses the decoder, and finds everything cold.
        seconds = [sum(row["processor"] for pair in both for row in pair[i][1:]) for i in (0, 1)]
        last = f"{same(both)} | {'; '.join(told)} | {seconds[1] / seconds[0]:.2f}"
        lines.append(f"| {NAMES[name]} | {first} | {whole} | {last} |")
    counted = f"Distances are the largest of any seed, of {', '.join(FIRST)} (its norm)."
    return [*lines, "", counted + " Other answers: the iteration, and how many of its answers."]


FIRST = ("score", "KL", "entropy", "gradient")


def parting(pair: Pair) -> int:
    """How many iterations have the same answers."""
    return len(list(takewhile(lambda two: two[0]["answers"] == two[1]["answers"], zip(*pair, strict=True))))


def others(pair: Pair, iteration: int) -> int:
    """How many answers of an iteration are not the same."""
    answers = (rows[iteration]["answers"] for rows in pair)
    return sum(one != other for one, other in zip(*answers, strict=True))


def furthest(both: Sequence[Pair], key: str) -> str:
    return short(max((abs(a[key] - b[key]) for pair in both for a, b in zip(*pair, strict=True)), default=0.0))


def same(both: Sequence[Pair]) -> str:
    count = sum(len(row["answers"]) for one, _ in both for row in one)
    return f"{1 - sum(others(pair, i) for pair in both for i in range(len(pair[0]))) / count:.0%}"


ACROSS, DOWN, LEFT, TOP, GAP = 200, 150, 46, 74, 34
INK, PALE, OURS, OTHER = "#22303c", "#7b8794", "#8fb4d9", "#a5301c"
# Where the two coincide, as they should, both are to be seen.
LINES = ('stroke-width="6" stroke-linecap="round"', 'stroke-width="1.6"')


def draw(runs: Runs) -> str:
    """Small multiples: a way a panel, its mean score over the shipped one's, each with the range of its seeds."""
    variants = [name for name in NAMES if pairs(runs, name)]
    columns = min(4, max(2, len(variants)))
    every = [row["score"] for run in runs for row in run["rows"]]
    low, high = min(every) - 0.05, max(every) + 0.05
    width = LEFT + columns * (ACROSS + GAP)
    height = TOP + -(-len(variants) // columns) * (DOWN + 58) + 4
    body = [
        text(
            LEFT,
            24,
            "PPO on Harbour with each fast path switched off, compared with PPO as it ships",
            size=16,
            weight=600,
        ),
        text(
            LEFT,
            45,
            "score by the reward model: means over the seeds, shaded from the lowest to the highest seed",
            fill=PALE,
        ),
        f'<line x1="{width - 210}" y1="41" x2="{width - 186}" y2="41" stroke="{OURS}" {LINES[0]}/>',
        text(width - 180, 45, "as shipped"),
        f'<line x1="{width - 108}" y1="41" x2="{width - 84}" y2="41" stroke="{OTHER}" {LINES[1]}/>',
        text(width - 78, 45, "otherwise"),
    ]
    for i, name in enumerate(variants):
        row, column = divmod(i, columns)
        corner = (LEFT + column * (ACROSS + GAP), TOP + 16 + row * (DOWN + 58))
        body += panel(runs, name, corner, (low, high))
    style = f'font-family="system-ui, sans-serif" font-size="12" fill="{INK}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *body, "</svg>"]) + "\n"


def text(
    x: float, y: float, words: str, *, fill: str = INK, size: int = 12, weight: int = 400, anchor: str = "start"
) -> str:
    style = f'fill="{fill}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{words}</text>'


def panel(runs: Runs, name: str, corner: tuple[float, float], span: tuple[float, float]) -> list[str]:
    left, top = corner
    low, high = span
    both = pairs(runs, name)
    count = len(both[0][0])

    def x(i: float) -> float:
        return round(left + ACROSS * i / max(1, count - 1), 1)

    def y(score: float) -> float:
        return round(top + DOWN * (high - score) / (high - low), 1)

    drawn = [text(left, top - 6, NAMES[name], weight=600)]
    ticks = [t / 2 for t in range(round(2 * low) - 1, round(2 * high) + 2) if low <= t / 2 <= high]
    for tick in ticks:
        drawn.append(f'<line x1="{left}" y1="{y(tick)}" x2="{left + ACROSS}" y2="{y(tick)}" stroke="#e6eaee"/>')
        drawn.append(text(left - 6, y(tick) + 4, f"{tick:g}".replace("-", "−"), fill=PALE, size=11, anchor="end"))
    for mark in (1, count):
        drawn.append(text(x(mark - 1), top + DOWN + 15, f"{mark}", fill=PALE, size=11, anchor="middle"))
    drawn.append(text(left + ACROSS / 2, top + DOWN + 15, "iteration", fill=PALE, size=11, anchor="middle"))
    largest = max(
        abs(a - b) for a, b in zip(*(mean_curve([pair[i] for pair in both], "score") for i in (0, 1)), strict=True)
    )
    drawn.append(text(left + ACROSS - 4, top + DOWN - 8, f"differs by at most {short(largest)}", size=11, anchor="end"))
    for side, colour, how in ((0, OURS, LINES[0]), (1, OTHER, LINES[1])):
        curves = [[row["score"] for row in pair[side]] for pair in both]
        columns = list(zip(*curves, strict=True))
        edge = [f"{x(i)},{y(max(c))}" for i, c in enumerate(columns)]
        edge += [f"{x(i)},{y(min(c))}" for i, c in reversed(list(enumerate(columns)))]
        drawn.append(f'<polygon points="{" ".join(edge)}" fill="{colour}" fill-opacity=".16"/>')
        line = " ".join(f"{x(i)},{y(statistics.fmean(c))}" for i, c in enumerate(columns))
        drawn.append(f'<polyline points="{line}" fill="none" stroke="{colour}" {how}/>')
    return drawn
