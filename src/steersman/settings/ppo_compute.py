"""Settings of memory and speed that PPO has besides those of every method."""

from typing import Any, Literal

from pydantic import Field, field_validator

from steersman.settings.base import NONE
from steersman.settings.parts import ComputeSettings

Offloaded = Literal["reference", "scorer", "critic", "optimiser"]


class PpoComputeSettings(ComputeSettings):
    offload: list[Offloaded] = Field(default_factory=list[Offloaded])
    """Models to offload to CPU memory while they are idle, for a GPU that is slightly too small. reference and scorer:
    except while scoring. critic (layout=separate): while answers are generated. optimiser (its moments): except during
    updates. Changes memory and speed, not the results."""

    cuda_graphs: bool = False
    """Record the update's forward and backward passes as CUDA graphs on a GPU, one for each of a few shapes: a
    micro-batch is then one launch. Needs bf16, one process and no gradient checkpointing, and keeps the gradients'
    memory. Has no effect on a CPU."""

    paged_cache: bool = False
    """Keep the keys and values of answers in pages on a GPU: memory grows by what is answered, not by max_new_tokens,
    and samples share their prompt's pages."""
    split_attention: Literal[1, 2, 4, 8] = 1
    """Divide the attention over each answer's past among so many programs on a GPU, for few long answers."""
    reference_dtype: Literal["policy", "bfloat16"] = "policy"
    """Dtype of a frozen reference's weights. policy: as the policy's. bfloat16: half the memory, from the start; the
    products of a bf16 run read them so anyway, embeddings and norms are rounded too. A reward model on a GPU has bf16
    weights (scorer.dtype)."""

    @field_validator("offload", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        """A list from "reference,scorer", which is easier to write on a command line."""
        if value is None or value == NONE:
            return []
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value
