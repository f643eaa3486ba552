"""How many calls and tokens a judge's run needs, before it asks anything."""

import itertools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from steersman.judges.endpoint import EndpointJudge
from steersman.judges.judge import Judge, Pair
from steersman.judges.pairing import answers_in
from steersman.records import Record


@dataclass(frozen=True)
class JudgeForecast:
    """What a run would ask, before it asks: calls to an endpoint, or questions to a local model, and tokens."""

    records: int
    pairs: int
    questions: int
    tokens: int
    known: int
    endpoint: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forecast_of(judge: Judge, records: Sequence[Record], attacks: Sequence[Pair], *, tournament: bool) -> JudgeForecast:
    pairs: list[Pair] = []
    for record in records:
        prompt, completions, _ = answers_in(record)
        texts = list(dict.fromkeys(completion.text for completion in completions))
        if tournament:
            pairs += [(prompt, *two) for two in itertools.pairwise(texts)]
        else:
            pairs += [(prompt, one, other) for n, one in enumerate(texts) for other in texts[n + 1 :]]
    pairs += attacks
    requests = judge.requests_for(pairs)
    count, reasons = partial(JudgeForecast, len(records), len(pairs)), judge.settings.reasoning
    if not isinstance(judge.engine, EndpointJudge):
        return count(questions=len(requests), tokens=0, known=0, endpoint=False)
    room = judge.settings.reasoning_tokens if reasons else None
    calls, tokens = judge.engine.estimate(requests, room) if room else judge.engine.estimate(requests)
    # After reasons the whole is sent again for the choice.
    both = 2 if reasons else 1
    return count(questions=both * calls, tokens=both * tokens, known=len(requests) - calls, endpoint=True)


def words_of_forecast(found: JudgeForecast) -> str:
    pairs = f"{found.pairs:,} pairs of {found.records:,} records"
    if not found.endpoint:
        return f"{pairs}: {found.questions:,} questions to the local judge"
    known = f"; {found.known:,} replies are there already" if found.known else ""
    return f"{pairs}: {found.questions:,} calls to the endpoint, about {found.tokens:,} tokens{known}"
