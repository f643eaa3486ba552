"""The stage `promote`: the evaluation of a new policy -> the folder of the policy that is the current one from now on.

The folder has the files of that policy's model (hard links: nothing is copied) and promotion.json: what was decided, by
which interval, and why, in one sentence.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from steersman.errors import DataError, ModelError, UsageError
from steersman.execution.ending import replace_folder
from steersman.lineage.records import write_sidecar
from steersman.loading.language_model import model_path
from steersman.runs.folder import atomic_write_text
from steersman.runs.model_folder import PROMOTION
from steersman.settings.round_stages import PromoteSettings

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Promotion:
    """What was decided. `estimate`, `low` and `high` are of the win rate or of the difference of the scores."""

    promoted: bool
    reason: str
    by_a_person: bool
    by: str
    measure: str
    estimate: float
    low: float
    high: float
    worse: tuple[str, ...]
    """Guarded measures that became worse, a sentence each."""
    not_measured: tuple[str, ...]
    """Guarded measures that the evaluation does not have."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def run_promote(settings: PromoteSettings, *, quiet: bool = False) -> Promotion:
    """Decide, and leave the folder of the policy that counts from now on."""
    results = _results(Path(settings.evaluation).expanduser())
    found = decide(results, settings)

    def fill(folder: Path) -> None:
        with TemporaryDirectory() as scratch:
            link_model(settings.candidate if found.promoted else settings.last, folder, Path(scratch))
        atomic_write_text(folder / PROMOTION, json.dumps(found.as_dict(), indent=1, ensure_ascii=False) + "\n")

    replace_folder(Path(settings.out).expanduser(), fill)
    write_sidecar(settings.out, "promote", settings)
    return found


def decide(results: Results, settings: PromoteSettings) -> Promotion:
    """Whether the new policy is promoted: by a person, or by its interval and the guarded measures."""
    interval = _interval(results, settings)
    worse, missing = _guarded(results, settings)
    low = interval["low"] - (0.5 if settings.measure == "wins" else 0.0)
    better = low > settings.least
    promoted = better and not worse
    reason = _reason(settings, interval, better=better, worse=worse)
    if settings.decision is not None:
        promoted = settings.decision == "promote"
        reason = f"{'promoted' if promoted else 'kept the last policy'} by a person: {settings.reason}"
    return Promotion(
        promoted,
        reason,
        settings.decision is not None,
        settings.by,
        settings.measure,
        interval["estimate"],
        interval["low"],
        interval["high"],
        tuple(worse),
        tuple(missing),
    )


def _results(folder: Path) -> Results:
    try:
        return json.loads((folder / "results.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder}/results.json cannot be read: {error}; expected a finished run of `steersman evaluate`"
        ) from error


def _interval(results: Results, settings: PromoteSettings) -> Mapping[str, float]:
    """The win rate against the last policy, or the change of the mean score, with its interval."""
    if settings.measure == "wins":
        found = [one for one in results["wins"] if (one["model"], one["by"]) == (settings.model, settings.by)]
        known = {one["by"] for one in results["wins"]}
        interval = (found[0]["resampled"] or found[0]["rate"]) if found else None
    else:
        scores = [one for one in results["figures"] if one["group"] == "score" and one["model"] == settings.model]
        known = {one["name"] for one in scores}
        interval = next((one["change"] for one in scores if one["name"] == settings.by), None)
    if interval is None:
        raise UsageError(
            f"{settings.evaluation} has no {'win rates' if settings.measure == 'wins' else 'scores'} of "
            f"{settings.model!r} by {settings.by!r}; expected one of {', '.join(sorted(known)) or 'its scorers'}: add "
            f"scorers.{settings.by}.path to the evaluation, or choose another promote.by"
        )
    return interval


def _guarded(results: Results, settings: PromoteSettings) -> tuple[list[str], list[str]]:
    """Guarded measures that became worse, in words, and patterns that match no measure."""
    worse: list[str] = []
    seen: set[str] = set()
    for one in results["figures"]:
        name = f"{one['group']}/{one['name']}"
        matching = {pattern for pattern in settings.guards if fnmatch(name, pattern)}
        if not matching or not one["better"] or one["model"] != settings.model or one["change"] is None:
            continue
        seen |= matching
        change, sign = one["change"], 1 if one["better"] == "lower" else -1
        least = change["low"] if sign == 1 else -change["high"]
        if least > settings.tolerance:
            worse.append(
                f"{name} is worse by {sign * change['estimate']:.3g} ({least:.3g} at least, and "
                f"{settings.tolerance:.3g} was allowed)"
            )
    return worse, [pattern for pattern in settings.guards if pattern not in seen]


def _reason(settings: PromoteSettings, interval: Mapping[str, float], *, better: bool, worse: Sequence[str]) -> str:
    estimate, low, high = (interval[name] for name in ("estimate", "low", "high"))
    if settings.measure == "wins":
        said = f"it wins {estimate:.1%} ({low:.1%} to {high:.1%}) against the last policy by {settings.by}"
        wanted = f"{0.5 + settings.least:.1%}"
    else:
        said = f"its score by {settings.by} is {estimate:+.3f} ({low:+.3f} to {high:+.3f}) from the last policy's"
        wanted = f"{settings.least:+.3f}"
    if not better:
        return f"kept the last policy, because the interval of the new one does not lie above {wanted}: {said}"
    if worse:
        return f"kept the last policy, because {'; '.join(worse)}, although {said}"
    return f"promoted, because {said}, all of it above {wanted}"


def link_model(model: str, folder: Path, scratch: Path) -> None:
    """Link the files of a model's folder into another one; copy them where the file system has no links."""
    source = Path(model_path(model, scratch)).expanduser()
    if not source.is_dir():
        raise ModelError(f"{model!r} is no folder with a model's files; expected a run, a folder, or harbour:base")
    for file in sorted(path for path in source.rglob("*") if path.is_file() and path.name != PROMOTION):
        place = folder / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(file.resolve(), place)
        except OSError:
            shutil.copy2(file, place)
