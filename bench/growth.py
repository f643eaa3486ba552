"""Scaling of a PPO iteration: processor seconds and memory by batch, answer length, vocabulary and model size.

One thing at a time is changed from a small setting; each point is a process of its own with the real run, its second
iteration timed. Beside what was measured stands what the operations (scaled to the base setting) and `steersman plan`
say. One JSON line a point; --plot draws them. Run: python bench/growth.py [--plot docs/figures/growth.svg] or --from
lines.jsonl --plot … to draw again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

BASE = {"answers": 32, "length": 32, "vocabulary": 1024, "model": 1}
AXES: dict[str, tuple[int, ...]] = {
    "answers": (16, 32, 64, 128),
    "length": (16, 32, 64, 128),
    "vocabulary": (1024, 4096, 16384, 32768),
    "model": (0, 1, 2, 3),
}
# hidden width and layers
MODELS = ((64, 4), (128, 4), (256, 4), (384, 6))
PROMPT = 16
TITLES = {
    "answers": "answers per iteration",
    "length": "tokens per answer",
    "vocabulary": "vocabulary",
    "model": "million parameters in layers",
}


def point(axis: str, value: int) -> dict[str, Any]:
    """Measured in this process, which does nothing else."""
    import importlib
    import resource
    import time

    import torch
    from transformers import LlamaConfig

    from data import tokeniser_of, words
    from ours_ppo import end_where_the_prompt_says, settings_of
    from steersman.assemble.plan import plan_ppo
    from steersman.assemble.ppo.run import open_ppo
    from steersman.costs.forecast import TypicalLengths
    from steersman.costs.shape import shape_of_config
    from steersman.costs.work import iteration_operations
    from steersman.methods.ppo import loop
    from steersman.settings.base import check
    from steersman.settings.ppo import PpoSettings
    from turns import resident_gb

    setting = {**BASE, axis: value}
    hidden, layers = MODELS[setting["model"]]
    torch.set_num_threads(1)
    llama = importlib.import_module("transformers.models.llama.modeling_llama")
    imported = resident_gb()
    config = LlamaConfig(
        vocab_size=setting["vocabulary"],
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 8 * 8,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 32,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=1,
    )
    end_where_the_prompt_says()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        torch.manual_seed(0)
        llama.LlamaForCausalLM(config).save_pretrained(folder / "model")
        tokeniser_of(setting["vocabulary"]).save_pretrained(folder / "model")
        generator = torch.Generator().manual_seed(1)
        prompts = [
            {"prompt": f"w{setting['length']} {words(PROMPT - 1, 1000, generator)}"} for _ in range(setting["answers"])
        ]
        (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in prompts))
        lengths = {"prompts": [PROMPT] * setting["answers"], "answers": [setting["length"]] * setting["answers"]}
        (folder / "lengths.json").write_text(json.dumps(lengths))
        (folder / "score.py").write_text("def score(answer):\n    return float(len(answer) % 7)\n")
        values = settings_of(folder, "shared", 1, {"kernels": "default"}, epochs=2)
        values |= {
            "scorer": {"path": f"{folder / 'score.py'}:score"},
            "prompts_per_iteration": setting["answers"],
            "sampling": {"max_new_tokens": setting["length"]},
        }
        settings = check(PpoSettings, values)
        told = plan_ppo(settings, TypicalLengths(PROMPT, setting["length"]), 1e12).chosen.memory.total
        with open_ppo(settings) as run:
            loop.iterate(run.parts, run.settings, run.memory)
            started = time.process_time()
            loop.iterate(run.parts, run.settings, run.memory)
            seconds = time.process_time() - started
    shape = shape_of_config(config.to_dict(), name="model")
    work = iteration_operations(shape, layout="shared", epochs=2, **lengths)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9 - imported
    return {
        "bench": "growth",
        "axis": axis,
        "value": shape.matrices / 1e6 if axis == "model" else value,
        "processor_seconds": round(seconds, 3),
        "gigaflop": round(work / 1e9, 2),
        "gb_above_imports": round(peak, 3),
        "gb_forecast": round(told / 1e9, 3),
    }


def measured() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for axis, values in AXES.items():
        for value in values:
            command = [sys.executable, __file__, "--point", axis, str(value)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            found.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(found[-1]), flush=True)
    return found


WIDTH, HEIGHT, LEFT, TOP, GAP = 200, 120, 52, 34, 62
SEEN, SAID = "#1f6f8b", "#d1495b"


def drawing(rows: list[dict[str, Any]]) -> str:
    """Eight panels: seconds above, memory below; dots and line measured, dashes what was to be expected."""
    parts: list[str] = []
    for column, axis in enumerate(AXES):
        here = [row for row in rows if row["axis"] == axis]
        base = next(row for row in here if row["gigaflop"] == _base(rows))
        scale = base["processor_seconds"] / base["gigaflop"]
        for line, (title, seen, said) in enumerate(
            (
                (
                    "CPU seconds",
                    [row["processor_seconds"] for row in here],
                    [row["gigaflop"] * scale for row in here],
                ),
                ("GB above imports", [row["gb_above_imports"] for row in here], [row["gb_forecast"] for row in here]),
            )
        ):
            left, top = LEFT + column * (WIDTH + GAP), TOP + line * (HEIGHT + GAP)
            parts.append(_panel(left, top, [row["value"] for row in here], seen, said, title, TITLES[axis]))
    width, height = LEFT + 4 * (WIDTH + GAP), TOP + 2 * (HEIGHT + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">'
        f'<rect width="{width}" height="{height}" fill="white"/>{"".join(parts)}</svg>\n'
    )


def _base(rows: list[dict[str, Any]]) -> float:
    return next(row["gigaflop"] for row in rows if row["axis"] == "vocabulary" and row["value"] == BASE["vocabulary"])


def _panel(left: int, top: int, xs: list[float], seen: list[float], said: list[float], title: str, below: str) -> str:
    right, highest = max(xs) * 1.05, max(*seen, *said) * 1.1

    def place(x: float, y: float) -> str:
        return f"{left + x / right * WIDTH:.1f},{top + HEIGHT - y / highest * HEIGHT:.1f}"

    frame = f'<path d="M{left},{top}V{top + HEIGHT}H{left + WIDTH}" fill="none" stroke="#888"/>'
    words = f'<text x="{left}" y="{top - 8}">{title}</text>'
    words += f'<text x="{left + WIDTH / 2}" y="{top + HEIGHT + 34}" text-anchor="middle">{below}</text>'
    for x in xs:
        at = place(x, 0).split(",")
        if x == xs[0] and x < right / 8:
            continue
        words += f'<text x="{at[0]}" y="{top + HEIGHT + 15}" text-anchor="middle" fill="#666">{x:g}</text>'.replace(
            f">{x:g}<", f">{x:.3g}<" if x < 1000 else f">{x / 1024:g}k<"
        )
    for share in (0.5, 1.0):
        y = highest / 1.1 * share
        words += f'<text x="{left - 5}" y="{place(0, y).split(",")[1]}" text-anchor="end" fill="#666">{y:.2g}</text>'
    lines = ""
    for values, colour, dashes in ((said, SAID, ' stroke-dasharray="4 3"'), (seen, SEEN, "")):
        points = " ".join(place(x, y) for x, y in zip(xs, values, strict=True))
        lines += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>'
    dots = "".join(
        f'<circle cx="{place(x, y).split(",")[0]}" cy="{place(x, y).split(",")[1]}" r="2.5" fill="{SEEN}"/>'
        for x, y in zip(xs, seen, strict=True)
    )
    return frame + words + lines + dots


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--point", nargs=2, metavar=("AXIS", "VALUE"), help="measure this one here")
    parser.add_argument("--from", dest="given", type=Path, help="lines that were measured before")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(point(arguments.point[0], int(arguments.point[1]))))
        return
    rows = [json.loads(line) for line in arguments.given.read_text().splitlines()] if arguments.given else measured()
    if arguments.plot:
        arguments.plot.write_text(drawing(rows))


if __name__ == "__main__":
    main()
