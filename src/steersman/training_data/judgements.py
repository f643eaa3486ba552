"""Judgements as groups of answers: each answer is tokenised once onto disk, and pairs point to answers."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steersman.batches import AnswerGroup
from steersman.data.kinds import pairs_of, revision_pair
from steersman.data.tokens import NoRowsError, TokenStore, TokenWriter
from steersman.errors import DataError, UsageError
from steersman.execution.context import RunContext
from steersman.records import KIND_OF, Comparison, Completion, Critique, Label, Prompt, Ranking, Record, Steps
from steersman.reward.rows import score_row
from steersman.settings.parts import DataSettings, TooLong
from steersman.settings.reward import JudgementDataSettings
from steersman.training_data.split import DataSide, Tokenised, cut_words, longest_row

ENOUGH = 20
"""Judgements before it is said of somebody that they always choose the same place: by chance one person in 500,000."""
MOST_KEPT = 10_000
"""Training judgements whose texts are kept for the report's baselines."""
Places = Mapping[str, Counter[str]]
"""For each annotator how often the answer shown on the left and on the right was preferred, where that is known."""


PEOPLE, JUDGES, OF_A_JUDGE = "people", "judges", "judge:"


@dataclass(frozen=True, slots=True)
class Contribution:
    """What some annotators contributed: judgements (rankings count once), pairs, and their share of the weight."""

    who: str
    judgements: int
    pairs: int
    weight: float


