"""Settings of a reward model."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from steersman.settings.base import Settings
from steersman.settings.parts import DataSettings, ModelSettings, OptimiserSettings, RunSettings, TooLong, TrainSettings


class JudgementDataSettings(DataSettings):
    more: list[str] = Field(default_factory=list)
    """Further sources of judgements to learn from, such as the labels of an AI judge beside those of people."""
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """Weights of judged pairs by who judged: people, judges (annotators whose name begins with judge:), or one
    annotator's name. 1 where nothing is said; weights of a pair of a ranking are divided by its pairs as ever."""
    source_weights: list[Annotated[float, Field(gt=0)]] | None = None
    """A factor on the weights of each source's pairs: that of `source`, then those of `more` in their order, such as
    less for the judgements of earlier rounds."""

    @model_validator(mode="after")
    def _a_weight_for_each_source(self) -> "JudgementDataSettings":
        given, sources = self.source_weights, 1 + len(self.more)
        if given is not None and len(given) != sources:
            raise ValueError(
                f"data.source_weights has {len(given)} weights for {sources} sources; expected one for data.source and "
                "one for each of data.more"
            )
        return self


class RewardSettings(Settings):
    earlier_defaults: ClassVar[Mapping[str, Any]] = {"data.template": "none", "too_long": "cut"}

    model: ModelSettings
    """A causal language model, or a trained reward model to continue from on new judgements."""
    data: JudgementDataSettings
    """Comparisons, rankings or labels (thumbs up and down), in any known format."""
    process: bool = False
    """Train a process reward model: the data are answers in steps, each right or wrong. Its score of an answer is the
    lowest probability of a step to be right."""
    ties: Literal["soft", "drop"] = "soft"
    """soft trains on ties with a target preference of 0.5; drop leaves ties out."""
    too_long: TooLong = "leave_out"
    """Judgements with an answer that does not fit into data.max_length with its prompt: leave_out, and say how many; or
    cut them and learn from what is left."""
    use_margin: bool = False
    """Subtract a pair's judged margin from the score difference, inside the sigmoid (Llama 2)."""
    centring: float = Field(default=0.01, ge=0)
    """Weight of a penalty on the squared sum of each pair's scores, which keeps scores near zero. 0 switches it off."""
    members: int = Field(default=1, ge=1, le=16)
    """Number of reward models. More than one is an ensemble: each member has its own seed and data order."""
    members_as: Literal["ensemble", "average"] = "ensemble"
    """ensemble keeps all members. average saves one model with the mean of their weights (WARM); its members start from
    the same new head and differ in data order."""
    head_seed: int | None = Field(default=None, ge=0)
    """Seed of the new reward head; run.seed if not given."""
    reference: str | None = None
    """Answers that define the score scale: theirs get mean 0 and standard deviation 1. Demonstrations, for instance;
    the judged answers if not given."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=1e-4)
    train: TrainSettings = TrainSettings()
    run: RunSettings

    @model_validator(mode="after")
    def _of_pairs(self) -> "RewardSettings":
        for name in ("ties", "use_margin", "centring", "reference", "members_as") if self.process else ():
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                raise ValueError(f"{name}={value} has no effect with process=true; leave it out")
        return self

    @model_validator(mode="after")
    def _average_of_whole_models(self) -> "RewardSettings":
        if self.members_as == "average" and self.members < 2:
            raise ValueError("members_as=average is a mean over members; give two or more, such as members=4")
        if self.members_as == "average" and self.model.lora is not None:
            raise ValueError(
                "members_as=average averages whole models: the mean of two adapters is not the adapter of the mean. "
                "Leave model.lora out, or choose members_as=ensemble"
            )
        return self
