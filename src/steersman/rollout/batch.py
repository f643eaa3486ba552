"""A batch of answers as columns: one tensor for each quantity, all answers one after another, with offsets.

Training uses the columns. Indexing the batch gives one answer: a `Rollout`, which holds slices of the columns.
`to_bytes` is the wire form between processes and machines: safetensors, with a digest against damage.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate, chain, pairwise
from typing import Any, Literal, overload

import torch
from jaxtyping import Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from steersman.batches import TokenRow
from steersman.errors import DataError

FinishReason = Literal["end", "stop", "length"]
"""Why an answer ended: the model's EOS; a stop string or stop id of the request; or max_new_tokens (or the context) was
reached."""

FINISH_REASONS: tuple[FinishReason, ...] = ("end", "stop", "length")
"""A finish reason's place here is its code in a batch."""

OF_ANSWERS = ("prompts", "samples", "seeds", "versions", "finish_reasons")
OF_TOKENS = ("ids", "log_probs", "sampling_log_probs", "entropies", "values")
FORMAT = "steersman rollouts 1"


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """One answer. `ids` are the sampled tokens, EOS or the tokens of a stop string included (see `stops.answer_text`).

    `log_probs[t]` is that of ids[t] under softmax(logits / temperature), `sampling_log_probs[t]` under the distribution
    it was drawn from. `version` is the number of the weights that sampled it. `entropies` are of softmax(logits /
    temperature), `values` of the state before each token; None where the engine does not know them.
    """

    prompt: int
    sample: int
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]
    log_probs: Float[Tensor, " tokens"]
    sampling_log_probs: Float[Tensor, " tokens"]
    finish_reason: FinishReason
    seed: int
    version: int
    entropies: Float[Tensor, " tokens"] | None = None
    values: Float[Tensor, " tokens"] | None = None

    @property
    def row(self) -> TokenRow:
        """Prompt and answer as one row, the answer's tokens being the targets."""
        ids = torch.tensor(self.prompt_ids + self.ids, dtype=torch.long)
        return TokenRow(ids, torch.arange(len(ids)) >= len(self.prompt_ids))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rollout) and _all_equal(self, other)


