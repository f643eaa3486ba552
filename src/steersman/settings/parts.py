"""The groups of settings that several commands share. Defaults live here and nowhere else."""

from typing import Literal

from pydantic import Field

from steersman.settings.base import Settings

Precision = Literal["auto", "fp32", "bf16"]


class LoraSettings(Settings):
    """Low-rank adapters instead of full fine-tuning."""

    rank: int = Field(default=16, ge=1)
    """Inner width of each adapter."""
    alpha: int = Field(default=32, gt=0)
    """The update is scaled by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: str | list[str] = "all-linear"
    """Names of the layers to adapt, or all-linear."""


class ModelSettings(Settings):
    path: str
    """A folder, a hub id, harbour:base, or tiny:<family> for a random-weight model made on the spot."""
    revision: str | None = None
    trust_remote_code: bool = False
    """Run code that the model's repository ships. Needs `revision`, so that it is known code that runs."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the stored weights: auto is float32 for full fine-tuning, and bfloat16 under adapters on a GPU."""
    lora: LoraSettings | None = None
    quantise: Literal["4bit", "8bit"] | None = None
    """Load the frozen base quantised (QLoRA); needs bitsandbytes and `lora`."""
    gradient_checkpointing: bool = False


class DataSettings(Settings):
    source: str
    """A file, a folder, a hub id, or a named source such as harbour:demonstrations."""
    format: str | None = None
    """Recognised by the field names unless given."""
    split: str | None = None
    held_out: float | str | None = 0.05
    """A share held out by prompt, or a second source, or none."""
    limit: int | None = Field(default=None, ge=1)
    """Use at most so many records."""
    max_length: int = Field(default=1024, ge=2)
    """Longer rows are cut, or dropped where nothing would be left to learn."""
    strict: bool = False
    """Stop at the first bad row instead of putting it into quarantine."""


class OptimiserSettings(Settings):
    learning_rate: float = Field(default=1e-4, gt=0)
    schedule: Literal["constant", "linear", "cosine", "inverse_sqrt"] = "cosine"
    warmup: float = Field(default=0.05, ge=0)
    """Share of the steps (below 1) or number of steps (from 1) that the rate takes to rise."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Where the schedule ends, as a share of the rate."""
    weight_decay: float = Field(default=0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = Field(default=1e-8, gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)


class ComputeSettings(Settings):
    """How the work is carried out; it changes memory and speed, and at most the last bits of a result."""

    tokens_per_micro_batch: int | None = Field(default=None, ge=1)
    """Padded tokens that go through the model at once; changes memory and speed, not the result. Chosen by device if not given."""
    precision: Precision = "auto"
    kernels: Literal["auto", "default", "onednn"] = "auto"
    """How a CPU multiplies float32 matrices; auto measures once a machine, checks the error, and keeps the choice in the run."""
    compile: bool = False
    """Let torch compile the models' layers on a GPU: the first steps take some twenty seconds longer, later ones less. A CPU has no need of it."""


class TrainSettings(ComputeSettings):
    epochs: int = Field(default=1, ge=1)
    steps: int | None = Field(default=None, ge=1)
    """Stop after so many optimiser steps, whatever `epochs` says."""
    batch_size: int = Field(default=32, ge=1)
    """Rows (or prompts) an optimiser step, over all processes."""
    evaluate_every: int | None = Field(default=None, ge=1)
    """Steps between held-out measurements; four an epoch if not given."""
    patience: int | None = Field(default=None, ge=1)
    """Stop after so many measurements without a better one."""
    keep: Literal["best", "last"] = "best"
    """Which weights become the final model, when there is something held out."""
    packing: bool = False
    """Lay several rows into one with block-wise attention, instead of padding."""


class RunSettings(Settings):
    out: str
    """The run's folder. The same command on the same folder resumes."""
    seed: int = Field(default=0, ge=0)
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = Field(default=None, ge=1)
    """Processor threads; part of the bit-exact contract, so a resumed run takes the run's own."""
    checkpoint_every: int = Field(default=100, ge=1)
    keep_last: int = Field(default=2, ge=1)
    keep_every: int | None = Field(default=None, ge=1)
    profile: int | None = Field(default=None, ge=1)
    """Look at so many steps (of PPO: iterations) with torch's profiler; a trace and a table by phase go into the folder's profile/."""
    journal: list[Literal["tensorboard", "wandb"]] = Field(default_factory=list)
    """Where else the journal's rows go, besides journal.jsonl."""
