"""`steersman online-dpo`: DPO on pairs of the policy's own answers, ranked by a scorer."""

from steersman.cli.training import from_prompts

EXAMPLE = (
    "Example: steersman online-dpo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/online-dpo "
    "beta=0.1"
)

online_dpo = from_prompts(
    "online-dpo",
    "Online DPO: sample answers from the policy, let a scorer choose the best and the worst, and train on "
    "the pair with loss=dpo, ipo, …",
    model_help="The initial policy, which is also the reference.",
    seed_help="Seed of sampling and prompt order.",
)
