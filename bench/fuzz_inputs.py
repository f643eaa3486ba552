"""What `fuzz.py` gives to the commands: good files and runs, and one mutated case for each random generator."""

import csv
import gzip
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Make = Callable[[random.Random, Path, Path], "Case"]

GOOD_RUNS = (
    ["sft", "model.path=@/tiny", "data.source=@/sft.jsonl", "train.epochs=1", "run.out=@/run-sft"],
    ["reward", "model.path=@/tiny", "data.source=@/pairs.jsonl", "train.epochs=1", "run.out=@/run-reward"],
    [
        *("sft", "model.path=@/tiny", "data.source=@/sft.jsonl", "train.epochs=1", "model.lora.rank=2"),
        "run.out=@/run-lora",
    ],
    ["sample", "@/prompts.jsonl", "model=@/tiny", "out=@/answers.jsonl", "max_new_tokens=4", "answers=2"],
    ["score", "@/answers.jsonl", "scorer.path=@/reward.py:reward", "out=@/scored.jsonl"],
    ["simulate", "@/answers.jsonl", "people=@/reward.py:reward", "pairs=all", "out=@/people.jsonl"],
    ["studio", "create", "kept", "--store", "@/studio.db"],
    ["studio", "import", "kept", "@/answers.jsonl", "--task", "pair", "--store", "@/studio.db"],
    ["studio", "import", "kept", "@/people.jsonl", "--store", "@/studio.db"],
)
PROMPTED = ["model.path=@/tiny", "prompts.source=@/prompts.jsonl", "scorer.path=@/reward.py:reward"]
ONLINE = [*PROMPTED, "sampling.max_new_tokens=4"]
SHORT = ["train.epochs=1", "data.limit=6"]
ROWS = ["model.path=@/tiny", *SHORT]
BASE = {
    "sft": [*ROWS, "data.source=@/sft.jsonl", "run.out=new"],
    "reward": [*ROWS, "data.source=@/pairs.jsonl", "run.out=new"],
    "dpo": [*ROWS, "data.source=@/pairs.jsonl", "run.out=new"],
    "classifier": [*ROWS, "data.source=@/classes.jsonl", "run.out=new"],
    "ilql": [*ROWS, "data.source=@/scored.jsonl", "run.out=new"],
    "ppo": [*ONLINE, "iterations=1", "prompts_per_iteration=4", "run.out=new"],
    "rloo": [*ONLINE, "iterations=1", "prompts_per_iteration=4", "run.out=new"],
    "online-dpo": [*ONLINE, "train.steps=1", "train.batch_size=2", "run.out=new"],
    "best-of-n": [*ONLINE, "n=2", "train.epochs=1", "run.out=new"],
    "sample": ["model=@/tiny", "max_new_tokens=4", "answers=2", "out=new.jsonl"],
    "score": ["scorer.path=@/reward.py:reward", "out=new.jsonl"],
    "evaluate": [
        *("models.a=@/tiny", "models.b=@/run-sft", "prompts.source=@/prompts.jsonl", "drawing.max_new_tokens=4"),
        *("scorers.one.path=@/reward.py:reward", "run.out=new"),
    ],
    "simulate": ["people=@/reward.py:reward", "out=new.jsonl"],
    "gate": ["out=new.jsonl"],
    "judge": ["judge.model=@/tiny", "judge.constitution=@/short.toml", "run.out=new"],
}
HEAD = {
    "sample": ["@/prompts.jsonl"],
    "score": ["@/answers.jsonl"],
    "simulate": ["@/answers.jsonl"],
    "gate": ["@/people.jsonl"],
    "judge": ["@/answers.jsonl"],
}
"""What comes before the settings."""
"""A short good call of every command that takes settings."""
READ_A_SOURCE = {"sft": "data", "reward": "data", "dpo": "data", "classifier": "data", "ilql": "data"}

