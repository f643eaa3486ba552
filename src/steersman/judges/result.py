"""What a judge's run ended with, and its summary for the terminal."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from steersman.evaluate.reward_quality import plain
from steersman.judges.attacks import AttackResult, lines_of_attacks
from steersman.judges.trust import JudgeTrust, lines_of_trust

HARDLY = 0.05
"""Below this mean sureness the labels are close to chance."""


@dataclass(frozen=True)
class JudgeResult:
    """`asked` are calls to an endpoint and its tokens, earlier starts of the run included; None for a local judge.

    `sureness` is the mean of |2p - 1| over the judged pairs: 0 prefers neither answer, 1 is certain of each.
    """

    out: str
    judge: str
    constitution: str
    records: int
    pairs: int
    judged: int
    abstentions: Mapping[str, int] = field(default_factory=dict[str, int])
    labels: str = ""
    next_command: str = ""
    asked: tuple[int, int] | None = None
    trust: JudgeTrust | None = None
    attacks: AttackResult | None = None
    at_most: float | None = None
    sureness: float = 0.0

    @property
    def too_weak(self) -> bool:
        """Whether attacks win more often than the limit."""
        return (
            self.attacks is not None and self.at_most is not None and self.attacks.total.beaten.estimate > self.at_most
        )

    def as_dict(self) -> dict[str, Any]:
        return plain(self)


def lines_of_judge(result: JudgeResult) -> list[str]:
    """The summary, in rich markup."""
    from rich.markup import escape

    lines: list[str] = []
    if result.records and result.trust is None:
        lines.append(
            f"{escape(result.labels)}: {result.judged:,} of {result.pairs:,} pairs judged by {escape(result.judge)} "
            f"({escape(result.constitution)})"
        )
        if result.judged and result.sureness < HARDLY:
            lines.append(
                f"  the judge hardly prefers either answer (mean of |2p - 1|: {result.sureness:.3f}); it may not know "
                "what this constitution asks for: measure it with --against, or take another model"
            )
        lines += [f"  {count:,} × abstained: {escape(reason)}" for reason, count in result.abstentions.items()]
    if result.trust is not None:
        lines += lines_of_trust(result.trust)
    if result.attacks is not None:
        lines += lines_of_attacks(result.attacks)
    if result.too_weak:
        lines.append(f"[red]attacks win more often than attack.at_most={result.at_most:g}[/red]")
    if result.asked is not None:
        lines.append(f"  {result.asked[0]:,} calls, {result.asked[1]:,} tokens altogether")
    lines.append(f"  next: {escape(result.next_command)}")
    return lines
