"""The stage `prompts`: which prompts are held out in all rounds, which are learned from, which are those of a round.

All follow from hashes of the prompts, so that prompts added later change nothing for those that are there. The hash is
not that of `data.held_out`, whose share of a round's labels the reward model is measured on.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from steersman.data.kinds import hash64, normalised, prompt_words
from steersman.data.outputs import check_outputs
from steersman.data.write import RowWriter
from steersman.errors import DataError
from steersman.lineage.records import write_sidecar
from steersman.loading.sources import read_prompts
from steersman.printing import tell
from steersman.records import Prompt, to_dict
from steersman.settings.round_stages import PromptsStageSettings
from steersman.settings.score import SourceSettings


@dataclass(frozen=True)
class PromptsResult:
    out: str
    prompts: int
    used_again: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_prompts(settings: PromptsStageSettings, *, quiet: bool = False) -> PromptsResult:
    """Write the prompts of one part."""
    out = Path(settings.out).expanduser()
    check_outputs([out], reads=[settings.data.source], force=settings.force)
    held_out, learned = _parts(settings)
    again = 0
    if settings.part == "held out":
        chosen = held_out[: settings.count]
    elif settings.part == "learned":
        chosen = learned[: settings.count]
    else:
        assert settings.round is not None
        assert settings.count is not None
        chosen, again = _of_round(learned, settings.round, settings.count)
    if not chosen:
        raise DataError(
            f"{settings.data.source}: no prompts are {settings.part if settings.part != 'round' else 'left'}; expected "
            "more prompts, or another share in held_out"
        )
    if again and not quiet:
        source = settings.data.source
        tell(f"steersman: {again} of {len(chosen)} prompts were used in an earlier round: {source} has no more")
    with RowWriter(out) as writer:
        for prompt in chosen:
            writer.write(to_dict(prompt))
    write_sidecar(out, "prompts", settings)
    return PromptsResult(settings.out, len(chosen), again)


def _parts(settings: PromptsStageSettings) -> tuple[list[Prompt], list[Prompt]]:
    """Held-out prompts and the others, each in the order of their hashes."""
    prompts = _ordered(read_prompts(settings.data, Counter()))
    if isinstance(settings.held_out, str):
        held_out = _ordered(read_prompts(SourceSettings(source=settings.held_out), Counter()))
        words = {_words(prompt) for prompt in held_out}
        return held_out, [prompt for prompt in prompts if _words(prompt) not in words]
    edge = settings.held_out * 2**64
    aside = [_place("held out", prompt) < edge for prompt in prompts]
    return (
        [prompt for prompt, held in zip(prompts, aside, strict=True) if held],
        [prompt for prompt, held in zip(prompts, aside, strict=True) if not held],
    )


def _of_round(prompts: Sequence[Prompt], number: int, count: int) -> tuple[list[Prompt], int]:
    """The prompts of a round, each once, and how many of them were used before."""
    if not prompts:
        return [], 0
    first = (number - 1) * count
    places = range(first, first + min(count, len(prompts)))
    return [prompts[place % len(prompts)] for place in places], sum(place >= len(prompts) for place in places)


def _ordered(prompts: Sequence[Prompt]) -> list[Prompt]:
    return sorted(prompts, key=lambda prompt: _place("order", prompt))


def _place(purpose: str, prompt: Prompt) -> int:
    return hash64(f"rounds\x1d{purpose}\x1d{_words(prompt)}")


def _words(prompt: Prompt) -> str:
    return normalised(prompt_words(prompt))