@dataclass(frozen=True)
class Judgements:
    """Groups by index, and counts for a notice. `comparisons` are for the report: all of held-out data, and at most
    MOST_KEPT of training data, evenly spaced."""

    rows: TokenStore
    starts: NDArray[np.int64]
    """The first row of each group, and at the end the number of rows."""
    pair_starts: NDArray[np.int64]
    pairs: NDArray[np.float64]
    """For each pair: first, second (within the group), target, margin, weight."""
    approvals: NDArray[np.float64]
    """The approval of each group that is one answer with a thumb; NaN for other groups."""
    comparisons: tuple[Comparison, ...]
    places: Places
    shares: tuple[Contribution, ...]
    """What people and judges contributed."""
    left_out: Mapping[str, int]
    cut: int
    """Answers that were cut to data.max_length."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    def groups(self) -> list[AnswerGroup]:
        return [self.group(i) for i in range(len(self))]

    def words(self, purpose: str, limit: str) -> str:
        """How much there is, for a notice."""
        found = f"{len(self):,} judged prompts {purpose}, {len(self.pairs):,} pairs, {len(self.rows):,} answers"
        return f"{found}; {self.cut:,} answers were cut to {limit}" if self.cut else found

    def group(self, index: int) -> AnswerGroup:
        rows = tuple(self.rows.row(i) for i in range(self.starts[index], self.starts[index + 1]))
        pairs = torch.from_numpy(self.pairs[self.pair_starts[index] : self.pair_starts[index + 1]])
        approval = torch.tensor([self.approvals[index]], dtype=torch.float32)
        approval = approval[~approval.isnan()]
        first, second, target, margin, weight = pairs.unbind(1)
        nobody = torch.zeros(len(approval), dtype=torch.long)
        return AnswerGroup(
            rows, first.long(), second.long(), target.float(), margin.float(), weight.float(), nobody, approval
        )


@dataclass
class _Spaced:
    """At most `most` of the comparisons that are added, evenly spaced; all if it is None."""

    most: int | None
    kept: list[Comparison] = field(default_factory=list)
    step: int = 1
    seen: int = 0

    def add(self, comparisons: Iterable[Comparison]) -> None:
        for one in comparisons:
            if self.seen % self.step == 0:
                self.kept.append(one)
            self.seen += 1
            if self.most is not None and len(self.kept) > self.most:
                self.kept, self.step = self.kept[::2], 2 * self.step


@dataclass
class _Group:
    prompt: Prompt
    completions: tuple[Completion, ...]
    pairs: list[tuple[float, float, float, float, float]]
    approval: float
    comparisons: tuple[Comparison, ...]


@dataclass
class JudgeWeights:
    """The weights of judged pairs by who judged and by source, and what each contributed."""

    given: Mapping[str, float]
    by_source: Sequence[float] = ()
    seen: dict[str, list[float]] = field(default_factory=dict[str, list[float]])

    @classmethod
    def of(cls, data: DataSettings) -> "JudgeWeights":
        return cls(data.weights, data.source_weights or ()) if isinstance(data, JudgementDataSettings) else cls({})

    def weighted(self, group: _Group, source: int) -> _Group:
        """The group with its pairs weighted. `source` is the number of the source that it came from."""
        factor = self.given.get(self._name(group), 1.0) * (self.by_source[source] if self.by_source else 1.0)
        return replace(group, pairs=[(*pair[:4], pair[4] * factor) for pair in group.pairs])

    def count(self, group: _Group) -> None:
        """Count a weighted group that is learned from."""
        if group.pairs:
            counted = self.seen.setdefault(self._name(group), [0.0, 0.0, 0.0])
            for i, more in enumerate((1.0, float(len(group.pairs)), sum(pair[4] for pair in group.pairs))):
                counted[i] += more

    def _name(self, group: _Group) -> str:
        """Who judged: the annotator if the weights name it, else people or judges."""
        who = next((one.annotator for one in group.comparisons), "")
        return who if who in self.given else JUDGES if who.startswith(OF_A_JUDGE) else PEOPLE

    def refuse_unused(self) -> None:
        unused = [name for name in self.given if name not in self.seen]
        if unused:
            raise UsageError(
                f"data.weights names {', '.join(unused)}, and nobody of that name judged; the judgements are of "
                f"{', '.join(self.seen) or 'nobody'}"
            )

    def shares(self) -> tuple[Contribution, ...]:
        whole = sum(total for _, _, total in self.seen.values())
        return tuple(
            Contribution(who, int(n), int(pairs), total / whole) for who, (n, pairs, total) in self.seen.items()
        )


def words_of_shares(shares: tuple[Contribution, ...]) -> list[str]:
    """What each contributed, in a sentence; nothing if all judgements are of people."""
    if [one.who for one in shares] in ([], [PEOPLE]):
        return []
    told = [f"{one.who} {one.judgements:,} judgements with {one.weight:.1%} of the weight" for one in shares]
    return [f"learned from {'; '.join(told)}"]


def groups_of(records: Iterable[Record], *, ties: str, left_out: Counter[str], thumbs: bool) -> Iterator[_Group]:
    """A group for each record. Records without a judgement are counted with the reason.

    A usable revision is better than the answer that it revises.

    `thumbs`: whether an answer with a thumb is a group by itself.
    """
    for record in records:
        if isinstance(record, Critique) and not record.status:
            record = revision_pair(record)
        if isinstance(record, Ranking):
            judged = pairs_of(record)
            weight = 1.0 / len(judged)
            pairs = [
                (float(first), float(second), c.preference, 0.0, weight)
                for c, (first, second) in zip(judged, itertools.combinations(range(len(record.ranks)), 2), strict=True)
                if not (c.tied and ties == "drop")
            ]
            if pairs:
                yield _Group(record.prompt, record.completions, pairs, float("nan"), judged)
            else:
                left_out["a ranking of nothing but ties"] += 1
        elif isinstance(record, Comparison):
            if record.tied and ties == "drop":
                left_out["a tie (ties=drop)"] += 1
                continue
            margin = 0.0 if record.tied else record.margin or 0.0
            yield _Group(
                record.prompt,
                (record.first, record.second),
                [(0.0, 1.0, record.preference, margin, 1.0)],
                float("nan"),
                (record,),
            )
        elif isinstance(record, Label) and record.desirable is not None and not thumbs:
            left_out["an answer with a thumb, which compares nothing"] += 1
        elif isinstance(record, Label) and record.desirable is not None:
            yield _Group(record.prompt, (record.completion,), [], float(record.desirable), ())
        elif isinstance(record, Critique):
            left_out["a revision that cannot be used, or that changed nothing"] += 1
        else:
            hint = " (reward process=true learns from judged steps)" if isinstance(record, Steps) else ""
            left_out[f"a record of the kind {KIND_OF[type(record)]}, which compares nothing{hint}"] += 1


def read_judgements(
    side: DataSide, tokeniser: Any, folder: Path, *, ties: str, max_length: int, thumbs: bool, too_long: TooLong
) -> Judgements | None:
    """The groups of one side, tokenised into `folder`; None if nothing fell into the held-out share. With
    too_long=leave_out, a group with an answer that does not fit is left out."""
    left_out: Counter[str] = Counter()
    weights = JudgeWeights.of(side.data)
    groups = (
        weights.weighted(group, source)
        for source, record in side.numbered_records()
        for group in groups_of([record], ties=ties, left_out=left_out, thumbs=thumbs)
    )
    first = next(groups, None)
    if first is None:
        if side.may_be_empty:
            return None
        expected = f"comparisons, rankings{', or labels with a thumb up or down' if thumbs else ''}"
        raise DataError(side.report.nothing("judgements to learn from", expected, left_out))
    starts, pair_starts, pairs, approvals = [0], [0], [], []
    comparisons = _Spaced(None if side.held_out else MOST_KEPT)
    places: dict[str, Counter[str]] = {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with TokenWriter(folder) as writer:
            for group in itertools.chain([first], groups):
                rows = [score_row(tokeniser, group.prompt, one, max_length=max_length) for one in group.completions]
                if too_long == "leave_out" and any(row.truncated for row in rows):
                    left_out[
                        f"longer than {max_length:,} tokens (data.max_length or the context; too_long=cut keeps it)"
                    ] += 1
                    continue
                for row in rows:
                    writer.add(row)
                starts.append(writer.report.rows)
                pairs.extend(group.pairs)
                pair_starts.append(len(pairs))
                approvals.append(group.approval)
                weights.count(group)
                count_places(group.comparisons, places)
                comparisons.add(group.comparisons)
    except NoRowsError as error:
        if side.may_be_empty:
            return None
        expected = f"answers of at most {max_length:,} tokens"
        raise DataError(side.report.nothing("judgements to learn from", expected, left_out)) from error
    if not side.held_out:
        _check(pairs, approvals, side.data.source)
        weights.refuse_unused()
    return Judgements(
        TokenStore(folder),
        np.array(starts, np.int64),
        np.array(pair_starts, np.int64),
        np.array(pairs, np.float64).reshape(-1, 5),
        np.array(approvals, np.float64),
        tuple(comparisons.kept),
        places,
        weights.shares(),
        left_out + side.report.left_out,
        writer.report.truncated,
    )


def _check(pairs: list[tuple[float, float, float, float, float]], approvals: list[float], source: str) -> None:
    """Raise if nothing can be learned: all ties, or all thumbs the same."""
    thumbs = {value for value in approvals if value == value}
    if not thumbs and all(pair[2] == 0.5 for pair in pairs):
        raise DataError(
            f"{source}: all {len(pairs):,} judgements are ties, so there is no preference to learn; look at the "
            "labelling"
        )
    if len(thumbs) == 1 and not pairs:
        said = "up" if thumbs == {1.0} else "down"
        raise DataError(
            f"{source}: all {len(approvals):,} thumbs point {said}; a reward model needs both, or comparisons"
        )


def count_places(comparisons: Iterable[Comparison], places: dict[str, Counter[str]]) -> None:
    for c in comparisons:
        if not c.tied and c.shown:
            preferred = "first" if c.preference > 0.5 else "second"
            places.setdefault(c.annotator, Counter())["left" if preferred == c.shown else "right"] += 1


def one_sided(places: Places) -> list[str]:
    """A sentence about each annotator who always chose the same side."""
    found: list[str] = []
    for annotator, counts in places.items():
        place, count = counts.most_common(1)[0]
        if count == counts.total() >= ENOUGH:
            who = f"annotator {annotator!r}" if annotator else "an annotator without a name"
            found.append(f"{who} chose the answer shown on the {place} in all {count} judgements")
    return found


def read_both(
    run: RunContext, data: DataSettings, ties: str, model: Tokenised, *, thumbs: bool, too_long: TooLong
) -> tuple[Judgements, Judgements | None]:
    """The training side and the held-out side. Notices say how much there is, and what was left out.

    `thumbs`: whether single answers with a thumb are learned from.
    """
    length = longest_row(data, model.context_length)
    DataSide.settle_template(run, data, model.tokeniser)
    found: list[Judgements | None] = []
    for held_out in (False, True):
        if held_out and not data.held_out:
            found.append(None)
            continue
        side = DataSide.of(run, data, held_out=held_out)
        folder = run.path / "tokens" / side.name
        judgements = read_judgements(
            side, model.tokeniser, folder, ties=ties, max_length=length, thumbs=thumbs, too_long=too_long
        )
        found.append(judgements)
        if judgements is None:
            run.notice(
                "nothing fell into the held-out share; the run goes without held-out numbers and without a report"
            )
        else:
            side.tell(run, judgements.words(side.words, cut_words(data, model.context_length)), judgements.left_out)
    train, held = found
    assert train is not None
    for fact in (*one_sided(train.places), *words_of_shares(train.shares)):
        run.notice(fact)
    return train, held
