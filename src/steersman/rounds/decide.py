"""People's decisions about a round's policy: promote, reject, and rollback. Each is checked, then recorded."""

from steersman.errors import UsageError
from steersman.rounds.decisions import Action, RoundDecision, record_decision
from steersman.rounds.graph import Graph, Rounds
from steersman.rounds.progress import StageProgress, progress_of
from steersman.rounds.tables import name_of


def decide(graph: Graph, action: Action, number: int, reason: str) -> RoundDecision:
    """Record a decision. `rounds run` makes the policies of that and the following rounds from it."""
    if graph.rounds is None:
        raise UsageError(f"{graph.recipe} has no [rounds]; there is no policy to {action}")
    if not reason.strip():
        raise UsageError("a decision has a reason: --reason TEXT")
    progress = {one.name: one for one in progress_of(graph)}
    if action == "rollback":
        return _roll_back(graph, graph.rounds, progress, number, reason)
    if not 1 <= number <= graph.rounds.planned:
        raise UsageError(f"there is no round {number} to {action}; rounds are 1 to {graph.rounds.planned}")
    evaluation = progress[name_of("evaluate", number)]
    if evaluation.standing != "done":
        raise UsageError(
            f"the policy of round {number} has not been evaluated yet, so there is nothing to {action}; `steersman "
            f"rounds run {graph.recipe}` goes on"
        )
    return record_decision(graph.out, RoundDecision(action, number, evaluation.identity.hash, reason))


def _roll_back(
    graph: Graph, rounds: Rounds, progress: dict[str, StageProgress], number: int, reason: str
) -> RoundDecision:
    """From the last round that has been evaluated on, the policy after round `number` is the current one again."""
    evaluated = [one for one in range(1, rounds.planned + 1) if progress[name_of("evaluate", one)].standing == "done"]
    last = max(evaluated, default=0)
    if not 0 <= number < last:
        there = f"0 (the policy that the rounds begin with) to {last - 1}" if last else "none, as none is evaluated yet"
        raise UsageError(f"there is no way back to round {number}; rounds to go back to are {there}")
    evaluation = progress[name_of("evaluate", last)].identity.hash
    return record_decision(graph.out, RoundDecision("rollback", last, evaluation, reason, to=number))
