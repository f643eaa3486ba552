"""`steersman ppo`: optimise a policy against a reward with PPO."""

from steersman.cli.training import from_prompts

EXAMPLE = (
    "Example: steersman ppo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/ppo "
    "kl.coefficient=0.05"
)

ppo = from_prompts(
    "ppo",
    "PPO: sample answers, score them, compute advantages with a critic, and update the policy with a KL "
    "penalty from the reference.",
    model_help="The initial policy, which is also the reference.",
    seed_help="Seed of sampling and prompt order.",
)
