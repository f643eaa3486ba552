"""`steersman studio choose`: which pairs people are asked about, by reward models; the store keeps the result.

A part is drawn at random and kept to measure with: only there a reward model's accuracy, or people's agreement, is that
of all pairs. The rest are the pairs about which the models disagree most, or whose labels tell most.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from steersman.data.load import load_records
from steersman.errors import DataError, UsageError
from steersman.execution.machine import resolve_device
from steersman.loading.scorers import Reward, load_scorer
from steersman.loading.sources import register_sources
from steersman.maths.active_choice import best_pairs, disagreement, information, probabilities, random_part, spread
from steersman.records import Answers, Completion, Prompt
from steersman.reward.scorer import Scorer
from steersman.runs.progress import Progress
from steersman.settings.score import ScorerSettings
from steersman.store.content import Content
from steersman.store.database import open_store
from steersman.store.items import NewItem, add_items, item_key, keys_there
from steersman.store.projects import Project, find_project
from steersman.store.reading import read_unjudged
from steersman.store.reading_cursor import cursor_of

CRITERIA = ("disagreement", "information", "random")
SCORED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Choosing:
    """How pairs are chosen. `source` "" takes the answers in the project that nobody has judged."""

    source: str = ""
    count: int = 100
    by: str = "disagreement"
    random: float = 0.2
    most_per_prompt: int = 2
    overlap: int = 1
    round: str = ""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen: pairs by criterion; `candidates` were there, and `known` of them were tasks already."""

    project: str
    candidates: int
    known: int
    random: int
    chosen: int
    scorers: int
    lowest: float
    highest: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Pair:
    prompt: Prompt
    first: Completion
    second: Completion


def run_choose(
    store: str | None, project: str, scorers: Sequence[str | Reward], choosing: Choosing, *, quiet: bool = False
) -> Chosen:
    """Choose pairs and add them to a project as tasks, each with the reason why it is asked."""
    _refuse(scorers, choosing)
    with open_store(store) as database:
        found = find_project(database, project)
        pairs = [_Pair(one.prompt, *two) for one in _answers(found, choosing) for two in _pairs_of(one)]
        if not pairs:
            raise DataError("there are no pairs to choose from; expected prompts with two different answers or more")
        fresh = _unknown(found, pairs, choosing)
        if not fresh:
            return Chosen(project, len(pairs), len(pairs), 0, 0, 0, 0.0, 0.0)
        probability = np.zeros((0, len(fresh)))
        if choosing.by != "random":
            probability = probabilities(_margins(fresh, scorers, quiet))
        values = _values(probability, choosing.by)
        size = min(choosing.count, len(fresh))
        generator = np.random.default_rng(choosing.seed)
        share = 1.0 if choosing.by == "random" else choosing.random
        kept = random_part(len(fresh), round(share * size), generator)
        prompts = [one.prompt.id for one in fresh]
        most = choosing.most_per_prompt
        chosen = best_pairs(values, prompts, size - len(kept), most_per_prompt=most, without=kept)
        random = set(kept)
        add_items(
            found,
            (
                _task(fresh[place], probability[:, place], choosing, place in random, float(turn))
                for turn, place in enumerate(spread(chosen, kept))
            ),
        )
    low, high = (float(values[chosen].min()), float(values[chosen].max())) if chosen else (0.0, 0.0)
    return Chosen(project, len(pairs), len(pairs) - len(fresh), len(kept), len(chosen), len(probability), low, high)


def _refuse(scorers: Sequence[str | Reward], choosing: Choosing) -> None:
    if choosing.by not in CRITERIA:
        raise UsageError(f"--by is one of {', '.join(CRITERIA)}; seen {choosing.by!r}")
    if choosing.by != "random" and not scorers:
        raise UsageError("name a reward model: --scorer runs/reward (an ensemble), or several --scorer")
    if not 0 <= choosing.random <= 1:
        raise UsageError(f"--random is the share of pairs that are drawn at random, 0 to 1; seen {choosing.random:g}")
    if choosing.count < 1 or choosing.most_per_prompt < 1:
        raise UsageError("choose one pair or more, and one or more of each prompt")


