"""What both TRL benchmarks share: settings, rows, and a trainer that waits for its turn at each step's beginning.

TRL's own defaults stay, but for what has to be the same on both sides: float32 (TRL would take bf16), no gradient
checkpointing (TRL would recompute), AdamW with the same constant rate, rows in the order of the file.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback

sys.path.append(str(Path(__file__).resolve().parents[1]))
from turns import Turns


def options(about: str | None, *, reference_first: bool = False) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("folder", type=Path)
    parser.add_argument("steps", type=int)
    parser.add_argument("--kernels", choices=["default", "onednn"], default="default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=4, help="of PPO, over the answers of an iteration")
    if reference_first:
        parser.add_argument("--reference-first", action="store_true", help="ask the reference before the first step")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.kernels == "onednn":
        torch.backends.mkldnn.matmul.fp32_precision = "bf16"  # pyright: ignore[reportAttributeAccessIssue]
    return arguments


def settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "output_dir": str(arguments.folder / "trl"),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 16,
        "max_steps": arguments.steps,
        "learning_rate": 1e-4,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "train_sampling_strategy": "sequential",
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def load_rows(folder: Path) -> Dataset:
    return Dataset.from_json(str(folder / "theirs.jsonl"), cache_dir=str(folder / "trl-cache"), keep_in_memory=True)


class Turn(TrainerCallback):
    def __init__(self) -> None:
        self.losses: list[torch.Tensor] = []
        self.trainer: Any = None
        self.turns = Turns(lambda: [float(loss) for loss in self.losses], lambda: self.trainer._total_train_tokens)

    def follow(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_step_begin(self, *positional: Any, **named: Any) -> None:
        self.turns.step_begins()


def in_turns(kind: Any) -> tuple[Any, Turn]:
    """The trainer's class, noting each loss (without waiting for it), and the callback that waits."""
    turn = Turn()

    class Noting(kind):
        def compute_loss(self, *positional: Any, **named: Any) -> Any:
            loss = super().compute_loss(*positional, **named)
            turn.losses.append(loss.detach())
            return loss

    Noting.__name__ = kind.__name__
    return Noting, turn
