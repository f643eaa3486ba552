"""Plants small faults in the source, one at a time, and counts how many the quick tests find.

Run: python bench/mutants.py --sample 200 --seed 1 [--only maths/ --jobs 2 --write]

1. Which test runs which line is measured once, with coverage.py, and kept in .bench/ until a file changes.
2. Lines are drawn at random over the packages below, then one mutation of each (`mutations.py`).
3. A server process imports torch, transformers and pytest, and nothing of Steersman. For each mutant it forks a child
   that imports a copy of the project with the mutated file and runs the tests that reach the mutated line: those of
   the same folder first, then the others, the fastest first, until one fails. The working tree is never changed.

A mutant is found if a test fails or does not end; it has survived if all pass or if no test reaches it. The tests that
found something are run again at the end without a fault: one that fails then has found nothing.
`equivalent_mutants.toml` lists mutants that change nothing one could observe, with the reason; they are left out of the
count.
"""

import argparse
import ctypes
import datetime
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mutations import Mutation, is_python, mutations_of

ROOT = Path(__file__).parents[1]
PACKAGES = ("maths", "train", "methods", "reward", "runs", "watch", "evaluate")
# Tests that run other processes, whose coverage is not seen here, or that look at the text of the source.
LEFT_OUT = ("end_to_end", "faults", "parallel", "helpers", "demo", "cli")
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.toml")
DOCUMENT = ROOT / "docs" / "tests.md"
MARKER = "<!-- mutants: the newest result first -->\n"
MOST_TESTS = 150
MOST_SECONDS = 15.0
QUICK = "not slow and not soak"
MAP_VERSION = 1
# What the tests import besides Steersman: a child finds it imported.
AHEAD = (
    "torch",
    "torch.nn.functional",
    "torch.optim",
    "torch.distributed",
    "transformers",
    "transformers.models.llama.modeling_llama",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.auto.modeling_auto",
    "peft",
    "datasets",
    "pyarrow",
    "safetensors.torch",
    "tokenizers",
    "pydantic",
    "typer",
    "rich.progress",
    "jaxtyping",
    "beartype",
    "tomli_w",
    "statsmodels.api",
    "regex",
    "jinja2",
    "scipy.stats",
    "hypothesis",
    "hypothesis.extra.numpy",
    "pytest",
    "_pytest.assertion",
    "coverage",
    "numpy",
    "http.server",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sample", type=int, default=200, help="how many mutants; 0 for all (of --only)")
    parser.add_argument("--seed", type=int, default=None, help="of the draw; a fresh one if not given")
    parser.add_argument(
        "--only", default="", help="draw from the files whose path holds this, such as maths/masked.py:30"
    )
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="add the result to docs/tests.md")
    parser.add_argument(
        "--keep-map", action="store_true", help="do not measure coverage again when only the source changed"
    )
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve is not None:
        serve(asked.serve)
        return
    # an end from outside, too, cleans up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = random.SystemRandom().randrange(10**6) if asked.seed is None else asked.seed
    with servers(asked.jobs) as pool:
        tests = coverage_map(pool, keep=asked.keep_map)
        drawn = draw(source_of(pool.project), asked.sample, seed, asked.only)
        results = run_all(pool, drawn, tests)
        recheck(pool, results)
    report(results, seed, sampled=asked.sample > 0 and not asked.only, write=asked.write)


def source_of(project: Path) -> Path:
    return project / "src" / "steersman"


# --- what to mutate


