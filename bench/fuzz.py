"""Runs every command on mutated rows, files, recipes, settings and options, and counts what ends badly.

Run: python bench/fuzz.py --seed 1 --cases 10000 [--minutes 30 --first 0 --keep FOLDER --write]

A case depends on the seed and its number alone (`--first 123 --cases 1` repeats case 123). It runs in a process that is
forked from one that has imported torch and the package. A case has failed if it

- prints a traceback, ends with a code that Steersman does not have, or dies of a signal;
- hangs: it does not end within the time limit. A command that trains, samples or scores may work for longer, but stops
  within 20 s of SIGTERM then;
- ends with 0 and leaves NaN or infinity in a model's weights or in its journal.

What is left out on purpose: the quickstart (minutes of work, no input but a folder), the network, answers to `label`.
"""

import argparse
import datetime
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import fuzz_inputs as inputs  # noqa: E402

CODES = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 75}
TO_STOP = 20.0
MEMORY = 6 << 30
"""Bytes beyond those of the parent: a setting that asks for all memory must not end the machine."""
_BAD_NUMBER = re.compile(rb"\b(NaN|-?Infinity)\b")
MODULES = (
    *("steersman.cli.main", "steersman.api", "pyarrow.parquet", "peft", "safetensors.torch"),
    *(f"steersman.assemble.{name}" for name in ("sft", "reward.run", "classifier", "ppo.run", "online_dpo", "ilql")),
    *(f"steersman.assemble.{name}" for name in ("dpo", "evaluate", "score", "sample", "report", "compare")),
    "transformers.models.llama.modeling_llama",
)


@dataclass
class Ended:
    code: int
    said: str
    seconds: float
    hung: bool = False


@dataclass
class Found:
    """What a fuzz found: cases by kind, endings by code, failures by their last line."""

    kinds: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)


def import_all() -> None:
    from importlib import import_module

    for module in MODULES:
        import_module(module)
    import torch

    torch.set_num_threads(1)


def run(words: Sequence[str], folder: Path, limit: float) -> Ended:
    """The command in a forked process whose working folder is `folder`."""
    may_work_on = words[0] in inputs.BASE
    began = time.monotonic()
    log = folder / ".said"
    child = os.fork()
    if child == 0:
        _be_the_command(words, folder, log)
    code, stopping = None, False
    while code is None:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        late = time.monotonic() - began
        if late > limit + (TO_STOP if may_work_on else 0):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return Ended(-9, log.read_text(errors="replace"), late, hung=True)
        if late > limit and may_work_on and not stopping:
            stopping = True
            os.kill(child, signal.SIGTERM)
        time.sleep(0.01)
    # A command that stops when asked to was at work; one without checkpoints just dies of the signal.
    code = 75 if stopping and code == -signal.SIGTERM else code
    return Ended(code, log.read_text(errors="replace") if log.exists() else "", time.monotonic() - began)


def _be_the_command(words: Sequence[str], folder: Path, log: Path) -> None:
    code = 70
    try:
        os.setsid()
        os.chdir(folder)
        for descriptor, path, how in ((0, "/dev/null", os.O_RDONLY), (1, str(log), os.O_WRONLY | os.O_CREAT)):
            os.dup2(os.open(path, how | os.O_APPEND, 0o644), descriptor)
        os.dup2(1, 2)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        sys.argv = ["steersman", *words]
        from steersman.cli.main import main

        main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)


def what_is_wrong(ended: Ended, folder: Path) -> str:
    """Why the case has failed, in a few words; empty if it has not."""
    if ended.hung:
        return "hang"
    if "Traceback (most recent call last)" in ended.said or ended.code not in CODES:
        lines = [line for line in ended.said.strip().splitlines() if line.strip()]
        return f"code {ended.code}: {re.sub(r'0x[0-9a-f]+', '…', lines[-1])[:160] if lines else 'nothing said'}"
    if ended.code == 0 and (bad := _not_finite(folder)):
        return f"success, but not finite: {bad}"
    return ""


