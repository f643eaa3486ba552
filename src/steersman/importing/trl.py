"""Configurations of TRL: YAML files for `trl sft --config FILE`, or command lines with the same names."""

import re
from collections.abc import Mapping
from typing import Any

from steersman.importing.llamafactory import RULES as TRAINER
from steersman.importing.rules import (
    LOGGED,
    MACHINE,
    SPEED,
    Conversion,
    Rule,
    apply,
    current,
    data_group,
    lora,
    no,
    number,
    precision,
    quantised,
    to,
)
from steersman.importing.shell import commands_in, options_of

COMMANDS = {"sft": "sft", "dpo": "dpo", "kto": "dpo", "reward": "reward", "grpo": "ppo", "rloo": "rloo", "ppo": "ppo"}
_PROGRAM = re.compile(r"(?:^|/)(?:trl/scripts/)?(sft|dpo|kto|reward|reward_modeling|grpo|rloo|ppo|orpo|cpo)(?:\.py)?$")
LOSSES = {
    **{name: name for name in ("hinge", "ipo", "robust", "apo_zero", "apo_down", "simpo", "kto", "orpo")},
    "sigmoid": "dpo",
}
LOSSES_OF_ANSWERS = {"grpo": "answers", "bnpo": "tokens", "dapo": "tokens", "dr_grpo": "constant"}
_TOGETHER = (
    *("use_peft", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "per_device_train_batch_size"),
    *(
        "gradient_accumulation_steps",
        "dataset_config",
        "dataset_train_split",
        "num_generations",
        "generation_batch_size",
    ),
)


def parsed(text: str) -> tuple[str, dict[str, Any]] | None:
    """The trainer and its options, from a script with `trl dpo …` or `python …/dpo.py …`."""
    for words in commands_in(text):
        for place, word in enumerate(words):
            found = _PROGRAM.search(word)
            launched = word.endswith(".py") or (place > 0 and words[place - 1].rpartition("/")[2] == "trl")
            if found and launched:
                name = {"reward_modeling": "reward", "orpo": "dpo", "cpo": "dpo"}.get(found[1], found[1])
                options = options_of(words[place + 1 :])
                return name, {**options, "loss_type": "orpo"} if found[1] == "orpo" else options
    return None


def guessed(values: Mapping[str, Any]) -> str | None:
    """The trainer that a configuration is for, from names that only it has; None if it may be several."""
    if {"num_generations", "reward_funcs", "epsilon_high"} & values.keys():
        return "grpo"
    if {"total_episodes", "num_ppo_epochs", "sft_model_path", "reward_model_path"} & values.keys():
        return "ppo"
    if {"desirable_weight", "undesirable_weight"} & values.keys():
        return "kto"
    if {"beta", "loss_type", "precompute_ref_log_probs"} & values.keys():
        return "dpo"
    if {"center_rewards_coefficient"} & values.keys():
        return "reward"
    if {"packing", "completion_only_loss", "assistant_only_loss", "dataset_text_field"} & values.keys():
        return "sft"
    return None