TEXTS = [
    "",
    " ",
    "a",
    "é",
    "\x00",
    "\ud800",
    "\x1b[31m",
    "‮",
    "none",
    "true",
    "nan",
    "../../x",
    "x" * 300,
    "a=b",
    "[",
    "{}",
]
TEXTS += [
    "http://[::1",
    "harbour:prompts?count=x",
    "hf:a/b",
    "/dev/null",
    ".",
    "/",
    "~nobody/x",
    "%s",
    "{0}",
    "${HOME}",
]
NUMBERS = [0, -1, 1, 2, 3, 7, 0.5, -0.5, 1.5, 1e-300, 1e-12, 1e12, 1e38, 1e308, 2**31, 2**63, 10**30, 10**400]
ODD: list[Any] = [None, True, False, [], {}, [[]], ["a"], [1], {"a": 1}, [None], {"": ""}, [{}], {"role": "user"}]
SETTING_TEXTS = ["nan", "inf", "-inf", "[]", "{}", "none", "true", "false", '""', "[1,2]", '["a"]', "{a=1}", "auto"]
# What decides for how long a command works: large values are what they say, and no fault.
LENGTHS = (
    "iterations",
    "epochs",
    "steps",
    "max_new_tokens",
    "answers",
    "count",
    "per_iteration",
    "at_once",
    "n",
    "turns",
)


@dataclass(frozen=True)
class Case:
    kind: str
    command: tuple[str, ...]
    words: list[str]
    what: str


def case(rng: random.Random, world: Path, folder: Path) -> Case:
    """One case, its files written into `folder`."""
    kinds: list[tuple[int, Make]] = [(36, _rows), (24, _files), (12, _recipes), (18, _settings), (10, _options)]
    make = rng.choices([make for _, make in kinds], [weight for weight, _ in kinds])[0]
    made = make(rng, world, folder)
    # No argument of a process can hold a NUL.
    words = [word.replace("@", str(world), 1).replace("\0", "\\u0000") for word in made.words]
    safe = [os.fsdecode(word.encode("utf-8", "surrogateescape" if _escapes(word) else "replace")) for word in words]
    return Case(made.kind, made.command, safe, made.what)


def _escapes(word: str) -> bool:
    return all(not "\ud800" <= letter <= "\udfff" or "\udc80" <= letter <= "\udcff" for letter in word)


def value(rng: random.Random) -> Any:
    return rng.choice([rng.choice(TEXTS), rng.choice(NUMBERS), rng.choice(ODD)])


def mutated(rng: random.Random, thing: Any) -> Any:
    """The same value with one change somewhere in it."""
    if isinstance(thing, dict) and thing and rng.random() < 0.8:
        key = rng.choice(list(thing))
        way = rng.randrange(5)
        if way == 0:
            return {k: v for k, v in thing.items() if k != key}
        if way == 1:
            return thing | {rng.choice([str(value(rng)), *thing]): value(rng)}
        return thing | {key: mutated(rng, thing[key])}
    if isinstance(thing, list) and thing and rng.random() < 0.8:
        at = rng.randrange(len(thing))
        way = rng.randrange(4)
        if way == 0:
            return [*thing[:at], *thing[at + 1 :]]
        if way == 1:
            return [*thing[:at], thing[at], *thing[at:]]
        return [*thing[:at], mutated(rng, thing[at]), *thing[at + 1 :]]
    if rng.random() < 0.03:
        for _ in range(rng.choice([3, 200, 2000])):
            thing = [thing]
        return thing
    return value(rng)


def altered(rng: random.Random, raw: bytes) -> bytes:
    """The bytes with a few flipped, removed, repeated or put in."""
    data = bytearray(raw)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        at = rng.randrange(len(data) + 1)
        way = rng.randrange(6)
        if way <= 1 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif way == 2:
            del data[at : at + rng.choice([1, 2, 10, 1000])]
        elif way == 3:
            data[at:at] = data[at : at + rng.choice([1, 10, 100])]
        elif way == 4:
            data[at:at] = rng.choice(
                [b"\0", b"\xff", b"\xed\xa0\x80", b"\n", b'"', b"[", b"}", b"1e999", b"NaN", b"9" * 5000]
            )
        else:
            del data[at:]
    return bytes(data)


def _rows(rng: random.Random, world: Path, folder: Path) -> Case:
    examples = json.loads((world / "examples.json").read_text())
    name = rng.choice(list(examples))
    rows = [rng.choice(examples[name]) for _ in range(rng.choice([1, 3, 12]))]
    for _ in range(rng.choice([1, 2, 4])):
        at = rng.randrange(len(rows))
        rows[at] = mutated(rng, rows[at])
    ending = rng.choice([".jsonl", ".jsonl", ".json", ".jsonl.gz", ".csv", ".parquet"])
    source = _write_rows(rng, folder / f"rows{ending}", rows)
    shutil.copy(world / "studio.db", folder)
    command, words = _reading(rng, source.name)
    return Case("rows", command, words, f"{name} {source.read_bytes()[:300]!r}")


