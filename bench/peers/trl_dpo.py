"""TRL's DPOTrainer on prepared pairs, a few steps at a time. Run by the peer's own interpreter (see setup.sh)."""

from trl import DPOConfig, DPOTrainer
from trl_turns import in_turns, load_rows, options, settings


def main() -> None:
    arguments = options(__doc__, reference_first=True)
    trainer_class, turn = in_turns(DPOTrainer)
    trainer = trainer_class(
        model=str(arguments.folder / "model"),
        args=DPOConfig(**settings(arguments), beta=0.1, precompute_ref_log_probs=arguments.reference_first),
        train_dataset=load_rows(arguments.folder),
        callbacks=[turn],
    )
    turn.follow(trainer)
    trainer.train()


if __name__ == "__main__":
    main()
