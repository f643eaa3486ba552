"""`steersman rloo`: policy gradient without a critic. The answers to one prompt are compared with one another."""

from steersman.cli.training import from_prompts

EXAMPLE = (
    "Example: steersman rloo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/rloo "
    "samples_per_prompt=4"
)

rloo = from_prompts(
    "rloo",
    "RLOO: sample several answers per prompt and use the others' mean score as each answer's baseline; no "
    "critic. Related estimators: advantage.estimator=grpo, dr-grpo or reinforce++.",
    model_help="The initial policy, which is also the reference.",
    seed_help="Seed of sampling and prompt order.",
)
