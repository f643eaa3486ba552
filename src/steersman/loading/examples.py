"""The first record of a source as an example to show, and the kinds of all its prompts."""

from steersman.constitution.drawing import prompt_kind
from steersman.data.kinds import WITH_PROMPTS, answers_of, prompt_of
from steersman.data.load import ReadReport
from steersman.errors import DataError
from steersman.loading.sources import read_source
from steersman.records import Prompt
from steersman.settings.score import SourceSettings

AT_MOST = 10_000
"""Records that are read for the kinds of their prompts."""


def read_example(source: str, otherwise: tuple[str, str]) -> tuple[set[str], Prompt, tuple[str, str]]:
    """The kinds of a source's prompts, its first prompt, and two answers to it: its own, or else `otherwise`."""
    report = ReadReport()
    kinds: set[str] = set()
    example: tuple[Prompt, tuple[str, ...]] | None = None
    for record in read_source(SourceSettings(source=source, limit=AT_MOST), WITH_PROMPTS, report):
        prompt = prompt_of(record)
        assert prompt is not None
        kinds.add(prompt_kind(prompt))
        example = example or (prompt, tuple(answer.text for answer in answers_of(record)[:2]))
    if example is None:
        raise DataError(report.nothing("prompts", "prompts, or records that have them"))
    prompt, answers = example
    first, second = (*answers, *otherwise[len(answers) :])
    return kinds, prompt, (first, second)