def convert(found: Conversion, trainer: str) -> None:
    given = found.given
    if given.get("use_peft"):
        targets = given.get("lora_target_modules")
        lora(found, given.get("lora_r", 16), given.get("lora_alpha", 32), given.get("lora_dropout", 0.05), targets)
    if trainer == "kto":
        found.set("loss", "kto")
    if trainer == "grpo":
        found.set("advantage.estimator", "grpo")
        found.set("kl.coefficient", 0.0)
        found.set("kl.loss_coefficient", float(given.get("beta", 0.0)))
    batch = int(given.get("per_device_train_batch_size", 8)) * int(given.get("gradient_accumulation_steps", 1))
    batch *= found.devices
    if found.method in ("ppo", "rloo"):
        samples = int(given.get("num_generations", 8 if trainer == "grpo" else 2 if trainer == "rloo" else 1))
        batch = int(given.get("generation_batch_size", batch))
        found.set("samples_per_prompt", samples)
        found.set("prompts_per_iteration", max(1, batch // samples))
        if given.get("use_peft"):
            found.set("layout", "adapters")
    else:
        found.set("train.batch_size", batch)
    found.remark(f"the batch is that of {found.devices} device{'s' * (found.devices != 1)}; give --devices for another")
    rules = {**TRAINER, **RULES, **(_OF_ANSWERS if found.method in ("ppo", "rloo") else {})}
    apply(found, rules, (*_TOGETHER, *(("beta",) if trainer == "grpo" else ())))


def _dataset(found: Conversion, value: Any) -> None:
    config = found.given.get("dataset_config")
    found.set(f"{data_group(found)}.source", f"hf:{value}/{config}" if config else value)
    split = found.given.get("dataset_train_split")
    if split not in (None, "train"):
        found.set(f"{data_group(found)}.split", split)


def _loss(found: Conversion, value: Any) -> None:
    if found.method in ("ppo", "rloo"):
        if value in LOSSES_OF_ANSWERS:
            found.set("update.mean_over", LOSSES_OF_ANSWERS[value])
        elif value == "cispo":
            found.set("update.policy_loss", "cispo")
        else:
            found.without[current(found)] = f"{value}: see update.policy_loss and update.mean_over"
    elif found.method == "dpo":
        if value in LOSSES:
            found.set("loss", LOSSES[value])
            # TRL's own forms of these two losses
            if value == "ipo":
                found.set("length", "mean")
            if value == "orpo":
                found.set("likelihood_over", "prompt_and_answer")
        else:
            found.without[current(found)] = f"{value}: see `loss` in the settings of dpo"
    else:
        found.without[current(found)] = f"{value}: the loss of {found.method} is the usual one"


def _length(found: Conversion, value: Any) -> None:
    if value is not None:
        found.set(f"{data_group(found)}.max_length", int(value))


def _functions(found: Conversion, value: Any) -> None:
    found.without[current(found)] = f"{value}: give the scorer as --scorer file.py:function or a folder"


RULES: Mapping[str, Rule] = {
    "dataset_name": _dataset,
    "max_length": _length,
    "max_seq_length": _length,
    "loss_type": _loss,
    "beta": number("beta"),
    "label_smoothing": number("label_smoothing"),
    "center_rewards_coefficient": number("centring"),
    "undesirable_weight": number("undesirable_weight"),
    "desirable_weight": no("undesirable_weight weighs the other side"),
    "rpo_alpha": number("likelihood"),
    "load_in_4bit": quantised(4),
    "load_in_8bit": quantised(8),
    "torch_dtype": precision("train.precision"),
    "dtype": precision("train.precision"),
    "reward_model_name_or_path": to("scorer.path"),
    "eval_on_start": no("held-out numbers are measured before the first step"),
    "assistant_only_loss": no("the loss is on assistant turns alone always"),
    "completion_only_loss": no("the loss is on completions alone always"),
    "push_to_hub": no("steersman export --push-to-hub"),
    "hub_model_id": no("steersman export --push-to-hub"),
    "reward_funcs": _functions,
    "dataset_test_split": no("held_out is a share of the rows, or a source of its own"),
    "dataset_num_proc": no(SPEED),
    "precompute_ref_log_probs": no("the reference's log-probs are computed beside the policy's"),
    "gradient_checkpointing_kwargs": no("it is not reentrant always"),
    "attn_implementation": no(SPEED),
    "use_vllm": no(SPEED),
    "remove_unused_columns": no("columns that are not read are left alone"),
    "logging_first_step": no(LOGGED),
    "accelerator_config": no(MACHINE),
    "eos_token": no("the tokeniser says which token is EOS"),
    "chat_template_path": no("put it into the model's folder (docs/templates.md)"),
}
_OF_ANSWERS: Mapping[str, Rule] = {
    "sft_model_path": to("model.path"),
    "reward_model_path": to("scorer.path"),
    "kl_coef": number("kl.coefficient"),
    "beta": number("kl.coefficient"),
    "epsilon": number("update.clip"),
    "cliprange": number("update.clip"),
    "epsilon_high": number("update.clip_high"),
    "cliprange_value": number("update.value_clip"),
    "vf_coef": number("update.value_coefficient"),
    "gamma": number("advantage.gamma"),
    "lam": number("advantage.gae_lambda"),
    "whiten_rewards": to("advantage.whiten_rewards"),
    "num_ppo_epochs": number("update.epochs", int),
    "num_iterations": number("update.epochs", int),
    "num_mini_batches": number("update.minibatches", int),
    "missing_eos_penalty": number("score.missing_eos_penalty"),
    "max_completion_length": number("sampling.max_new_tokens", int),
    "response_length": number("sampling.max_new_tokens", int),
    "max_prompt_length": number("prompts.max_length", int),
    "temperature": number("sampling.temperature"),
    "total_episodes": lambda found, value: found.set(
        "iterations",
        max(1, int(value) // max(1, found.settings["prompts_per_iteration"] * found.settings["samples_per_prompt"])),
    ),
    "torch_dtype": precision("compute.precision"),
    "dtype": precision("compute.precision"),
    "bf16": precision("compute.precision"),
}
