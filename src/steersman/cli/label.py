"""`steersman label`: judge answers, or write them, in the terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from steersman.cli.command import Json
from steersman.cli.recipes import Recipe
from steersman.errors import DataError, UsageError
from steersman.printing import say, say_json, tell

if TYPE_CHECKING:
    from steersman.judging.keeper import LabelKeeper
    from steersman.judging.queue import Item, Queue, QueuePlan
    from steersman.records import Record

EXAMPLE = (
    "Example: steersman label answers.jsonl --out labels.jsonl --annotator ann, then steersman reward "
    "--data labels.jsonl"
)


Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="ANSWERS...",
        help="Answers from `steersman sample` or a source such as harbour:answers; several to compare models. "
        "--mode demonstrate takes prompts too.",
        show_default=False,
    ),
]
Out = Annotated[
    str | None,
    typer.Option(
        help="File for the judgements, or studio:PROJECT; the same command continues where it stopped. Default: "
        "ANSWERS.ANNOTATOR.MODE.jsonl",
        show_default=False,
    ),
]
Annotator = Annotated[str | None, typer.Option(help="The annotator's name or pseudonym. Default: your login name.")]
Mode = Annotated[
    str,
    typer.Option(help="compare (two answers), rank (all answers to a prompt) or demonstrate (write or edit answers)."),
]
Pairs = Annotated[
    str,
    typer.Option(
        help="Which pairs of a prompt's answers: all, adjacent (1-2, 2-3, …), across (different models only), "
        "random or random:3 (this many per prompt)."
    ),
]
Strength = Annotated[
    bool, typer.Option("--strength", help="Also ask how much better: slightly, clearly, far (saved as margin 1, 2, 3).")
]
PartOf = Annotated[
    str, typer.Option(help="Your part if several people share the work: --part 2/3 is the second third.")
]
Overlap = Annotated[
    float, typer.Option(help="Share of the items that all annotators judge, to measure agreement: --overlap 0.1")
]
Repeat = Annotated[
    float, typer.Option(help="Share shown again later with sides swapped, to measure self-agreement: --repeat 0.05")
]
Seed = Annotated[int, typer.Option(help="Seed of order, pairs and sides. All annotators should use the same.")]
Summary = Annotated[
    bool, typer.Option("--summary", help="Print a summary of the judgements and exit; needs no terminal.")
]


def label(
    answers: Sources,
    out: Out = None,
    annotator: Annotator = None,
    mode: Mode = "compare",
    pairs: Pairs = "all",
    strength: Strength = False,
    part: PartOf = "1/1",
    overlap: Overlap = 0.0,
    repeat: Repeat = 0.0,
    seed: Seed = 0,
    summary: Summary = False,
    recipe: Recipe = None,
    json: Json = False,
) -> None:
    """Judge answers in the terminal, blind and shuffled, in pairs or rankings; or write answers. Every judgement is on
    disk before the next item appears. `steersman reward` (or `steersman sft`) reads the file."""
    from steersman.judging.ledger import Ledger
    from steersman.judging.queue import QueuePlan, gather, make_queue, prompt_key

    who = _login_name() if annotator is None else annotator
    choice, per_prompt = _pairs(pairs)
    plan = QueuePlan(mode, who, seed, choice, per_prompt, _part(part), overlap, repeat)
    if not summary:
        from steersman.judging.terminal import require_terminal

        require_terminal()
    entries = gather(record for source in answers for record in _read(source, mode))
    queue = make_queue(entries, plan)
    with _opened(out, answers, plan, summary=summary) as ledger:
        for notice in ledger.notices:
            tell(f"  {notice}")
        if isinstance(ledger, Ledger):  # a project holds judgements of many sources
            ledger.check_prompts({prompt_key(entry.prompt) for entry in entries}, ", ".join(answers))
        if not summary:
            ledger.open_sitting(mode=mode, seed=seed, pairs=pairs, part=part, items=len(queue.items), answers=answers)
            _sit(queue, ledger, ask_strength=strength)
        _say_summary(queue, ledger, as_json=json)


@contextmanager
def _opened(out: str | None, answers: list[str], plan: "QueuePlan", *, summary: bool) -> "Iterator[LabelKeeper]":
    """The label file, or the project, that judgements go to."""
    from steersman.judging.ledger import Ledger

    if out is not None and out.startswith("studio:"):
        from steersman.judging.project import ProjectLedger
        from steersman.store.sources import parsed_source

        source = parsed_source(out.removeprefix("studio:"))
        if source.snapshot is not None:
            raise UsageError(f"--out {out}: judgements go into a project, studio:PROJECT, not into a snapshot")
        with source.opened() as project:
            yield ProjectLedger(project, source, mode=plan.mode, annotator=plan.annotator)
        return
    path = _default_out(answers, plan.annotator, plan.mode) if out is None else Path(out)
    if summary and not path.exists():
        raise DataError(f"{path} does not exist yet: there are no judgements")
    if path.exists() and any(Path(source).exists() and path.samefile(source) for source in answers):
        raise UsageError(f"--out {path} is one of the files to judge; give another file for the judgements")
    with Ledger(path, mode=plan.mode, annotator=plan.annotator, now=_now) as ledger:
        yield ledger


def _sit(queue: "Queue", ledger: "LabelKeeper", *, ask_strength: bool) -> None:
    from steersman.judging.sitting import Sitting
    from steersman.judging.terminal import Terminal

    fancy = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    with Terminal() as terminal:
        Sitting(queue.items, ledger, terminal, ask_strength=ask_strength, clock=time.monotonic, fancy=fancy).run()


def _say_summary(queue: "Queue", ledger: "LabelKeeper", *, as_json: bool) -> None:
    from steersman.judging.queue import pending
    from steersman.judging.tally import in_words, tally

    items: tuple[Item, ...] = queue.items
    left = pending(items, ledger.judged, ledger.skipped)
    if as_json:
        counts = {"to judge": len(left), "skipped": len(ledger.skipped)}
        facts = {"identical": queue.identical, "alone": queue.alone, "next": _next_command(items, ledger)}
        return say_json({"out": ledger.place, **asdict(tally(ledger.records)), **counts, **facts})
    for line in in_words(tally(ledger.records), left=len(left), skipped=len(ledger.skipped), mode=ledger.mode):
        say(f"  {line}")
    if queue.identical or queue.alone:
        say(f"  left out: {queue.identical} duplicate answers, {queue.alone} prompts without two different answers")
    if ledger.records:
        say(f"  next: {_next_command(items, ledger)}")
        return None
    return say(f"  nothing is judged yet; judgements will be saved in {ledger.place}")


def _next_command(items: tuple["Item", ...], ledger: "LabelKeeper") -> str:
    """Train on the judgements: the model that gave most of the answers, if they say which."""
    from collections import Counter

    from steersman.runs.commands import command_line

    models = Counter(answer.model for item in items for answer in item.completions if answer.model)
    if not models:
        return command_line("data", "inspect", ledger.place)
    stage = "sft" if ledger.mode == "demonstrate" else "reward"
    name = ledger.place.removeprefix("studio:").partition("?")[0].removesuffix(".jsonl")
    return command_line(
        stage, "--model", models.most_common(1)[0][0], "--data", ledger.place, "--out", f"{name}-{stage}"
    )


def _read(source: str, mode: str) -> Iterator["Record"]:
    """The records of a source that can be judged. Left-out rows are reported on stderr."""
    from steersman.data.load import ReadReport, load_records
    from steersman.loading.sources import register_sources
    from steersman.records import Answers, Comparison, Demonstration, Prompt, Ranking

    register_sources()
    report = ReadReport()
    kinds: tuple[type, ...] = (Answers, Comparison, Ranking)
    if mode == "demonstrate":
        kinds = (*kinds, Prompt, Demonstration)
    yield from load_records(source, kind=kinds, report=report)
    reasons = {**report.reasons, **report.left_out}
    if not report.records:
        seen = "; ".join(f"{count} rows: {reason}" for reason, count in reasons.items()) or "it is empty"
        raise DataError(f"{source} has nothing to {mode} ({seen}); expected answers as `steersman sample` writes them")
    for reason, count in reasons.items():
        tell(f"  {source}: {count} rows left out: {reason}")


def _pairs(choice: str) -> tuple[str, int]:
    name, _, count = choice.partition(":")
    if not count:
        return name, 1
    if name != "random" or not count.isdecimal():
        raise UsageError(f"--pairs {choice} cannot be read; expected all, adjacent, across, random or random:3")
    return name, int(count)


def _part(text: str) -> tuple[int, int]:
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal()):
        raise UsageError(f"--part {text} cannot be read; expected for example --part 2/3")
    return int(number), int(of)


def _login_name() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise UsageError("your login name is unknown to this system; give --annotator NAME") from error


def _default_out(answers: list[str], annotator: str, mode: str) -> Path:
    first = Path(answers[0])
    if not first.exists():  # a named source, such as harbour:answers?count=20: its name without the settings
        first = Path(_safe(answers[0].partition("?")[0]))
    return first.with_name(f"{first.name.removesuffix('.jsonl')}.{_safe(annotator)}.{mode}.jsonl")


def _safe(name: str) -> str:
    """A part of a file's name without special characters."""
    return "".join(letter if letter.isalnum() else "-" for letter in name)


def _now() -> str:
    from datetime import datetime

    return datetime.now().astimezone().isoformat(timespec="milliseconds")
