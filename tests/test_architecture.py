"""The architecture, as tables that fail the build when they stop being true. Each test lists everything that breaks its
rule."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = "steersman"
REPOSITORY = Path(__file__).parents[1]
ROOT = REPOSITORY / "src" / PACKAGE

# Read downwards: a line names only lines above it. Imports count wherever in a file they stand.
MAY_IMPORT = {
    "inert": "",
    "secrets": "",
    "printing": "inert secrets",
    "errors": "",
    "extensions": "errors",
    "dataclass_rows": "errors",
    "records": "errors dataclass_rows",
    "settings": "secrets errors extensions",
    "importing": "secrets errors settings",
    "constitution": "inert errors dataclass_rows records settings",
    "maths": "",
    "costs": "errors",
    "batches": "errors",
    "runs": "printing secrets errors records",
    "text": "errors records",
    "models": "errors batches maths runs",
    "parallel": "printing errors",
    "data": "errors extensions records batches text",
    "rollout": "errors records batches text maths models parallel",
    "reward": "secrets errors extensions records constitution batches text maths models rollout",
    "train": "errors batches maths models parallel runs",
    "evaluate": "printing errors records settings maths data reward runs",
    "judges": (
        "inert secrets errors records settings constitution maths batches runs text models data rollout reward evaluate"
    ),
    "store": "printing inert secrets errors dataclass_rows records settings maths data",
    "quality": "errors records maths store",
    "lineage": "secrets errors records settings runs data store",
    "rounds": "secrets errors settings runs store lineage",
    "watch": "errors extensions records maths runs evaluate reward",
    "pages": "errors records maths evaluate",
    "methods": (
        "errors extensions records settings constitution maths batches runs text models parallel data rollout reward "
        "train evaluate watch"
    ),
    "harbour": "errors records constitution maths text models data reward",
    "judging": "inert errors records constitution runs store",
    "reports": "secrets errors records constitution maths runs evaluate watch pages harbour rounds",
    "studio": (
        "printing inert secrets errors dataclass_rows records settings maths runs data store quality lineage rounds "
        "reward evaluate pages judging reports"
    ),
    "execution": "printing secrets errors settings maths costs batches runs models parallel data lineage train",
    "loading": (
        "printing errors records constitution settings runs text models parallel data store rollout reward train "
        "judges harbour execution"
    ),
    "training_data": (
        "errors records settings batches runs text models parallel data rollout reward judging loading execution"
    ),
    "inference": (
        "errors extensions dataclass_rows records settings constitution maths batches runs text models parallel data "
        "rollout reward train evaluate judges pages harbour methods reports execution loading training_data"
    ),
    "serve": "errors records settings runs text models rollout reward execution loading",
    "export": (
        "secrets errors records settings maths batches runs text models data store lineage evaluate reward loading"
    ),
}
BELOW_ASSEMBLE = " ".join(MAY_IMPORT)
MAY_IMPORT |= {
    "assemble": BELOW_ASSEMBLE,
    "api": "printing errors records settings data runs reward execution loading assemble",
    "api_models": (
        "errors records settings batches text data reward evaluate judges models rollout execution loading inference "
        "assemble api"
    ),
    "demo": f"{BELOW_ASSEMBLE} assemble",
    "cli": f"{BELOW_ASSEMBLE} assemble demo",
    "__main__": "runs cli",
}
# third-party library -> the only packages that may touch it
ONLY_IN = {
    "torch.distributed": "parallel",
    "rich.progress": "runs",
    "typer": "cli",
    "sqlalchemy": "store",
    "alembic": "store",
    "fastapi": "studio serve",
    "starlette": "studio serve",
    "uvicorn": "studio serve",
    "sse_starlette": "studio serve",
    "prometheus_client": "serve",
    "gguf": "export",
    "argon2": "studio",
    "itsdangerous": "studio",
    "nh3": "studio",
    "ray": "parallel",
    "vllm": "rollout",
}
# packages and modules that must open without torch: what people wait for, and what a page or a terminal shows
WITHOUT_TORCH = [
    *(
        "evaluate",
        "watch",
        "pages",
        "reports",
        "judging",
        "store",
        "quality",
        "studio",
        "lineage",
        "rounds",
        "settings",
        "importing",
        "costs",
        "records",
        "errors",
        "extensions",
        "runs",
        "constitution",
    ),
    *("judges.judge", "judges.endpoint", "judges.wire"),
    *("data.sources", "data.formats", "maths.statistics", "cli.main", "assemble.stages"),
]
# file or file::function -> why it may be longer
LONGER: dict[str, str] = {
    "rollout/gpu_kernels.py::_turn": "a kernel of one launch, with a line for each argument",
    "rollout/gpu_attention.py::_attend_part": "a kernel of one launch, with a line for each argument",
}
MAX_LINES, MAX_FUNCTION = 350, 60
# file::function -> why it may take more parameters
MORE_PARAMETERS = {
    "assemble/compare.py::run_compare": (
        "called like the command line: each keyword is an option of `steersman compare`"
    ),
    "maths/chunked_log_probs.py::chosen_log_probs": "a numeric kernel: each argument is a symbol of its formula",
    "maths/chunked_log_probs.py::summed_log_probs": "a numeric kernel: each argument is a symbol of its formula",
    "models/tiny.py::write_tiny_model": "tests name the one or two numbers of the shape that they need",
    "reward/model.py::__init__": "a public constructor: each keyword is a setting of `scorer`",
    "rollout/sampler.py::draw": "a numeric kernel: each argument is a tensor of one step, or what it stands for",
}
MAX_PARAMETERS = 7
# The largest share of all lines that one package may hold; `data` has a file for each format.
MAX_SHARE = 0.09

FORBIDDEN_CALLS = {"eval", "exec", "torch.load", "torch.save", "pickle.load", "pickle.loads", "yaml.load"}

FILES = [path for path in sorted(ROOT.rglob("*.py")) if path != ROOT / "__init__.py"]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def package_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def module_of(path: Path) -> str:
    return f"{PACKAGE}.{name_of(path)[:-3].replace('/', '.')}".removesuffix(".__init__")


def imported_names(path: Path) -> Iterator[str]:
    """Every name that a file imports, at its top or inside a function."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{name_of(path)}::{node.name}", node


