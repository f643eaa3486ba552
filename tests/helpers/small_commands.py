"""Commands of a few lines, which a graph runs in place of real ones: each writes what it has read."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from steersman.errors import UsageError
from steersman.settings.base import Settings
from steersman.settings.parts import RunSettings


class WriteSettings(Settings):
    text: str = "x"
    data: str | list[str] = ""
    size: Literal["auto", "large"] = "auto"
    pause: float = 0.0
    force: bool = False
    out: str


class TrainSettings(Settings):
    data: str
    steps: int = 1
    run: RunSettings


@dataclass
class FakeCommand:
    command: str
    schema: type[Settings]
    leaves: Literal["run", "file"]
    version: int = 1
    ran: list[str] = field(default_factory=list[str])

    def run(self, settings: Any, **more: Any) -> None:
        if self.leaves == "file":
            texts = [settings.data] if isinstance(settings.data, str) else settings.data
            read = [Path(text).read_text() for text in texts if text and Path(text).exists()]
            time.sleep(settings.pause)
            self.ran.append(settings.text)
            Path(settings.out).write_text("".join([*read, settings.text]))
        else:
            folder = Path(settings.run.out)
            folder.mkdir(exist_ok=True)
            self.ran.append(folder.name)
            (folder / "weights").write_text(Path(settings.data).read_text() * settings.steps + str(settings.run.seed))


class Commands:
    def __init__(self) -> None:
        self.write = FakeCommand("write", WriteSettings, "file")
        self.train = FakeCommand("train", TrainSettings, "run")

    def __call__(self, name: str) -> FakeCommand:
        found: Mapping[str, FakeCommand] = {"write": self.write, "train": self.train}
        if name not in found:
            raise UsageError(f"there is no method {name!r}; expected one of write, train")
        return found[name]

    @property
    def ran(self) -> list[str]:
        return [*self.write.ran, *self.train.ran]


RECIPE = """
out = "{out}"
seed = 7

[stages.first]
command = "write"
text = "one"

[stages.second]
command = "write"
text = "two"
data = "stage:first"

[stages.model]
command = "train"
data = "stage:second"
steps = 2

[stages.apart]
command = "write"
text = "apart"
"""


def write_recipe(folder: Path, text: str = RECIPE) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text.replace("{out}", str(folder / "out")))
    return path