def _write_rows(rng: random.Random, path: Path, rows: list[Any]) -> Path:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            pq.write_table(pa.Table.from_pylist([row for row in rows if isinstance(row, dict)]), path)
            return path
        except (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError):
            path = path.with_suffix(".jsonl")
    if path.suffix == ".csv":
        with path.open("w", newline="", errors="backslashreplace") as file:
            keys = list(dict.fromkeys(str(key) for row in rows if isinstance(row, dict) for key in row)) or ["a"]
            writer = csv.writer(file)
            writer.writerow(keys)
            writer.writerows([[_cell(row.get(key)) for key in keys] for row in rows if isinstance(row, dict)])
        return path
    try:
        lines = [json.dumps(row, ensure_ascii=rng.random() < 0.5) for row in rows]
    except RecursionError:
        lines = ["[" * 3000]
    text = f"[{', '.join(lines)}]" if path.suffix == ".json" else "".join(f"{line}\n" for line in lines)
    raw = text.encode("utf-8", "surrogatepass")
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return path


def _cell(value: Any) -> str:
    try:
        return value if isinstance(value, str) else json.dumps(value)
    except (RecursionError, ValueError):
        return "9" * 400


def _reading(rng: random.Random, source: str) -> tuple[tuple[str, ...], list[str]]:
    """A command that reads a source of rows; those that load no model are the commonest, for they are quick."""
    if rng.random() < 0.05:
        command = rng.choice(list(HEAD))
        return (command,), [command, source, *BASE[command]]
    if rng.random() < 0.3:
        command = rng.choice(list(READ_A_SOURCE))
        kept = [word for word in BASE[command] if not word.startswith(f"{READ_A_SOURCE[command]}.source")]
        return (command,), [command, *kept, f"{READ_A_SOURCE[command]}.source={source}"]
    if rng.random() < 0.15:
        return ("label",), ["label", source, "--out", "new.jsonl"]
    if rng.random() < 0.15:
        tasks = rng.choice([[], ["--task", "pair"], ["--task", "ranking"], ["--round", "r2"], ["--annotator", "x"]])
        return ("studio", "import"), ["studio", "import", "kept", source, "--store", "studio.db", *tasks]
    which = rng.choice(["inspect", "inspect", "convert", "split"])
    tail = {"inspect": [], "convert": [rng.choice(["new.jsonl", "new.csv", "new.parquet"])], "split": ["new"]}[which]
    more = rng.choice([[], [], [], ["--json"]])
    return ("data", which), ["data", which, source, *tail, *more]


