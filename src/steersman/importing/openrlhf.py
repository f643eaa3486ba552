"""Scripts of OpenRLHF: `deepspeed --module openrlhf.cli.train_sft --pretrain …`, `ray job submit … train_ppo_ray …`."""

import re
from collections.abc import Mapping
from typing import Any

from steersman.errors import UsageError
from steersman.importing.rules import (
    LOGGED,
    MACHINE,
    SPEED,
    Conversion,
    Rule,
    apply,
    current,
    data_group,
    iterations,
    lora,
    no,
    number,
    precision,
    quantised,
    schedule,
    to,
)
from steersman.importing.shell import commands_in, options_of

MODULE = re.compile(r"openrlhf(?:\.cli\.|/cli/)train_(\w+?)(?:\.py)?$")
METHODS = {"sft": "sft", "rm": "reward", "dpo": "dpo", "kto": "dpo", "ppo": "ppo", "ppo_ray": "ppo", "prm": "reward"}
ESTIMATORS = {
    "gae": "gae",
    "reinforce": "reinforce++",
    "reinforce_baseline": "reinforce++",
    "rloo": "rloo",
    "group_norm": "grpo",
    "grpo": "grpo",
    "dr_grpo": "dr-grpo",
}
_TOGETHER = (
    *("lora_rank", "lora_alpha", "lora_dropout", "target_modules", "rollout_batch_size", "train_batch_size"),
    *("max_samples", "num_episodes", "n_samples_per_prompt", "max_epochs", "input_key", "output_key", "chosen_key"),
    *("rejected_key", "num_gpus", "prompt_key"),
)


def parsed(text: str) -> tuple[str, dict[str, Any]] | None:
    """The trainer and its options, from a script or from one command line."""
    for words in commands_in(text):
        for place, word in enumerate(words):
            inner = word.split()
            if len(inner) > 1 and any(MODULE.search(one) for one in inner):  # a whole command in quotes
                return parsed(word)
            if trainer := MODULE.search(word):
                return trainer[1], options_of(words[place + 1 :])
    return None


def method_of(trainer: str) -> str:
    if trainer not in METHODS:
        raise UsageError(f"OpenRLHF's train_{trainer} has no counterpart; expected one of {', '.join(METHODS)}")
    return METHODS[trainer]


def convert(found: Conversion, trainer: str) -> None:
    given = found.given
    rank = int(given.get("lora_rank", 0) or 0)
    if rank:
        lora(found, rank, given.get("lora_alpha", 16), given.get("lora_dropout"), given.get("target_modules"))
    if trainer == "kto":
        found.set("loss", "kto")
    if trainer == "prm":
        found.set("process", True)
    _columns(found)
    if found.method == "ppo":
        _lengths_of_ppo(found)
    else:
        found.set("train.batch_size", int(given.get("train_batch_size", 128)))
        found.set("train.epochs", int(given.get("max_epochs", 1)))
        if "max_samples" in given:
            found.set("data.limit", int(given["max_samples"]))
    apply(found, RULES, _TOGETHER)


def _columns(found: Conversion) -> None:
    group = data_group(found)
    names = {"input_key": "prompt", "prompt_key": "prompt", "output_key": "completion"}
    names |= {"chosen_key": "chosen", "rejected_key": "rejected"}
    for theirs, ours in names.items():
        value = found.given.get(theirs)
        if not isinstance(value, str):
            continue
        if ours == "prompt" and found.given.get("apply_chat_template") and not found.given.get("output_key"):
            found.remark(f"{theirs}={value} with apply_chat_template: chat messages are recognised without it")
            continue
        if value != ours:
            found.set(f"{group}.columns.{ours}", value)


def _lengths_of_ppo(found: Conversion) -> None:
    given = found.given
    prompts, samples = int(given.get("rollout_batch_size", 1024)), int(given.get("n_samples_per_prompt", 1))
    found.set("prompts_per_iteration", prompts)
    found.set("samples_per_prompt", samples)
    found.set("update.minibatches", max(1, round(prompts * samples / int(given.get("train_batch_size", 128)))))
    found.set("update.epochs", int(given.get("max_epochs", 1)))
    count = given.get("max_samples")
    if count is not None and int(count) < 10**7:
        found.set("prompts.limit", int(count))
        iterations(found, int(count) * int(given.get("num_episodes", 1)), prompts)
    else:
        iterations(found, None, prompts)
    if found.settings.get("model.lora.rank"):
        found.set("layout", "adapters")
    elif str(given.get("advantage_estimator", "gae")) == "gae":
        found.set("layout", "separate")


def _source(found: Conversion, value: Any) -> None:
    """`NAME`, `NAME@DATA_DIR`, or several with commas."""
    names = [one.strip() for one in str(value).split(",")]
    found.set(f"{data_group(found)}.source", names[0].partition("@")[0])
    if "@" in names[0]:
        found.remark(f"{names[0]}: the folder after @ was left out; give the file, or owner/name/config of the hub")
    if len(names) > 1 and found.method == "reward":
        found.set("data.more", names[1:])
    elif len(names) > 1:
        found.without[current(found)] = f"{', '.join(names[1:])}: {found.method} reads one source here"


def _estimator(found: Conversion, value: Any) -> None:
    if value in ESTIMATORS:
        found.set("advantage.estimator", ESTIMATORS[value])
    else:
        found.without[current(found)] = f"{value}: our estimators are {', '.join(sorted(set(ESTIMATORS.values())))}"
    if value == "reinforce_baseline":
        found.remark("reinforce_baseline subtracts each prompt's mean; reinforce++ normalises over the batch")


def _kl_in_loss(found: Conversion, value: Any) -> None:
    if value and "init_kl_coef" in found.given:
        found.set("kl.loss_coefficient", float(found.given["init_kl_coef"]))
        found.set("kl.coefficient", 0.0)


