"""Recipes of LLaMA-Factory: YAML (or JSON) files with a `stage`, as in its `examples/`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.importing.rules import (
    LOGGED,
    MACHINE,
    PRECISION,
    SPEED,
    Conversion,
    Rule,
    apply,
    current,
    data_group,
    held_out,
    lora,
    no,
    number,
    precision,
    schedule,
    to,
)

METHODS = {"sft": "sft", "pt": "sft", "rm": "reward", "ppo": "ppo", "dpo": "dpo", "kto": "dpo"}
LOSSES = {"sigmoid": "dpo", "hinge": "hinge", "ipo": "ipo", "orpo": "orpo", "simpo": "simpo", "kto_pair": "kto"}
COLUMNS = {"prompt": "prompt", "query": None, "response": "completion", "system": "system", "messages": "messages"}
_OURS = ("stage", "dataset", "dataset_dir", "eval_dataset", "finetuning_type", "per_device_train_batch_size")
_READ_TOGETHER = (*_OURS, "gradient_accumulation_steps", "lora_rank", "lora_alpha", "lora_dropout", "lora_target")


def is_one(values: Mapping[str, Any]) -> bool:
    return "stage" in values and "model_name_or_path" in values


def convert(found: Conversion, folder: Path) -> None:
    given = found.given
    kind = given.get("finetuning_type", "lora")
    if kind == "lora":
        rank = given.get("lora_rank", 8)
        lora(found, rank, given.get("lora_alpha", 2 * int(rank)), given.get("lora_dropout"), given.get("lora_target"))
    elif kind == "freeze":
        found.without["finetuning_type"] = "freeze: train all weights, or an adapter (model.lora)"
    _data(found, folder)
    _batch(found)
    if found.method == "ppo":
        found.set("layout", "adapters" if kind == "lora" else "shared")
    if given["stage"] == "kto":
        found.set("loss", "kto")
    if given["stage"] == "pt":
        found.remark("stage=pt learns whole texts: rows with a `text` are learned whole by sft too")
    apply(found, RULES, _READ_TOGETHER)


def _data(found: Conversion, folder: Path) -> None:
    names = [one.strip() for one in str(found.given.get("dataset", "")).split(",") if one.strip()]
    if not names:
        raise UsageError("the recipe names no dataset; expected dataset: NAME")
    infos = _infos(folder, str(found.given.get("dataset_dir", "data")))
    sources = [_source(found, name, infos) for name in names]
    group = data_group(found)
    found.set(f"{group}.source", sources[0])
    if len(sources) > 1 and found.method == "reward":
        found.set("data.more", sources[1:])
    elif len(sources) > 1 and found.method == "sft":
        for name, source in zip(names[1:], sources[1:], strict=True):
            key = "".join(letter if letter.isalnum() else "_" for letter in name)
            found.set(f"mix.{key}.source", source)
            found.set(f"mix.{key}.share", round(1 / len(sources), 4))
        found.remark("several datasets became a mix of equal shares; there their sizes decide")
    elif len(sources) > 1:
        found.without["dataset"] = (
            f"{', '.join(names[1:])}: {found.method} reads one source; put the rows into one file"
        )
    if said := found.given.get("eval_dataset"):
        found.set(f"{group}.held_out", _source(found, str(said).split(",")[0].strip(), infos))


def _infos(folder: Path, place: str) -> Mapping[str, Any]:
    """The registry of data sets, dataset_info.json, where it can be found."""
    for candidate in (folder / place, Path(place), *(parent / place for parent in folder.absolute().parents[:3])):
        file = candidate / "dataset_info.json"
        if file.is_file():
            read = json.loads(file.read_text(encoding="utf-8"))
            return {name: {**one, "_folder": str(candidate)} for name, one in read.items()}
    return {}


def _source(found: Conversion, name: str, infos: Mapping[str, Any]) -> str:
    """The file or hub id that a registered name stands for, with its columns."""
    info = infos.get(name)
    if info is None:
        found.remark(
            f"the data set {name!r} is a name of LLaMA-Factory's data/dataset_info.json, which was not found; give its "
            "file or hub id instead"
        )
        return name
    columns = dict(info.get("columns") or {})
    for theirs, column in columns.items():
        ours = COLUMNS.get(theirs, theirs if theirs in ("chosen", "rejected") else None)
        if ours is not None and column:
            found.set(f"{data_group(found)}.columns.{ours}", column)
        elif column:
            found.remark(f"the column {theirs}={column!r} of {name} was left out; see data.columns")
    if "hf_hub_url" in info:
        return str(info["hf_hub_url"])
    return str(Path(info["_folder"]) / str(info.get("file_name", name)))


def _batch(found: Conversion) -> None:
    each = int(found.given.get("per_device_train_batch_size", 8))
    batch = each * int(found.given.get("gradient_accumulation_steps", 1)) * found.devices
    if found.method == "ppo":
        found.set("prompts_per_iteration", batch * int(found.given.get("ppo_buffer_size", 1)))
    else:
        found.set("train.batch_size", batch)
    found.remark(
        f"the batch is {each} rows on a device × accumulation × {found.devices} device{'s' * (found.devices != 1)} = "
        f"{batch}; with another number of devices give --devices. Memory does not depend on it here"
    )


def _warmup(found: Conversion, value: Any) -> None:
    found.set("optimiser.warmup", float(value))


def _epochs(found: Conversion, value: Any) -> None:
    if found.method == "ppo":
        found.remark(f"num_train_epochs={value} counts passes over the prompts; set iterations")
    else:
        epochs = max(1, round(float(value)))
        found.set("train.epochs", epochs)
        if epochs != float(value):
            found.remark(f"num_train_epochs={value} was rounded to {epochs}")


def _steps(found: Conversion, value: Any) -> None:
    if int(value) > 0:
        found.set("iterations" if found.method == "ppo" else "train.steps", int(value))


def _loss(found: Conversion, value: Any) -> None:
    if value in LOSSES:
        found.set("loss", LOSSES[value])
    else:
        found.without[current(found)] = f"{value}: see `loss` in the settings of dpo"


def _evaluate_every(found: Conversion, value: Any) -> None:
    if float(value) < 1:
        found.without[current(found)] = "a share of all steps; evaluate_every counts steps"
    else:
        found.set("evaluation.every" if found.method == "ppo" else "train.evaluate_every", int(value))


def _bits(found: Conversion, value: Any) -> None:
    if value in (4, 8, "4", "8"):
        found.set("model.quantise", f"{value}bit")


def _limit(found: Conversion, value: Any) -> None:
    found.set(f"{data_group(found)}.limit", int(value))


def _length(found: Conversion, value: Any) -> None:
    found.set(f"{data_group(found)}.max_length", int(value))


def _template(found: Conversion, value: Any) -> None:
    found.remark(
        f"template={value}: the model's own chat template is used (docs/templates.md); check what `data inspect` shows"
    )


def _journal(found: Conversion, value: Any) -> None:
    asked = value if isinstance(value, list) else [value]
    known = [one for one in asked if one in ("tensorboard", "wandb", "mlflow", "trackio")]
    if known:
        found.set("run.journal", known)


def _adapter(found: Conversion, value: Any) -> None:
    found.set("model.path", value)
    found.remark("adapter_name_or_path became model.path: the adapter's folder names its base")


def _norm(found: Conversion, value: Any) -> None:
    if value:
        found.set("score.normalise", "running")


RULES: Mapping[str, Rule] = {
    "model_name_or_path": to("model.path"),
    "adapter_name_or_path": _adapter,
    "model_revision": to("model.revision"),
    "trust_remote_code": to("model.trust_remote_code"),
    "quantization_bit": _bits,
    "quantization_method": no("bitsandbytes alone"),
    "reward_model": to("scorer.path"),
    "reward_model_type": no("the scorer's folder says what it is"),
    "ref_model": to("reference"),
    "output_dir": to("run.out"),
    "seed": to("run.seed"),
    "cutoff_len": _length,
    "max_samples": _limit,
    "val_size": held_out,
    "template": _template,
    "packing": to("train.packing"),
    "neat_packing": to("train.packing"),
    "learning_rate": number("optimiser.learning_rate"),
    "lr_scheduler_type": schedule,
    "warmup_ratio": _warmup,
    "warmup_steps": _warmup,
    "weight_decay": number("optimiser.weight_decay"),
    "max_grad_norm": number("optimiser.max_grad_norm"),
    "adam_epsilon": number("optimiser.epsilon"),
    "num_train_epochs": _epochs,
    "max_steps": _steps,
    "bf16": precision("train.precision"),
    "fp16": no("fp16 needs loss scaling; bf16 or float32 instead"),
    "pure_bf16": no("weights in training are float32 or an adapter on a bfloat16 base"),
    "gradient_checkpointing": to("model.gradient_checkpointing"),
    "disable_gradient_checkpointing": no("model.gradient_checkpointing is off by default"),
    "pref_loss": _loss,
    "pref_beta": number("beta"),
    "kto_chosen_weight": no("undesirable_weight weighs the other side"),
    "kto_rejected_weight": number("undesirable_weight"),
    "simpo_gamma": number("gamma"),
    "dpo_label_smoothing": number("label_smoothing"),
    "pref_ftx": number("likelihood"),
    "ppo_epochs": number("update.epochs", int),
    "ppo_score_norm": _norm,
    "ppo_whiten_rewards": to("advantage.whiten_rewards"),
    "ppo_target": number("kl.target"),
    "max_new_tokens": number("sampling.max_new_tokens", int),
    "top_k": number("sampling.top_k", int),
    "top_p": number("sampling.top_p"),
    "temperature": number("sampling.temperature"),
    "eval_steps": _evaluate_every,
    "save_steps": number("run.checkpoint_every", int),
    "save_total_limit": number("run.keep_last", int),
    "report_to": _journal,
    "ppo_buffer_size": to(),
    "resume_from_checkpoint": no("the same command on the same folder resumes"),
    "overwrite_output_dir": no("a run's folder is resumed, not overwritten"),
    "do_train": to(),
    "do_eval": to(),
    "eval_strategy": to(),
    "predict_with_generate": no("steersman evaluate measures answers"),
    **dict.fromkeys(
        ("logging_steps", "plot_loss", "save_only_model", "run_name", "include_num_input_tokens_seen"), no(LOGGED)
    ),
    **dict.fromkeys(("deepspeed", "fsdp", "fsdp_config", "ddp_timeout", "ddp_find_unused_parameters"), no(MACHINE)),
    **dict.fromkeys(
        (
            "preprocessing_num_workers",
            "dataloader_num_workers",
            "overwrite_cache",
            "per_device_eval_batch_size",
            "flash_attn",
        ),
        no(SPEED),
    ),
    **dict.fromkeys(("enable_liger_kernel", "use_unsloth", "infer_backend", "tokenized_path", "streaming"), no(SPEED)),
    "optim": no("the optimiser is AdamW"),
    "use_dora": no("adapters are LoRA"),
    "use_rslora": no("adapters are scaled by alpha / rank"),
    "lora_plus_lr_ratio": no("one learning rate for both matrices of an adapter"),
    "neftune_noise_alpha": no("no noise on embeddings"),
    "rope_scaling": no("set it in the model's config.json"),
    "tf32": no(PRECISION),
}