def draw(source: Path, sample: int, seed: int, only: str) -> list[Mutation]:
    """Lines drawn at random without putting back, and one mutation of each; or all mutations, for a sample of 0."""
    wanted, _, line = only.partition(":")
    everything: dict[tuple[str, int], list[Mutation]] = {}
    for package in PACKAGES:
        for path in sorted((source / package).rglob("*.py")):
            file = str(path.relative_to(source))
            if wanted in file:
                for one in mutations_of(file, path.read_text()):
                    if not line or one.line == int(line):
                        everything.setdefault((file, one.line), []).append(one)
    chance = random.Random(seed)
    places = sorted(everything)
    if sample:
        places = chance.sample(places, min(sample, len(places)))
    known = equivalents()
    there = {one.key for of_line in everything.values() for one in of_line}
    for key in known.keys() - there if not only else ():
        print(f"  {EQUIVALENT.name} lists what is no longer there: {key}")
    found: list[Mutation] = []
    for place in places:
        usable = [one for one in everything[place] if is_python(one.apply((source / one.file).read_text()))]
        found += [chance.choice(usable)] if sample and usable else usable
    for one in found:
        if one.key in known:
            print(f"  equivalent: {one.file}:{one.line}  {one.change}  ({known[one.key]})")
    return found


def equivalents() -> dict[tuple[str, str, str], str]:
    if not EQUIVALENT.exists():
        return {}
    listed = tomllib.loads(EQUIVALENT.read_text()).get("mutant", [])
    return {(one["file"], one["line"], one["change"]): one["why"] for one in listed}


# --- which test sees which line


@dataclass(frozen=True)
class Tests:
    """The quick tests that passed: how long each took, and for each line of the source who runs it."""

    seconds: Mapping[str, float]
    lines: Mapping[str, Mapping[int, Sequence[str]]]

    def of(self, mutation: Mutation) -> tuple[list[str], list[str]]:
        """The tests of the same folder, and the others, that can see a mutation."""
        lines = self.lines.get(mutation.file, {})
        if mutation.inside:
            seen = {test for line in range(mutation.first, mutation.last + 1) for test in lines.get(line, ())}
        else:
            # It runs at the import: whoever runs anything of the file may see it.
            seen = {test for tests in lines.values() for test in tests}
        folder = f"tests/{mutation.file.split('/')[0]}/"
        if not seen and not mutation.inside:
            # A file without functions, such as records: the folder's own tests.
            seen = {test for test in self.seconds if test.startswith(folder)}
        own_file = Path(mutation.file).stem
        ordered = sorted(seen, key=lambda test: (own_file not in test.split("::")[0], self.seconds[test]))
        near = self._affordable([test for test in ordered if test.startswith(folder)])
        far = self._affordable(sorted((t for t in seen if not t.startswith(folder)), key=self.seconds.__getitem__))
        return near, far

    def _affordable(self, ordered: Sequence[str]) -> list[str]:
        spent, chosen = 0.0, []
        for test in ordered[:MOST_TESTS]:
            spent += self.seconds[test]
            if chosen and spent > MOST_SECONDS:
                break
            chosen.append(test)
        return chosen


def coverage_map(pool: "Pool", *, keep: bool) -> Tests:
    """Measured for the test files that have changed since last time; for all, if the source has."""
    kept = ROOT / ".bench" / "mutants-map.json"
    project = pool.project
    source = digest(project, sorted(source_of(project).rglob("*.py")))
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    if known.get("version") != MAP_VERSION or (known.get("source") != source and not keep):
        known = {"version": MAP_VERSION, "source": source, "files": {}}
    files = known["files"]
    present: dict[str, str] = {}
    for path in sorted((project / "tests").rglob("test_*.py")):
        name = str(path.relative_to(project))
        if name.count("/") > 1 and name.split("/")[1] not in LEFT_OUT:
            present[name] = digest(project, [path, *shared_with(project, name)])
    for name in [name for name in files if name not in present]:
        del files[name]
    stale = [name for name, hashed in present.items() if files.get(name, {}).get("hash") != hashed]
    groups: dict[str, list[str]] = {}
    for name in stale:
        groups.setdefault(str(Path(name).parent), []).append(name)

    def measure(folder: str) -> None:
        started = time.time()
        answer = pool.ask({"cover": groups[folder], "cpu": 1800, "wall": 3600})
        took = f"{time.time() - started:.0f} s, {answer['cpu']:.0f} s of processor time"
        print(f"  coverage of {folder}: {took}; {len(answer['failing'])} tests skipped or failing", flush=True)
        for name in groups[folder]:
            found = answer["covered"].get(name, {"tests": {}, "lines": {}})
            files[name] = {"hash": present[name], **found}

    if groups:
        print(f"measuring which lines {len(stale)} files of tests run", flush=True)
        for _ in pool.map(measure, list(groups)):
            kept.parent.mkdir(exist_ok=True)
            kept.write_text(json.dumps(known))
    seconds: dict[str, float] = {}
    lines: dict[str, dict[int, list[str]]] = {}
    for found in files.values():
        seconds.update(found["tests"])
        for file, covered in found["lines"].items():
            for line, tests in covered.items():
                lines.setdefault(file, {}).setdefault(int(line), []).extend(tests)
    return Tests(seconds, lines)


