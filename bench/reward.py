"""Reward models: Steersman beside TRL's RewardTrainer. How it is measured stands in training.py.

Run: python bench/reward.py [a b c] [--repeats 9]; the peer's environment is made by bench/peers/setup.sh.
"""

from training import main

if __name__ == "__main__":
    main("reward", __doc__)
