"""People's judgements as groups to learn from: every answer tokenised once onto disk, and the pairs that point to them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from steersman.assemble.material import check_held_out, read_split
from steersman.assemble.run import KeptRun
from steersman.batches import AnswerGroup
from steersman.data.kinds import pairs_of
from steersman.data.load import ReadReport
from steersman.data.tokens import TokenStore, TokenWriter
from steersman.errors import DataError
from steersman.records import Comparison, Completion, Label, Prompt, Ranking, Record
from steersman.settings.parts import DataSettings
from steersman.text.template import encode_completion


@dataclass(frozen=True)
class Judgements:
    """Groups by index, and the comparisons behind them, for the report."""

    rows: TokenStore
    starts: NDArray[np.int64]
    """Where each group's rows begin, and one past the last."""
    pair_starts: NDArray[np.int64]
    pairs: NDArray[np.float64]
    """For each pair: first, second (within the group), target, margin, weight."""
    approvals: NDArray[np.float64]
    """For each group that is one thumbed answer its approval, NaN elsewhere."""
    comparisons: tuple[Comparison, ...]

    def __len__(self) -> int:
        return len(self.starts) - 1

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
class _Group:
    prompt: Prompt
    completions: tuple[Completion, ...]
    pairs: list[tuple[float, float, float, float, float]]
    approval: float
    comparisons: tuple[Comparison, ...]


def groups_of(records: Iterable[Record], *, ties: str, left_out: Counter[str]) -> Iterator[_Group]:
    """What can be learned of each record. What cannot is counted with its reason."""
    for record in records:
        if isinstance(record, Ranking):
            judged = pairs_of(record)
            names = {id(completion): i for i, completion in enumerate(record.completions)}
            weight = 1.0 / len(judged)
            pairs = [
                (float(names[id(c.first)]), float(names[id(c.second)]), c.preference, 0.0, weight)
                for c in judged
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
        elif isinstance(record, Label) and record.desirable is not None:
            yield _Group(record.prompt, (record.completion,), [], float(record.desirable), ())
        else:
            left_out[f"a {type(record).__name__.lower()}, which compares nothing"] += 1


def read_judgements(
    data: DataSettings,
    tokeniser: Any,
    kept: KeptRun,
    *,
    held_out: bool,
    context: int | None,
    ties: str,
    folder: Path,
    reading: ReadReport,
) -> Judgements | None:
    """The groups of one side; None if nothing fell into the held-out share."""
    check_held_out(data)
    length = min(data.max_length, context or data.max_length)
    left_out: Counter[str] = Counter()
    records = read_split(
        data, held_out=held_out, quarantine=None if held_out else kept.folder.quarantine_path, report=reading
    )
    starts, pair_starts, pairs, approvals = [0], [0], [], []
    comparisons: list[Comparison] = []
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with TokenWriter(folder) as writer:
            for group in groups_of(records, ties=ties, left_out=left_out):
                for completion in group.completions:
                    # the very row that `reward.rows.encode_item` makes when the model is used
                    writer.add(
                        encode_completion(tokeniser, group.prompt, completion, max_length=length, truncate="left")
                    )
                starts.append(writer.report.rows)
                pairs.extend(group.pairs)
                pair_starts.append(len(pairs))
                approvals.append(group.approval)
                comparisons.extend(group.comparisons)
    except DataError as error:
        if held_out and not isinstance(data.held_out, str):
            return None
        reasons = "; ".join(f"{count:,} × {reason}" for reason, count in left_out.items())
        raise DataError(f"{data.source}: no judgements to learn from ({reasons or 'no records'}); {error}") from error
    _check(pairs, approvals, data.source)
    return Judgements(
        TokenStore(folder),
        np.array(starts, np.int64),
        np.array(pair_starts, np.int64),
        np.array(pairs, np.float64).reshape(-1, 5),
        np.array(approvals, np.float64),
        tuple(comparisons),
    )


def _check(pairs: list[tuple[float, float, float, float, float]], approvals: list[float], source: str) -> None:
    """Judgements from which nothing can be learned are an error, not a model that learned nothing."""
    thumbs = {value for value in approvals if value == value}
    if not thumbs and all(pair[2] == 0.5 for pair in pairs):
        raise DataError(
            f"{source}: all {len(pairs):,} judgements are ties, so there is no preference to learn; look at the labelling"
        )
    if len(thumbs) == 1 and not pairs:
        said = "up" if thumbs == {1.0} else "down"
        raise DataError(
            f"{source}: all {len(approvals):,} thumbs point {said}; a reward model needs both, or comparisons"
        )


def one_sided(comparisons: Iterable[Comparison]) -> list[str]:
    """Facts about the judges that a user should know before trusting the model: who always chose the same place."""
    places: dict[str, Counter[str]] = {}
    for c in comparisons:
        if not c.tied and c.shown:
            preferred = "first" if c.preference > 0.5 else "second"
            places.setdefault(c.annotator or "(unnamed)", Counter())["left" if preferred == c.shown else "right"] += 1
    found: list[str] = []
    for annotator, counts in places.items():
        place, count = counts.most_common(1)[0]
        if count == counts.total() >= 20:
            found.append(f"annotator {annotator!r} chose the answer shown on the {place} in all {count} judgements")
    return found
