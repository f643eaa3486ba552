"""Both sides of people's judgements, the ones to learn from and the ones held out, and what a run says of them."""

from typing import Any

from steersman.assemble.judgements import Judgements, one_sided, read_judgements
from steersman.data.load import ReadReport
from steersman.execution.kept import KeptRun
from steersman.parallel.world import World
from steersman.settings.parts import DataSettings


def read_both(
    data: DataSettings, ties: str, tokeniser: Any, kept: KeptRun, context: int | None, world: World
) -> tuple[Judgements, Judgements | None]:
    """What is learned from and what is held out; the run's notices say how much it is, and what was left out."""
    found: list[Judgements | None] = []
    for held_out in (False, True):
        if held_out and not data.held_out:
            found.append(None)
            continue
        reading = ReadReport()
        judgements = read_judgements(
            data,
            tokeniser,
            held_out=held_out,
            context=context,
            ties=ties,
            folder=kept.folder.path / "tokens" / ("held-out" if held_out else "train"),
            quarantine=None if held_out or not world.first else kept.folder.quarantine_path,
            reading=reading,
        )
        found.append(judgements)
        _tell(kept, judgements, reading, held_out=held_out)
    train, held = found
    assert train is not None
    for fact in one_sided(train.places):
        kept.notice(fact)
    return train, held


def _tell(kept: KeptRun, found: Judgements | None, reading: ReadReport, *, held_out: bool) -> None:
    if found is None:
        kept.notice("nothing fell into the held-out share; the run goes without held-out numbers and without a report")
        return
    words = f"{len(found):,} judged prompts {'held out' if held_out else 'to learn from'}"
    words += f", {len(found.pairs):,} pairs, {len(found.rows):,} answers"
    if found.cut:
        words += f"; {found.cut:,} answers were cut to data.max_length"
    for reason, count in found.left_out.items():
        words += f"; {count:,} left out: {reason}"
    if reading.malformed and not held_out:
        examples = "; ".join(text for each in reading.examples.values() for text in each[:1])
        words += f"; {reading.malformed:,} bad rows are in {kept.folder.quarantine_path}, such as {examples}"
    kept.notice(words)
