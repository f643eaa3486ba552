"""Supervised fine-tuning: Steersman beside TRL's SFTTrainer. How it is measured stands in training.py.

Run: python bench/sft.py [a b c] [--repeats 9]; the peer's environment is made by bench/peers/setup.sh.
"""

from training import main

if __name__ == "__main__":
    main("sft", __doc__)
