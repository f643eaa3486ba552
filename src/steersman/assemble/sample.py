"""`sample`: prompts and models -> several answers to each prompt, one row a prompt, each row on disk at once.

An answer is a function of the seed, its prompt and its place among the prompt's answers. Prompts go through the engine
in groups that begin at fixed places, so that a continued run has the same numbers as an unbroken one.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Any

from steersman.data.kinds import prompt_key, prompt_words
from steersman.data.outputs import check_outputs
from steersman.errors import DataError, Preempted, RunLocked, SteersmanError, UsageError
from steersman.inference.draw import AnsweringModel, AnswerSlot, Group, answer_group, plan_slots
from steersman.lineage.records import write_sidecar
from steersman.loading.saved import open_model
from steersman.loading.sources import read_prompts
from steersman.printing import tell
from steersman.records import Answers, Completion, Prompt, digest_of, from_dict, to_dict
from steersman.runs.progress import Progress
from steersman.runs.signals import StopRequest
from steersman.settings.sample import SampleSettings
from steersman.training_data.chat import settle_template

OPENING = b'{"kind": "answers"'


@dataclass
class SampleResult:
    out: str
    prompts: int = 0
    answers: int = 0
    kept: int = 0
    """Prompts that had been answered before."""
    unfinished: int = 0
    """Answers that reached max_new_tokens or the model's context."""
    left_out: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def count(self, reason: str, number: int = 1) -> None:
        if number:
            self.left_out[reason] = self.left_out.get(reason, 0) + number


def run_sample(settings: SampleSettings, *, quiet: bool = False) -> SampleResult:
    """Answer every prompt; the same call on the same file continues."""
    names = [settings.model] if isinstance(settings.model, str) else settings.model
    slots = plan_slots(settings, len(names))
    out = Path(settings.out).expanduser()
    if not out.name.endswith(".jsonl"):
        raise UsageError(f"answers are written row by row to a .jsonl file; seen out={settings.out}")
    check_outputs([out], reads=[settings.prompts.source], force=True)  # its own rows are verified and kept
    result = SampleResult(settings.out)
    prompts = _prompts(settings, result)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _no_empty_file(out), out.open("a+b") as file, StopRequest() as stop:
        _lock(file, out)
        ids = [row_id(prompt, names, slots, settings) for prompt in prompts]
        done = resume(file, out, prompts, ids)
        result.kept = done
        if done < len(prompts):
            opened = {name: _answering(name, settings) for name in dict.fromkeys(names)}
            models = [opened[name] for name in names]
            stop.begin()
            for model in opened.values():
                notice = partial(_notice, None if quiet else model.name)
                settle_template(settings.prompts.template, model.tokeniser, prompts, notice)
            with Progress("sample", len(prompts), done=done, silent=quiet) as progress:
                for place in _answer_all(AnswerFile(file, prompts, ids, done), models, slots, settings, result):
                    progress.update(place)
                    if stop.requested and place < len(prompts):
                        raise Preempted(
                            f"stopped after {place:,} of {len(prompts):,} prompts as asked; the same command goes on "
                            "from there"
                        )
    write_sidecar(out, "sample", settings)
    return result


@contextmanager
def _no_empty_file(out: Path) -> Iterator[None]:
    """A file that is made within is removed again if it is still empty when an error ends the work."""
    there = out.exists()
    try:
        yield
    except SteersmanError:
        if not there and out.stat().st_size == 0:
            out.unlink()
        raise


def _notice(model: str | None, words: str) -> None:
    if model is not None:
        tell(f"steersman: {model}: {words}")


def row_id(prompt: Prompt, names: Sequence[str], slots: Sequence[AnswerSlot], settings: SampleSettings) -> str:
    """The id of a row of answers: a hash of all inputs."""
    ways = [[names[slot.model], slot.described()] for slot in slots]
    return digest_of([*prompt_key(prompt), ways, settings.seed, settings.distinct])


