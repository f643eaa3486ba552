"""What people have decided about a round's policy, in `decisions.jsonl` beside the outputs. Rows are only added.

A decision is about the policy that was evaluated: where that changes (a setting, the labels), it does not hold.
"""

import getpass
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from steersman.errors import DataError

Action = Literal["promote", "reject", "rollback"]
FILE = "decisions.jsonl"


@dataclass(frozen=True, slots=True)
class RoundDecision:
    """One decision about a round. `evaluation` is the identity of the evaluation that it stands on; a rollback makes
    the policy after round `to` the current one again."""

    action: Action
    round: int
    evaluation: str
    reason: str
    to: int | None = None
    by: str = ""
    time: str = ""


def decisions_in(out: Path) -> list[RoundDecision]:
    """All decisions, the oldest first."""
    path = out / FILE
    if not path.exists():
        return []
    try:
        return [
            RoundDecision(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
        ]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} cannot be read: {error}. Take the bad line out; each line is one decision") from error


def decision_for(decisions: Sequence[RoundDecision], number: int, evaluation: str) -> RoundDecision | None:
    """The newest decision about this round's policy."""
    found = [one for one in decisions if one.round == number and one.evaluation == evaluation]
    return found[-1] if found else None


def record_decision(out: Path, decision: RoundDecision) -> RoundDecision:
    """Add a decision with the time and the user's name; it is on the disk when this returns."""
    made = RoundDecision(
        **{**asdict(decision), "by": _user(), "time": datetime.now(UTC).isoformat(timespec="seconds")},
    )
    with (out / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(made), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return made


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""
