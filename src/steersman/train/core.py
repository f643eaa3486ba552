"""One optimiser step, for every method: micro-batches in, sums added up, divided once, clipped, stepped.

It never learns which method it serves. What it guarantees: loss and gradient do not depend on micro-batch size, padding,
order or the number of processes; a loss or gradient that is not finite never reaches the optimiser; running out of memory is
answered by smaller micro-batches and the same result.
"""

# torch's own annotations are partial here
# pyright: reportUnknownMemberType=false

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch
from torch import nn

from steersman.errors import NotFinite
from steersman.parallel.shard import clip_gradients
from steersman.parallel.world import World
from steersman.train.allocator import give_back_memory
from steersman.train.objective import BatchT, Collate, Objective, Sums, UnitT
from steersman.train.plan import deal, micro_batches
from steersman.train.profiling import phase

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
class Progress:
    """What of the core changes from step to step, besides weights and optimiser; a checkpoint holds it."""

    step: int
    token_budget: int
    bad_in_a_row: int


class Learner(Generic[UnitT, BatchT]):
    """A model with its optimiser, and the one way to step it."""

    def __init__(
        self,
        model: nn.Module,
        optimiser: torch.optim.Optimizer,
        *,
        rate_at: Callable[[int], float],
        max_grad_norm: float,
        token_budget: int,
        packed: bool,
        collate: Collate[UnitT, BatchT],
        world: World,
        precision: Callable[[], AbstractContextManager[object]],
        notice: Callable[[str], None],
        unpadded: bool = False,
        on_device: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """`packed`: the collate function packs rows; `unpadded`: the model computes no padding, however rows are laid out; `on_device`
        brings to the device what lies elsewhere between updates, and is entered by whoever steps."""
        self.model = model
        self.optimiser = optimiser
        self.progress = Progress(0, token_budget, 0)
        self.wished_budget = token_budget
        self.on_device = on_device
        self._rate_at = rate_at
        self._max_grad_norm = max_grad_norm
        self._packed = packed
        self._unpadded = unpadded
        self._collate = collate
        self._world = world
        self._precision = precision
        self._notice = notice
        self._base_rates = [float(group["lr"]) for group in optimiser.param_groups]
        self._parameters = [p for group in optimiser.param_groups for p in group["params"]]

    def step(self, units: Sequence[UnitT], objective: Objective[UnitT, BatchT]) -> StepReport:
        """One optimiser step over a global batch, which every process is given whole."""
        started = time.perf_counter()
        weights = objective.weights(units)
        mine = deal(units, self._world.size)[self._world.rank]
        if not self.model.training:
            self.model.train()
        shares = self._shrinking(lambda: self._accumulate(mine, units[0], weights, objective))
        totals = self._world.sum(shares)
        terms = _term_means(totals, weights)
        loss = sum(totals[f"coefficient {name}"] / self._world.size * value for name, value in terms.items())
        norm = clip_gradients(self._parameters, self._max_grad_norm)
        rate = self._rate_at(self.progress.step)
        skipped = not self._apply(loss, norm, rate)
        return StepReport(
            loss=loss,
            terms=terms,
            metrics=_means(totals),
            gradient_norm=norm,
            learning_rate=rate * self._base_rates[0],
            tokens=int(totals["real tokens"]),
            padding_share=1.0 - totals["real tokens"] / max(1.0, totals["padded tokens"]),
            seconds=time.perf_counter() - started,
            skipped=skipped,
        )

    def measure(self, units: Sequence[UnitT], objective: Objective[UnitT, BatchT]) -> dict[str, float]:
        """The objective's terms and metrics over rows that are not learned from; the weights stay as they are."""
        weights = objective.weights(units)
        mine = deal(units, self._world.size)[self._world.rank]
        self.model.eval()
        with torch.no_grad():
            shares = self._shrinking(lambda: self._accumulate(mine, units[0], weights, objective, learn=False))
        totals = self._world.sum(shares)
        return {**_term_means(totals, weights), **_means(totals)}

    def _accumulate(
        self,
        mine: Sequence[UnitT],
        spare: UnitT,
        weights: Mapping[str, float],
        objective: Objective[UnitT, BatchT],
        *,
        learn: bool = True,
    ) -> dict[str, float]:
        self.optimiser.zero_grad(set_to_none=True)
        groups = micro_batches(mine, self.progress.token_budget, packed=self._packed or self._unpadded)
        totals = {"real tokens": 0.0, "padded tokens": 0.0}
        # Sharded models work in lockstep: whoever has fewer micro-batches goes along with ones that count nothing.
        for i in range(self._world.max(len(groups))):
            group, counts = (groups[i], 1.0) if i < len(groups) else ([spare], 0.0)
            batch = self._collate(group)
            compute: Callable[[], Sums] | None = partial(objective, self.model, batch)
            while compute is not None:
                with self._precision(), phase("forward"):
                    sums = compute()
                if learn:
                    with phase("backward"):
                        self._backward(sums, weights, counts)
                _gather(totals, sums, counts)
                compute = sums.later
            real = sum(sum(unit.lengths) for unit in group)
            _add(totals, "real tokens", counts * real)
            _add(totals, "padded tokens", counts * (real if self._unpadded else batch.positions))
        return totals

    def _backward(self, sums: Sums, weights: Mapping[str, float], counts: float) -> None:
        # Sharding averages gradients over processes; the number of processes turns the mean back into the sum.
        scale = counts * self._world.size
        parts = [
            term.total * (scale * term.coefficient / max(weights[name], 1e-12)) for name, term in sums.terms.items()
        ]
        if parts:
            torch.stack(parts).sum().backward()

    def _shrinking(self, work: Callable[[], T]) -> T:
        """Do the work; out of memory, halve the token budget and do it again from its beginning."""
        while True:
            try:
                return work()
            except RuntimeError as error:
                # One process alone cannot shrink: the others wait for it with batches of the old size.
                if not out_of_memory(error) or self._world.size > 1 or self.progress.token_budget <= 1:
                    raise
                budget = self.progress.token_budget // 2
            self.optimiser.zero_grad(set_to_none=True)
            give_back_memory()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self.progress.token_budget = budget
            self._notice(f"out of memory: micro-batches now hold {budget} tokens; the result stays the same")

    def _apply(self, loss: float, norm: float, rate: float) -> bool:
        progress = self.progress
        finite = bool(torch.isfinite(torch.tensor([loss, norm])).all())
        if finite:
            progress.bad_in_a_row = 0
            for group, base in zip(self.optimiser.param_groups, self._base_rates, strict=True):
                group["lr"] = base * rate
            with phase("optimiser"):
                self.optimiser.step()
        else:
            progress.bad_in_a_row += 1
            self._notice(
                f"step {progress.step + 1} skipped: loss {loss}, gradient norm {norm}; the weights are untouched"
            )
            if progress.bad_in_a_row >= BAD_STEPS_IN_A_ROW:
                raise NotFinite(
                    f"loss or gradient was not finite for {BAD_STEPS_IN_A_ROW} steps in a row (last: loss {loss}, gradient norm "
                    f"{norm}); the weights are those of step {progress.step + 1 - BAD_STEPS_IN_A_ROW}. "
                    "Lower optimiser.learning_rate, or look for the rows that cause it."
                )
        self.optimiser.zero_grad(set_to_none=True)
        progress.step += 1
        return finite


def out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _gather(totals: dict[str, float], sums: Sums, counts: float) -> None:
    for name, term in sums.terms.items():
        _add(totals, f"term {name}", counts * float(term.total.detach()))
        totals[f"coefficient {name}"] = term.coefficient
    for name, (total, weight) in sums.metrics.items():
        _add(totals, f"sum {name}", counts * total)
        _add(totals, f"weight {name}", counts * weight)


def _add(totals: dict[str, float], name: str, value: float) -> None:
    totals[name] = totals.get(name, 0.0) + value


def _term_means(totals: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """Each term's mean; a term that nothing in the data speaks to is left out."""
    return {name: totals[f"term {name}"] / weight for name, weight in weights.items() if weight > 0}


def _means(totals: Mapping[str, float]) -> dict[str, float]:
    names = [name.removeprefix("sum ") for name in totals if name.startswith("sum ")]
    return {name: totals[f"sum {name}"] / max(totals[f"weight {name}"], 1e-12) for name in names}