def resume(file: IO[bytes], out: Path, prompts: Sequence[Prompt], ids: Sequence[str]) -> int:
    """How many prompts are done. A row that was cut off is removed.

    Rows of another run are refused, and the file is then left as it was.
    """
    file.seek(0)
    text = file.read()
    whole = text.rfind(b"\n") + 1
    place = {prompt_words(prompt): i for i, prompt in enumerate(prompts)}
    done = 0
    for number, line in enumerate(text[:whole].splitlines(), 1):
        row = _row(line, out, number)
        here = place.get(prompt_words(row.prompt), -1)
        if here < done:
            raise UsageError(
                f"{out}:{number} answers {row.prompt.shown[:60]!r}, which is not among the prompts still to come. The "
                "file belongs to other prompts; give another out"
            )
        if row.id != ids[here]:
            first = row.completions[0]
            raise UsageError(
                f"{out}:{number} holds answers made with other settings (the first: {first.model}, "
                f"{dict(first.sampling)}, seed {first.seed}). To go on use the old model, sampling, answers, distinct, "
                "seed and prompts.template (none in older files); to begin anew give another out"
            )
        done = here + 1
    begun = text[whole:]
    if begun[: len(OPENING)] != OPENING[: len(begun)]:
        raise DataError(f"{out} ends in {begun[:40]!r}, which is no row of answers; give another out")
    file.truncate(whole)
    return done


def _row(line: bytes, out: Path, number: int) -> Answers:
    try:
        row = from_dict(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{out}:{number} cannot be read ({error}); the file is damaged or no file of answers"
        ) from error
    if not isinstance(row, Answers) or not row.completions:
        raise DataError(f"{out}:{number} holds no answers but another kind of record; give another out")
    return row


@dataclass(frozen=True)
class AnswerFile:
    """An open file of answers: a row for each prompt, in their order. The first `done` are there."""

    file: IO[bytes]
    prompts: Sequence[Prompt]
    ids: Sequence[str]
    done: int

    def append(self, place: int, completions: tuple[Completion, ...]) -> None:
        """Write the row of a prompt; it is on the disk before this returns."""
        row = to_dict(Answers(self.prompts[place], completions, self.ids[place]))
        self.file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
        self.file.flush()
        os.fsync(self.file.fileno())


def _answer_all(
    rows: AnswerFile,
    models: Sequence[AnsweringModel],
    slots: Sequence[AnswerSlot],
    settings: SampleSettings,
    result: SampleResult,
) -> Iterator[int]:
    """Append a row for each prompt that is not done; yields how far it has come."""
    together, done = settings.prompts_at_once, rows.done
    for start in range(done - done % together, len(rows.prompts), together):
        group = rows.prompts[start : start + together]
        found = answer_group(group, models, slots, seed=settings.seed, distinct=settings.distinct)
        for i, completions in enumerate(found.answers, start):
            if i >= done and completions:
                rows.append(i, completions)
                result.prompts += 1
                result.answers += len(completions)
        _count(found, result, skip=done - start, distinct=settings.distinct)
        yield start + len(group)


def _count(found: Group, result: SampleResult, *, skip: int, distinct: bool) -> None:
    """Count what went missing. The first `skip` prompts were on disk already and are not counted again."""
    result.unfinished += sum(i >= skip for i in found.cut)
    result.count("a prompt longer than a model's context", sum(i >= skip for i in found.too_long))
    equal = " or equal to another" if distinct else ""
    result.count(f"an answer that stayed empty{equal}", sum(i >= skip for i in found.given_up))


def _answering(name: str, settings: SampleSettings) -> AnsweringModel:
    return AnsweringModel.of(name, open_model(name, device=settings.device, revision=settings.revision))


def _prompts(settings: SampleSettings, result: SampleResult) -> list[Prompt]:
    left_out: Counter[str] = Counter()
    found = read_prompts(settings.prompts, left_out)
    for reason, number in left_out.items():
        result.count(reason, number)
    return found


def _lock(file: IO[bytes], out: Path) -> None:
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise RunLocked(f"another process is writing answers to {out}; wait for it, or give another out") from error
