"""The model card (README.md) of an exported model, from the stamps, the lineage and the evaluations of its runs.

Local paths, hosts, secrets and annotators' names are left out, and so are prompts and answers.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.export.card_data import UNKNOWN, Origin, data_lines, origin_of
from steersman.export.card_results import (
    CardEvaluation,
    evaluation_lines,
    evaluation_of,
    findings_of,
    held_out_lines,
    judgement_lines,
    read_json,
    watch_lines,
)
from steersman.export.compare import Difference
from steersman.export.hub import licence_fields
from steersman.export.private import annotators_of, is_hub_id, named, refuse_private, without_names, without_paths
from steersman.runs.folder import RunFolder
from steersman.runs.kinds import command_of, title_of
from steersman.runs.stamp import read_stamp
from steersman.secrets import concealed

LEFT_OUT = ("run", "notify", "log")
"""Groups of settings that are about a machine and not about the model."""


@dataclass(frozen=True, slots=True)
class CardOptions:
    """What the user says of the model: its licence, and where it was evaluated (None: looked for beside the run)."""

    licence: str | None = None
    evaluation: Path | None = None


@dataclass(frozen=True, slots=True)
class _Facts:
    place: str
    kind: str
    run: RunFolder
    stamp: Mapping[str, Any]
    recipe: Mapping[str, Any]
    origin: Origin
    evaluation: CardEvaluation | None
    quality: Mapping[str, Any]

    @property
    def method(self) -> str:
        return str(self.stamp.get("kind", ""))


def model_card(place: str, kind: str, difference: Difference, notes: Sequence[str], options: CardOptions) -> str:
    """The card's text, with the block of metadata that the hub reads."""
    facts = _facts_of(place, kind, options.evaluation)
    lines = ["", f"# {named(place)}", "", _opening(facts), ""]
    if facts.stamp:
        lines += ["## How it was made", "", *_origin_lines(facts), ""]
        lines += ["## Data", "", *data_lines(facts.origin), ""]
    if facts.evaluation is not None:
        lines += ["## Before and after", "", *evaluation_lines(facts.evaluation), ""]
    elif facts.stamp and kind != "reward" and (own := held_out_lines(facts.run)):
        lines += ["## Before and after", "", *own, ""]
    if judged := judgement_lines(facts.quality):
        whose = "" if kind == "reward" else "Of the reward model that scored the answers in training:\n\n"
        lines += ["## Judgements and agreement", "", whose + judged[0], *judged[1:], ""]
    if facts.stamp and (watched := watch_lines(facts.run)):
        lines += ["## What the watch said", "", *watched, ""]
    lines += ["## Known limits", "", *(f"- {limit}" for limit in _limits(facts)), ""]
    if facts.stamp:
        lines += ["## Settings", "", "```toml", *_settings(facts.recipe), "```", ""]
        lines += ["## How to reproduce it", "", *_reproduction(facts), ""]
    lines += ["## Checked at export", "", f"- {difference.shown}", *(f"- {without_paths(note)}" for note in notes), ""]
    text = without_names("\n".join(lines), annotators_of(facts.recipe, facts.quality))
    text = "\n".join(_metadata(facts, options.licence)) + "\n" + text
    refuse_private(text, [str(Path.cwd()), str(Path.home()), str(Path(place).expanduser().absolute())])
    return text


def _facts_of(place: str, kind: str, evaluation: Path | None) -> _Facts:
    path = Path(place).expanduser()
    run = RunFolder(path)
    stamp = read_stamp(run.stamp_path) if run.is_run and run.stamp_path.exists() else {}
    recipe = tomllib.loads(run.recipe_path.read_text(encoding="utf-8")) if stamp and run.recipe_path.exists() else {}
    scorer = str(dict(recipe.get("scorer") or {}).get("path") or "")
    judged = path if kind == "reward" else Path(scorer).expanduser() if scorer else None
    quality = read_json(judged / "quality.json") if judged is not None else {}
    return _Facts(place, kind, run, stamp, recipe, origin_of(path, recipe), evaluation_of(path, evaluation), quality)


def _metadata(facts: _Facts, licence: str | None) -> list[str]:
    from huggingface_hub import ModelCardData

    reward, origin = facts.kind == "reward", facts.origin
    data = ModelCardData(
        library_name="transformers",
        **licence_fields(licence),
        base_model=origin.base if origin.base_on_hub else None,
        datasets=sorted({one.name for one in origin.data if is_hub_id(one.name)}) or None,
        pipeline_tag="text-classification" if reward else "text-generation",
        tags=["steersman", "rlhf", *([facts.method] if facts.method else []), *(["reward-model"] if reward else [])],
        **_results(facts),
    )
    return ["---", data.to_yaml().strip(), "---"]


