#!/bin/sh
# Virtual environments for the peer: TRL 1.16.0, and 1.12.0, the last release that has PPO, on the versions of torch and transformers
# that Steersman runs with. Usage: sh bench/peers/setup.sh [python]
set -eu
cd "$(dirname "$0")/../.."
for trl in 1.16.0 1.12.0; do
    home=.bench/trl-${trl%.0}
    [ -x "$home/bin/python" ] || "${1:-python3}" -m venv "$home"
    # The CPU build first, where this machine's index offers it: the usual one brings gigabytes of CUDA libraries.
    "$home/bin/python" -m pip install -q torch==2.13.0+cpu || "$home/bin/python" -m pip install -q torch==2.13.0
    "$home/bin/python" -m pip install -q transformers==5.23.0 accelerate==1.15.0 peft==0.21.2 datasets==5.2.0
    # What it needs stands above.
    "$home/bin/python" -m pip install -q --no-deps "trl==$trl"
    "$home/bin/python" -c 'import torch, transformers, trl; print("torch", torch.__version__, "transformers", transformers.__version__, "trl", trl.__version__)'
done
