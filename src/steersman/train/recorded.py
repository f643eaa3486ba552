"""Forward and backward passes recorded as CUDA graphs: a micro-batch is then one copy and one launch.

A recording holds the kernels' launches with the addresses of their tensors. So each bucket of shapes has a recording of
its own with a batch that stays in place, and the gradients of all recordings are added to the same buffers. Weights are
read anew at every replay. What the CPU decides in a pass must be the same for every batch of the bucket.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from steersman.models.together import apart, joined
from steersman.train.objective import Sums, Term

_zero: Any = torch._foreach_zero_  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
# Recordings beyond these are not made: a bucket that is seen later is computed without one.
MOST = 24


@runtime_checkable
class Recordable(Protocol):
    """A batch (a dataclass of tensors) whose passes may be recorded."""

    @property
    def recordable(self) -> Hashable | None:
        """What one recording serves: batches with the same shapes. None: do not record this one."""
        ...


@runtime_checkable
class Recorder(Protocol):
    """Records what a function does with tensors. It runs the function, maybe more than once."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Returns a function that does the same again, with the present values at the same addresses."""
        ...


class CudaRecorder:
    """Records as CUDA graphs, which share one pool of memory for what they keep between their kernels."""

    def __init__(self) -> None:
        self._pool: Any = None

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            # runs without recording: code is compiled, libraries allocate their workspaces
            work()
            work()
        torch.cuda.current_stream().wait_stream(aside)
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            work()
        return graph.replay


class TapeRecorder:
    """Records the dispatched operations and runs them again on the same tensors: a CUDA graph for tests on a CPU.

    As with a CUDA graph, numbers that Python computed while recording stay as they were.
    """

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        with _Tape() as tape:
            work()
        return tape.replay


class _Tape(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Tensor | None]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        found = func(*args, **given)
        known = {one.untyped_storage().data_ptr() for one in tree_leaves((args, given)) if isinstance(one, Tensor)}
        new = [one if _is_new(one, known) else None for one in tree_leaves(found)]
        self.calls.append((func, args, given, new))
        return found

    def replay(self) -> None:
        with torch.no_grad():
            for func, args, given, new in self.calls:
                results = tree_leaves(func(*args, **given))
                for kept, result in zip(new, results, strict=True):
                    if kept is not None:
                        kept.copy_(result)


def _is_new(value: Any, known: set[int]) -> bool:
    """Whether a result has memory of its own."""
    return isinstance(value, Tensor) and value.numel() > 0 and value.untyped_storage().data_ptr() not in known


@dataclass(frozen=True)
class _Recording:
    """A pass. The batch's buffer, the weights of the terms and the numbers of `sums` stay in place."""

    replay: Callable[[], None]
    buffer: Tensor
    weights: Tensor
    sums: Sequence[Sums]
    numbers: Tensor
    learned: Sequence[nn.Parameter]


Passes = Callable[[Any, Mapping[str, Any]], Iterator[Sums]]
"""Runs a batch forward and backward, given the total weight of each term. Yields the sums of each pass."""