def _files(rng: random.Random, world: Path, folder: Path) -> Case:
    """A damaged file of a data set, a model, a run, a store or a constitution."""
    way = rng.randrange(7)
    if way == 5:
        (folder / "studio.db").write_bytes(altered(rng, (world / "studio.db").read_bytes()))
        calls = [["list"], ["export", "kept", "new.jsonl"], ["snapshot", "kept"], ["import", "kept", "@/pairs.jsonl"]]
        calls += [["backup", "new.db"], ["migrate"]]
        words = ["studio", *rng.choice(calls), "--store", "studio.db"]
        return Case("files", tuple(words[:2]), words, "studio.db")
    if way == 6:
        shipped = Path(__file__).parents[1] / "src/steersman/constitution/resources"
        good = rng.choice([world / "short.toml", *sorted(shipped.glob("*.toml"))])
        (folder / "mine.toml").write_bytes(altered(rng, good.read_bytes()))
        calls = [["constitution", "check", "mine.toml"], ["constitution", "show", "mine.toml"]]
        calls += [["judge", *HEAD["judge"], *BASE["judge"][:1], "judge.constitution=mine.toml", "run.out=new"]]
        words = rng.choice(calls)
        return Case("files", tuple(words[: 1 if words[0] == "judge" else 2]), words, "mine.toml")
    if way == 0:
        good = rng.choice([path for path in world.iterdir() if path.is_file() and path.suffix in _DATA])
        (folder / good.name).write_bytes(altered(rng, good.read_bytes()))
        shutil.copy(world / "studio.db", folder)
        command, words = _reading(rng, good.name)
        return Case("files", command, words, good.name)
    name = {1: "tiny", 2: "run-sft", 3: "run-reward", 4: "run-lora"}[way]
    shutil.copytree(world / name, folder / name)
    path = rng.choice(sorted(path for path in (folder / name).rglob("*") if path.is_file()))
    path.write_bytes(altered(rng, path.read_bytes()))
    plain = ["sample", "@/prompts.jsonl", f"model={name}", "out=new.jsonl", "max_new_tokens=2", "answers=1"]
    again = [word for word in GOOD_RUNS[max(way - 2, 0)] if not word.startswith("run.out=")]
    calls = [plain, ["chat", name], ["chat", name, "--no-verify"], ["plan", "sft", f"model.path={name}"]]
    if way > 1:
        calls += [
            ["runs", "show", name],
            ["runs", "list", "."],
            ["report", name, "--force"],
            [*again, f"run.out={name}"],
        ]
        calls += [["compare", "-a", name, "-b", "@/run-sft", "--out", "new"][:3], ["runs", "show", name, "--json"]]
    if way == 3:
        calls += [["score", "@/answers.jsonl", f"scorer.path={name}", "out=new.jsonl", "--force"]]
    words = rng.choice(calls)
    return Case("files", tuple(words[: 2 if words[0] in ("runs", "data") else 1]), words, str(path.relative_to(folder)))


_DATA = (".jsonl", ".json", ".csv", ".parquet", ".gz", ".txt", ".tsv")


def _recipes(rng: random.Random, world: Path, folder: Path) -> Case:
    command = rng.choice(list(BASE))
    lines = [word.replace("@", str(world)) for word in BASE[command]]
    text = "\n".join(f"{key} = {_toml(one)}" for key, one in (line.split("=", 1) for line in lines))
    shipped = rng.choice([None, *sorted((Path(__file__).parents[1] / "src/steersman/recipes").glob("*.toml"))])
    raw = altered(rng, text.encode() if shipped is None or rng.random() < 0.6 else shipped.read_bytes())
    (folder / "recipe.toml").write_bytes(raw)
    if rng.random() < 0.25:
        command = rng.choice(["chat", "runs list", "data inspect", "report", "compare", "label", "doctor", "schema"])
        return Case(
            "recipes",
            tuple(command.split()),
            [*command.split(), "--recipe", "recipe.toml"],
            raw.decode(errors="replace"),
        )
    # What is short stays short, whatever the recipe says; and nothing is trained where the recipe says.
    words = [command, *HEAD.get(command, []), "recipe.toml", *(lines if rng.random() < 0.5 else [])]
    if shipped is not None and lines[-1] not in words:
        words += [
            word for word in lines if word.startswith(("run.out", "out=", "iterations", "train.steps", "train.epochs"))
        ]
        words += [word for word in lines if word.startswith(("model", "data.", "prompts.source", "sampling"))]
    return Case("recipes", (command,), words, raw.decode(errors="replace"))


def _toml(text: str) -> str:
    return text if text.replace(".", "").isdigit() else json.dumps(text)


def _settings(rng: random.Random, world: Path, folder: Path) -> Case:
    from steersman.assemble.stages import STAGES
    from steersman.settings.base import all_keys

    command = rng.choice(list(BASE))
    keys = [key.replace("<name>", "a") for key in all_keys(STAGES[command].schema)]
    changes: list[str] = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        key = rng.choice(keys)
        if key.startswith(("run.out", "run.journal")) or key == "out":
            continue
        is_length = any(key.endswith(length) for length in LENGTHS)
        numbers = [n for n in NUMBERS if not is_length or not 100 < n < 2**63]
        one = rng.choice(
            [str(rng.choice(numbers)), str(rng.choice(numbers)), rng.choice(SETTING_TEXTS), rng.choice(TEXTS)]
        )
        changes.append(f"{key}={one}")
    if rng.random() < 0.1 and command not in HEAD:
        return Case("settings", ("plan",), ["plan", command, *BASE[command], *changes], "")
    return Case("settings", (command,), [command, *HEAD.get(command, []), *BASE[command], *changes], "")


