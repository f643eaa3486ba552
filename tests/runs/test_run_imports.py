"""Pages and listings read runs; they must not pay for torch to do it."""

from typing import Any


def test_importing_runs_brings_no_heavy_library(start_program: Any):
    program = start_program(
        """
        import importlib, pkgutil, sys
        import steersman.runs
        names = [module.name for module in pkgutil.iter_modules(steersman.runs.__path__)]
        for name in names:
            importlib.import_module("steersman.runs." + name)
        libraries = ("torch", "transformers", "numpy", "rich", "tensorboard", "wandb")
        heavy = [name for name in libraries if name in sys.modules]
        print(len(names), heavy)
        """
    )
    out, err = program.communicate(timeout=60)
    count, heavy = out.split(maxsplit=1)
    assert program.returncode == 0, err
    assert int(count) >= 10
    assert heavy.strip() == "[]"
