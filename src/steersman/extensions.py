"""Extensions: scorers, advantage estimators, data formats and detectors that other packages bring, as entry points.

A package that is installed beside this one declares them by name. They are looked up by name, and loaded only when a
setting names one: an extension that is broken or unused costs nothing.
"""

import difflib
import importlib.metadata as metadata
import traceback
from functools import cache
from pathlib import Path
from typing import Any, Literal

from steersman.errors import SteersmanError, UsageError

Group = Literal[
    "steersman.scorers",
    "steersman.advantage_estimators",
    "steersman.advantage_estimators_with_critic",
    "steersman.data_formats",
    "steersman.detectors",
]
GROUPS: dict[Group, str] = {
    "steersman.scorers": "scorer",
    "steersman.advantage_estimators": "advantage estimator",
    "steersman.advantage_estimators_with_critic": "advantage estimator",
    "steersman.data_formats": "data format",
    "steersman.detectors": "detector",
}
PREFIX = "extension:"
"""Before the name of an extension, where a setting also takes names of our own."""
FOREIGN = (Exception, SystemExit)
"""What is caught around code of an extension. Its `sys.exit(0)` must not end a run as if it had finished."""


@cache
def _declared(group: Group) -> tuple[metadata.EntryPoint, ...]:
    return tuple({(one.name, one.value): one for one in metadata.entry_points(group=group)}.values())


def extension_names(*groups: Group) -> list[str]:
    """The names that installed packages declare, without loading them."""
    return sorted({one.name for group in groups for one in _declared(group)})


def find_extension(name: str, *groups: Group) -> tuple[Group, metadata.EntryPoint]:
    """The declaration of this name in one of the groups."""
    found: list[tuple[Group, metadata.EntryPoint]] = [
        (group, one) for group in groups for one in _declared(group) if one.name == name
    ]
    what = GROUPS[groups[0]]
    if len(found) > 1:
        raise UsageError(
            f"the {what} {name!r} is declared twice, by {' and by '.join(described(one) for _, one in found)}; "
            "uninstall one"
        )
    if not found:
        known = extension_names(*groups)
        near = difflib.get_close_matches(name, known, n=1)
        hint = (
            f"did you mean {PREFIX}{near[0]}?"
            if near
            else f"installed are {', '.join(known)}"
            if known
            else f"none is installed (packages declare them in the entry points {groups[0]!r})"
        )
        raise UsageError(f"no installed package brings the {what} {name!r}; {hint}")
    return found[0]


def load_extension(name: str, *groups: Group) -> Any:
    """What the extension of this name brings. An error names the package."""
    group, one = find_extension(name, *groups)
    try:
        return one.load()
    except FOREIGN as error:
        raise UsageError(
            f"the {GROUPS[group]} {name!r} of {described(one)} cannot be loaded: {told(error)}; repair or uninstall "
            "that package"
        ) from error


def unfit(name: str, seen: object, expected: str, *groups: Group) -> UsageError:
    """The error for an extension that brings something else than expected."""
    group, one = find_extension(name, *groups)
    return UsageError(
        f"the {GROUPS[group]} {name!r} of {described(one)} is {_shown(seen)}; expected {expected}; repair or uninstall "
        "that package"
    )


def failed(name: str, error: BaseException, *groups: Group) -> SteersmanError:
    """The error for an extension that raised while it worked."""
    group, one = find_extension(name, *groups)
    return SteersmanError(f"the {GROUPS[group]} {name!r} of {described(one)} raised {told(error)}")


def described(one: metadata.EntryPoint) -> str:
    package = one.dist
    origin = "an unknown package" if package is None else f"{package.metadata['Name']} {package.version}"
    return f"{origin} ({one.value})"


def told(error: BaseException) -> str:
    """The error in one line, with the place where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}{place}"


def _shown(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else f"of type {type(value).__name__}"