def _options(rng: random.Random, world: Path, folder: Path) -> Case:
    """Options of a command with odd values."""
    import typer

    from steersman.cli.main import app

    def leaves(group: Any, before: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
        found = []
        for name, command in group.commands.items():
            inner = (*before, name)
            found += leaves(command, inner) if hasattr(command, "commands") else [(inner, command)]
        return found

    every = [
        leaf
        for leaf in leaves(typer.main.get_command(app), ())
        if leaf[0] not in (("quickstart",), ("studio", "serve"))
    ]
    name, command = rng.choice(every)
    (folder / "answers.jsonl").write_bytes((world / "answers.jsonl").read_bytes())
    words = [*name]
    if name[0] in BASE:
        words += [*HEAD.get(name[0], []), *BASE[name[0]]]
    else:
        words += {"data": ["answers.jsonl"], "report": ["@/run-sft"], "label": ["answers.jsonl"]}.get(name[0], [])
        words += {"chat": ["@/tiny"], "plan": ["sft"], "schema": ["ppo"]}.get(name[0], [])
        words += ["@/run-sft"] if name == ("runs", "show") else []
        if name[0] == "studio":
            shutil.copy(world / "studio.db", folder)
            words += {
                "create": ["new"],
                "list": [],
                "migrate": [],
                "restore": ["@/studio.db"],
                "backup": ["new.db"],
            }.get(name[1], ["kept"])
            words += {"import": ["@/pairs.jsonl"], "export": ["new.jsonl"]}.get(name[1], [])
            words += ["--store", "new.db" if name[1] == "restore" else "studio.db"]
    choices = [p for p in command.params if any(o.startswith("--") for o in p.opts) and p.name not in ("out", "seeds")]
    for parameter in rng.sample(choices, min(len(choices), rng.choice([1, 2]))):
        option = max(parameter.opts, key=len)
        odd = rng.choice([*TEXTS, *map(str, NUMBERS[:-2]), "nan", "inf"])
        words += [option] if getattr(parameter, "is_flag", False) else [option, odd]
    return Case("options", name, words, "")


def write_good_files(world: Path) -> None:
    """A small model, rows of every format and files of every type."""
    from tests.data.test_formats import EXAMPLES

    from steersman.models.tiny import write_tiny_model

    write_tiny_model(world / "tiny", "llama")
    examples: dict[str, list[Any]] = {}
    for name, row, _ in EXAMPLES:
        examples.setdefault(name, []).append(row)
    tree = {"message_id": "m1", "parent_id": None, "text": "Hi", "role": "prompter", "message_tree_id": "m1"}
    answers = [
        {"message_id": f"m{i}", "parent_id": "m1", "text": f"Ho {i}", "role": "assistant", "rank": i - 2}
        for i in (2, 3)
    ]
    examples["oasst"] = [tree, *(answer | {"message_tree_id": "m1"} for answer in answers)]
    (world / "examples.json").write_text(json.dumps(examples))
    kinds = {
        "sft": lambda i: {"prompt": f"question {i}", "completion": f"answer {i}"},
        "pairs": lambda i: {"prompt": f"question {i}", "chosen": f"good {i}", "rejected": f"bad {i}"},
        "prompts": lambda i: {"prompt": f"question {i}"},
        "classes": lambda i: {"text": f"a text {i}", "label": "toxic" if i % 2 else "clean"},
    }
    for name, row in kinds.items():
        rows = [row(i) for i in range(12)]
        text = "".join(f"{json.dumps(row)}\n" for row in rows)
        (world / f"{name}.jsonl").write_text(text)
        (world / f"{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))
        (world / f"{name}.json").write_text(json.dumps(rows))
        for ending in (".csv", ".parquet"):
            _write_rows(random.Random(0), world / f"{name}{ending}", rows)
    (world / "text.txt").write_text("One paragraph.\n\nAnother one.\n\nA third.\n")
    (world / "short.toml").write_text(
        'name = "short"\n[[principles]]\nname = "kind"\ntext = "Kind."\ncritique_request = "What is unkind in it?"\n'
        'revision_request = "Say it kindly, please."\ncomparison_question = "Which answer is kinder?"\n'
    )
    (world / "reward.py").write_text("def reward(prompt, answer):\n    return float(len(answer) % 5)\n")
