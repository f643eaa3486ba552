"""Settings of PPO, in the order in which an iteration uses them: prompts, sampling, score, KL, advantage, update.

The methods without a critic (RLOO, GRPO, Dr.GRPO, REINFORCE++) are PPO with another `advantage.estimator`.
`DEFAULTS_OF` has the defaults of their papers where they differ from PPO's; the resolved recipe shows them. A setting
that only a critic uses is an error with these methods.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from steersman.settings.advantage import IN_GROUPS, AdvantageSettings
from steersman.settings.base import Settings
from steersman.settings.environment import EnvironmentSettings
from steersman.settings.parts import PAD_BEFORE, ModelSettings, OptimiserSettings, RunSettings
from steersman.settings.policy_update import UpdateSettings
from steersman.settings.ppo_compute import PpoComputeSettings
from steersman.settings.prompts import PromptSettings, SamplingSettings
from steersman.settings.score import ScorerSettings, judged_by
from steersman.settings.shaping import KlSettings, ShapingSettings
from steersman.settings.watch import WatchSettings

# RLOO: arXiv 2402.14740; the whole answer is one action, so an answer's weight grows with its length. GRPO: 2402.03300,
# equation 3, beta 0.04. Dr.GRPO: 2503.20783, no KL, and a constant in place of each answer's length. REINFORCE++:
# 2501.03262.
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
    "value_warmup",
    "advantage.gae_lambda",
    "advantage.critic_lambda",
    "advantage.length_adaptive",
    "update.value_clip",
    "update.value_coefficient",
)
ONLY_TOKEN_BY_TOKEN = ("advantage.gamma", "advantage.whiten_rewards", "kl.estimator", "kl.top_k")
"""Settings that have no meaning if a whole answer is one action with one reward."""

ONLY_SINGLE_TURN = ("score.preference_over", "score.overlong_tokens")
"""Settings that compare or measure single answers."""


class EvaluationSettings(Settings):
    every: int = Field(default=10, ge=1)
    """Iterations between evaluations on held-out prompts."""
    prompts: int = Field(default=64, ge=1)
    """Held-out prompts to evaluate on."""
    patience: int | None = Field(default=None, ge=1)
    """Early stopping: stop after this many evaluations without a new best, judged as in `keep`."""


class PpoSettings(Settings):
    earlier_defaults: ClassVar[Mapping[str, Any]] = {
        "kl.horizon": 10_000.0,
        "score.centre": False,
        "prompts.template": "none",
        **PAD_BEFORE,
    }
    model: ModelSettings
    reference: str | None = None
    """The frozen reference of the KL penalty, if it is not the initial policy, such as the fine-tuned model under a
    policy of an earlier round: a folder or a run, with the same tokeniser. Full fine-tuning only."""
    layout: Literal["adapters", "adapters-own-critic", "shared", "separate"] = "shared"
    """How policy and critic share weights. adapters: LoRA on a frozen base, value head on the policy's trunk.
    adapters-own-critic: LoRA, and a second adapter for the critic. shared: full fine-tuning, one trunk. separate: full
    fine-tuning, two models."""
    critic: str = "policy"
    """Initial critic. policy: the policy's trunk with a value head of 0. The path of a reward model: layout=separate
    takes the whole model, the other layouts its head, if policy and reward model come from one base. trl:<folder>:
    TRL's value head (layout=separate)."""
    prompts: PromptSettings
    sampling: SamplingSettings = SamplingSettings()
    environment: EnvironmentSettings | None = None
    """Play episodes of several turns in a Python environment, instead of sampling one answer to each prompt."""
    scorer: ScorerSettings
    score: ShapingSettings = ShapingSettings()
    kl: KlSettings = KlSettings()
    advantage: AdvantageSettings = AdvantageSettings()
    update: UpdateSettings = UpdateSettings()
    optimiser: OptimiserSettings = OptimiserSettings(learning_rate=1e-5, schedule="linear", warmup=0)
    value_learning_rate: float | None = Field(default=None, gt=0)
    """Learning rate of the critic; optimiser.learning_rate if not given."""
    value_warmup: int = Field(default=0, ge=0)
    """Iterations at the start in which only the critic learns and the policy is held (VC-PPO)."""
    iterations: int = Field(default=100, ge=1)
    """Iterations: each samples answers, scores them and updates the policy."""
    prompts_per_iteration: int = Field(default=64, ge=1)
    """Prompts of an iteration, over all processes."""
    samples_per_prompt: int = Field(default=1, ge=1)
    """Answers to each prompt."""
    compute: PpoComputeSettings = PpoComputeSettings()
    keep: Literal["best", "last"] = "last"
    """Weights of the final model: the last, or the best on held-out prompts, by the shaped score less the KL penalty at
    the present coefficient."""
    samples_kept: int = Field(default=8, ge=0)
    """Answers per iteration that are saved with their token-level quantities (log-probs, values, rewards,
    advantages)."""
    evaluation: EvaluationSettings = EvaluationSettings()
    watch: WatchSettings = WatchSettings()
    run: RunSettings

    @model_validator(mode="before")
    @classmethod
    def _published_defaults(cls, values: Any) -> Any:
        """Fill unset values with the published defaults of the chosen estimator."""
        if not isinstance(values, Mapping):
            return values
        advantage = values.get("advantage")
        estimator = (
            advantage.get("estimator") if isinstance(advantage, Mapping) else getattr(advantage, "estimator", "")
        )
        defaults = dict(DEFAULTS_OF.get(str(estimator), {}))
        kl = values.get("kl")
        if isinstance(kl, Mapping) and "coefficient" in kl:
            # An explicit kl.coefficient puts the KL in the reward. A default KL in the loss would count it twice.
            defaults.pop("kl.loss_coefficient", None)
        return _fill_unset(values, defaults)

    @model_validator(mode="after")
    def _without_a_critic(self) -> "PpoSettings":
        estimator = self.advantage.estimator
        if self.advantage.has_critic or self.advantage.missing:
            return self
        if self.layout in ("separate", "adapters-own-critic"):
            instead = "shared" if self.layout == "separate" else "adapters"
            raise ValueError(
                f"layout={self.layout} gives a critic weights of its own, but advantage.estimator={estimator} has no "
                f"critic; choose layout={instead}"
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

    @model_validator(mode="after")
    def _a_reference_of_its_own(self) -> "PpoSettings":
        if self.reference is not None and self.layout.startswith("adapters"):
            raise ValueError(
                f"with layout={self.layout} the reference is the base with its adapters off, and reference="
                f"{self.reference} is another model; leave it out, or choose layout=shared"
            )
        return self

    @model_validator(mode="after")
    def _answers_to_compare(self) -> "PpoSettings":
        if self.advantage.leave_out_equal and self.samples_per_prompt < 2:
            raise ValueError(
                "advantage.leave_out_equal compares the answers to one prompt, and samples_per_prompt=1: all would be "
                "left out; expected 2 or more, such as 4"
            )
        return self

    @model_validator(mode="after")
    def _episodes(self) -> "PpoSettings":
        if self.scorer.path == "environment" and self.environment is None:
            raise ValueError(
                "scorer=environment takes the scores of an environment, and there is none; set environment.path, such "
                "as game.py:Game"
            )
        if self.environment is not None:
            self._refuse(ONLY_SINGLE_TURN, "an environment's episodes have several turns")
        return self

    def _refuse(self, names: tuple[str, ...], why: str) -> None:
        """Raise an error if one of these settings is not at its default."""
        for name in names:
            group: Any = self
            *groups, last = name.split(".")
            for part in groups:
                group = getattr(group, part)
            value = getattr(group, last)
            if value != type(group).model_fields[last].get_default(call_default_factory=True):
                raise ValueError(f"{name}={value} has no effect here: {why}; leave it out")

    @model_validator(mode="after")
    def _one_best(self) -> "PpoSettings":
        if "restore" in self.watch.chosen and self.keep == "best":
            raise ValueError(
                "watch.action=restore keeps the best weights by the watch's held-out scorer, keep=best those by the "
                "score on held-out prompts; choose one"
            )
        return self

    @model_validator(mode="after")
    def _offload_only_separate_models(self) -> "PpoSettings":
        names = self.compute.offload
        if "reference" in names and self.layout.startswith("adapters"):
            raise ValueError(
                f"compute.offload names the reference, but with layout={self.layout} that is the policy's own base "
                "with its adapters off, and takes no memory; take reference out of compute.offload"
            )
        if "critic" in names and self.layout != "separate":
            raise ValueError(
                f"compute.offload names the critic, but with layout={self.layout} the critic is not a separate "
                "model; take critic out of compute.offload"
            )
        if "optimiser" in names and self.optimiser.states == "8bit":
            raise ValueError(
                "compute.offload=optimiser moves float32 moments, and optimiser.states=8bit keeps them in a quarter of "
                "the memory on the GPU; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _weights_stay_where_graphs_read_them(self) -> "PpoSettings":
        if self.compute.cuda_graphs and (self.model.gradient_checkpointing or "critic" in self.compute.offload):
            seen = (
                "model.gradient_checkpointing=true" if self.model.gradient_checkpointing else "compute.offload=critic"
            )
            raise ValueError(
                f"compute.cuda_graphs=true records passes with the addresses of all weights, and {seen} does not fit a "
                "recording; leave one out"
            )
        return self

    @model_validator(mode="after")
    def _a_judge_is_the_reference(self) -> "PpoSettings":
        object.__setattr__(self, "scorer", judged_by(self.scorer, self.model.path))
        held_out = self.watch.held_out_scorer
        if held_out is not None:
            named = self.watch.model_copy(update={"held_out_scorer": judged_by(held_out, self.model.path)})
            object.__setattr__(self, "watch", named)
        return self

    @model_validator(mode="after")
    def _adapters_need_lora(self) -> "PpoSettings":
        adapters = self.layout.startswith("adapters")
        if adapters and self.model.lora is None:
            raise ValueError(
                f"layout={self.layout} trains adapters; give model.lora.rank, such as 16, or choose layout=shared"
            )
        if not adapters and self.model.lora is not None:
            raise ValueError(
                f"layout={self.layout} fine-tunes the whole model; choose layout=adapters to use model.lora"
            )
        return self


class RlooSettings(PpoSettings):
    """PPO's settings with RLOO as the default advantage estimator. Estimators that need a critic are errors."""

    @model_validator(mode="before")
    @classmethod
    def _rloo_by_default(cls, values: Any) -> Any:
        return _fill_unset(values, {"advantage.estimator": "rloo"}) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _not_gae(self) -> "RlooSettings":
        if self.advantage.has_critic:
            raise ValueError(
                f"advantage.estimator={self.advantage.estimator} needs a critic, but RLOO has none; choose "
                "rloo, grpo, dr-grpo or reinforce++, or use steersman ppo"
            )
        return self


def _fill_unset(values: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values, with unset ones from `defaults` (by dotted name). A group that is already a Settings object is not
    changed."""
    filled = dict(values)
    for name, default in defaults.items():
        group, dot, key = name.partition(".")
        inner = filled.get(group, {}) if dot else filled
        if isinstance(inner, Mapping) and (key or group) not in inner:
            if dot:
                filled[group] = {**inner, key: default}
            else:
                filled[group] = default
    return filled