def test_the_table_of_imports_has_no_circles():
    above: set[str] = set()
    for name, allowed in MAY_IMPORT.items():
        assert set(allowed.split()) <= above, name
        above.add(name)


# What prints by itself: each has a reason to draw on a stream of its own.
PRINTS = {"printing.py", "judging/layout.py", "harbour/sampling.py", "harbour/build.py"}
PRINTING = {
    "print",
    "typer.echo",
    "click.echo",
    "typer.secho",
    "Console",
    "rich.print",
    "sys.stdout.write",
    "sys.stderr.write",
}


def test_everything_printed_goes_through_one_place():
    broken = [
        f"{name_of(path)}:{node.lineno}: {ast.unparse(node.func)}"
        for path in FILES
        if name_of(path) not in PRINTS
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in PRINTING
    ]
    assert broken == []


def test_imports_keep_to_the_table():
    broken: list[str] = []
    for path in FILES:
        here = package_of(path)
        for name in imported_names(path):
            there = name.split(".")[1] if name.startswith(f"{PACKAGE}.") else here
            if there != here and there not in MAY_IMPORT[here].split():
                broken.append(f"{name_of(path)}: {here} must not import {name}")
            for library, homes in ONLY_IN.items():
                if (name == library or name.startswith(f"{library}.")) and here not in homes.split():
                    broken.append(f"{name_of(path)}: {library} belongs in {homes}")
    assert not broken, "\n".join(broken)


def test_no_file_imports_itself_through_others():
    modules = {module_of(path): path for path in FILES}
    graph = {
        module: {
            target
            for name in imported_names(path)
            for target in (name, name.rpartition(".")[0])
            if target in modules and target != module
        }
        for module, path in modules.items()
    }
    try:
        list(graphlib.TopologicalSorter(graph).static_order())
    except graphlib.CycleError as error:
        raise AssertionError(" <- ".join(error.args[1])) from None


def test_files_and_functions_fit_a_screen():
    long = [name_of(path) for path in FILES if len(path.read_text().splitlines()) > MAX_LINES]
    long += [name for name, node in functions() if (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION]
    assert sorted(long) == sorted(LONGER), "look for the missing noun:\n" + "\n".join(sorted({*long} ^ {*LONGER}))


def test_functions_take_few_parameters():
    """Command-line functions are left out: each option is a parameter there. So are the kernels of a GPU."""
    many: list[str] = []
    for name, node in functions():
        taken = {a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)} - {"self", "cls"}
        kernels = ("rollout/gpu_kernels.py", "rollout/gpu_attention.py")
        if len(taken) > MAX_PARAMETERS and not name.startswith(("cli/", *kernels)):
            many.append(name)
    assert sorted(many) == sorted(MORE_PARAMETERS), "look for the missing noun:\n" + "\n".join(
        sorted({*many} ^ {*MORE_PARAMETERS})
    )


def test_no_package_outgrows_the_others():
    lines: dict[str, int] = {}
    for path in FILES:
        lines[package_of(path)] = lines.get(package_of(path), 0) + len(path.read_text().splitlines())
    large = {name: count for name, count in lines.items() if name != "data" and count > MAX_SHARE * sum(lines.values())}
    assert not large


def test_what_people_wait_for_opens_without_torch():
    modules = sorted(
        module_of(path)
        for path in FILES
        if any(f"{module_of(path)}.".startswith(f"{PACKAGE}.{name}.") for name in WITHOUT_TORCH)
    )
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    if 'torch' in sys.modules: sys.exit(f'{name} imports torch')\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# package -> why it hands something on
HANDS_ON = {
    "evaluate/__init__.py": "steersman.evaluate(…) is a call of the Python API; it is loaded when it is called",
    "studio/__init__.py": "scripts import the client as steersman.studio.Client; it is loaded on first use",
}


def test_packages_hand_nothing_on():
    filled = [name_of(path) for path in FILES if path.name == "__init__.py" and path.read_text()]
    assert filled == list(HANDS_ON)


def test_no_pickle_no_eval_and_no_remote_code_by_default():
    broken: list[str] = []
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if not isinstance(node, ast.Call):
                continue
            if (name := ast.unparse(node.func)) in FORBIDDEN_CALLS:
                broken.append(f"{name_of(path)}: {name}")
            for keyword in node.keywords:
                if keyword.arg == "trust_remote_code" and ast.unparse(keyword.value) == "True":
                    broken.append(f"{name_of(path)}: remote code must be the user's own wish")
    assert not broken, "\n".join(broken)


# class name -> why two modules may each have one of that name
SHARED_NAMES: dict[str, str] = {}


def test_each_public_class_name_has_one_home():
    homes: dict[str, set[str]] = {}
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, set()).add(name_of(path))
    several = [f"{name}: {', '.join(sorted(where))}" for name, where in sorted(homes.items()) if len(where) > 1]
    assert [one.partition(":")[0] for one in several] == sorted(SHARED_NAMES), "\n".join(several)


def test_the_map_names_every_package():
    text = (REPOSITORY / "docs" / "map.md").read_text()
    packages = {path.parent.name for path in FILES if path.name == "__init__.py"}
    assert not [name for name in sorted(packages) if f"{name}/" not in text]
