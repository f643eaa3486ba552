"""Groups of settings that several commands share. Their defaults are defined here and nowhere else."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from steersman.settings.base import Settings
from steersman.settings.columns import ColumnSettings

Precision = Literal["auto", "fp32", "bf16"]
_Decay = Annotated[float, Field(ge=0, lt=1)]
Template = Literal["auto", "chat", "none"]


class LoraSettings(Settings):
    """Low-rank adapters instead of full fine-tuning."""

    rank: int = Field(default=16, ge=1)
    """Rank r of each adapter's two matrices."""
    alpha: int = Field(default=32, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout on the adapters' input while training."""
    targets: str | list[str] = "all-linear"
    """Names of the layers to adapt, or all-linear."""


class ModelSettings(Settings):
    path: str
    """A folder, a hub id, harbour:base, or tiny:<family> for a small model with random weights."""
    revision: str | None = None
    """Commit, tag or branch of a model of the hub."""
    trust_remote_code: bool = False
    """Run Python code from the model's repository. Needs `revision`, which pins that code."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Dtype of the weights in memory. auto: float32 for full fine-tuning, bfloat16 for a frozen base on a GPU."""
    lora: LoraSettings | None = None
    quantise: Literal["4bit", "8bit"] | None = None
    """Load the frozen base quantised (QLoRA); needs bitsandbytes and `lora`."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    own_pad: bool = False
    """Add a row for a PAD of its own where the tokeniser's is EOS or missing. Not needed: padding goes by lengths. Runs
    of version 0.2 had it and keep it. Reward models and classifiers always have a PAD of their own."""


PAD_BEFORE = {"model.own_pad": True}
"""What schemas of language models say of this default (`earlier_defaults`)."""


TooLong = Literal["leave_out", "cut"]


class DataSettings(Settings):
    source: str
    """A file, a folder, a hub id, or a named source such as harbour:demonstrations."""
    format: str | None = None
    """Name of the data format; detected from the field names if not given."""
    columns: ColumnSettings | None = None
    """Columns of a table with names of its own, such as columns.prompt=question (docs/data.md)."""
    split: str | None = None
    """The split of a data set: train, validation, test …"""
    held_out: float | str | None = 0.05
    """Held-out data: a share of the prompts, a second source, or none."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most this many records."""
    template: Template = "auto"
    """auto: a plain prompt is a user message to a model with a chat template, unless its row says `continue`. chat:
    also to a model without one, which gets ours. none: plain prompts are continued as they are."""
    max_length: int = Field(default=1024, ge=2)
    """Longer rows (in tokens) are truncated, or dropped if no target token would be left."""
    strict: bool = False
    """Stop at the first malformed row instead of writing it to the quarantine file."""


class OptimiserSettings(Settings):
    learning_rate: float = Field(default=1e-4, gt=0)
    """The highest learning rate, after warm-up."""
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "cosine"
    """How the learning rate falls after warm-up."""
    warmup: float = Field(default=0.05, ge=0)
    """Warm-up: a share of all steps (below 1) or a number of steps (1 and above)."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Final learning rate of the schedule, as a share of learning_rate."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's weight decay."""
    betas: tuple[_Decay, _Decay] = (0.9, 0.999)
    """Adam's decay rates of the first and the second moment."""
    epsilon: float = Field(default=1e-8, gt=0)
    """Added to Adam's denominator."""
    states: Literal["float32", "8bit"] = "float32"
    """Adam's two moments: float32, 8 bytes for each trained parameter, or 8bit, about 2 (block-wise, by torchao; pip
    install 'steersman[8bit]'). 8bit is for one process, and not with compute.offload=optimiser."""
    max_grad_norm: float = Field(default=1.0, gt=0, allow_inf_nan=True)
    """Gradients are scaled down to this norm; inf: never."""


class ComputeSettings(Settings):
    """Settings of memory and speed. They change at most the last bits of a result."""

    tokens_per_micro_batch: int | None = Field(default=None, ge=1)
    """Padded tokens per forward pass. Changes memory and speed, not the result. Chosen by device if not given."""
    precision: Precision = "auto"
    """Precision of forward and backward passes. auto: bf16 on a GPU that has it, else fp32."""
    kernels: Literal["auto", "default", "onednn"] = "auto"
    """float32 matrix kernels on a CPU. auto times them once per machine, checks their error, and records the choice in
    the run."""
    compile: bool = False
    """torch.compile the models' layers on a GPU. The first steps take about twenty seconds longer, later ones are
    faster. Has no effect on a CPU."""
    attention: Literal["auto", "varlen"] = "auto"
    """Attention over rows without padding on a GPU. auto: torch's flash attention by the operation that was measured.
    varlen: by torch's public interface torch.nn.attention.varlen, which newer GPUs' kernels are behind. Has no effect
    on a CPU."""


class TrainSettings(ComputeSettings):
    epochs: int = Field(default=1, ge=1)
    """Passes over the data."""
    steps: int | None = Field(default=None, ge=1)
    """Number of optimiser steps; overrides `epochs`."""
    batch_size: int = Field(default=32, ge=1)
    """Rows (or prompts) per optimiser step, over all ranks."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations on held-out data; four per epoch if not given."""
    patience: int | None = Field(default=None, ge=1)
    """Early stopping: stop after this many evaluations without a new best."""
    keep: Literal["best", "last"] = "best"
    """Weights of the final model: the best on held-out data, or the last. Without held-out data always the last."""
    packing: bool = False
    """Pack several rows into one sequence with block-diagonal attention, instead of padding."""


class RunSettings(Settings):
    out: str
    """The run folder. The same command with the same folder resumes the run."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything that is random. The same seed gives the same result."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads. They affect the last bits of results, so a resumed run uses the run's recorded number."""
    checkpoint_every: int = Field(default=100, ge=1)
    """Steps (PPO: iterations) between checkpoints."""
    checkpoint_minutes: float | None = Field(default=5.0, gt=0)
    """A checkpoint also wherever the next step would end more than so many minutes after the last one. none: by steps
    only."""
    keep_last: int = Field(default=2, ge=1)
    """Checkpoints that are kept, the newest."""
    keep_every: int | None = Field(default=None, ge=1)
    """Also keep each checkpoint whose step is a multiple of this."""
    extend: bool = False
    """Go on with the folder's run to more iterations, steps or epochs than it was begun with, also if it has
    finished."""
    profile: int | None = Field(default=None, ge=1)
    """Profile this many steps (PPO: iterations) with torch.profiler; a trace and a table by phase go into profile/ in
    the folder."""
    journal: list[Literal["tensorboard", "wandb", "mlflow", "trackio"]] = Field(default_factory=list)
    """Trackers that also get the journal's rows and sampled answers: tensorboard, wandb, mlflow, trackio, or several
    with commas between."""

    @field_validator("journal", mode="before")
    @classmethod
    def _split_at_commas(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value