class RecordedPasses:
    """The recordings of a learner, by bucket. There are none where batches are not recordable."""

    def __init__(self, recorder: Recorder, parameters: Sequence[nn.Parameter]) -> None:
        self._recorder, self._parameters = recorder, parameters
        self._device = parameters[0].device
        self._recordings: dict[Hashable, _Recording] = {}
        self._objectives: list[Any] = []
        self._gradients: dict[nn.Parameter, Tensor] = {}

    def __len__(self) -> int:
        return len(self._recordings)

    def clear(self) -> None:
        """Free all recordings and their memory."""
        self._recordings.clear()
        self._gradients.clear()

    def serves(self, batch: Any, objective: Any) -> bool:
        """Whether this batch has a recording, or gets one."""
        key = self._key(batch, objective)
        return key is not None and (key in self._recordings or len(self._recordings) < MOST)

    def run(self, batch: Any, objective: Any, weights: Mapping[str, float], passes: Passes) -> list[Sums]:
        """The sums of the passes over a batch on the CPU. Gradients are added as without a recording.

        `objective` is what the passes compute: another one has recordings of its own.
        """
        key = self._key(batch, objective)
        host = joined(batch, pinned=self._device.type == "cuda")
        given = torch.tensor(list(weights.values()))
        recording = self._recordings.get(key)
        if recording is None:
            recording = self._recordings[key] = self._record(
                batch, host, dict(zip(weights, given, strict=True)), passes
            )
        recording.buffer.copy_(host, non_blocking=True)
        recording.weights.copy_(given, non_blocking=True)
        self._attach(recording.learned)
        recording.replay()
        return _with_numbers(recording.sums, recording.numbers.clone())

    def _key(self, batch: Any, objective: Any) -> Hashable | None:
        shapes = batch.recordable if isinstance(batch, Recordable) else None
        if shapes is None:
            return None
        if objective not in self._objectives:
            self._objectives.append(objective)
        return self._objectives.index(objective), shapes

    def _record(self, batch: Any, host: Tensor, weights: Mapping[str, Tensor], passes: Passes) -> _Recording:
        buffer = host.to(self._device, copy=True)
        placed = torch.stack(list(weights.values())).to(self._device)
        inputs = apart(batch, buffer), dict(zip(weights, placed.unbind(), strict=True))
        found: list[tuple[list[Sums], Tensor]] = []

        def work() -> None:
            sums = list(passes(*inputs))
            found.append((sums, torch.stack([number.detach() for one in sums for number in _numbers_of(one)])))

        learned = self._learned_by(work)
        earlier = [(p.grad, p.grad.clone()) for p in learned if p.grad is not None]
        self._attach(learned)
        replay = self._recorder.record(work)
        # what the recorder's own runs added to the gradients is taken back
        _zero([self._gradients[p] for p in learned])
        for gradient, value in earlier:
            gradient.copy_(value)
        sums, numbers = found[-1]
        return _Recording(replay, buffer, placed, [_detached(one) for one in sums], numbers, learned)

    def _learned_by(self, work: Callable[[], None]) -> list[nn.Parameter]:
        """The parameters that get a gradient from this: the others must not have one of 0, which moves them too."""
        before = [p.grad for p in self._parameters]
        for p in self._parameters:
            p.grad = None
        work()
        learned = [p for p in self._parameters if p.grad is not None]
        for p, gradient in zip(self._parameters, before, strict=True):
            p.grad = gradient
        return learned

    def _attach(self, learned: Sequence[nn.Parameter]) -> None:
        """Let gradients be added to the buffers that recordings know; they begin at 0."""
        fresh: list[Tensor] = []
        for p in learned:
            buffer = self._gradients.get(p)
            if buffer is None:
                buffer = self._gradients[p] = torch.empty_like(p, requires_grad=False)
            if p.grad is None:
                fresh.append(buffer)
            elif p.grad is not buffer:
                buffer.copy_(p.grad)
            p.grad = buffer
        if fresh:
            _zero(fresh)


def _numbers_of(sums: Sums) -> Iterator[Tensor]:
    for term in sums.terms.values():
        yield term.total
    for pair in sums.metrics.values():
        yield from (value for value in pair if isinstance(value, Tensor))


def _detached(sums: Sums) -> Sums:
    return Sums({name: Term(term.total.detach(), term.coefficient) for name, term in sums.terms.items()}, sums.metrics)


def _with_numbers(recorded: Sequence[Sums], numbers: Tensor) -> list[Sums]:
    """The recorded sums, with these numbers in place of theirs."""
    each = iter(numbers.unbind())
    found: list[Sums] = []
    for sums in recorded:
        terms = {name: Term(next(each), term.coefficient) for name, term in sums.terms.items()}
        metrics = {
            name: (next(each) if isinstance(total, Tensor) else total, next(each) if isinstance(w, Tensor) else w)
            for name, (total, w) in sums.metrics.items()
        }
        found.append(Sums(terms, metrics))
    return found