def _not_finite(folder: Path) -> str:
    from safetensors.torch import load_file

    for path in folder.rglob("journal.jsonl"):
        if _BAD_NUMBER.search(path.read_bytes()) and path.parent.name.startswith("new"):
            return f"{path.relative_to(folder)}"
    for path in folder.glob("new*/model/*.safetensors"):
        for name, tensor in load_file(path).items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                return f"{path.relative_to(folder)} ({name})"
    return ""


def prepare(world: Path) -> None:
    """Good inputs that cases mutate: a small model, files of every format and type, finished runs."""
    world.mkdir(parents=True)
    inputs.write_good_files(world)
    for words in inputs.GOOD_RUNS:
        ended = run([word.replace("@", str(world)) for word in words], world, 300)
        (world / ".said").unlink(missing_ok=True)
        if ended.code != 0:
            raise SystemExit(f"a good command failed: {' '.join(words)}\n{ended.said}")


def fuzz(seed: int, numbers: Sequence[int], world: Path, scratch: Path, limit: float, ends: float) -> Found:
    found = Found()
    for number in numbers:
        if time.monotonic() > ends:
            break
        folder = scratch / "case"
        folder.mkdir()
        case = inputs.case(random.Random(f"{seed}-{number}"), world, folder)
        ended = run(case.words, folder, limit)
        found.kinds[f"{case.kind}: {' '.join(case.command)}"] += 1
        found.codes[ended.code] += 1
        wrong = what_is_wrong(ended, folder)
        if wrong:
            found.seen[wrong] += 1
            found.failures.append(f"case {number}: {wrong}\n    {' '.join(case.words)[:600]}\n    {case.what[:300]}")
            print(found.failures[-1], flush=True)
            if found.seen[wrong] == 1:
                print("    " + "\n    ".join(ended.said.strip().splitlines()[-9:])[:1500], flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        done = sum(found.kinds.values())
        if done % 500 == 0:
            print(f"{done} cases, {len(found.failures)} failed", flush=True)
    return found


def summary(found: Found, seed: int, seconds: float) -> str:
    hangs = found.seen["hang"]
    odd = sum(count for wrong, count in found.seen.items() if wrong.startswith("success"))
    other = len(found.failures) - hangs - odd
    kinds: Counter[str] = Counter()
    for name, count in found.kinds.items():
        kinds[name.partition(":")[0]] += count
    commands = len({name.partition(": ")[2] for name in found.kinds})
    told = ", ".join(f"{count:,} {name}" for name, count in sorted(kinds.items()))
    return (
        f"{datetime.date.today()}, seed {seed}: {sum(kinds.values()):,} cases ({told}) over "
        f"{commands} commands: {other} tracebacks or odd codes, {hangs} hangs, "
        f"{odd} results that are not finite called success. {found.codes[0]:,} ended with 0, {found.codes[75]:,} were "
        f"stopped at work; {seconds / 60:.0f} minutes."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--minutes", type=float, default=24 * 60, help="stop after so long")
    parser.add_argument("--limit", type=float, default=90, help="seconds that a case may take")
    parser.add_argument("--keep", type=Path, help="a folder for the good inputs, used again if it is there")
    parser.add_argument("--write", action="store_true", help="add the result to docs/tests.md")
    chosen = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import_all()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        world = chosen.keep or Path(scratch) / "world"
        if not world.exists():
            prepare(world)
        numbers = range(chosen.first, chosen.first + chosen.cases)
        ends = began + 60 * chosen.minutes
        found = fuzz(chosen.seed, numbers, world, Path(scratch), chosen.limit, ends)
    text = summary(found, chosen.seed, time.monotonic() - began)
    print(json.dumps({"by command": dict(sorted(found.kinds.items())), "by code": dict(found.codes)}, indent=1))
    for wrong, count in found.seen.most_common():
        print(f"{count} × {wrong}")
    print(text)
    if chosen.write:
        page = ROOT / "docs" / "tests.md"
        mark = "<!-- fuzz: the newest result first -->\n"
        page.write_text(page.read_text().replace(mark, f"{mark}- {text}\n"))
    sys.exit(1 if found.failures else 0)


if __name__ == "__main__":
    main()
