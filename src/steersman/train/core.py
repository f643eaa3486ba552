"""The optimiser step of every method: accumulate gradients over micro-batches, divide once, clip, step.

It does not depend on the method. Guarantees: loss and gradient do not depend on micro-batch size, padding, order or the
number of ranks. A loss or gradient that is not finite never reaches the optimiser. After running out of memory the step
is repeated with smaller micro-batches and the same result.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from steersman.errors import NotFinite
from steersman.models.together import move_together
from steersman.parallel.shard import clip_gradients, gradient_norm
from steersman.parallel.world import World
from steersman.train.allocator import give_back_memory
from steersman.train.finite import bad_weights
from steersman.train.objective import BatchT, Objective, Sums, UnitT
from steersman.train.optim import Optimisation, step_if_finite
from steersman.train.plan import Batching, micro_batches, split_over_ranks
from steersman.train.profiling import phase
from steersman.train.recorded import RecordedPasses
from steersman.train.totals import Totals, metric_means, term_means

BAD_STEPS_IN_A_ROW = 5
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StepReport:
    loss: float
    terms: Mapping[str, float]
    metrics: Mapping[str, float]
    gradient_norm: float
    learning_rate: float
    tokens: int
    padding_share: float
    seconds: float
    skipped: bool


@dataclass
class LearnerProgress:
    """The learner's state besides weights and optimiser, saved in checkpoints."""

    step: int
    token_budget: int
    bad_in_a_row: int


