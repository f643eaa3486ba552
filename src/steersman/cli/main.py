"""The command line, with one sub-command per stage. It starts fast: each command imports what it needs when it runs."""

import os
import sys
from typing import Annotated

import typer

from steersman.cli import (
    best_of_n,
    chat,
    classifier,
    compare,
    constitution,
    data,
    doctor,
    dpo,
    evaluate,
    export,
    gate,
    ilql,
    judge,
    label,
    lineage,
    model,
    online_dpo,
    plan,
    ppo,
    quickstart,
    recipe_import,
    recipe_list,
    report,
    reward,
    rloo,
    rounds,
    runs,
    sample,
    schema,
    score,
    serve,
    sft,
    simulate,
    studio_quality,
    worth,
)
from steersman.cli.command import loads_models
from steersman.cli.machine_errors import as_message
from steersman.cli.settings_help import helps_settings
from steersman.errors import SteersmanError
from steersman.printing import say, show_exception, tell
from steersman.runs.caches import move_unwritable_caches
from steersman.runs.signals import stopping_while_loading

app = typer.Typer(
    name="steersman",
    help="Train language models from human feedback: SFT, reward models, PPO, RLOO, DPO and others, with evaluation.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart", epilog=quickstart.EXAMPLE)(quickstart.quickstart)
app.command("sft", epilog=sft.EXAMPLE)(helps_settings("sft", loads_models(sft.sft)))
app.command("sample", epilog=sample.EXAMPLE)(loads_models(sample.sample))
app.command("label", epilog=label.EXAMPLE)(label.label)
app.command("simulate", epilog=simulate.EXAMPLE)(loads_models(simulate.simulate))
app.command("gate", epilog=gate.EXAMPLE)(gate.gate)
app.command("judge", epilog=judge.EXAMPLE)(loads_models(judge.judge))
app.command("reward", epilog=reward.EXAMPLE)(helps_settings("reward", loads_models(reward.reward)))
app.command("worth", epilog=worth.EXAMPLE)(loads_models(worth.worth))
app.command("classifier", epilog=classifier.EXAMPLE)(helps_settings("classifier", loads_models(classifier.classifier)))
app.command("score", epilog=score.EXAMPLE)(loads_models(score.score))
app.command("ppo", epilog=ppo.EXAMPLE)(helps_settings("ppo", loads_models(ppo.ppo)))
app.command("rloo", epilog=rloo.EXAMPLE)(helps_settings("rloo", loads_models(rloo.rloo)))
app.command("evaluate", epilog=evaluate.EXAMPLE)(helps_settings("evaluate", loads_models(evaluate.evaluate)))
app.command("compare", epilog=compare.EXAMPLE)(loads_models(compare.compare))
app.command("report", epilog=report.EXAMPLE)(loads_models(report.report))
app.command("best-of-n", epilog=best_of_n.EXAMPLE)(helps_settings("best-of-n", loads_models(best_of_n.best_of_n)))
app.command("dpo", epilog=dpo.EXAMPLE)(helps_settings("dpo", loads_models(dpo.dpo)))
app.command("ilql", epilog=ilql.EXAMPLE)(helps_settings("ilql", loads_models(ilql.ilql)))
app.command("online-dpo", epilog=online_dpo.EXAMPLE)(helps_settings("online-dpo", loads_models(online_dpo.online_dpo)))
app.command("chat", epilog=chat.EXAMPLE)(loads_models(chat.chat))
app.command("serve", epilog=serve.EXAMPLE)(loads_models(serve.serve))
app.command("export", epilog=export.EXAMPLE)(loads_models(export.export))
app.command("plan", epilog=plan.EXAMPLE)(plan.plan)
app.command("schema", epilog=schema.EXAMPLE)(schema.schema)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.add_typer(constitution.app, name="constitution")
app.add_typer(data.app, name="data")
app.add_typer(lineage.app, name="lineage")
app.add_typer(model.app, name="model")
recipe_list.app.command("import", epilog=recipe_import.EXAMPLE)(recipe_import.import_recipe)
app.add_typer(recipe_list.app, name="recipe")
app.add_typer(rounds.app, name="rounds")
app.add_typer(runs.app, name="runs")
app.add_typer(studio_quality.app, name="studio")


def _version(wanted: bool) -> bool:
    if wanted:
        from importlib.metadata import version

        say(version("steersman"))
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
    """The entry point of the command line, also for each rank under a launcher such as torchrun."""
    try:
        with stopping_while_loading(sys.argv[1:]):
            run_command()
    except SystemExit as ended:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from steersman.parallel.world import end_process

            end_process(ended.code if isinstance(ended.code, int) else int(ended.code is not None))
        raise


def run_command() -> None:
    """Run the command line. A SteersmanError prints one message and sets the exit code; others keep their traceback."""
    sys.excepthook = show_exception
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Steersman shows its own progress bars; one for each file of a model would hide them.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    moved = move_unwritable_caches()
    if moved and os.environ.get("RANK", "0") == "0":
        tell(f"steersman: {moved}")
    try:
        app()
    except SteersmanError as error:
        tell(f"steersman: {error}")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # The reader of the output (head, less) has closed the pipe; this is not an error.
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        found = as_message(error)
        if found is None:
            raise
        tell(f"steersman: {found}")
        sys.exit(found.exit_code)


if __name__ == "__main__":
    main()