def _answers(found: Project, choosing: Choosing) -> Iterator[Answers]:
    if choosing.source:
        register_sources()
        records: Iterable[Any] = load_records(choosing.source)
    else:
        cursor = cursor_of(found)
        records = (
            Answers(one.content.prompt, one.content.completions)
            for one in read_unjudged(found, cursor)
            if one.content.kind == "answers" and one.content.prompt is not None
        )
    return (record for record in records if isinstance(record, Answers))


def _pairs_of(one: Answers) -> Iterator[tuple[Completion, Completion]]:
    by_text: dict[str, Completion] = {}
    for answer in one.completions:
        by_text.setdefault(answer.text, answer)
    yield from itertools.combinations(by_text.values(), 2)


def _unknown(found: Project, pairs: Sequence[_Pair], choosing: Choosing) -> list[_Pair]:
    """The pairs that are no tasks of the project's round yet, each once."""
    by_key = {item_key(NewItem(_content(one), choosing.round)): one for one in pairs}
    there = keys_there(found, list(by_key))
    return [one for key, one in by_key.items() if key not in there]


def _content(one: _Pair) -> Content:
    return Content("pair", one.prompt, (one.first, one.second))


def _margins(pairs: Sequence[_Pair], scorers: Sequence[str | Reward], quiet: bool) -> np.ndarray:
    """The first answer's score less the second's, of each reward model and member of an ensemble."""
    rows: list[np.ndarray] = []
    answers = list(dict.fromkeys((one.prompt.id, each.text) for one in pairs for each in (one.first, one.second)))
    place = {answer: i for i, answer in enumerate(answers)}
    prompts = {one.prompt.id: one.prompt for one in pairs}
    for scorer in scorers:
        scores = _scores(_opened(scorer), [(prompts[prompt], text) for prompt, text in answers], quiet)
        for row in scores:
            ones = [place[one.prompt.id, one.first.text] for one in pairs]
            others = [place[one.prompt.id, one.second.text] for one in pairs]
            rows.append(row[ones] - row[others])
    if len(rows) < 2:
        raise UsageError(
            "one reward model cannot disagree; give an ensemble (`steersman reward ensemble.members=4`), or several "
            "--scorer"
        )
    return np.stack(rows)


def _opened(scorer: str | Reward) -> Scorer:
    if not isinstance(scorer, str):
        assert isinstance(scorer, Scorer)
        return scorer
    # Unscaled: the difference of two scores is the logit of the preference.
    return load_scorer(ScorerSettings(path=scorer, normalised=False), resolve_device("auto"))


def _scores(scorer: Scorer, items: Sequence[tuple[Prompt, str]], quiet: bool) -> np.ndarray:
    """Scores [member, answer]; a scorer that is no ensemble is one member."""
    found: list[list[float]] = []
    with Progress("score", len(items), silent=quiet) as progress:
        for start in range(0, len(items), SCORED_AT_ONCE):
            for score in scorer.score(items[start : start + SCORED_AT_ONCE]):
                members = [value for name, value in score.parts.items() if name.startswith("member ")]
                found.append(members or [score.value])
            progress.update(len(found), {})
    return np.array(found, dtype=np.float64).T


def _values(probability: np.ndarray, by: str) -> np.ndarray:
    match by:
        case "disagreement":
            return disagreement(probability)
        case "information":
            return information(probability)
        case _:
            return np.zeros(probability.shape[1])


def _task(one: _Pair, probability: np.ndarray, choosing: Choosing, random: bool, turn: float) -> NewItem:
    choice = "random" if random else choosing.by
    reason = reason_of(choice, probability)
    return NewItem(_content(one), choosing.round, choosing.overlap, turn, reason, choice=choice)


def reason_of(choice: str, probability: np.ndarray) -> str:
    """Why a pair is asked, in a sentence."""
    if choice == "random":
        return "drawn at random: kept to measure with"
    low, high = probability.min(), probability.max()
    models = f"{len(probability)} reward models give the first answer {low:.0%} to {high:.0%}"
    if choice == "disagreement":
        return f"{models}: they disagree by {probability.std():.2f} (standard deviation)"
    bits = float(information(probability[:, None])[0])
    return f"{models}: a label is expected to tell {bits:.2f} bits about which is right"
