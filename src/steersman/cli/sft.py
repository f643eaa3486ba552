"""`steersman sft`: supervised fine-tuning on demonstrations."""

from steersman.cli.training import from_rows

EXAMPLE = "Example: steersman sft --model harbour:base --data harbour:demonstrations --out runs/sft train.epochs=2"

sft = from_rows(
    "sft",
    "Fine-tune a language model on demonstrations: full, LoRA (model.lora.rank=16) or QLoRA (model.quantise=4bit).",
    model_help="Model to fine-tune: a folder, a hub id, harbour:base or tiny:llama.",
    data_help="Demonstrations: a file, a folder, a hub id or a named source.",
    seed_help="Seed of data order and initialisation.",
)
