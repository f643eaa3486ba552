"""Settings of the command `judge`."""

from typing import Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.judge import JudgeSettings
from steersman.settings.score import SourceSettings


class JudgePlaceSettings(Settings):
    """The run folder, and the device and threads."""

    out: str
    """The run folder. The same command with the same folder continues where it stopped."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads."""


class AttackSettings(Settings):
    """Attack strings against honest answers: how often they win."""

    source: str | None = None
    """shipped, or a TOML file of the same form as the shipped one. Set by --attack."""
    at_most: float | None = Field(default=None, ge=0, le=1)
    """End with exit code 1 if the strings together beat honest answers more often than this, such as 0.02."""
    honest: int = Field(default=8, ge=1)
    """Answers of data.source to compare with, the first of each prompt; without data the shipped ones."""


class JudgeRunSettings(Settings):
    data: SourceSettings | None = None
    """Answers to judge: what `sample` writes, two or more to a prompt; or comparisons and rankings, judged anew."""
    against: SourceSettings | None = None
    """Instead of data: comparisons by people, or with a known answer. The judge is measured on them."""
    attack: AttackSettings = AttackSettings()
    judge: JudgeSettings
    pairs: Literal["all", "tournament"] = "all"
    """Which of K answers are compared. tournament: a knockout of K - 1 comparisons."""
    records_at_once: int = Field(default=32, ge=1)
    """Records per batch. At most one batch is lost when the process is killed, and no reply of an endpoint."""
    run: JudgePlaceSettings

    @model_validator(mode="after")
    def _one_thing_to_do(self) -> "JudgeRunSettings":
        if self.data is None and self.against is None and self.attack.source is None:
            raise ValueError(
                "nothing to judge: give data.source (answers), against.source (judged pairs, to measure the judge), or "
                "--attack"
            )
        if self.against is not None and (self.data is not None or self.attack.source is not None):
            raise ValueError(
                "against.source measures the judge on judged pairs, and nothing else is judged then; leave data and "
                "attack out, or use another run"
            )
        return self
