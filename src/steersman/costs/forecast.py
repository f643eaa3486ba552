"""What `plan` forecasts: memory by role and time of a run, in each variant that could be chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from steersman.costs.memory import Bytes, Number
from steersman.costs.shape import Shape


@dataclass(frozen=True)
class TypicalLengths:
    """Typical tokens of a prompt, of an answer, and (for methods that train on rows) of a row; None if not given."""

    prompt: int | None = None
    answer: int | None = None
    row: int | None = None


@dataclass(frozen=True)
class Forecast:
    """`memory` excludes the imported libraries. `seconds` are those of an iteration (PPO) or a step; None for a GPU
    that is not in this machine."""

    name: str
    memory: Bytes
    micro_batch: int
    """Tokens of a micro-batch at most."""
    seconds: float | None
    chosen: bool
    parked: Number = 0
    """Bytes offloaded to CPU memory (`compute.offload`)."""

    def fits(self, there: Number) -> bool:
        return self.memory.total <= there


@dataclass(frozen=True)
class MemoryPlan:
    method: str
    shape: Shape
    words: str
    forecasts: Sequence[Forecast]
    there: float
    device: str

    @property
    def chosen(self) -> Forecast:
        return next(one for one in self.forecasts if one.chosen)

    def as_dict(self) -> dict[str, object]:
        return {
            "method": self.method,
            "model": self.shape.name,
            "parameters": self.shape.parameters,
            "work": self.words,
            "device": self.device,
            "memory there": self.there,
            "forecasts": [
                {
                    "name": one.name,
                    "chosen": one.chosen,
                    "bytes": round(one.memory.total),
                    "in the processor's memory": round(one.parked),
                    "by role": {role: round(size) for role, size in one.memory.rows().items()},
                    "tokens per micro-batch": one.micro_batch,
                    "seconds": one.seconds,
                    "fits": one.fits(self.there),
                }
                for one in self.forecasts
            ],
        }
