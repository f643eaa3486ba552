"""A run in a process of its own, and how much memory it took above what its imports had taken. Usage: peak.py METHOD SETTINGS-AS-JSON"""

import json
import os
import resource
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import peft  # noqa: F401  (what a run imports while it loads is no memory of the run)
import torch
import transformers.models.llama.modeling_llama  # noqa: F401

from steersman.assemble.dpo import run_dpo
from steersman.assemble.ppo import run_ppo
from steersman.assemble.reward import run_reward
from steersman.assemble.sft import run_sft
from steersman.settings.base import check
from steersman.settings.dpo import DpoSettings
from steersman.settings.ppo import PpoSettings
from steersman.settings.reward import RewardSettings
from steersman.settings.sft import SftSettings

RUNS = {
    "ppo": (run_ppo, PpoSettings),
    "sft": (run_sft, SftSettings),
    "reward": (run_reward, RewardSettings),
    "dpo": (run_dpo, DpoSettings),
}


def main() -> None:
    torch.set_num_threads(1)
    run, schema = RUNS[sys.argv[1]]
    settings = check(schema, json.loads(sys.argv[2]))
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    run(settings, quiet=True)
    # not ru_maxrss, which begins with what the process was that started this one
    (peak,) = (
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    print(json.dumps(int(peak) * 1024 - pages * resource.getpagesize()))


if __name__ == "__main__":
    main()
