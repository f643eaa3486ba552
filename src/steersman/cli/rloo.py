"""`steersman rloo`: policy gradient without a critic. The answers to one prompt are compared with one another."""

from steersman.cli.command import Json, Profile, Seeds, Words, gather
from steersman.cli.ppo import Device, Model, Out, Prompts, Scorer, Seed, improve, options_of
from steersman.settings.ppo import RlooSettings

EXAMPLE = (
    "Example: steersman rloo --model runs/sft --scorer runs/reward --prompts prompts.jsonl --out runs/rloo "
    "samples_per_prompt=4"
)


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
    """RLOO: sample several answers per prompt and use the others' mean score as each answer's baseline; no critic.
    Related estimators: advantage.estimator=grpo, dr-grpo or reinforce++."""
    options = options_of(model, scorer, prompts, out, seed, device, profile)
    improve(gather(RlooSettings, words, options), seeds=seeds, as_json=json)
