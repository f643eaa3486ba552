"""What was measured of a model, as tables of a card: evaluations, judgements and their agreement, what the watch said.

An evaluation is found by the hash of the model that it measured, beside the run or where it is said to be.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steersman.errors import UsageError
from steersman.evaluate.results_table import number
from steersman.export.private import named, without_paths
from steersman.lineage.inputs import content_at
from steersman.lineage.records import made_at
from steersman.maths.statistics import Interval
from steersman.runs.folder import RunFolder
from steersman.runs.journal import read_rows
from steersman.settings.toml import parse_toml

SHOWN_FIRST = ("score", "toxicity", "knowledge", "distance", "words", "refusals")
VERDICTS = {"better": "better", "worse": "worse", "other": "changed", "unclear": "no clear change", "": ""}


@dataclass(frozen=True, slots=True)
class CardEvaluation:
    """The content of results.json, what it was asked, and the name that the exported model has in it."""

    results: Mapping[str, Any]
    recipe: Mapping[str, Any]
    model: str


def read_json(path: Path) -> dict[str, Any]:
    """The object in a file; empty if there is none."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def evaluation_of(place: Path, said: Path | None) -> CardEvaluation | None:
    """The evaluation that measured this model: the one that is named, or the newest beside the run."""
    content = content_at(place) if place.exists() else None
    if said is not None:
        if not (said / "results.json").is_file():
            raise UsageError(
                f"{said} is no evaluation: it has no results.json. Give the folder of `steersman evaluate`"
            )
        found = _matching(said, content)
        if found is None:
            raise UsageError(
                f"{said} did not evaluate {place}: none of its models has this content. Evaluate this model, or leave "
                "out --evaluation"
            )
        return found
    if content is None or not RunFolder(place).is_run:
        return None
    folders = [one.parent for one in place.absolute().parent.glob("*/results.json")]
    newest = sorted(folders, key=lambda one: (one / "results.json").stat().st_mtime, reverse=True)
    found = [one for folder in newest if (one := _matching(folder, content)) is not None]
    # An evaluation in which the model is the baseline says nothing of what its training changed.
    return next((one for one in found if one.model != one.results.get("baseline")), next(iter(found), None))


def _matching(folder: Path, content: str | None) -> CardEvaluation | None:
    made, results = made_at(folder), read_json(folder / "results.json")
    recipe = _recipe(folder / "recipe.toml")
    places = {one.name for one in (made.inputs if made else ()) if one.setting == "models" and one.content == content}
    name = next((name for name, one in dict(recipe.get("models") or {}).items() if one in places), None)
    return None if name is None or not results else CardEvaluation(results, recipe, name)


def _recipe(path: Path) -> Mapping[str, Any]:
    return parse_toml(path.read_bytes(), str(path)) if path.is_file() else {}


def evaluation_lines(found: CardEvaluation) -> list[str]:
    """Before and after, with intervals: the baseline, this model, and the paired change."""
    results, baseline = found.results, str(found.results["baseline"])
    others = [name for name in (baseline,) if name != found.model]
    shown = [*others, found.model]
    source = named(str(dict(found.recipe.get("prompts") or {}).get("source", "")))
    lines = [
        f"{results['prompts']:,} prompts of `{source}`, {results['answers']} answers each; "
        f"{float(results['confidence']):.0%} intervals over prompts. Changes are paired by prompt.",
        "",
        f"| measure | {' | '.join([*(f'before: {name}' for name in others), f'this model: {found.model}'])} | change |",
        "|---|" + "---|" * (len(shown) + 1),
    ]
    rows: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for one in results["figures"]:
        rows.setdefault((str(one["group"]), str(one["name"])), {})[str(one["model"])] = one
    for key in sorted(rows, key=lambda one: SHOWN_FIRST.index(one[0]) if one[0] in SHOWN_FIRST else 99):
        lines.append(_figure_row(key, rows[key], shown))
    won = [one for one in results.get("wins") or [] if one["model"] == found.model]
    lines += [""] * bool(won)
    lines += [
        f"- preferred to {one['baseline']} by {without_paths(str(one['by']))}: {_shown(one['rate'], 'share')} of "
        f"{one['prompts']:,} prompts"
        for one in won
    ]
    return lines


