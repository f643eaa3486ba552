"""`python -m steersman`, and what torchrun starts in each process: `torchrun --nproc-per-node 2 -m steersman ppo …`."""

from steersman.cli.main import main

if __name__ == "__main__":
    main()
