"""The commands that README and docs show."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def shown(page: Path) -> list[str]:
    """The lines that begin with the command, joined where one goes on, without what follows as a comment."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split(" #")[0].strip() for line in text.splitlines() if re.match(r" {4,}steersman [a-z]", line)]
