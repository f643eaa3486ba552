"""Measures of answers and models. `steersman.evaluate(models, prompts=…, out=…)` is the call of the Python API: this
package has its name, so it can be called."""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Callable(ModuleType):
    def __call__(self, *args: Any, **named: Any) -> Any:
        return import_module("steersman.api_models").evaluate(*args, **named)


sys.modules[__name__].__class__ = _Callable
