"""What a recipe of another library becomes: rules that each turn one of its names into settings of ours, and what is
said of names without a counterpart."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Values = Mapping[str, Any]
"""Everything that the foreign recipe says, by its own names."""


@dataclass
class Conversion:
    """A recipe under conversion: settings by dotted name, remarks, and what has no counterpart."""

    library: str
    method: str
    given: Values
    devices: int
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    remarks: list[str] = field(default_factory=list[str])
    without: dict[str, str] = field(default_factory=dict[str, str])
    """Names without a counterpart, each with the reason."""

    def set(self, name: str, value: Any) -> None:
        self.settings[name] = value

    def remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)


Rule = Callable[[Conversion, Any], None]


def to(*names: str) -> Rule:
    """The value as it is, under our name; under each of several."""

    def rule(found: Conversion, value: Any) -> None:
        for name in names:
            found.set(name, value)

    return rule


def number(name: str, kind: type = float) -> Rule:
    """The value as a number: YAML 1.1 reads 1e-5 as a text."""

    def rule(found: Conversion, value: Any) -> None:
        found.set(name, kind(float(value)))

    return rule


def no(reason: str) -> Rule:
    """A name that has no counterpart, and why."""

    def rule(found: Conversion, value: Any) -> None:
        if value not in (None, False, "", "none", "None"):
            found.without[current(found)] = reason

    return rule


def current(found: Conversion) -> str:
    return str(found.__dict__.get("_name", ""))


def apply(found: Conversion, rules: Mapping[str, Rule], skip: tuple[str, ...] = ()) -> None:
    """Apply the rule of each name that the recipe says; a name without a rule is not known."""
    for name, value in found.given.items():
        if name in skip:
            continue
        found.__dict__["_name"] = name
        rule = rules.get(name)
        if rule is None:
            found.without[name] = "not known here"
        else:
            rule(found, value)


MACHINE = "about processes and their machines; torchrun says how many, and every process has whole tensors"
SPEED = "the engine and the loader choose it themselves"
LOGGED = "the journal has every step"
PRECISION = "compute.precision and train.precision are auto: bf16 where the device has it"


def schedule(found: Conversion, value: Any) -> None:
    names = {
        "linear": "linear",
        "cosine": "cosine",
        "constant": "constant",
        "constant_with_warmup": "constant",
        "cosine_with_min_lr": "cosine",
        "cosine_with_restarts": "cosine",
        "inverse_sqrt": "inverse_sqrt",
    }
    known = names.get(str(value))
    if known is None:
        found.without[current(found)] = f"{value}: our schedules are constant, linear, cosine and inverse_sqrt"
        return
    found.set("optimiser.schedule", known)
    if value == "cosine_with_min_lr":
        found.set("optimiser.floor", 0.1)
    if value == "cosine_with_restarts":
        found.remark("lr_scheduler_type=cosine_with_restarts became one cosine without restarts")


def precision(name: str) -> Rule:
    def rule(found: Conversion, value: Any) -> None:
        if value is True or str(value) in ("bfloat16", "bf16"):
            found.set(name, "bf16")

    return rule


def lora(found: Conversion, rank: Any, alpha: Any, dropout: Any, targets: Any) -> None:
    """The adapter's settings; an alpha that is not said is twice the rank in LLaMA-Factory."""
    found.set("model.lora.rank", int(rank))
    if alpha is not None:
        found.set("model.lora.alpha", int(alpha))
    if dropout not in (None, 0, 0.0):
        found.set("model.lora.dropout", float(dropout))
    if targets not in (None, "all", "all-linear", ["all-linear"]):
        names = [one.strip() for one in targets.split(",")] if isinstance(targets, str) else list(targets)
        found.set("model.lora.targets", names)


def held_out(found: Conversion, value: Any) -> None:
    read = float(value)
    if 0 < read < 1:
        found.set(f"{data_group(found)}.held_out", read)
    elif read == 0:
        found.set(f"{data_group(found)}.held_out", "none")
    else:
        found.remark(
            f"{current(found)}={value} is a count of rows; held_out is a share or a source. The default, 5 %, was left"
        )


def data_group(found: Conversion) -> str:
    return "prompts" if found.method in ("ppo", "rloo", "online-dpo", "best-of-n") else "data"


def quantised(bits: int) -> Rule:
    def rule(found: Conversion, value: Any) -> None:
        if value is True or str(value) == str(bits):
            found.set("model.quantise", f"{bits}bit")

    return rule


def iterations(found: Conversion, answers: int | None, per_iteration: int) -> None:
    """PPO's length: from the number of answers, if that is known."""
    if answers is None:
        found.remark("the number of iterations follows from the number of prompts there; set iterations")
    else:
        found.set("iterations", max(1, math.ceil(answers / max(per_iteration, 1))))
