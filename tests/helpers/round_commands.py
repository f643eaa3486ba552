"""Commands of rounds with the settings of the real ones, which write in a moment: what they have read, and what a test
wants a gate or a promotion to say."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from steersman.assemble.round_stages import find_stage
from steersman.errors import GateRefused
from steersman.settings.base import Settings

RECIPE = """
out = "{out}"
seed = 3

[stages.sft]
command = "sft"
model.path = "tiny:llama"
data.source = "data.jsonl"

[rounds]
policy = "stage:sft"
count = 2
prompts.source = "prompts.jsonl"
prompts.count = 4
labels.count = 8
labels.asks = 2
labels.more = 4

[stages.after]
command = "sample"
model = "stage:promoted"
prompts.source = "stage:held-out"
"""


@dataclass
class Outcomes:
    """What a test wants: rounds whose policy is promoted, and how often the gate of a round refuses its labels."""

    promoted: set[int] = field(default_factory=lambda: {1, 2})
    refusals: dict[int, int] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    pause: float = 0.0


@dataclass
class RoundCommand:
    outcomes: Outcomes
    command: str
    schema: type[Settings]
    leaves: Literal["run", "file"]
    version: int = 1

    def run(self, settings: Any, **more: Any) -> None:
        out = Path(settings.run.out if self.leaves == "run" and hasattr(settings, "run") else settings.out)
        stage = out.name.removesuffix(".jsonl").rpartition("-")[0]
        number = next((int(part) for part in stage.split("-") if part.isdecimal()), 0)
        self.outcomes.ran.append(stage)
        time.sleep(self.outcomes.pause)
        dumped = settings.model_dump(mode="json")
        dumped = {key: value for key, value in dumped.items() if key not in ("run", "out", "force")}
        read = "".join(content(Path(text)) for text in texts(dumped))
        if self.command == "gate":
            labels = len(Path(settings.data.source).read_text().splitlines())
            if labels < 8 + 4 * self.outcomes.refusals.get(number, 0):
                raise GateRefused(f"{labels} judgements pass; collect more")
        said = hashlib.sha256((json.dumps(dumped, sort_keys=True) + read).encode()).hexdigest()
        if self.leaves == "file":
            rows = getattr(settings, "judgements", None) or 1
            out.write_text("".join(f"{said} {row}\n" for row in range(rows)))
            return
        out.mkdir(exist_ok=True)
        (out / "weights").write_text(said)
        if self.command == "promote":
            by_a_person = settings.decision is not None
            promoted = settings.decision == "promote" if by_a_person else number in self.outcomes.promoted
            found = {"promoted": promoted, "by_a_person": by_a_person, "reason": f"{promoted} {settings.reason}"}
            (out / "promotion.json").write_text(json.dumps(found))


class RoundCommands:
    def __init__(self, outcomes: Outcomes | None = None) -> None:
        self.outcomes = outcomes or Outcomes()

    def __call__(self, name: str) -> RoundCommand:
        real = find_stage(name)
        return RoundCommand(self.outcomes, real.command, real.schema, real.leaves)


def texts(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [text for inner in value.values() for text in texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in texts(inner)]
    return [value] if isinstance(value, str) else []


def content(path: Path) -> str:
    try:
        return (path / "weights" if path.is_dir() else path).read_text()
    except OSError:
        return ""


def write_round_recipe(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "loop.toml"
    path.write_text(text.replace("{out}", str(folder / "out")))
    return path
