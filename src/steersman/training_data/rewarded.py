"""Answers with rewards, as rows: each answer is tokenised once onto disk, with the reward of each of its tokens.

The reward of a scored answer is its score; that of a judged answer is from -1 to 1. The last token receives it. The
reward of a span is received by the token in which the span ends.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steersman.batches import RewardedRow
from steersman.data.tokens import TokenStore, TokenWriter
from steersman.errors import DataError
from steersman.execution.context import RunContext
from steersman.records import (
    KIND_OF,
    Answers,
    Comparison,
    Completion,
    Demonstration,
    Label,
    Prompt,
    Ranking,
    Record,
    SpanReward,
    Steps,
)
from steersman.reward.rows import score_row
from steersman.reward.shaping import spread_over_tokens
from steersman.settings.parts import DataSettings
from steersman.text.tokeniser import decode
from steersman.training_data.split import DataSide, Tokenised, cut_words, longest_row

EXPECTED = "answers with scores (steersman score writes them), comparisons, rankings, thumbs or steps"


@dataclass(frozen=True, slots=True)
class Earned:
    """An answer with its reward, and the rewards of its spans."""

    prompt: Prompt
    completion: Completion
    reward: float

    @property
    def spans(self) -> tuple[SpanReward, ...]:
        return self.completion.spans


@dataclass(frozen=True)
class Rewarded:
    """Rows by index. `within` holds the token rewards of answers that have rewards before the last token."""

    rows: TokenStore
    rewards: NDArray[np.float64]
    within: Mapping[int, Sequence[float]]
    left_out: Mapping[str, int]
    cut: int

    def __len__(self) -> int:
        return len(self.rows)

    def words(self, purpose: str, limit: str) -> str:
        """How much there is, for a notice."""
        mean, deviation = float(self.rewards.mean()), float(self.rewards.std())
        found = f"{len(self):,} answers {purpose}, which earned {mean:.3g} ± {deviation:.3g}"
        found += f"; {len(self.within):,} of them were rewarded within" if self.within else ""
        return f"{found}; {self.cut:,} answers were cut to {limit}" if self.cut else found

    def units(self) -> list[RewardedRow]:
        return [self.unit(i) for i in range(len(self))]

    def unit(self, index: int) -> RewardedRow:
        row = self.rows.row(index)
        rewards = torch.zeros(row.targets)
        if index in self.within:
            rewards += torch.tensor(self.within[index])
        rewards[-1] += self.rewards[index]
        return RewardedRow(row, rewards)


def read_rewarded(
    run: RunContext, data: DataSettings, reward: str | None, model: Tokenised, *, held_out: bool
) -> Rewarded | None:
    """The answers of one side; None if nothing fell into the held-out share."""
    side = DataSide.of(run, data, held_out=held_out)
    if held_out and not data.held_out:
        return None
    if not held_out:
        DataSide.settle_template(run, data, model.tokeniser)
    left_out = Counter[str]()
    answers = earned(side.records(), reward=reward, left_out=left_out)
    first = next(answers, None)
    if first is None:
        if side.may_be_empty:
            run.notice("nothing fell into the held-out share; the run goes without held-out numbers")
            return None
        raise DataError(side.report.nothing("rewarded answers to learn from", EXPECTED, left_out))
    length = longest_row(data, model.context_length)
    found = _write(itertools.chain([first], answers), model.tokeniser, run.path / "tokens" / side.name, length)
    found = replace(found, left_out=left_out + side.report.left_out)
    if not held_out:
        _check(found, data.source)
    side.tell(run, found.words(side.words, cut_words(data, model.context_length)), found.left_out)
    return found


def _write(found: Iterable[Earned], tokeniser: Any, folder: Path, length: int) -> Rewarded:
    rewards: list[float] = []
    within: dict[int, list[float]] = {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TokenWriter(folder) as writer:
        for one in found:
            row = score_row(tokeniser, one.prompt, one.completion, max_length=length)
            writer.add(row)
            if one.spans:
                within[len(rewards)] = paid_within(tokeniser, row.ids[row.prompt_length :], one)
            rewards.append(one.reward)
    return Rewarded(TokenStore(folder), np.array(rewards), within, {}, writer.report.truncated)


def paid_within(tokeniser: Any, ids: Sequence[int], one: Earned) -> list[float]:
    """The rewards of an answer's tokens for the spans that end in them.

    Spans after the point where the answer was cut are left out.
    """
    ends = [len(decode(tokeniser, ids[: i + 1])) for i in range(len(ids))]
    whole, text = decode(tokeniser, ids), one.completion.text
    # Templates add or remove spaces before an answer.
    lead = (len(whole) - len(whole.lstrip())) - (len(text) - len(text.lstrip()))
    offsets = [(start - lead, end - lead) for start, end in zip([0, *ends[:-1]], ends, strict=True)]
    return spread_over_tokens([span for span in one.spans if span.start < offsets[-1][1]], offsets)


def earned(records: Iterable[Record], *, reward: str | None, left_out: Counter[str]) -> Iterator[Earned]:
    """Each answer with its reward. Records without a reward are counted with the reason."""
    for record in records:
        judged = reward is None and isinstance(record, Comparison | Ranking | Label | Steps)
        found = list(_judged(record) if judged else _scored(record, reward))
        if not found:
            missing = "a reward" if reward is None else f"the score {reward!r}"
            left_out[f"a record of the kind {KIND_OF[type(record)]} without {missing}"] += 1
        yield from found


def _judged(record: Record) -> Iterator[Earned]:
    """Rewards from people's judgements, from -1 to 1."""
    if isinstance(record, Comparison):
        # Share preferring the first answer minus the share preferring the second: 1 or -1 if certain, 0 for a tie.
        lead = 2 * record.preference - 1
        yield Earned(record.prompt, record.first, lead)
        yield Earned(record.prompt, record.second, -lead)
    elif isinstance(record, Ranking):
        for completion, rank in zip(record.completions, record.ranks, strict=True):
            won = sum(rank < other for other in record.ranks) - sum(rank > other for other in record.ranks)
            yield Earned(record.prompt, completion, won / (len(record.ranks) - 1))
    elif isinstance(record, Label):
        if record.desirable is not None:
            yield Earned(record.prompt, record.completion, 1.0 if record.desirable else -1.0)
        elif len(record.ratings) == 1:
            yield Earned(record.prompt, record.completion, next(iter(record.ratings.values())))
    elif isinstance(record, Steps):
        yield _stepwise(record)


