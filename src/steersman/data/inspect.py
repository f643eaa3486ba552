"""Statistics of a data source: counts, lengths, duplicates, ties, position bias, annotators; prompts in two sources.

One streaming pass. Only an 8-byte hash of each text is kept.
"""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from steersman.data.kinds import answers_of, hash64, normalised, prompt_of, question_words
from steersman.data.load import ReadReport
from steersman.errors import DataError
from steersman.records import ClassifiedText, Comparison, Demonstration, Document, Label, Ranking, Record

CountTokens = Callable[[str], int]
_MOST_ANNOTATORS = 10_000


class Lengths:
    """Exact quantiles of lengths, from a count of each length."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    def add(self, length: int) -> None:
        self.counts[length] += 1

    def quantile(self, share: float) -> int:
        wanted, seen = share * self.counts.total(), 0
        for length in sorted(self.counts):
            seen += self.counts[length]
            if seen >= wanted:
                return length
        return 0

    def bars(self) -> dict[str, int]:
        """Histogram with the bins 0, 1, 2–3, 4–7, 8–15 …; empty bins in between are kept."""
        bins: Counter[int] = Counter()
        for length, count in self.counts.items():
            bins[length.bit_length()] += count
        if not bins:
            return {}
        names = ["0", "1", *(f"{1 << (b - 1)}–{(1 << b) - 1}" for b in range(2, max(bins) + 1))]
        return {names[b]: bins[b] for b in range(min(bins), max(bins) + 1)}

    def as_dict(self) -> dict[str, Any]:
        total = self.counts.total()
        mean = sum(length * count for length, count in self.counts.items()) / total if total else 0.0
        marks = {"median": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
        return {
            "count": total,
            "mean": round(mean, 1),
            **{n: self.quantile(q) for n, q in marks.items()},
            "bars": self.bars(),
        }


@dataclass
class Inspection:
    """The statistics of one source. Filled by `inspect`; `--json` prints `as_dict`."""

    report: ReadReport
    lengths: dict[str, Lengths] = field(default_factory=dict)
    exact: "array[int]" = field(default_factory=lambda: array("Q"))
    near: "array[int]" = field(default_factory=lambda: array("Q"))
    questions: "array[int]" = field(default_factory=lambda: array("Q"))
    comparisons: int = 0
    ties: int = 0
    both_bad: int = 0
    first_preferred: int = 0
    shown: int = 0
    shown_first_preferred: int = 0
    longer_preferred: int = 0
    lengths_differ: int = 0
    thumbs: Counter[str] = field(default_factory=Counter)
    classes: Counter[str] = field(default_factory=Counter)
    annotators: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        decided = self.comparisons - self.ties
        return {
            **self.report.as_dict(),
            "lengths": {name: lengths.as_dict() for name, lengths in self.lengths.items()},
            "distinct_prompts": len(set_of(self.questions)),
            "duplicates": {"exact": repeated(self.exact), "normalised": repeated(self.near)},
            "comparisons": {
                "count": self.comparisons,
                "ties": self.ties,
                "both_bad": self.both_bad,
                "share_of_ties": _share(self.ties, self.comparisons),
                "first_preferred": _share(self.first_preferred, decided),
                "shown_first_preferred": _share(self.shown_first_preferred, self.shown),
                "longer_preferred": _share(self.longer_preferred, self.lengths_differ),
            },
            "thumbs": dict(self.thumbs),
            "classes": dict(self.classes.most_common(50)),
            "annotators": {"count": len(self.annotators), "most": dict(self.annotators.most_common(10))},
        }


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def set_of(hashes: "array[int]") -> Any:
    return np.unique(np.frombuffer(hashes, dtype=np.uint64)) if len(hashes) else np.empty(0, dtype=np.uint64)


def repeated(hashes: "array[int]") -> int:
    """Number of texts that repeat an earlier one."""
    return len(hashes) - len(set_of(hashes))


def inspect(records: Iterable[Record], report: ReadReport, *, count_tokens: CountTokens | None = None) -> Inspection:
    """Read all records and return their statistics. This also fills the report that `load_records` was given."""
    seen = Inspection(report)
    measures: dict[str, CountTokens] = {"characters": len, "words": lambda text: len(text.split())}
    if count_tokens:
        measures["tokens"] = count_tokens
    for record in records:
        _measure(seen, record, measures)
        _hash(seen, record)
        _judgements(seen, record)
    return seen


def _measure(seen: Inspection, record: Record, measures: dict[str, CountTokens]) -> None:
    prompt = prompt_of(record)
    texts = (
        [("prompt", prompt.text if prompt.text is not None else "\n".join(m.content for m in prompt.messages))]
        if prompt
        else []
    )
    texts += [("answer", completion.text) for completion in answers_of(record)]
    texts += [("text", record.text)] if isinstance(record, Document | ClassifiedText) else []
    for name, text in texts:
        for unit, measure in measures.items():
            seen.lengths.setdefault(f"{name} {unit}", Lengths()).add(measure(text))


def _hash(seen: Inspection, record: Record) -> None:
    whole = "\x1d".join([question_words(record), *sorted(completion.text for completion in answers_of(record))])
    seen.exact.append(hash64(whole))
    seen.near.append(hash64(normalised(whole)))
    seen.questions.append(hash64(normalised(question_words(record))))


def _judgements(seen: Inspection, record: Record) -> None:
    if isinstance(record, Comparison):
        seen.comparisons += 1
        seen.ties += record.tied
        seen.both_bad += record.both_bad
        if not record.tied:
            first = record.preference > 0.5
            seen.first_preferred += first
            if record.shown:
                seen.shown += 1
                seen.shown_first_preferred += first == (record.shown == "first")
            good, bad = len(record.chosen.text), len(record.rejected.text)
            seen.lengths_differ += good != bad
            seen.longer_preferred += good > bad
    elif isinstance(record, Label) and record.desirable is not None:
        seen.thumbs["up" if record.desirable else "down"] += 1
    elif isinstance(record, ClassifiedText):
        seen.classes[record.label] += 1
    annotator = (
        getattr(record, "annotator", "")
        if isinstance(record, Comparison | Ranking | Label | Demonstration | ClassifiedText)
        else ""
    )
    if annotator and (annotator in seen.annotators or len(seen.annotators) < _MOST_ANNOTATORS):
        seen.annotators[annotator] += 1


@dataclass(frozen=True, slots=True)
class Leak:
    """Prompts that are in both of two sources."""

    first: str
    second: str
    prompts: int
    records: int
    examples: tuple[str, ...]


def find_leak(first: Inspection, second: Inspection, records_of_second: Iterator[Record]) -> Leak:
    """The prompts of the second source that the first also has. The second is read again for examples."""
    shared = np.intersect1d(set_of(first.questions), set_of(second.questions), assume_unique=True)
    examples: list[str] = []
    if len(shared):
        wanted = set(shared[:1000].tolist())
        for record in records_of_second:
            text = question_words(record)
            if hash64(normalised(text)) in wanted:
                prompt = prompt_of(record)
                shown = (prompt.shown if prompt else text)[:200]
                examples += [] if shown in examples else [shown]
                if len(examples) == 3:
                    break
    inside = int(np.isin(np.frombuffer(second.questions, dtype=np.uint64), shared).sum()) if len(shared) else 0
    return Leak(first.report.source, second.report.source, len(shared), inside, tuple(examples))


def token_counter(folder: Path) -> CountTokens:
    """A function that counts the tokens of a text, with the tokenizer.json of a model folder."""
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json" if folder.is_dir() else folder
    if not file.is_file():
        raise DataError(f"{folder} has no tokenizer.json; give the folder of a saved model or tokeniser")
    tokeniser = Tokenizer.from_file(str(file))
    return lambda text: len(tokeniser.encode(text, add_special_tokens=False).ids)