def _kl(found: Conversion, value: Any) -> None:
    if not found.given.get("use_kl_loss"):
        found.set("kl.coefficient", float(value))


def _zero_every(name: str) -> Rule:
    """Counts of steps where -1 means never."""

    def rule(found: Conversion, value: Any) -> None:
        if int(value) > 0:
            found.set(
                name if found.method != "ppo" else name.replace("train.evaluate_every", "evaluation.every"), int(value)
            )

    return rule


def _rate(found: Conversion, value: Any) -> None:
    found.set("optimiser.learning_rate", float(value))


def _normalise(found: Conversion, value: Any) -> None:
    if value:
        found.set("score.normalise", "running")


def _wandb(found: Conversion, value: Any) -> None:
    if value:
        found.set("run.journal", ["wandb"])
        if isinstance(value, str):
            found.remark("the token of use_wandb was left out; wandb reads WANDB_API_KEY")


def _length(found: Conversion, value: Any) -> None:
    found.set(f"{data_group(found)}.max_length", int(value))


def _frozen(found: Conversion, value: Any) -> None:
    if int(value) > 0:
        found.set("value_warmup", int(value))


def _ipo(found: Conversion, value: Any) -> None:
    if value:
        found.set("loss", "ipo")


RULES: Mapping[str, Rule] = {
    "pretrain": to("model.path"),
    "reward_pretrain": to("scorer.path"),
    "remote_rm_url": to("scorer.path"),
    "critic_pretrain": to("critic"),
    "ref_pretrain": to("reference"),
    "dataset": _source,
    "prompt_data": _source,
    "save_path": to("run.out"),
    "ckpt_path": no("checkpoints are in the run's folder"),
    "seed": to("run.seed"),
    "max_len": _length,
    "prompt_max_len": _length,
    "generate_max_len": number("sampling.max_new_tokens", int),
    "temperature": number("sampling.temperature"),
    "top_p": number("sampling.top_p"),
    "learning_rate": _rate,
    "actor_learning_rate": _rate,
    "critic_learning_rate": number("value_learning_rate"),
    "lr_scheduler": schedule,
    "lr_warmup_ratio": number("optimiser.warmup"),
    "l2": number("optimiser.weight_decay"),
    "max_norm": number("optimiser.max_grad_norm"),
    "adam_betas": lambda found, value: found.set("optimiser.betas", [float(one) for one in value]),
    "beta": number("beta"),
    "ipo": _ipo,
    "label_smoothing": number("label_smoothing"),
    "nll_loss_coef": number("likelihood"),
    "compute_fp32_loss": no("losses are computed in float32 always"),
    "margin_loss": to("use_margin"),
    "init_kl_coef": _kl,
    "use_kl_loss": _kl_in_loss,
    "kl_target": number("kl.target"),
    "kl_horizon": no("kl.horizon_iterations counts iterations"),
    "kl_estimator": to("kl.estimator"),
    "advantage_estimator": _estimator,
    "gamma": number("advantage.gamma"),
    "lambd": number("advantage.gae_lambda"),
    "eps_clip": number("update.clip"),
    "value_clip": number("update.value_clip"),
    "normalize_reward": _normalise,
    "freezing_actor_steps": _frozen,
    "gradient_checkpointing": to("model.gradient_checkpointing"),
    "bf16": precision("compute.precision"),
    "param_dtype": precision("compute.precision"),
    "load_in_4bit": quantised(4),
    "packing_samples": to("train.packing"),
    "save_steps": _zero_every("run.checkpoint_every"),
    "eval_steps": _zero_every("train.evaluate_every"),
    "use_wandb": _wandb,
    "use_tensorboard": lambda found, value: found.set("run.journal", ["tensorboard"]),
    "apply_chat_template": to(),
    "load_checkpoint": no("the same command on the same folder resumes"),
    "save_hf_ckpt": no("steersman export writes a folder"),
    "input_template": no("the chat template of the model is used (docs/templates.md)"),
    "tokenizer_chat_template": no("put it into the model's folder (docs/templates.md)"),
    "value_head_prefix": no("the head has its own file"),
    **dict.fromkeys(("logging_steps", "max_ckpt_num", "max_ckpt_mem", "wandb_project", "wandb_run_name"), no(LOGGED)),
    **dict.fromkeys(
        (
            *(
                "micro_train_batch_size",
                "micro_rollout_batch_size",
                "flash_attn",
                "attn_implementation",
                "adam_offload",
            ),
            *(
                "packing_method",
                "enable_prefix_caching",
                "use_liger_kernel",
                "grad_accum_dtype",
                "dataloader_num_workers",
            ),
            *("gradient_checkpointing_use_reentrant", "disable_fast_tokenizer", "num_processors"),
        ),
        no(SPEED),
    ),
    **dict.fromkeys(
        (
            *(
                "zero_stage",
                "zpg",
                "ref_num_nodes",
                "ref_num_gpus_per_node",
                "reward_num_nodes",
                "reward_num_gpus_per_node",
            ),
            *("critic_num_nodes", "critic_num_gpus_per_node", "actor_num_nodes", "actor_num_gpus_per_node"),
            *("vllm_num_engines", "vllm_tensor_parallel_size", "vllm_gpu_memory_utilization", "vllm_sync_backend"),
            *(
                "vllm_enable_sleep",
                "deepspeed_enable_sleep",
                "colocate_all_models",
                "colocate_actor_ref",
                "async_train",
            ),
            *("colocate_critic_reward", "ring_attn_size", "ring_head_stride", "local_rank", "ref_reward_offload"),
            *("enforce_eager", "overlap_comm", "deepcompile", "ds_tensor_parallel_size"),
        ),
        no(MACHINE),
    ),
}