@dataclass(frozen=True, eq=False)
class RolloutBatch(Sequence[Rollout]):
    """Answers as columns. Answer i has the tokens offsets[i] … offsets[i + 1] of each token column. `prompts` are the
    prompts' numbers in the request; `prompt_ids` holds each of them once, in the order of their numbers.

    It is a `Sequence`, so that code which looks at one answer at a time takes it as it takes a list.
    """

    prompt_ids: Int[Tensor, " prompt_tokens"]
    prompt_offsets: Int[Tensor, " prompts_and_one"]
    prompts: Int[Tensor, " answers"]
    samples: Int[Tensor, " answers"]
    seeds: Int[Tensor, " answers"]
    versions: Int[Tensor, " answers"]
    finish_reasons: UInt8[Tensor, " answers"]
    offsets: Int[Tensor, " answers_and_one"]
    ids: Int[Tensor, " tokens"]
    log_probs: Float[Tensor, " tokens"]
    sampling_log_probs: Float[Tensor, " tokens"]
    entropies: Float[Tensor, " tokens"] | None
    values: Float[Tensor, " tokens"] | None

    def __len__(self) -> int:
        return len(self.prompts)

    @overload
    def __getitem__(self, index: int) -> Rollout: ...
    @overload
    def __getitem__(self, index: slice) -> list[Rollout]: ...
    def __getitem__(self, index: int | slice) -> Rollout | list[Rollout]:
        if isinstance(index, slice):
            return [self._answer(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"there is no answer {index} in a batch of {len(self)}")
        return self._answer(index % len(self))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RolloutBatch) and _all_equal(self, other)

    @property
    def lengths(self) -> Int[Tensor, " answers"]:
        """Tokens of each answer."""
        return self.offsets.diff()

    @property
    def rows(self) -> list[TokenRow]:
        """Prompt and answer of each answer as one row, the answer's tokens being the targets."""
        plain = self._plain
        prompts = self.prompt_ids.split(self.prompt_offsets.diff().tolist())
        answers = self.ids.split(self.lengths.tolist())
        pairs = [(prompts[row], answer) for row, answer in zip(plain.prompt_rows, answers, strict=True)]
        if not pairs:
            return []
        lengths = torch.tensor([len(part) for pair in pairs for part in pair])
        is_answer = torch.tensor([False, True]).repeat(len(pairs)).repeat_interleave(lengths)
        both = lengths.view(-1, 2).sum(1).tolist()
        ids = torch.cat([part for pair in pairs for part in pair]).split(both)
        return [TokenRow(one, mask) for one, mask in zip(ids, is_answer.split(both), strict=True)]

    @staticmethod
    def of(rollouts: Iterable[Rollout]) -> "RolloutBatch":
        """A batch of answers that were made one by one."""
        rollouts = list(rollouts)
        prompts: dict[int, tuple[int, ...]] = {}
        for one in rollouts:
            if prompts.setdefault(one.prompt, one.prompt_ids) != one.prompt_ids:
                raise DataError(f"two answers to prompt {one.prompt} have different prompt ids; expected the same")
        return RolloutBatch(
            **prompt_columns([prompts[number] for number in sorted(prompts)]),
            **answer_columns(
                [(one.prompt, one.sample, one.seed, one.version, one.finish_reason, len(one.ids)) for one in rollouts]
            ),
            ids=torch.tensor([token for one in rollouts for token in one.ids], dtype=torch.long),
            log_probs=_joined([one.log_probs for one in rollouts]),
            sampling_log_probs=_joined([one.sampling_log_probs for one in rollouts]),
            entropies=_joined_if_all([one.entropies for one in rollouts]),
            values=_joined_if_all([one.values for one in rollouts]),
        )

    @staticmethod
    def joined(parts: Iterable["RolloutBatch"]) -> "RolloutBatch":
        """All answers of these batches, in the order of prompts and samples."""
        parts = [part for part in parts if len(part)]
        if not parts:
            return RolloutBatch.of([])
        prompts: dict[int, Tensor] = {}
        for part in parts:
            numbers = torch.unique(part.prompts).tolist()
            prompts.update(zip(numbers, part.prompt_ids.split(part.prompt_offsets.diff().tolist()), strict=True))
        prompt_ids = [prompts[number] for number in sorted(prompts)]
        columns: dict[str, Any] = {name: torch.cat([getattr(part, name) for part in parts]) for name in OF_ANSWERS}
        keys = list(zip(columns["prompts"].tolist(), columns["samples"].tolist(), strict=True))
        order = torch.tensor(sorted(range(len(keys)), key=keys.__getitem__))
        columns = {name: column[order] for name, column in columns.items()}
        lengths = torch.cat([part.lengths for part in parts])
        index = token_index((lengths.cumsum(0) - lengths)[order], lengths[order])
        for name in OF_TOKENS:
            column = _joined_if_all([getattr(part, name) for part in parts])
            columns[name] = None if column is None else column[index]
        return RolloutBatch(
            prompt_ids=torch.cat(prompt_ids),
            prompt_offsets=_offsets(map(len, prompt_ids)),
            offsets=_offsets(lengths[order].tolist()),
            **columns,
        )

    def to_bytes(self) -> bytes:
        """The batch as safetensors; the metadata holds the format, the names of the finish reasons, and a digest of the
        columns."""
        columns = {name: column.cpu().clone() for name, column in self._columns.items()}
        facts = {"format": FORMAT, "finish_reasons": FINISH_REASONS, "digest": _digest(columns)}
        return save(columns, {"rollouts": json.dumps(facts)})

    @staticmethod
    def from_bytes(data: bytes) -> "RolloutBatch":
        """The batch that `to_bytes` wrote, to the bit; DataError if a byte has changed or the format is another one."""
        try:
            columns, facts = load(data), _facts(data)
        except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DataError(
                f"{len(data)} bytes of rollouts cannot be read ({error}); they were cut off or damaged: send them again"
            ) from error
        if facts.get("format") != FORMAT or facts.get("finish_reasons") != list(FINISH_REASONS):
            raise DataError(
                f"rollouts of the format {facts.get('format')!r} were received, and {FORMAT!r} was expected; use the "
                "same release of Steersman on both sides"
            )
        names = {field.name for field in fields(RolloutBatch)}
        if set(columns) | {"entropies", "values"} != names or facts.get("digest") != _digest(columns):
            raise DataError(f"{len(data)} bytes of rollouts are damaged: their digest differs; send them again")
        return RolloutBatch(**{"entropies": None, "values": None, **columns})

    @property
    def _columns(self) -> dict[str, Tensor]:
        every = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: column for name, column in every.items() if column is not None}

    @cached_property
    def _plain(self) -> "_Plain":
        bounds = self.prompt_offsets.tolist()
        prompt_ids = self.prompt_ids.tolist()
        return _Plain(
            [tuple(prompt_ids[start:end]) for start, end in pairwise(bounds)],
            torch.unique(self.prompts, return_inverse=True)[1].tolist(),
            self.ids.tolist(),
            self.offsets.tolist(),
            list(zip(*(c.tolist() for c in (self.prompts, self.samples, self.seeds, self.versions)), strict=True)),
            self.finish_reasons.tolist(),
        )

    def _answer(self, i: int) -> Rollout:
        plain = self._plain
        prompt, sample, seed, version = plain.numbers[i]
        tokens = slice(plain.offsets[i], plain.offsets[i + 1])
        return Rollout(
            prompt,
            sample,
            plain.prompts[plain.prompt_rows[i]],
            tuple(plain.ids[tokens]),
            self.log_probs[tokens],
            self.sampling_log_probs[tokens],
            FINISH_REASONS[plain.finish_reasons[i]],
            seed,
            version,
            None if self.entropies is None else self.entropies[tokens],
            None if self.values is None else self.values[tokens],
        )


