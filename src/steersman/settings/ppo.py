"""Settings of PPO, in the order in which an iteration uses them: prompts, sampling, score, KL, advantage, update.

The methods without a critic (RLOO, GRPO and their kin) are PPO with another `advantage.estimator`. Where a method's paper differs
from PPO's defaults, `DEFAULTS_OF` says so, and the resolved recipe shows it; what only a critic uses is refused beside them.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from steersman.settings.base import NONE, Settings
from steersman.settings.parts import ComputeSettings, ModelSettings, OptimiserSettings, RunSettings
from steersman.settings.score import ScorerSettings
from steersman.settings.watch import WatchSettings

Estimator = Literal["k1", "k2", "k3", "full", "top_k"]
AdvantageEstimator = Literal["gae", "rloo", "grpo", "dr-grpo", "reinforce++"]
Offloaded = Literal["reference", "scorer", "critic", "optimiser"]

IN_GROUPS = ("rloo", "grpo", "dr-grpo")
"""Estimators that compare the answers to one prompt with one another."""

# RLOO: arXiv 2402.14740; the whole answer is one action, so that long ones weigh as much as they have tokens. GRPO: 2402.03300,
# equation 3, beta 0.04. Dr.GRPO: 2503.20783, no KL, and a constant in place of each answer's length. REINFORCE++: 2501.03262.
DEFAULTS_OF: Mapping[str, Mapping[str, Any]] = {
    "rloo": {"samples_per_prompt": 4, "update.mean_over": "constant"},
    "grpo": {
        "samples_per_prompt": 4,
        "update.mean_over": "answers",
        "kl.coefficient": 0.0,
        "kl.loss_coefficient": 0.04,
        "kl.loss_estimator": "k3",
    },
    "dr-grpo": {"samples_per_prompt": 4, "update.mean_over": "constant", "kl.coefficient": 0.0},
}
ONLY_FOR_A_CRITIC = (
    "critic",
    "value_learning_rate",
    "advantage.gae_lambda",
    "update.value_clip",
    "update.value_coefficient",
)
ONLY_TOKEN_BY_TOKEN = ("advantage.gamma", "advantage.whiten_rewards", "kl.estimator", "kl.top_k")
"""What means nothing where a whole answer is one action with one reward."""


class PromptSettings(Settings):
    source: str
    """Prompts: a file, a folder, a hub id, or a named source such as harbour:prompts. Anything with prompts in it will do."""
    format: str | None = None
    split: str | None = None
    held_out: float | str | None = 0.05
    """A share held out, or a second source, or none: answers to them are measured and never learned from."""
    limit: int | None = Field(default=None, ge=1)
    max_length: int = Field(default=512, ge=1)
    """Longer prompts (in tokens) are left out and counted."""
    strict: bool = False


class SamplingSettings(Settings):
    max_new_tokens: int = Field(default=64, ge=1)
    min_new_tokens: int = Field(default=0, ge=0)
    temperature: float = Field(default=1.0, gt=0)
    """Log-probabilities of policy and reference are divided by it alike."""
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    repetition_penalty: float = Field(default=1.0, gt=0)
    stop: list[str] = Field(default_factory=list)


class ShapingSettings(Settings):
    """What becomes of a score before PPO is paid with it."""

    missing_eos_penalty: float | None = None
    """Taken off the score of an answer that was cut off instead of ending by itself."""
    clip: float | None = Field(default=None, gt=0)
    """Scores are held between -clip and clip."""
    normalise: Literal["none", "running"] = "none"
    """running divides by a running standard deviation of the scores (a reward model brings its own scale)."""
    preference_over: int | None = Field(default=None, ge=1, le=64)
    """Pay, in place of the score, how likely an answer is preferred to so many answers of the starting model to the same prompt: the mean of
    sigmoid(score - theirs), from 0 to 1 (PAR). They are drawn and scored once, before the first iteration. kl.coefficient weighs against
    this smaller scale then."""
    overlong_tokens: int | None = Field(default=None, ge=1)
    """The last so many tokens before sampling.max_new_tokens cost, evenly, up to `overlong_penalty` (DAPO's soft punishment)."""
    overlong_penalty: float = Field(default=1.0, gt=0)


class KlSettings(Settings):
    coefficient: float = Field(default=0.05, ge=0)
    """beta: how much one nat of distance from the reference costs."""
    estimator: Estimator = "k1"
    """Of the KL that later tokens will cost; a token's own share is always k1. full and top_k read the whole distribution."""
    top_k: int = Field(default=32, ge=1)
    """For estimator=top_k: the reference's likeliest tokens, all others being one bin."""
    controller: Literal["fixed", "adaptive", "target"] = "fixed"
    target: float = Field(default=6.0, gt=0)
    """Nats per answer that the adaptive and the target-seeking controller steer to."""
    horizon: float = Field(default=10_000.0, gt=0)
    loss_coefficient: float = Field(default=0.0, ge=0)
    """A KL term in the loss besides the reward. Its gradient differs from that of KL in the reward: see docs/ppo.md."""
    loss_estimator: Literal["k2", "k3"] = "k2"
    limit: float | None = Field(default=None, gt=0)
    """The run ends when the KL of an iteration passes this many nats per answer."""

    @model_validator(mode="after")
    def _controllers_multiply(self) -> "KlSettings":
        if self.controller != "fixed" and self.coefficient == 0:
            raise ValueError(
                f"controller={self.controller} multiplies kl.coefficient, which is 0; begin with 0.05, say"
            )
        return self


class AdvantageSettings(Settings):
    estimator: AdvantageEstimator = "gae"
    """gae needs a critic. rloo, grpo and dr-grpo compare the answers to one prompt, reinforce++ all answers; they have none."""
    gamma: float = Field(default=1.0, gt=0, le=1)
    gae_lambda: float = Field(default=0.95, ge=0, le=1)
    whiten: bool = True
    """Advantages get mean 0 and variance 1 over the whole batch. Off unless asked for with rloo, grpo and dr-grpo."""
    whiten_rewards: bool = False
    """Rewards get variance 1, keeping their mean."""
    leave_out_equal: bool = False
    """Learn nothing from prompts whose answers all score alike: they only thin the mean (DAPO's dynamic sampling, drawing no others)."""

    @model_validator(mode="before")
    @classmethod
    def _by_the_estimator(cls, values: Any) -> Any:
        if isinstance(values, str):
            raise ValueError(f"advantage is a group of settings; write advantage.estimator={values}")
        if isinstance(values, Mapping) and values.get("estimator") in IN_GROUPS:
            return {"whiten": False, **values}
        return values


class UpdateSettings(Settings):
    epochs: int = Field(default=4, ge=1)
    minibatches: int = Field(default=4, ge=1)
    clip: float = Field(default=0.2, gt=0)
    """The probability of a token may change by this share before its gradient stops."""
    clip_high: float | None = Field(default=None, gt=0)
    """Another bound upwards, if given."""
    dual_clip: float | None = Field(default=None, gt=1)
    value_clip: float | None = Field(default=0.2, gt=0)
    value_coefficient: float = Field(default=0.1, ge=0)
    entropy_coefficient: float = Field(default=0.0, ge=0)
    mean_over: Literal["tokens", "answers", "constant"] = "tokens"
    """What a loss is the mean over: all answer tokens; answers, each being the mean of its tokens; or answers, each being the sum of
    its tokens divided by sampling.max_new_tokens, so that an answer's length changes nothing for the tokens in it."""
    target_kl: float | None = Field(default=None, gt=0)
    """An update ends early once the policy has moved this far (nats a token) from the one that answered."""
    importance_cap: float = Field(default=2.0, ge=1)
    mismatch_bound: float = Field(default=0.02, gt=0)
    """Mean difference of log-probability between engine and trainer above which truncated importance weights correct it."""
    pretraining: str | None = None
    """A source of demonstrations or texts mixed into every update (PPO-ptx), so that the model forgets less."""
    pretraining_coefficient: float = Field(default=1.0, ge=0)


class EvaluationSettings(Settings):
    every: int = Field(default=10, ge=1)
    """Iterations between measurements on held-out prompts."""
    prompts: int = Field(default=64, ge=1)
    patience: int | None = Field(default=None, ge=1)
    """The run has converged after so many measurements without a better one."""


class PpoComputeSettings(ComputeSettings):
    offload: list[Offloaded] = Field(default_factory=list[Offloaded])
    """What lies in the processor's memory while it is not needed, for a GPU that is a bit too small: reference and scorer but for scoring,
    critic (layout=separate) while answers are drawn, optimiser (its moments) but for updates. Changes memory and speed, no number."""

    @field_validator("offload", mode="before")
    @classmethod
    def _by_commas(cls, value: Any) -> Any:
        """On a command line a list is easier written reference,scorer."""
        if value is None or value == NONE:
            return []
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value


class PpoSettings(Settings):
    model: ModelSettings
    layout: Literal["adapters", "adapters-own-critic", "shared", "separate"] = "shared"
    """Policy and critic: adapters on one frozen base with the value head on the policy's trunk; the critic as an adapter of
    its own; full fine-tuning with one trunk; or with two models."""
    critic: str = "policy"
    """For layout=separate: where the critic starts, `policy`, the path of a reward model, or trl:<folder> (TRL's value head)."""
    prompts: PromptSettings
    sampling: SamplingSettings = SamplingSettings()
    scorer: ScorerSettings
    score: ShapingSettings = ShapingSettings()
    kl: KlSettings = KlSettings()
    advantage: AdvantageSettings = AdvantageSettings()
    update: UpdateSettings = UpdateSettings()
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=1e-5, schedule="linear", warmup=0)
    value_learning_rate: float | None = Field(default=None, gt=0)
    """Of the critic; the policy's if not given."""
    iterations: int = Field(default=100, ge=1)
    prompts_per_iteration: int = Field(default=64, ge=1)
    samples_per_prompt: int = Field(default=1, ge=1)
    compute: PpoComputeSettings = PpoComputeSettings()
    keep: Literal["best", "last"] = "last"
    """Which weights become the final model: the last, or the best by held-out score less its KL cost."""
    samples_kept: int = Field(default=8, ge=0)
    """Answers of each iteration kept with their token-level quantities."""
    evaluation: EvaluationSettings = EvaluationSettings()
    watch: WatchSettings = WatchSettings()
    run: RunSettings

    @model_validator(mode="before")
    @classmethod
    def _published_defaults(cls, values: Any) -> Any:
        """What the chosen estimator's paper has, beneath what was said."""
        if not isinstance(values, Mapping):
            return values
        advantage = values.get("advantage")
        estimator = (
            advantage.get("estimator") if isinstance(advantage, Mapping) else getattr(advantage, "estimator", "")
        )
        defaults = dict(DEFAULTS_OF.get(str(estimator), {}))
        kl = values.get("kl")
        if isinstance(kl, Mapping) and "coefficient" in kl:
            # Whoever says what the KL costs in the reward wants it there, and not in the loss as well.
            defaults.pop("kl.loss_coefficient", None)
        return _beneath(values, defaults)

    @model_validator(mode="after")
    def _without_a_critic(self) -> "PpoSettings":
        estimator = self.advantage.estimator
        if estimator == "gae":
            return self
        if self.layout in ("separate", "adapters-own-critic"):
            instead = "shared" if self.layout == "separate" else "adapters"
            raise ValueError(
                f"layout={self.layout} gives a critic weights of its own, and advantage.estimator={estimator} has no critic; choose "
                f"layout={instead}"
            )
        self._refuse(ONLY_FOR_A_CRITIC, f"advantage.estimator={estimator} has no critic")
        if estimator in IN_GROUPS:
            self._refuse(ONLY_TOKEN_BY_TOKEN, f"advantage.estimator={estimator} gives a whole answer one reward")
            if self.samples_per_prompt < 2:
                raise ValueError(
                    f"advantage.estimator={estimator} compares the answers to one prompt with one another, and "
                    f"samples_per_prompt={self.samples_per_prompt}; expected 2 or more, such as 4"
                )
        return self

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        """Raise if one of these settings is not left at its default."""
        for name in names:
            group: Any = self
            *groups, last = name.split(".")
            for part in groups:
                group = getattr(group, part)
            value = getattr(group, last)
            if value != type(group).model_fields[last].get_default(call_default_factory=True):
                raise ValueError(f"{name}={value} means nothing here: {why}; leave it out")

    @model_validator(mode="after")
    def _one_best(self) -> "PpoSettings":
        if "restore" in self.watch.chosen and self.keep == "best":
            raise ValueError(
                "watch.action=restore keeps the best weights by what the watch believes, and keep=best by the held-out score; choose one"
            )
        return self

    @model_validator(mode="after")
    def _only_models_of_their_own_leave(self) -> "PpoSettings":
        wished = self.compute.offload
        if "reference" in wished and self.layout.startswith("adapters"):
            raise ValueError(
                f"compute.offload names the reference, which in layout={self.layout} is the policy's own base with its adapters off: no second "
                "model takes memory; take reference out of compute.offload"
            )
        if "critic" in wished and self.layout != "separate":
            raise ValueError(
                f"compute.offload names the critic, which in layout={self.layout} has no model of its own; take critic out of compute.offload"
            )
        return self

    @model_validator(mode="after")
    def _adapters_need_lora(self) -> "PpoSettings":
        adapters = self.layout.startswith("adapters")
        if adapters and self.model.lora is None:
            raise ValueError(
                f"layout={self.layout} learns adapters; give model.lora.rank, such as 16, or choose layout=shared"
            )
        if not adapters and self.model.lora is not None:
            raise ValueError(
                f"layout={self.layout} fine-tunes the whole model; choose layout=adapters to use model.lora"
            )
        return self


class RlooSettings(PpoSettings):
    """PPO's settings for a method without a critic: by RLOO, unless another estimator is chosen."""

    @model_validator(mode="before")
    @classmethod
    def _rloo_unless_told(cls, values: Any) -> Any:
        return _beneath(values, {"advantage.estimator": "rloo"}) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _not_gae(self) -> "RlooSettings":
        if self.advantage.estimator == "gae":
            raise ValueError(
                "advantage.estimator=gae needs a critic, and RLOO has none; choose rloo, grpo, dr-grpo or reinforce++, or give these "
                "settings to steersman ppo"
            )
        return self


def _beneath(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with these defaults by dotted name where nothing was said. Groups that are made already stay as they are."""
    found = dict(values)
    for name, default in defaults.items():
        group, dot, key = name.partition(".")
        inner = found.get(group, {}) if dot else found
        if isinstance(inner, Mapping) and (key or group) not in inner:
            if dot:
                found[group] = {**inner, key: default}
            else:
                found[group] = default
    return found