class Learner(Generic[UnitT, BatchT]):
    """A model with its optimiser; `step` does one optimiser step."""

    def __init__(
        self,
        model: nn.Module,
        optimisation: Optimisation,
        batching: Batching[UnitT, BatchT],
        world: World,
        *,
        precision: Callable[[], AbstractContextManager[object]],
        notice: Callable[[str], None],
        on_device: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """`on_device` is a context that moves offloaded tensors to the device; callers of `step` enter it."""
        self.model = model
        self.optimiser = optimisation.optimiser
        self.progress = LearnerProgress(0, batching.token_budget, 0)
        self.requested_budget = batching.token_budget
        self.on_device = on_device
        self._optimisation = optimisation
        self._batching = batching
        self._world = world
        self._precision = precision
        self._notice = notice
        self._base_rates = [float(group["lr"]) for group in self.optimiser.param_groups]
        self._parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        recorder = batching.recorder
        self._recorded = None if recorder is None else RecordedPasses(recorder, self._parameters)

    def step(self, units: Sequence[UnitT], objective: Objective[UnitT, BatchT]) -> StepReport:
        """One optimiser step over a global batch. Every rank passes the whole batch."""
        started = time.perf_counter()
        weights = objective.weights(units)
        mine = split_over_ranks(units, self._world.size)[self._world.rank]
        if not self.model.training:
            self.model.train()
        sums = self._retry_out_of_memory(lambda: self._accumulate(mine, units[0], weights, objective))
        rate = self._optimisation.rate_at(self.progress.step)
        norm = gradient_norm(self._parameters)
        # On the device the optimiser skips a step without being told by the CPU; several ranks must agree first.
        alone = self._world.size == 1 and self._optimisation.decides_on_device
        if alone:
            self._step_on_device(norm, sums.terms, rate)
        found, (size,) = sums.read(norm)
        totals = self._world.sum(found)
        terms = term_means(totals, weights)
        loss = sum(totals[f"coefficient {name}"] / self._world.size * value for name, value in terms.items())
        skipped = not self._apply(loss, size, None if alone else partial(self._step_on_cpu, norm, rate))
        return StepReport(
            loss=loss,
            terms=terms,
            metrics=metric_means(totals),
            gradient_norm=size,
            learning_rate=rate * self._base_rates[0],
            tokens=int(totals["real tokens"]),
            padding_share=1.0 - totals["real tokens"] / max(1.0, totals["padded tokens"]),
            seconds=time.perf_counter() - started,
            skipped=skipped,
        )

    def measure(self, units: Sequence[UnitT], objective: Objective[UnitT, BatchT]) -> dict[str, float]:
        """The objective's terms and metrics over held-out rows, without gradients."""
        weights = objective.weights(units)
        mine = split_over_ranks(units, self._world.size)[self._world.rank]
        self.model.eval()
        with torch.no_grad():
            sums = self._retry_out_of_memory(lambda: self._accumulate(mine, units[0], weights, objective, learn=False))
        totals = self._world.sum(sums.read()[0])
        return {**term_means(totals, weights), **metric_means(totals)}

    def _accumulate(
        self,
        mine: Sequence[UnitT],
        dummy: UnitT,
        weights: Mapping[str, float],
        objective: Objective[UnitT, BatchT],
        *,
        learn: bool = True,
    ) -> Totals:
        self.optimiser.zero_grad(set_to_none=True)
        groups = micro_batches(
            mine, self.progress.token_budget, packed=self._batching.packed or self._batching.unpadded
        )
        totals = Totals()
        # A rank with fewer micro-batches runs dummy ones of weight 0: sharded models need collectives in step.
        for i in range(self._world.max(len(groups))):
            group, factor = (groups[i], 1.0) if i < len(groups) else ([dummy], 0.0)
            batch = self._batching.collate(group)
            for sums in self._sums(batch, weights, objective, factor, learn=learn):
                totals.add_sums(sums, factor)
            real = sum(sum(unit.lengths) for unit in group)
            totals.add("real tokens", factor * real)
            totals.add("padded tokens", factor * (real if self._batching.unpadded else batch.positions))
        return totals

    def _sums(
        self,
        batch: BatchT,
        weights: Mapping[str, float],
        objective: Objective[UnitT, BatchT],
        factor: float,
        *,
        learn: bool,
    ) -> Iterable[Sums]:
        """The sums of each pass over a batch, whose gradients are added where it learns."""
        passes = partial(self._passes, objective, factor, learn)
        if self._recorded is None:
            return passes(batch, weights)
        if learn and self._recorded.serves(batch, objective):
            return self._recorded.run(batch, objective, weights, passes)
        return passes(move_together(batch, self._world.device), weights)

    def _passes(
        self,
        objective: Objective[UnitT, BatchT],
        factor: float,
        learn: bool,
        batch: BatchT,
        weights: Mapping[str, float | Tensor],
    ) -> Iterator[Sums]:
        compute: Callable[[], Sums] | None = partial(objective, self.model, batch)
        while compute is not None:
            with self._precision(), phase("forward"):
                sums = compute()
            if learn:
                with phase("backward"):
                    self._backward(sums, weights, factor)
            yield sums
            compute = sums.later

    def _backward(self, sums: Sums, weights: Mapping[str, float | Tensor], factor: float) -> None:
        # Sharding averages gradients over ranks; the number of ranks turns the mean back into the sum.
        scale = factor * self._world.size
        parts = [
            term.total * (scale * term.coefficient / _above_zero(weights[name])) for name, term in sums.terms.items()
        ]
        if parts:
            torch.stack(parts).sum().backward()

    def _retry_out_of_memory(self, work: Callable[[], T]) -> T:
        """Run `work`; if memory runs out, halve the token budget and run it again."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                # With several ranks one alone cannot reduce its budget: the others wait with their old micro-batches.
                if not out_of_memory(error) or self._world.size > 1 or self.progress.token_budget <= 1:
                    raise
                budget = self.progress.token_budget // 2
            self.optimiser.zero_grad(set_to_none=True)
            if self._recorded is not None:
                self._recorded.clear()
            give_back_memory()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.progress.token_budget = budget
            self._notice(f"out of memory: micro-batches now hold {budget} tokens; the result stays the same")

    def _apply(self, loss: float, norm: float, step: Callable[[], None] | None) -> bool:
        """Take the step, or count it as skipped. `step` is None if the device has taken it already, or left it out."""
        progress = self.progress
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite:
            progress.bad_in_a_row = 0
            if step is not None:
                step()
        else:
            self._skip(loss, norm)
        self.optimiser.zero_grad(set_to_none=True)
        progress.step += 1
        return finite

    def _set_rate(self, rate: float) -> None:
        for group, base in zip(self.optimiser.param_groups, self._base_rates, strict=True):
            if isinstance(group["lr"], Tensor):  # read by a compiled step
                group["lr"].fill_(base * rate)
            else:
                group["lr"] = base * rate

    def _step_on_cpu(self, norm: Tensor, rate: float) -> None:
        clip_gradients(self._parameters, self._optimisation.max_grad_norm, norm)
        self._set_rate(rate)
        with phase("optimiser"):
            self.optimiser.step()

    def _step_on_device(self, norm: Tensor, terms: Sequence[Tensor], rate: float) -> None:
        """Clip and step without waiting for the norm. With a norm or loss that is not finite, nothing changes."""
        self._set_rate(rate)
        with phase("optimiser"):
            step_if_finite(self.optimiser, norm, terms, self._optimisation.max_grad_norm)

    def _skip(self, loss: float, norm: float) -> None:
        """Count a step whose loss or gradient is not finite. Raises if later steps cannot be better."""
        progress, seen = self.progress, f"loss {loss}, gradient norm {norm}"
        # This is the cheap place to look at the weights: ones that are not finite give no finite loss.
        bad = bad_weights(self.model)
        if self._world.any(bool(bad)):
            raise NotFinite(
                f"the weights hold NaN, infinity or numbers that overflow after step {progress.step} "
                f"({bad[0] if bad else 'on another rank'}; step {progress.step + 1}: {seen}), and no later step can "
                "mend them. Earlier checkpoints are unchanged. Lower optimiser.learning_rate or "
                "optimiser.max_grad_norm, and choose another run.out."
            )
        progress.bad_in_a_row += 1
        self._notice(f"step {progress.step + 1} skipped: {seen}; the weights are untouched")
        if progress.bad_in_a_row >= BAD_STEPS_IN_A_ROW:
            raise NotFinite(
                f"loss or gradient was not finite for {BAD_STEPS_IN_A_ROW} steps in a row (last: {seen}); the weights "
                f"are those of step {progress.step + 1 - BAD_STEPS_IN_A_ROW}. Lower optimiser.learning_rate, or find "
                "the rows that cause it."
            )


def _above_zero(weight: float | Tensor) -> float | Tensor:
    return weight.clamp(min=1e-12) if isinstance(weight, Tensor) else max(weight, 1e-12)


def out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
