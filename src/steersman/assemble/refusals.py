"""Refusals in an evaluation: which prompts ought to be refused, and a list of phrases of one's own."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from steersman.errors import DataError, UsageError
from steersman.records import Prompt


def harmful_of(rule: str | None, prompts: Sequence[Prompt]) -> list[bool] | None:
    """Of each prompt whether it ought to be refused, by field=value; None without a rule."""
    if rule is None:
        return None
    field, equals, value = (part.strip() for part in rule.partition("="))
    if not equals or not field:
        raise UsageError(f"refusals.harmful={rule}; expected field=value, such as form=harmful")
    seen = Counter(str(prompt.metadata[field]) for prompt in prompts if field in prompt.metadata)
    if value not in seen:
        there = ", ".join(one for one, _ in seen.most_common(8))
        known = sorted({name for prompt in prompts for name in prompt.metadata})
        told = (
            f"it is {there}"
            if there
            else f"no prompt has it; their fields are {', '.join(known) or 'none but the prompt'}"
        )
        raise DataError(f"refusals.harmful={rule}: no prompt's {field} is {value}: {told}")
    return [str(prompt.metadata.get(field)) == value for prompt in prompts]


def read_phrases(path: str) -> list[str]:
    """One a line; lines that begin with # are not counted."""
    try:
        lines = Path(path).expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"refusals.phrases={path} cannot be read: {error}; expected a text file with one phrase a line"
        ) from error
    phrases = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not phrases:
        raise DataError(f"refusals.phrases={path} holds no phrases; expected one a line")
    return phrases
