"""`steersman dpo`: train on preferences directly, without a reward model."""

from steersman.cli.training import from_rows

EXAMPLE = "Example: steersman dpo --model runs/sft --data judgements.jsonl --out runs/dpo beta=0.1 loss=ipo"

dpo = from_rows(
    "dpo",
    "Train on preferences with loss=dpo, robust, ipo, hinge, apo_zero, apo_down, simpo, orpo or kto. Full or LoRA "
    "(model.lora.rank=16).",
    model_help="The initial policy, also the reference: usually a fine-tuned model or its run.",
    data_help="Comparisons, rankings or thumbs: a file, a folder, a hub id or a named source.",
    seed_help="Seed of data order and adapters.",
)
