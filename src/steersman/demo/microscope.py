"""What the quickstart puts under the microscope: the textbook's prompts, answered by the improved model. Kept on disk under a hash of
the weights, so that telling the story again is reading again."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.demo.taste import weights_hash
from steersman.execution.machine import on_threads
from steersman.inference.look import look_at
from steersman.inference.opened_policy import open_policy
from steersman.reports.reading import read_run
from steersman.runs.folder import atomic_write_text

PROMPTS = ("A dog is ...", "What are the benefits of exercise?")
"""The textbooks' own: how the value of "A dog is a" changes when "furry" comes, and the question that an over-optimised model answers
with eternal life."""


def demo_microscope(
    run: Path, kept: Path, *, number_of_threads: int
) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """The samples and the notes beneath them."""
    mark = weights_hash(str(run))
    try:
        found: Any = json.loads(kept.read_text())
        if found["mark"] == mark and found["prompts"] == list(PROMPTS):
            return tuple(found["entries"]), tuple(found["notes"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    with on_threads(number_of_threads):
        entries, notes = look_at(read_run(run), open_policy(run, device="auto"), None, PROMPTS)
    kept.parent.mkdir(parents=True, exist_ok=True)
    content = {"mark": mark, "prompts": list(PROMPTS), "entries": entries, "notes": notes}
    atomic_write_text(kept, json.dumps(content, ensure_ascii=False))
    return tuple(entries), tuple(notes)