def _figure_row(key: tuple[str, str], cells: Mapping[str, Mapping[str, Any]], shown: Sequence[str]) -> str:
    texts = [_shown(cells[name]["value"], cells[name]["unit"]) if name in cells else "–" for name in shown]
    own = cells.get(shown[-1], {})
    change = "–"
    if own.get("change"):
        verdict = VERDICTS.get(str(own.get("verdict", "")), "")
        change = _shown(own["change"], own["unit"], "+") + (f", {verdict}" if verdict else "")
    return f"| {key[0]}: {without_paths(key[1])} | {' | '.join(texts)} | {change} |"


def _shown(value: Mapping[str, float], unit: str, sign: str = "") -> str:
    return number(Interval(value["estimate"], value["low"], value["high"]), unit, sign)


def held_out_lines(run: RunFolder) -> list[str]:
    """The run's own held-out numbers at its start and at its end, without intervals; empty if it has none."""
    rows, _ = read_rows(run.journal_path)
    values: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            if name.startswith("held-out ") and isinstance(value, int | float) and not isinstance(value, bool):
                values.setdefault(name.removeprefix("held-out "), []).append(float(value))
    if not values:
        return []
    lines = [
        "No evaluation of this model was found. These are the run's own numbers on held-out data; they have no "
        "intervals.",
        "",
        "| held-out | first | last |",
        "|---|---|---|",
    ]
    return lines + [f"| {name} | {of[0]:.4g} | {of[-1]:.4g} |" for name, of in values.items()]


def judgement_lines(quality: Mapping[str, Any]) -> list[str]:
    """Held-out accuracy of a reward model beside the agreement of people, which is its ceiling."""
    if not quality.get("accuracy"):
        return []
    rows = [("accuracy on held-out judgements", quality["accuracy"])]
    ceiling = quality.get("ceiling") or {}
    rows += [
        (name, ceiling[key])
        for key, name in (
            ("agreement", "agreement of two people"),
            ("one_against_others", "one person against the majority of the others"),
            ("model_there", "the model, on items judged by several people"),
        )
        if ceiling.get(key)
    ]
    for key in ("words", "length"):
        one = (quality.get("baselines") or {}).get(key)
        rows += [(f"baseline: {one['name']}", one["accuracy"])] if one else []
    lines = ["| measure | share |", "|---|---|", *(f"| {name} | {_shown(value, 'share')} |" for name, value in rows)]
    people = len(quality.get("by_annotator") or [])
    told = f"{int(quality.get('judgements', 0)):,} held-out judgements, {int(quality.get('ties', 0)):,} of them ties"
    lines += ["", f"{told}{f'; {people} annotators' if people else ''}. 95 % intervals."]
    if ceiling.get("alpha"):
        lines.append(f"Krippendorff's alpha of the annotators: {ceiling['alpha']['estimate']:.2f}.")
    else:
        lines.append("No item was judged more than once, so agreement is not known.")
    return lines + [
        f"It learned from {one['judgements']:,} judgements of {one['who']} ({one['weight']:.0%} of the weight)."
        for one in quality.get("contributed") or []
    ]


def findings_of(run: RunFolder) -> list[Mapping[str, Any]]:
    """The findings of the watch, without their evidence: prompts and answers may be private."""
    lines = run.watch_path.read_bytes().splitlines() if run.watch_path.is_file() else []
    found: list[Mapping[str, Any]] = []
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get("verdict"), str):
            found.append({name: row.get(name) for name in ("step", "detector", "verdict", "action")})
    return found


def watch_lines(run: RunFolder) -> list[str]:
    """What the watch for reward hacking said; empty if the run was not watched."""
    found = findings_of(run)
    rows, _ = read_rows(run.journal_path)
    detectors = sorted({name.removeprefix("watch ") for row in rows for name in row if name.startswith("watch ")})
    if not found and not detectors:
        return []
    if not found:
        return [f"No findings. Measured were: {', '.join(detectors)}."]
    lines = ["| iteration | detector | finding | action |", "|---|---|---|---|"]
    return lines + [
        f"| {one['step']} | {one['detector']} | {without_paths(str(one['verdict']))} | {one['action']} |"
        for one in found
    ]
