"""Annotations checked at run time, at enough calls to find what is wrong and few enough to be cheap.

jaxtyping's import hook decorates each function of the package. If every call is checked, the tests cost three times as
much. So a function is checked at its first calls within each test, and after that at its 16th, 32nd, 64th call.
Beartype writes a function's checker when the function is first called, since most processes call few of the functions
that they import. `STEERSMAN_CHECK_EVERY_CALL=1` leaves jaxtyping as it is."""

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable
from typing import Any

import jaxtyping

FIRST = 8

_jaxtyped = jaxtyping.jaxtyped
_counters: dict[tuple[str, str, int], list[int]] = {}
_counted: list[list[int]] = []
"""The counters that are not 0."""


def check_first_calls() -> None:
    """Takes effect for the modules that are imported from now on."""
    if os.environ.get("STEERSMAN_CHECK_EVERY_CALL") != "1":
        jaxtyping.jaxtyped = _sparing


def begin_test() -> None:
    """From now on each function's calls are counted from the first."""
    for counter in _counted:
        counter[0] = 0
    _counted.clear()


def _sparing(*, typechecker: Any) -> Callable[[Any], Any]:
    """What stands in for `jaxtyping.jaxtyped(typechecker=...)` as a decorator."""

    def decorate(thing: Any) -> Any:
        if not inspect.isclass(thing):
            return _counting(thing, typechecker)
        inherited = getattr(thing.__init__, "__globals__", None) is globals()
        if dataclasses.is_dataclass(thing) and not inherited:
            thing.__init__ = _counting(thing.__init__, typechecker)
        return thing

    return decorate


def _counting(function: Any, typechecker: Any) -> Any:
    if not inspect.isfunction(function) or getattr(function, "__no_type_check__", False):
        return function
    # an inner function is made anew at each call of the outer one, and goes on counting where the last one was
    place = (function.__module__, function.__qualname__, function.__code__.co_firstlineno)
    counter = _counters.setdefault(place, [0])
    checked: Any = None

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        __tracebackhide__ = True
        nonlocal checked
        count = counter[0] = counter[0] + 1
        if count > FIRST and count & (count - 1):
            return function(*arguments, **named)
        if count == 1:
            _counted.append(counter)
        if checked is None:
            checked = _jaxtyped(function, typechecker=typechecker)
        return checked(*arguments, **named)

    return call
