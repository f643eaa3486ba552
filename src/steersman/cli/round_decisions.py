"""`steersman rounds promote | reject | rollback`: a person's decision about a round's policy, with a reason."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer

from steersman.assemble.round_stages import find_stage
from steersman.cli.command import Json, say
from steersman.rounds.decide import decide
from steersman.rounds.decisions import Action
from steersman.rounds.recipe import read_graph
from steersman.runs.commands import command_line

Recipe = Annotated[str, typer.Argument(metavar="RECIPE", help="The recipe of the rounds.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[STAGE.SETTING=VALUE]...", help="The same settings as for `rounds run`.", show_default=False
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]
SAID = {
    "promote": "the policy of round {round} is the current one from then on",
    "reject": "the policy of round {round} is not promoted",
    "rollback": "after round {round} the policy of round {to} is the current one again",
}


def decision_command(action: Action, text: str, number_help: str) -> Callable[..., None]:
    """The command of one action."""

    def command(
        recipe: Recipe,
        overrides: Overrides = None,
        number: Annotated[int, typer.Option("--round", min=0, help=number_help)] = ...,  # type: ignore[assignment]
        reason: Reason = ...,  # type: ignore[assignment]
        json: Json = False,
    ) -> None:
        given = overrides or []
        made = decide(read_graph(recipe, given, find_stage), action, number, reason)
        following = command_line("rounds", "run", recipe, *given)
        said = SAID[action].format(round=made.round, to=made.to)
        lines = [f"recorded: {said}", f"  next: {following}"]
        say({**asdict(made), "next": following}, as_json=json, lines=lines)

    command.__doc__ = text
    return command


def add_to(app: typer.Typer) -> None:
    for action, text, number_help, example in (
        (
            "promote",
            "Promote the policy of a round, whatever its evaluation says. Later rounds follow from it.",
            "The round whose policy is promoted.",
            "--round 2 --reason 'better in our own trial'",
        ),
        (
            "reject",
            "Keep the last policy instead of a round's new one. Later rounds follow from it.",
            "The round whose policy is rejected.",
            "--round 2 --reason 'it flatters'",
        ),
        (
            "rollback",
            "Go back to the policy after an earlier round. Labels and outputs of later rounds stay.",
            "The round to go back to; 0 is the policy that the rounds begin with.",
            "--round 1 --reason 'complaints since then'",
        ),
    ):
        command = decision_command(action, text, number_help)  # type: ignore[arg-type]
        app.command(action, epilog=f"Example: steersman rounds {action} loop.toml {example}")(command)
