"""What a judge's run judges: records with several answers, judged pairs, or attack strings with honest answers."""

from dataclasses import replace

from steersman.data.kinds import answers_of, as_comparisons, prompt_of
from steersman.data.load import ReadReport
from steersman.data.sources import content_hash
from steersman.errors import DataError
from steersman.judges.attacks import AttackSet, load_attacks
from steersman.judges.pairing import TO_JUDGE
from steersman.loading.sources import read_source
from steersman.records import Demonstration, Record
from steersman.settings.judge_run import JudgeRunSettings

WITH_HONEST = 400
"""Most records read for honest answers."""


def every_principle(settings: JudgeRunSettings) -> JudgeRunSettings:
    """A judge is measured with all of its principles unless their number was given."""
    given = "principles" in settings.judge.model_fields_set
    if given or settings.against is None:
        return settings
    return settings.model_copy(update={"judge": settings.judge.model_copy(update={"principles": "all"})})


def data_hashes(settings: JudgeRunSettings) -> dict[str, str]:
    sources = {"data": settings.data, "against": settings.against}
    return {name: content_hash(source.source) for name, source in sources.items() if source is not None}


def records_to_judge(settings: JudgeRunSettings) -> list[Record]:
    """What is judged: records with two or more answers, or the comparisons by people (a ranking's pairs)."""
    source = settings.against or settings.data
    if source is None or (settings.against is None and settings.attack.source is not None):
        return []
    report = ReadReport()
    found = list(read_source(source, TO_JUDGE, report))
    if settings.against is not None:
        pairs = list(as_comparisons(found))
        if not pairs:
            raise DataError(report.nothing("judged pairs", "comparisons or rankings by people, or with a known answer"))
        return list(pairs)
    several = [one for one in found if len({completion.text for completion in answers_of(one)}) > 1]
    if not several:
        expected = "two or more different answers to a prompt (`steersman sample answers=2`), comparisons or rankings"
        raise DataError(report.nothing("answers to compare", expected))
    return several


def attacks_of(settings: JudgeRunSettings) -> AttackSet | None:
    """The attack strings with honest answers: those of the data, or the shipped ones."""
    if settings.attack.source is None:
        return None
    found = load_attacks(settings.attack.source)
    if settings.data is not None:
        rows = read_source(settings.data, (*TO_JUDGE, Demonstration), ReadReport())
        honest = {}
        for row, _ in zip(rows, range(WITH_HONEST), strict=False):
            prompt, answers = prompt_of(row), answers_of(row)
            if prompt is not None and answers and len(honest) < settings.attack.honest:
                honest.setdefault(prompt.id, (prompt, answers[0].text))
        found = replace(found, honest=tuple(honest.values()))
    if not found.honest:
        raise DataError("there are no honest answers to attack; give data.source, such as your demonstrations")
    return replace(found, honest=found.honest[: settings.attack.honest])
