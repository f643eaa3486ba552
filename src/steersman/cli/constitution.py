"""`steersman constitution`: principles in a file that people edit, and what models make of them."""

from pathlib import Path
from typing import Annotated

import typer

from steersman import printing
from steersman.cli.command import Json, Words, gather, loads_models, say
from steersman.cli.recipes import Recipe
from steersman.runs.commands import command_line

app = typer.Typer(
    no_args_is_help=True,
    help="Write, check and apply a constitution: principles by which a model criticises, revises and judges answers.",
)

Name = Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped constitution.", metavar="FILE")]


@app.command("list", epilog="Example: steersman constitution list")
def list_(recipe: Recipe = None, json: Json = False) -> None:
    """List the constitutions that are shipped."""
    from steersman.constitution.load import load_constitution, shipped_constitutions

    found = [load_constitution(name) for name in shipped_constitutions()]
    rows = [
        {"name": one.name, "principles": len(one.principles), "hash": one.hash, "description": one.description}
        for one in found
    ]
    lines = [
        f"{one['name']:<10} {one['principles']:>3} principles  {one['hash']}  {one['description']}" for one in rows
    ]
    say({"constitutions": rows}, as_json=json, lines=lines)


@app.command("show", epilog="Example: steersman constitution show general")
def show(
    file: Name,
    principle: Annotated[str | None, typer.Option(help="Show this principle whole.")] = None,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Show a constitution: its hash, and each principle with its share of the draws."""
    from steersman.constitution.load import load_constitution
    from steersman.constitution.show import as_dict, principle_lines, summary_lines

    found = load_constitution(file)
    if principle is None:
        return say(as_dict(found), as_json=json, lines=summary_lines(found))
    one = found.principle(principle)
    row = next(row for row in as_dict(found)["principles"] if row["name"] == principle)
    return say(row, as_json=json, lines=principle_lines(one))


@app.command("new", epilog="Example: steersman constitution new mine.toml --from general")
def new(
    file: Annotated[Path, typer.Argument(help="The file to write (.toml).", metavar="FILE")],
    origin: Annotated[
        str, typer.Option("--from", help="A shipped constitution, or a file, to begin from.")
    ] = "general",
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file if it is there already.")] = False,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Write a constitution to begin from, with comments."""
    from steersman.constitution.load import load_constitution, renamed, text_of
    from steersman.data.outputs import check_outputs
    from steersman.errors import UsageError
    from steersman.runs.folder import atomic_write_text

    if file.suffix != ".toml":
        raise UsageError(f"a constitution is a TOML file; seen {file}, expected a name such as {file.stem}.toml")
    check_outputs([file], reads=[origin], force=force)
    load_constitution(origin)
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_text(file, renamed(text_of(origin), file.stem))
    written = load_constitution(file)
    count = len(written.principles)
    line = f"{file}: {count} principles from {origin}. Edit it, then: steersman constitution check {file}"
    say({"out": str(file), "principles": count, "hash": written.hash}, as_json=json, lines=[line])


@app.command("check", epilog="Example: steersman constitution check mine.toml --data prompts.jsonl")
def check(
    file: Name,
    data: Annotated[
        str | None,
        typer.Option(help="Records with prompts: their kinds are checked, and the first one is the example shown."),
    ] = None,
    principle: Annotated[
        str | None, typer.Option(help="The principle for which to show what is sent; the first if not given.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the nonces that are shown.")] = 0,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Say what is unclear, doubled, contradictory or never drawn in a constitution, and show exactly what a critic, a
    reviser and a judge are sent. Exit code 0: nothing found, or only notes. 1: flaws were found. 2 or 3: the file
    cannot be used."""
    from steersman.constitution.check import check_constitution
    from steersman.constitution.load import load_constitution
    from steersman.constitution.show import as_dict, check_lines, example_of, request_as_dict, requests_for
    from steersman.loading.examples import read_example

    found = load_constitution(file)
    one = found.principles[0] if principle is None else found.principle(principle)
    kinds, prompt, answers = (None, *example_of(one)) if data is None else read_example(data, example_of(one)[1])
    flaws = check_constitution(found, kinds)
    requests = requests_for(found, one, prompt, answers, seed=seed)
    real = [flaw for flaw in flaws if not flaw.note]
    rows = [
        {"kind": flaw.kind, "principle": flaw.principle, "line": flaw.line, "words": flaw.words, "note": flaw.note}
        for flaw in flaws
    ]
    sent = {who: request_as_dict(request) for who, request in requests.items()}
    say(
        {**as_dict(found), "flaws": rows, "principle": one.name, "sent": sent},
        as_json=json,
        lines=check_lines(found, flaws, one, requests),
    )
    if real:
        if not json:
            printing.tell(f"steersman: {file}: {len(real)} to mend")
        raise typer.Exit(1)


def revise(
    words: Words = None,
    model: Annotated[
        str | None, typer.Option(help="The model that answers: a folder, a run, a hub id or harbour:base.")
    ] = None,
    reviser: Annotated[
        str | None, typer.Option(help="The model that criticises and revises; the answering model if not given.")
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="Red-team prompts, or records with prompts.")] = None,
    constitution: Annotated[str | None, typer.Option(help="A TOML file, or a shipped constitution.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of critique and revision, 1 to 4.")] = None,
    answers: Annotated[int | None, typer.Option(help="Answers per prompt, each revised.")] = None,
    examples: Annotated[int | None, typer.Option(help="Worked examples to show first.")] = None,
    limit: Annotated[int | None, typer.Option(help="Use at most this many records of the source.")] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same texts.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    json: Json = False,
) -> None:
    """Let a model answer prompts, criticise its own answers by drawn principles, and revise them. `sft` then learns the
    final revisions: give it the run folder as its data. Texts that cannot be used are kept with their status and
    counted."""
    from steersman.settings.revise import ReviseSettings

    options = {
        "model": model,
        "reviser": reviser,
        "prompts.source": prompts,
        "constitution": constitution,
        "rounds": rounds,
        "answers": answers,
        "examples": examples,
        "prompts.limit": limit,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
    }
    settings = gather(ReviseSettings, words, options)
    from steersman.assemble.revise import run_revise

    tally = run_revise(settings, quiet=json)
    after = command_line("sft", "--data", tally.out, "--model", settings.model, "--out", f"{tally.out}-sft")
    say(tally.as_dict(), as_json=json, lines=[*tally.lines(), f"  next: {after}"])


app.command(
    "revise",
    epilog="Example: steersman constitution revise --model runs/sft --prompts red-team.jsonl --constitution general "
    "--rounds 2 --out runs/revised",
)(loads_models(revise))


def red_team(
    words: Words = None,
    model: Annotated[
        str | None, typer.Option(help="The model that writes prompts and answers them: a folder, a run or a hub id.")
    ] = None,
    seeds: Annotated[str | None, typer.Option(help="A few prompts of the kind that is wanted.")] = None,
    count: Annotated[int | None, typer.Option(help="Prompts wanted.")] = None,
    scorer: Annotated[
        str | None, typer.Option(help="Keep the prompts whose answers this scorer finds worst; see harm.* settings.")
    ] = None,
    out: Annotated[str | None, typer.Option(help="Run folder. The same command with the same folder resumes.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same prompts.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    json: Json = False,
) -> None:
    """Let a model write new red-team prompts from a few seeds. Copies are left out; with a scorer, those are kept to
    which the model's own answers are most harmful."""
    from steersman.settings.red_team import RedTeamSettings

    options = {
        "model": model,
        "seeds.source": seeds,
        "count": count,
        "harm.scorer.path": scorer,
        "run.out": out,
        "run.seed": seed,
        "run.device": device,
    }
    settings = gather(RedTeamSettings, words, options)
    from steersman.assemble.red_team import run_red_team

    found = run_red_team(settings, quiet=json)
    after = command_line("constitution", "revise", "--prompts", found.out, "--model", settings.model)
    say(found.as_dict(), as_json=json, lines=[*found.lines(), f"  next: {after}"])


app.command(
    "red-team",
    epilog="Example: steersman constitution red-team --model runs/sft --seeds seeds.jsonl --count 200 "
    "--scorer runs/classifier --out runs/red-team harm.harmful=high",
)(loads_models(red_team))


@app.command(
    "run",
    epilog="Example: steersman constitution run constitution-harbour. Settings of a stage: ppo.kl.coefficient=0.2.",
)
def run(
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe of stages (docs/rounds.md), or a shipped one.")
    ] = "constitution-harbour",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="[STAGE.SETTING=VALUE]...", help="Settings by stage, out=FOLDER, or seed=N."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Stages at once, each in a process (launch=subprocess).")] = 1,
    json: Json = False,
) -> None:
    """Run the whole method: red team, revise, fine-tune, sample, judge, reward model, PPO, evaluate, report. Each stage
    is a run folder. The same command goes on after a stop or a kill, and does nothing twice. `steersman rounds` shows
    and explains the stages."""
    from steersman.assemble.report import write_report
    from steersman.cli.rounds import run_recipe

    result = run_recipe(recipe, overrides or [], jobs=jobs, quiet=json, again=("constitution", "run"))
    folders = [place for place in result.outputs.values() if (Path(place) / "stamp.json").is_file()]
    page = Path(next(iter(result.outputs.values()))).parent / "report.html"
    write_report(folders, out=str(page), microscope=0, force=True)
    lines = [f"{len(result.ran)} of {len(result.outputs)} stages ran; all are done", f"  report: {page}"]
    say({"ran": list(result.ran), "outputs": dict(result.outputs), "report": str(page)}, as_json=json, lines=lines)