def _stepwise(record: Steps) -> Earned:
    """The steps joined by newlines, each with a reward of 1 or -1 at its end."""
    ends = list(itertools.accumulate(len(step) + 1 for step in record.steps))
    spans = tuple(
        SpanReward(end - len(step) - 1, end - 1, 1.0 if right else -1.0)
        for step, end, right in zip(record.steps, ends, record.labels, strict=True)
    )
    return Earned(record.prompt, Completion("\n".join(record.steps), spans=spans), 0.0)


def _scored(record: Record, name: str | None) -> Iterator[Earned]:
    if isinstance(record, Label) and name is not None and name in record.ratings:
        yield Earned(record.prompt, record.completion, record.ratings[name])
        return
    if isinstance(record, Comparison):
        completions = (record.first, record.second)
    elif isinstance(record, Answers | Ranking):
        completions = record.completions
    elif isinstance(record, Demonstration | Label):
        completions = (record.completion,)
    else:
        return
    for completion in completions:
        score = _score_of(completion, name)
        if score is not None or (completion.spans and name is None):
            yield Earned(record.prompt, completion, score or 0.0)


def _score_of(completion: Completion, name: str | None) -> float | None:
    """The score of this name, or the only one. Parts (`score --parts` writes them as name/part) are not scores."""
    if name is not None:
        return completion.scores.get(name)
    names = [key for key in completion.scores if "/" not in key]
    if len(names) > 1:
        raise DataError(
            f"an answer has the scores {', '.join(names)}, and one of them is the reward; say which, such as "
            f"reward={names[0]}"
        )
    return completion.scores[names[0]] if names else None


def _check(side: Rewarded, source: str) -> None:
    if not side.within and float(np.ptp(side.rewards)) == 0.0:
        raise DataError(
            f"{source}: all {len(side):,} answers earned {side.rewards[0]:.4g}, so that none is better than another; "
            "expected answers of different worth"
        )
