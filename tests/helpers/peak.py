"""A run in a process of its own, and how much memory it took above what its imports had taken. Usage: peak.py METHOD
SETTINGS-AS-JSON

Two numbers: without the pages of libraries' files that came to be mapped meanwhile, and with them. How many the kernel
maps beside one that is touched depends on what other processes have read of the file, and differs by tens of megabytes
from one environment to the next."""

import json
import os
import sys
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import peft  # noqa: F401  (what a run imports while it loads is no memory of the run)
import torch
import transformers.models.llama.modeling_llama  # noqa: F401

from steersman.assemble.dpo import run_dpo
from steersman.assemble.ppo.run import run_ppo
from steersman.assemble.reward.run import run_reward
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
    before, files = held("VmRSS"), held("RssFile")
    run(settings, quiet=True)
    # not ru_maxrss, which begins with what the process was that started this one
    taken = held("VmHWM") - before
    print(json.dumps([taken - max(0, held("RssFile") - files), taken]))


def held(what: str) -> int:
    """Bytes, of /proc/self/status."""
    (found,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what + ":"))
    return int(found.split()[1]) * 1024


if __name__ == "__main__":
    main()