@dataclass(frozen=True, slots=True)
class _Plain:
    """The whole-number columns of a batch as Python's numbers, for tokenisers and JSON."""

    prompts: list[tuple[int, ...]]
    prompt_rows: list[int]
    """The place of each answer's prompt in `prompts`."""
    ids: list[int]
    offsets: list[int]
    numbers: list[tuple[int, int, int, int]]
    """Prompt, sample, seed and version of each answer."""
    finish_reasons: list[int]


def token_index(starts: Int[Tensor, " answers"], lengths: Int[Tensor, " answers"]) -> Int[Tensor, " tokens"]:
    """Where the tokens of answers are that begin at `starts` of a flat column: starts[i], starts[i] + 1, … for each
    answer in turn."""
    ends = lengths.cumsum(0)
    return torch.arange(int(lengths.sum())) + (starts - ends + lengths).repeat_interleave(lengths)


def prompt_columns(prompts: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    """The columns of prompts: `prompt_ids` and `prompt_offsets`."""
    return {
        "prompt_ids": torch.tensor(list(chain.from_iterable(prompts)), dtype=torch.long),
        "prompt_offsets": _offsets(map(len, prompts)),
    }


def answer_columns(answers: Sequence[tuple[int, int, int, int, FinishReason, int]]) -> dict[str, Tensor]:
    """The columns of answers from their (prompt, sample, seed, version, finish reason, tokens)."""
    whole = torch.tensor([one[:4] for one in answers], dtype=torch.long).view(-1, 4)
    prompts, samples, seeds, versions = whole.T.contiguous()
    return {
        "prompts": prompts,
        "samples": samples,
        "seeds": seeds,
        "versions": versions,
        "finish_reasons": torch.tensor([FINISH_REASONS.index(one[4]) for one in answers], dtype=torch.uint8),
        "offsets": _offsets(one[5] for one in answers),
    }


def _offsets(lengths: Iterable[int]) -> Int[Tensor, " lengths_and_one"]:
    return torch.tensor([0, *accumulate(lengths)])


def _joined(columns: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(columns)) if columns else torch.zeros(0)


def _joined_if_all(columns: Sequence[Tensor | None]) -> Tensor | None:
    found = [column for column in columns if column is not None]
    return _joined(found) if found and len(found) == len(columns) else None


def _all_equal(one: Any, other: Any) -> bool:
    """Whether all fields of two records are equal, tensors to the bit."""

    def equal(here: Any, there: Any) -> bool:
        if isinstance(here, Tensor) and isinstance(there, Tensor):
            return here.dtype == there.dtype and torch.equal(here, there)
        return type(here) is type(there) and here == there

    return all(equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))


def _facts(data: bytes) -> dict[str, Any]:
    """The metadata of safetensors: `load` does not give it."""
    size = int.from_bytes(data[:8], "little")
    found = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["rollouts"])
    return found if isinstance(found, dict) else {}


def _digest(columns: dict[str, Tensor]) -> str:
    digest = blake2b(digest_size=16)
    for name in sorted(columns):
        column = columns[name]
        digest.update(f"{name} {column.dtype} {tuple(column.shape)} ".encode())
        digest.update(column.numpy().tobytes())
    return digest.hexdigest()
