"""`steersman judge`: an AI judge's preferences by a constitution, and whether it can be trusted."""

from typing import Annotated

import typer

from steersman import printing
from steersman.cli.command import Json, Words, gather, say
from steersman.cli.training import Device, Out
from steersman.settings.judge_run import JudgeRunSettings

EXAMPLE = "Example: steersman judge answers.jsonl --model runs/sft --constitution general --out runs/judge"


Model = Annotated[
    str | None, typer.Option(help="Who judges: a folder, a run, harbour:base, or an endpoint as URL#name.")
]
Principles = Annotated[
    str | None, typer.Option(help="By which principles: a file, or the name of a shipped constitution.")
]
Against = Annotated[
    str | None,
    typer.Option(help="Instead of answers: pairs judged by people or with a known answer, to measure the judge on."),
]
Attack = Annotated[
    bool, typer.Option("--attack", help="Instead of judging: how often attack strings beat honest answers.")
]
AtMost = Annotated[
    float | None, typer.Option(help="With --attack: exit code 1 if they win more often than this, such as 0.02.")
]
Limit = Annotated[int | None, typer.Option(help="Judge at most this many records.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count the calls and tokens that it would take.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the draw of principles.")]


def judge(
    data: Annotated[
        str | None, typer.Argument(help="Answers, two or more to a prompt; or comparisons and rankings to judge anew.")
    ] = None,
    words: Words = None,
    model: Model = None,
    constitution: Principles = None,
    out: Out = None,
    against: Against = None,
    attack: Attack = False,
    at_most: AtMost = None,
    limit: Limit = None,
    dry_run: DryRun = False,
    seed: Seed = None,
    device: Device = None,
    json: Json = False,
) -> None:
    """Judge answers by the principles of a constitution, with a local model or an endpoint that speaks the OpenAI API.
    The labels have the format of people's. --against measures the judge beside people; --attack attacks it."""
    if data is not None and "=" in data and "?" not in data:
        words, data = [data, *(words or [])], None  # a setting where the answers might have been
    options = {
        "data.source": data,
        "data.limit": limit if against is None else None,
        "against.source": against,
        "against.limit": limit if against is not None else None,
        "attack.source": "shipped" if attack else None,
        "attack.at_most": at_most,
        "judge.model": model,
        "judge.constitution": constitution,
        "judge.seed": seed,
        "run.out": out,
        "run.device": device,
    }
    settings = gather(JudgeRunSettings, words, options)
    from steersman.assemble.judge import forecast_judge, run_judge
    from steersman.judges.forecast import words_of_forecast
    from steersman.judges.result import lines_of_judge

    if dry_run:
        forecast = forecast_judge(settings)
        return say(forecast.as_dict(), as_json=json, lines=[words_of_forecast(forecast)])
    result = run_judge(settings, quiet=json)
    if json:
        say(result.as_dict(), as_json=True, lines=[])
    else:
        console = printing.console(soft_wrap=True)
        for line in lines_of_judge(result):
            console.print(line)
    if result.too_weak:
        raise typer.Exit(1)
    return None