def shared_with(project: Path, name: str) -> list[Path]:
    """What a file of tests shares with others: the modules beside it and above it, and the helpers of all."""
    folders = [*(project / name).parents][: name.count("/")]
    beside = {path for folder in (*folders, project / "tests" / "helpers") for path in folder.glob("*.py")}
    return sorted(path for path in beside if not path.name.startswith("test_"))


def digest(project: Path, paths: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(str(path.relative_to(project)).encode() + path.read_bytes())
    return found.hexdigest()[:16]


# --- running


@dataclass
class Result:
    """`outcome` is found, timeout, survived or uncovered; `by` the test that failed."""

    mutation: Mutation
    outcome: str
    by: str
    tests: int
    seconds: float


def run_all(pool: "Pool", drawn: Sequence[Mutation], tests: Tests) -> list[Result]:
    known, done, lock = equivalents(), [], threading.Lock()
    wanted = [one for one in drawn if one.key not in known]

    def one(mutation: Mutation) -> Result:
        result = run_one(pool, mutation, tests)
        with lock:
            done.append(result)
            if result.outcome not in ("found", "timeout"):
                print(describe(result), flush=True)
            if len(done) % 20 == 0:
                found = sum(r.outcome in ("found", "timeout") for r in done)
                spent = sum(r.seconds for r in done)
                print(f"  {len(done)} of {len(wanted)}, {found} found, {spent:.0f} s of processor time", flush=True)
        return result

    return list(pool.map(one, wanted))


def run_one(pool: "Pool", mutation: Mutation, tests: Tests) -> Result:
    near, far = tests.of(mutation)
    if not near and not far:
        return Result(mutation, "uncovered", "", 0, 0.0)
    text = mutation.apply((source_of(pool.project) / mutation.file).read_text())
    spent = 0.0
    for chosen in (near, far):
        if not chosen:
            continue
        expected = sum(tests.seconds[test] for test in chosen)
        answer = pool.ask(
            {"file": mutation.file, "text": text, "tests": chosen, "cpu": 30 + 4 * expected, "wall": 120 + 8 * expected}
        )
        spent += answer["cpu"]
        if answer["code"] == "timeout":
            return Result(mutation, "timeout", "", len(chosen), spent)
        if answer["code"] != 0:
            return Result(mutation, "found", answer["failed"] or "|".join(chosen), len(chosen), spent)
    return Result(mutation, "survived", "", len(near) + len(far), spent)


def recheck(pool: "Pool", results: Sequence[Result]) -> None:
    """Without a fault, every test that found one must pass."""
    by = sorted({test for result in results if result.outcome == "found" for test in result.by.split("|")})
    if not by:
        return
    answer = pool.ask({"tests": by, "cpu": 1800, "wall": 3600, "all": True})
    failing = set(answer["failing"])
    if answer["code"] not in (0, 1) or failing:
        print(f"without a fault these fail too: {sorted(failing) or answer['tail']}")
    for result in results:
        if result.outcome == "found" and failing & set(result.by.split("|")):
            result.outcome = "survived"
            print("not counted as found: " + describe(result))


def describe(result: Result) -> str:
    one = result.mutation
    return f"  {result.outcome}: src/steersman/{one.file}:{one.line}  {one.change}  ({result.tests} tests)"


def report(results: Sequence[Result], seed: int, *, sampled: bool, write: bool) -> None:
    counts = Counter(result.outcome for result in results)
    found, total = counts["found"] + counts["timeout"], len(results)
    print("\nby package:")
    for package in PACKAGES:
        own = [r for r in results if r.mutation.file.startswith(f"{package}/")]
        if own:
            print(f"  {package}: {sum(r.outcome in ('found', 'timeout') for r in own)} of {len(own)}")
    print("\nnot found:")
    for result in results:
        if result.outcome in ("survived", "uncovered"):
            print(describe(result))
    seconds = sum(result.seconds for result in results)
    line = (
        f"{datetime.date.today().isoformat()}, seed {seed}: {found} of {total} mutants found "
        f"({found / max(total, 1):.0%}; "
        f"{counts['timeout']} by not ending; {counts['survived']} survived, {counts['uncovered']} in lines that no "
        "quick test "
        f"runs), {seconds / 60:.0f} minutes of processor time"
    )
    print("\n" + line)
    if write and sampled:
        text = DOCUMENT.read_text()
        if MARKER not in text:
            sys.exit(
                f"{DOCUMENT} has no line {MARKER.strip()!r} under which the result belongs; the result stands above"
            )
        DOCUMENT.write_text(text.replace(MARKER, f"{MARKER}- {line}\n"))


# --- the servers and their children


class Pool:
    """Servers that each work on one task at a time."""

    def __init__(self, count: int, folder: Path) -> None:
        self._idle: list[subprocess.Popen[str]] = []
        self._all: list[subprocess.Popen[str]] = []
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(count)
        self.project = folder / "project"
        """A copy that stays as it is, whatever becomes of the working tree meanwhile."""
        copy_project(self.project)
        for number in range(count):
            copy = folder / f"copy-{number}"
            shutil.copytree(self.project, copy)
            command = [sys.executable, __file__, "--serve", str(copy)]
            server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=copy)
            self._all.append(server)
        self._idle += self._all

    def map(self, work: Any, tasks: Sequence[Any]) -> Iterator[Any]:
        return self._threads.map(work, tasks)

    def ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        with self._lock:
            server = self._idle.pop()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        answer = json.loads(server.stdout.readline())
        with self._lock:
            self._idle.append(server)
        return answer

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)
        for server in self._all:
            if server.stdin is not None:
                server.stdin.close()
            server.wait()


