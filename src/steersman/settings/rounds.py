"""Settings of the table `[rounds]`, which stands for the stages of several rounds of feedback (docs/rounds.md)."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, PrivateAttr, field_validator, model_validator

from steersman.errors import UsageError
from steersman.settings.base import Settings, check
from steersman.settings.columns import ColumnSettings

Learning = Literal["ppo", "rloo", "dpo", "online-dpo"]
LabelsBy = Literal["simulate", "judge", "label"]
METHODS: tuple[str, ...] = get_args(Learning)
LABELLING: tuple[str, ...] = get_args(LabelsBy)
Table = dict[str, Any]
OF_ALL_ROUNDS = ("policy", "count", "patience", "budget", "in_round", "prompts.source", "prompts.held_out")
"""Settings that cannot be other ones in one round."""


class RoundPromptsSettings(Settings):
    """The prompts of all rounds."""

    source: str
    """Records of any kind that has prompts. Each round takes others of them, in an order by hash."""
    format: str | None = None
    columns: ColumnSettings | None = None
    """Columns of a table with names of its own, such as columns.prompt=question (docs/data.md)."""
    split: str | None = None
    count: int = Field(default=200, ge=1)
    """Prompts per round whose answers are labelled."""
    held_out: float | str = 0.1
    """Prompts that no round learns from and all rounds are evaluated on: a share of the prompts, or a second source."""
    held_out_count: int = Field(default=200, ge=2)
    """Use at most this many held-out prompts."""


class PolicyMixSettings(Settings):
    """Answers per prompt from each policy, at each temperature."""

    current: int = Field(default=2, ge=0)
    """From the policy that was promoted last."""
    previous: int = Field(default=1, ge=0)
    """From the policy of the round before."""
    sft: int = Field(default=1, ge=0)
    """From the fine-tuned model that the first round begins with."""
    temperatures: list[Annotated[float, Field(ge=1e-4)]] = Field(default_factory=lambda: [1.0], min_length=1)

    @property
    def answers(self) -> int:
        return (self.current + self.previous + self.sft) * len(self.temperatures)

    @model_validator(mode="after")
    def _something_to_compare(self) -> "PolicyMixSettings":
        if self.answers < 2:
            raise ValueError(f"the mix gives {self.answers} answers to a prompt; expected two or more to compare")
        return self


class RoundLabelsSettings(Settings):
    """The labels of a round: who gives them, and how many."""

    by: list[LabelsBy] = Field(default_factory=lambda: ["simulate"], min_length=1)
    """simulate (simulated annotators), judge (an AI judge), label (people); several stay in files of their own."""
    count: int = Field(default=400, ge=1)
    """Labels per round, of each of them."""
    asks: int = Field(default=2, ge=0)
    """How often more labels are asked for where the gate refuses a round's labels, before the rounds stop."""
    more: int | None = Field(default=None, ge=1)
    """Labels that are asked for in addition each time; half of `count` if not given."""

    @field_validator("by", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [name.strip() for name in value.split(",")] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _each_once(self) -> "RoundLabelsSettings":
        if len(set(self.by)) < len(self.by):
            raise ValueError(f"labels.by names one of {', '.join(self.by)} twice; name each once")
        return self

    def wanted(self, asked: int) -> int:
        """Labels that are wanted when more have been asked for so many times."""
        return self.count + asked * (self.more or (self.count + 1) // 2)


class RoundsSettings(Settings):
    """Rounds of feedback: sample, label, gate, reward, policy, evaluate, promote. Each table below the settings has
    settings of one kind of stage in all rounds, as a stage's own table has them."""

    policy: str
    """The fine-tuned model that the rounds begin with: stage:NAME, a run, a folder, or harbour:base. It is frozen."""
    count: int = Field(default=2, ge=1, le=99)
    """Rounds. More can be added later; earlier ones stay as they are."""
    method: Learning = "ppo"
    """How a round's policy is trained. dpo learns from the newest labels, without the reward model."""
    start: Literal["promoted", "sft"] = "promoted"
    """The initial policy of a round's training: the one that was promoted last, or `policy`."""
    kl: Literal["sft", "start"] = "sft"
    """Which model the KL penalty is measured from: `policy` in all rounds, or the round's initial policy."""
    age_weight: float = Field(default=1.0, gt=0, le=1)
    """Factor on the weight of earlier labels for each round of their age, when the reward model learns from all."""
    patience: int = Field(default=2, ge=1)
    """Stop after so many rounds in a row without a promotion."""
    budget: int | None = Field(default=None, ge=1)
    """Stop when so many labels have been used."""
    prompts: RoundPromptsSettings
    mix: PolicyMixSettings = PolicyMixSettings()
    labels: RoundLabelsSettings = RoundLabelsSettings()
    sample: Table = Field(default_factory=dict)
    simulate: Table = Field(default_factory=dict)
    judge: Table = Field(default_factory=dict)
    label: Table = Field(default_factory=dict)
    gate: Table = Field(default_factory=dict)
    reward: Table = Field(default_factory=dict)
    ppo: Table = Field(default_factory=dict)
    rloo: Table = Field(default_factory=dict)
    dpo: Table = Field(default_factory=dict)
    online_dpo: Table = Field(default_factory=dict)
    evaluate: Table = Field(default_factory=dict)
    promote: Table = Field(default_factory=dict)
    in_round: dict[str, Table] = Field(default_factory=dict)
    """Settings of this table that are others in one round, by its number, such as in_round.3.labels.by = "label"."""
    _of: dict[int, "RoundsSettings"] = PrivateAttr(default_factory=dict[int, "RoundsSettings"])

    @model_validator(mode="after")
    def _tables_that_are_used(self) -> "RoundsSettings":
        for name in METHODS:
            if self.table(name) and name != self.method:
                raise ValueError(f"rounds.{name} has no effect with rounds.method={self.method}; leave it out")
        for name in LABELLING:
            if self.table(name) and name not in self.labels.by:
                raise ValueError(
                    f"rounds.{name} has no effect with rounds.labels.by={', '.join(self.labels.by)}; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _rounds_that_are_right(self) -> "RoundsSettings":
        given = self.model_dump(exclude={"in_round"}, exclude_unset=True)
        for name, table in self.in_round.items():
            if not name.isdecimal() or int(name) < 1:
                raise ValueError(f"in_round.{name}: expected the number of a round, such as in_round.3")
            fixed = next((key for key in OF_ALL_ROUNDS if _has(table, key)), None)
            if fixed is not None:
                raise ValueError(f"in_round.{name}.{fixed} cannot be set: it is the same in all rounds")
            values = _over(given, {key.replace("-", "_"): value for key, value in table.items()})
            try:
                self._of[int(name)] = check(RoundsSettings, _used(values, table))
            except UsageError as error:
                raise ValueError(f"in_round.{name}: {error}") from error
        return self

    def of(self, number: int) -> "RoundsSettings":
        """The settings of one round."""
        return self._of.get(number, self)

    def table(self, command: str) -> Table:
        """The settings that the stages of this command have in all rounds."""
        return getattr(self, command.replace("-", "_"))


def _has(table: Mapping[str, Any], key: str) -> bool:
    first, _, rest = key.partition(".")
    inner = table.get(first)
    return first in table and (not rest or (isinstance(inner, Mapping) and _has(inner, rest)))


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """The values of both, by group; where both have one, that of `above`."""
    found = dict(below)
    for key, value in above.items():
        inner = found.get(key)
        found[key] = _over(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return found


def _used(values: dict[str, Any], own: Table) -> dict[str, Any]:
    """Without the tables of all rounds that have no effect in this one, where labels come from others, say."""
    by = (values.get("labels") or {}).get("by", "simulate")
    used = {*([by] if isinstance(by, str) else by), values.get("method", "ppo")}
    unused = {name.replace("-", "_") for name in (*METHODS, *LABELLING) if name not in used and name not in own}
    return {key: value for key, value in values.items() if key not in unused}
