"""The quickstart's token microscope: two textbook prompts answered by the last policy.

Results are cached on disk under a hash of the weights.
"""

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
"""Textbook examples: how the value of "A dog is a" changes with the token "furry", and a question that over-optimised
models answer with exaggerations."""


def demo_microscope(
    run: Path, kept: Path, *, number_of_threads: int
) -> tuple[tuple[Mapping[str, Any], ...], tuple[str, ...]]:
    """The answers with their token data, and the notes."""
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
