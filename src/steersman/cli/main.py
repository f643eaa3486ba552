"""The command line: one sub-command a stage. Thin, and quick to start: what is heavy is imported by the command that needs it."""

import os
import sys
from typing import Annotated

import typer

from steersman.cli import (
    best_of_n,
    chat,
    classifier,
    compare,
    data,
    doctor,
    dpo,
    evaluate,
    ilql,
    label,
    online_dpo,
    plan,
    ppo,
    quickstart,
    report,
    reward,
    rloo,
    runs,
    sample,
    score,
    sft,
)
from steersman.errors import SteersmanError

app = typer.Typer(
    name="steersman",
    help="Take a language model and what people think of its answers; get back a model that answers the way they prefer.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart", epilog=quickstart.EXAMPLE)(quickstart.quickstart)
app.command("sft", epilog=sft.EXAMPLE)(sft.sft)
app.command("sample", epilog=sample.EXAMPLE)(sample.sample)
app.command("label", epilog=label.EXAMPLE)(label.label)
app.command("reward", epilog=reward.EXAMPLE)(reward.reward)
app.command("classifier", epilog=classifier.EXAMPLE)(classifier.classifier)
app.command("score", epilog=score.EXAMPLE)(score.score)
app.command("ppo", epilog=ppo.EXAMPLE)(ppo.ppo)
app.command("rloo", epilog=rloo.EXAMPLE)(rloo.rloo)
app.command("evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.command("compare", epilog=compare.EXAMPLE)(compare.compare)
app.command("report", epilog=report.EXAMPLE)(report.report)
app.command("best-of-n", epilog=best_of_n.EXAMPLE)(best_of_n.best_of_n)
app.command("dpo", epilog=dpo.EXAMPLE)(dpo.dpo)
app.command("ilql", epilog=ilql.EXAMPLE)(ilql.ilql)
app.command("online-dpo", epilog=online_dpo.EXAMPLE)(online_dpo.online_dpo)
app.command("chat", epilog=chat.EXAMPLE)(chat.chat)
app.command("plan", epilog=plan.EXAMPLE)(plan.plan)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.add_typer(data.app, name="data")
app.add_typer(runs.app, name="runs")


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        print(version("steersman"))
        raise typer.Exit
    return wanted


@app.callback()
def steersman(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Human feedback is the compass, PPO is the wheel."""


def main() -> None:
    """The entry point, also of each process that a launcher starts."""
    try:
        run_command()
    except SystemExit as ended:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from steersman.parallel.world import end_process

            end_process(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
        raise


def run_command() -> None:
    """What the words of the command line ask for. Errors of ours are one message and an exit code; all others keep their traceback."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Our own bars say how far a run is; a bar for each file of a model only hides them.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        app()
    except SteersmanError as error:
        print(f"steersman: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output (head, less) has gone; that is their right.
        sys.stderr.close()
        sys.exit(0)


if __name__ == "__main__":
    main()
