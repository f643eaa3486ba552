"""Run under torchrun by test_two_reward_processes.py: a whole `reward` run; torchrun gives each process its place."""

import json
import sys

import torch

from steersman.assemble.reward import run_reward
from steersman.settings.base import load_settings
from steersman.settings.reward import RewardSettings

if __name__ == "__main__":
    torch.set_num_threads(1)
    result = run_reward(load_settings(RewardSettings, None, sys.argv[1:]), quiet=True)
    print(json.dumps(result.as_dict()))
