"""`steersman reward`: train a reward model on human judgements."""

from steersman.cli.training import from_rows

EXAMPLE = "Example: steersman reward --model runs/sft --data judgements.jsonl --out runs/reward members=3"

reward = from_rows(
    "reward",
    "Train a reward model on pairs, graded pairs, ties, rankings or thumbs; one model or an ensemble (members=3).",
    model_help="The initial model: a language model, a run, or a reward model to continue from.",
    data_help="Comparisons, rankings or thumbs: a file, a folder, a hub id or a named source.",
    seed_help="Seed of data order and of the new reward head.",
)
