"""Which answers of a record are compared: all pairs, or a knockout tournament of K - 1 comparisons."""

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steersman.errors import DataError
from steersman.judges.judge import JudgeVerdict, Pair
from steersman.maths.judgement import knockout
from steersman.records import Answers, Comparison, Completion, Prompt, Ranking, Record

TO_JUDGE = (Answers, Comparison, Ranking)
"""Records with answers to compare."""
Ask = Callable[[Sequence[Pair]], list[JudgeVerdict]]


@dataclass(frozen=True, slots=True)
class ChosenPair:
    """Two different answers to a prompt, by their places in the record, and the pair's id."""

    prompt: Prompt
    first: Completion
    second: Completion
    places: tuple[int, int]
    record: str
    answers: int

    @property
    def id(self) -> str:
        return f"{self.record}:{self.places[0] + 1}-{self.places[1] + 1}"

    @property
    def pair(self) -> Pair:
        return self.prompt, self.first.text, self.second.text


def answers_in(record: Record) -> tuple[Prompt, tuple[Completion, ...], str]:
    """The prompt, the answers and the id of a record that holds several answers."""
    if isinstance(record, Comparison):
        return record.prompt, (record.first, record.second), record.id or record.prompt.id
    if isinstance(record, Answers | Ranking):
        return record.prompt, record.completions, record.id or record.prompt.id
    raise DataError(f"a {type(record).__name__} holds no answers to compare")


def judge_records(
    records: Sequence[Record], ask: Ask, *, tournament: bool, seed: int
) -> list[list[tuple[ChosenPair, JudgeVerdict]]]:
    """The verdicts on each record's pairs. Equal answers are not compared.

    In a tournament winners meet winners; after an abstention the first of the two goes on.
    """
    if not tournament:
        chosen = [_all_pairs(record) for record in records]
        verdicts = iter(ask([one.pair for pairs in chosen for one in pairs]))
        return [[(one, next(verdicts)) for one in pairs] for pairs in chosen]
    found: list[list[tuple[ChosenPair, JudgeVerdict]]] = [[] for _ in records]
    entrants = [_seeded(record, seed) for record in records]
    while any(len(left) > 1 for left in entrants):
        rounds = [
            [_pair(record, i, j) for i, j in knockout(left)] for record, left in zip(records, entrants, strict=True)
        ]
        verdicts = iter(ask([one.pair for pairs in rounds for one in pairs]))
        for number, pairs in enumerate(rounds):
            met = [(one, next(verdicts)) for one in pairs]
            found[number] += met
            left = entrants[number]
            winners = [_winner(one, verdict) for one, verdict in met]
            entrants[number] = winners + ([left[-1]] if len(left) % 2 else [])
    return found


def _winner(one: ChosenPair, verdict: JudgeVerdict) -> int:
    return one.places[1] if verdict.preference is not None and verdict.preference < 0.5 else one.places[0]


def _seeded(record: Record, seed: int) -> list[int]:
    """The places of the different answers, shuffled by seed and record."""
    _, completions, name = answers_in(record)
    first = {completion.text: i for i, completion in reversed(list(enumerate(completions)))}
    places = sorted(first.values())
    random.Random(f"{seed}\x1f{name}").shuffle(places)
    return places


def _all_pairs(record: Record) -> list[ChosenPair]:
    _, completions, _ = answers_in(record)
    places = itertools.combinations(range(len(completions)), 2)
    return [_pair(record, i, j) for i, j in places if completions[i].text != completions[j].text]


def _pair(record: Record, i: int, j: int) -> ChosenPair:
    prompt, completions, name = answers_in(record)
    return ChosenPair(prompt, completions[i], completions[j], (i, j), name, len(completions))
