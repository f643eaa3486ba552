"""Settings of Q-learning from answers that are given (ILQL)."""

from pydantic import Field

from steersman.settings.base import Settings
from steersman.settings.parts import DataSettings, ModelSettings, OptimiserSettings, RunSettings, TrainSettings


class IlqlSettings(Settings):
    model: ModelSettings
    """Usually a fine-tuned model. One that has Q heads goes on with them."""
    data: DataSettings
    """Answers that were scored, or comparisons, rankings, thumbs or steps, in any known format."""
    reward: str | None = None
    """Which of the answers' scores (or of a label's ratings) is the reward. Left out, answers have their only score, and what people
    judged is worth from -1 to 1."""
    discount: float = Field(default=0.99, gt=0, le=1)
    """What a reward counts one token earlier."""
    expectile: float = Field(default=0.7, gt=0, lt=1)
    """How far V goes towards the best of the tokens seen in a state: 0.5 is their mean, near 1 the best of them."""
    polyak: float = Field(default=0.005, gt=0, le=1)
    """The share of the way that the target heads move to the learned ones each step."""
    conservative: float = Field(default=0.1, ge=0)
    """Weight of the conservative term: it holds Q of tokens down that nobody took (CQL)."""
    imitation: float = Field(default=1.0, ge=0)
    """Weight of the policy's own loss, the likelihood of the answers; 0 leaves the policy as it is, but for what Q does to its trunk."""
    imitation_beta: float = Field(default=0.0, ge=0)
    """Imitate tokens that are better than their state more: by exp(imitation_beta * (Q - V)) (AWAC)."""
    beta: float = Field(default=1.0, ge=0)
    """How much the finished model's answers lean on Q, unless whoever asks says otherwise (q_beta); kept in its folder."""
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=5e-5)
    train: TrainSettings = TrainSettings(keep="last")
    run: RunSettings
