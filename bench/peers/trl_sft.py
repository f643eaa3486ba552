"""TRL's SFTTrainer on prepared rows, a few steps at a time. Run by the peer's own interpreter (see setup.sh)."""

from trl import SFTConfig, SFTTrainer
from trl_turns import in_turns, load_rows, options, settings


def main() -> None:
    arguments = options(__doc__)
    trainer_class, turn = in_turns(SFTTrainer)
    trainer = trainer_class(
        model=str(arguments.folder / "model"),
        args=SFTConfig(**settings(arguments)),
        train_dataset=load_rows(arguments.folder),
        callbacks=[turn],
    )
    turn.follow(trainer)
    trainer.train()


if __name__ == "__main__":
    main()
