"""DPO: Steersman beside TRL's DPOTrainer. How it is measured stands in training.py.

TRL as it ships asks the reference in every step. Steersman asks it once before the first step; here it asks again for
the rows of each turn, within the turn, so that both are timed with all their work. A fourth process is TRL with
`precompute_ref_log_probs`: it is compared with Steersman's steps alone.

Run: python bench/dpo.py [a b c] [--repeats 9]; the peer's environment is made by bench/peers/setup.sh.
"""

from training import main

if __name__ == "__main__":
    main("dpo", __doc__)
