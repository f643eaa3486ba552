"""TRL 1.12's setup in both PPO benchmarks: four separate models in float32, all answers at once, and a trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer


def learn(
    policy: str | Path,
    reward: str | Path,
    tokeniser: Any,
    rows: Dataset,
    callbacks: Sequence[TrainerCallback],
    *,
    answers: int,
    **more: Any,
) -> None:
    """Run TRL's trainer with its defaults, except for the arguments here.

    `per_device_train_batch_size` is the whole batch: with accumulation TRL 1.12 takes fewer optimiser steps than set.
    """
    model, reference = (AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32) for _ in range(2))
    value, judge = (
        AutoModelForSequenceClassification.from_pretrained(reward, num_labels=1, dtype=torch.float32) for _ in range(2)
    )
    settings = PPOConfig(
        use_cpu=not torch.cuda.is_available(),
        bf16=torch.cuda.is_available(),
        gradient_checkpointing=False,
        per_device_train_batch_size=answers,
        gradient_accumulation_steps=1,
        local_rollout_forward_batch_size=answers,
        temperature=1.0,
        stop_token="eos",
        num_sample_generations=0,
        report_to="none",
        save_strategy="no",
        disable_tqdm=True,
        **more,
    )
    PPOTrainer(
        args=settings,
        processing_class=tokeniser,
        model=model,
        ref_model=reference,
        reward_model=judge,
        value_model=value,
        train_dataset=rows,
        callbacks=list(callbacks),
    ).train()
