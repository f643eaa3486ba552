#!/bin/sh
# A virtual environment for the peer: TRL 1.16.0 on the versions of torch and transformers that Steersman runs with.
# Usage: sh bench/peers/setup.sh [python]
set -eu
cd "$(dirname "$0")/../.."
home=.bench/trl-1.16
[ -x "$home/bin/python" ] || "${1:-python3}" -m venv "$home"
# The CPU build first, where this machine's index offers it: the usual one brings gigabytes of CUDA libraries.
"$home/bin/python" -m pip install -q torch==2.13.0+cpu || "$home/bin/python" -m pip install -q torch==2.13.0
"$home/bin/python" -m pip install -q trl==1.16.0 transformers==5.23.0 accelerate==1.15.0 peft==0.21.2 datasets==5.2.0
"$home/bin/python" -c 'import torch, transformers, trl; print("torch", torch.__version__, "transformers", transformers.__version__, "trl", trl.__version__)'