def _results(facts: _Facts) -> dict[str, Any]:
    """The scores of the evaluation, as the hub's model index has them."""
    from huggingface_hub import EvalResult

    found = facts.evaluation
    if found is None:
        return {}
    source = named(str(dict(found.recipe.get("prompts") or {}).get("source", "prompts")))
    scores = [
        EvalResult(
            "text-generation", source, source, without_paths(str(one["name"])), round(one["value"]["estimate"], 4)
        )
        for one in found.results["figures"]
        if one["model"] == found.model and one["group"] == "score"
    ]
    return {"eval_results": scores, "model_name": named(facts.place)} if scores else {}


def _opening(facts: _Facts) -> str:
    reward = facts.kind == "reward"
    how = "trained" if reward else f"made by {title_of(facts.method)}"
    made = f", {how} with Steersman" if facts.method else ", exported by Steersman"
    what = "A reward model" if reward else "A language model"
    start = f" It started from `{facts.origin.base}`." if facts.origin.base else ""
    return f"{what}{made}.{start}"


def _origin_lines(facts: _Facts) -> list[str]:
    stamp, origin = facts.stamp, facts.origin
    found = [f"- method: {title_of(facts.method)}"]
    if origin.base:
        found.append(f"- base: `{origin.base}`, licence: {origin.base_licence}")
    for setting, parent in dict(stamp.get("parents") or {}).items():
        name, _, digest = str(parent).partition(" sha256:")
        found.append(f"- {setting}: `{named(name)}`{f' (sha256 {digest[:12]})' if digest else ''}")
    libraries = ", ".join(f"{name} {version}" for name, version in dict(stamp.get("libraries") or {}).items())
    found.append(f"- Steersman {stamp.get('steersman')}, {libraries}")
    seeds = ", ".join(f"{name} {value}" for name, value in dict(stamp.get("seeds") or {}).items())
    return [*found, f"- seeds: {seeds}"] if seeds else found


def _settings(recipe: Mapping[str, Any]) -> list[str]:
    import tomli_w

    kept = {name: value for name, value in dict(concealed(recipe)).items() if name not in LEFT_OUT}
    return [without_paths(line) for line in tomli_w.dumps(_named_places(kept)).strip().splitlines()]


def _named_places(content: Any) -> Any:
    """The settings with each path by its last part: `runs/sft` is no path that stands out by itself."""
    if isinstance(content, dict):
        return {key: _named_places(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_named_places(value) for value in content]
    if isinstance(content, str) and "/" in content and " " not in content:
        return named(content)
    return content


def _reproduction(facts: _Facts) -> list[str]:
    command = command_of(facts.method)
    machine = (
        f"{facts.stamp.get('device')}, {facts.stamp.get('threads')} threads, world size {facts.stamp.get('world_size')}"
    )
    return [
        "Save the settings above as recipe.toml, put the data and the models that they name in place (their hashes are "
        "above), install the versions above, and run:",
        "",
        "```shell",
        f"steersman {command} recipe.toml run.out=runs/again",
        "```",
        "",
        f"The same versions, seed and machine ({machine}, Python {facts.stamp.get('python')}) give the same weights; "
        "another machine changes the last digits.",
    ]


def _limits(facts: _Facts) -> list[str]:
    reward = facts.kind == "reward"
    found = [
        "Its scores compare answers to one prompt. They are no probabilities, and a policy that is trained on them can "
        "exploit them."
        if reward
        else "It was checked to be the model of the run, not to be right or harmless."
    ]
    if facts.stamp and not reward and facts.evaluation is None:
        found.append("It was not evaluated against its base with intervals.")
    if facts.evaluation is not None:
        unclear = [
            str(one["name"])
            for one in facts.evaluation.results["figures"]
            if one["model"] == facts.evaluation.model
            and one["group"] == "score"
            and one["verdict"] in ("unclear", "worse")
        ]
        if unclear:
            found.append(f"No clear gain over {facts.evaluation.results['baseline']} in: {', '.join(unclear)}.")
    if (findings := findings_of(facts.run)) and facts.stamp:
        found.append(f"The watch for reward hacking had {len(findings)} findings in training; see above.")
    if any(one.name.startswith("harbour:") for one in facts.origin.data):
        found.append("Harbour's prompts and judgements are generated, not written by people.")
    if any(one.licence == UNKNOWN for one in facts.origin.data):
        found.append("The licence of some of its data is not stated.")
    return found
