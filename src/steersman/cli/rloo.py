"""`steersman rloo`: PPO without a critic. Several answers to a prompt are compared with one another."""

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.cli.ppo import Device, Model, Out, Prompts, Scorer, Seed, improve, options_of
from steersman.settings.ppo import RlooSettings

EXAMPLE = "Example: steersman rloo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/rloo samples_per_prompt=4"


def rloo(
    words: Words = None,
    model: Model = None,
    scorer: Scorer = None,
    prompts: Prompts = None,
    out: Out = None,
    seed: Seed = None,
    device: Device = None,
    profile: Profile = None,
    seeds: Seeds = 1,
    json: Json = False,
) -> None:
    """RLOO: several answers to each prompt, each compared with the others; no critic. Its relatives are a word away:
    advantage.estimator=grpo, dr-grpo or reinforce++."""
    options = options_of(model, scorer, prompts, out, seed, device, profile)
    improve(gather(RlooSettings, words, options), seeds=seeds, as_json=json)