@contextmanager
def servers(count: int) -> Iterator[Pool]:
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        pool = Pool(count, Path(folder))
        try:
            yield pool
        finally:
            pool.close()


def copy_project(to: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


def serve(copy: Path) -> None:
    """Tasks as JSON lines from stdin, answers to stdout; ends with its stdin, and leaves no process behind."""
    _kernel_option(36, 1)  # PR_SET_CHILD_SUBREAPER: what a killed child started becomes ours to end
    _kernel_option(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    prepare(copy)
    for line in sys.stdin:
        task = json.loads(line)
        path, original = None, b""
        if task.get("text") is not None:
            path = copy / "src" / "steersman" / task["file"]
            original = path.read_bytes()
            put(path, task["text"].encode())
        try:
            answer = in_child(copy, task)
        finally:
            if path is not None:
                put(path, original)
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def prepare(copy: Path) -> None:
    """The process as the tests expect it, with the libraries imported."""
    os.environ.update(
        PYTHONPATH=str(copy / "src"),
        OMP_NUM_THREADS="1",
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
    )
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if not Path("/dev/nvidiactl").exists():
        os.environ.setdefault("TRITON_INTERPRET", "1")
    sys.dont_write_bytecode = False
    sys.path[:] = [str(copy / "src"), *(entry for entry in sys.path if entry != str(Path(__file__).parent))]
    for name in AHEAD:
        try:
            __import__(name)
        except ImportError:
            continue
    from hypothesis import HealthCheck, Phase, settings

    # A failure need not be made small.
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile(
        "mutants", phases=phases, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    settings.load_profile("mutants")
    assert not any(name.split(".")[0] == "steersman" for name in sys.modules)


def put(path: Path, content: bytes) -> None:
    """Written with its compiled forms removed: two versions within a second, of one length, would look the same to
    Python."""
    path.write_bytes(content)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def in_child(copy: Path, task: Mapping[str, Any]) -> dict[str, Any]:
    result, log = copy / ".answer.json", copy / ".output.txt"
    result.unlink(missing_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            code = child(copy, task, result, log)
        except BaseException:
            log.write_text(traceback.format_exc())
        finally:
            os._exit(code)
    status = wait_for(pid, task["wall"])
    end_children()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer: dict[str, Any] = json.loads(result.read_text()) if result.exists() else {"failed": "", "failing": []}
    answer["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGXCPU, signal.SIGKILL)):
        answer["code"] = "timeout"
    else:
        answer["code"] = os.waitstatus_to_exitcode(status)
    answer["tail"] = log.read_text(errors="replace")[-2000:] if answer["code"] not in (0, 1) else ""
    return answer


def child(copy: Path, task: Mapping[str, Any], result: Path, log: Path) -> int:
    os.setsid()
    _kernel_option(1, signal.SIGKILL)
    seconds = int(task["cpu"]) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    import pytest

    # the server has imported pytest's plugins already, and a warning is an error
    imported = ["-W", "ignore::pytest.PytestAssertRewriteWarning"]
    usual = [
        "-q",
        "--tb=short",
        "-p",
        "no:xdist",
        "--hypothesis-seed=0",
        "-m",
        QUICK,
        "--rootdir",
        str(copy),
        *imported,
    ]
    if "cover" in task:
        watcher: Any = Coverage(copy)
        arguments = [*usual, "--continue-on-collection-errors", *task["cover"]]
    else:
        watcher = Failures()
        arguments = [*usual, *([] if task.get("all") else ["-x"]), *task["tests"]]
    code = int(pytest.main(arguments, plugins=[watcher]))
    result.write_text(json.dumps(watcher.answer()))
    sys.stdout.flush()
    return code


class Failures:
    """Which tests failed; a pytest plugin."""

    def __init__(self) -> None:
        self.failing: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failing.append(report.nodeid)

    def answer(self) -> dict[str, Any]:
        return {"failed": (self.failing or [""])[0], "failing": self.failing}


class Coverage:
    """Which lines each test that passed has run, and how long it took; a pytest plugin."""

    def __init__(self, copy: Path) -> None:
        import coverage

        self.source = copy / "src" / "steersman"
        self.coverage = coverage.Coverage(data_file=None, include=[f"{self.source}/*"], config_file=False)
        self.seconds: dict[str, float] = {}
        self.failing: set[str] = set()
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logfinish(self) -> None:
        self.coverage.switch_context("")

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if not report.passed:
            self.failing.add(report.nodeid)

    def answer(self) -> dict[str, Any]:
        self.coverage.stop()
        found: dict[str, Any] = {}
        for test, seconds in self.seconds.items():
            if test not in self.failing:
                file = test.split("::")[0]
                found.setdefault(file, {"tests": {}, "lines": {}})["tests"][test] = round(seconds, 4)
        data = self.coverage.get_data()
        for path in data.measured_files():
            name = str(Path(path).relative_to(self.source))
            if name.split("/")[0] not in PACKAGES:
                continue
            for line, tests in data.contexts_by_lineno(path).items():
                for test in tests:
                    file = test.split("::")[0]
                    if test in self.seconds and test not in self.failing:
                        found[file]["lines"].setdefault(name, {}).setdefault(str(line), []).append(test)
        return {"covered": found, "failing": sorted(self.failing), "failed": ""}


def wait_for(pid: int, wall: float) -> int | None:
    """The child's status; None if it took too long and was killed."""
    end, pause = time.monotonic() + wall, 0.01
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(pause)
        pause = min(pause * 1.5, 0.2)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def end_children() -> None:
    """Kill what a child has left running: it has become this process's own child."""
    while left := Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
        for pid in map(int, left):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _kernel_option(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    main()
