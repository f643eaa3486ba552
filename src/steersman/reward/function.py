"""A Python function as scorer: `file.py:function` or a callable; for one item or a list of items, sync or async.

The function receives the arguments that its signature names. For one item: prompt, answer (or completion), messages,
metadata. For a list: prompts, answers (or completions), messages_list, metadata_list. It returns a number or a `Score`,
or a list of them. Exceptions and wrong return values raise an error that names the item.
"""

import asyncio
import importlib.util
import inspect
import numbers
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.errors import DataError, SteersmanError, UsageError
from steersman.records import Prompt
from steersman.reward.scorer import Item, Score, describe_item

# name of an argument -> its value for an item
ARGUMENTS: Mapping[str, Callable[[Prompt, str], Any]] = {
    "prompt": lambda prompt, answer: prompt.shown,
    "answer": lambda prompt, answer: answer,
    "completion": lambda prompt, answer: answer,
    "messages": lambda prompt, answer: [{"role": m.role, "content": m.content} for m in prompt.messages],
    "metadata": lambda prompt, answer: dict(prompt.metadata),
}
USERS_OWN = (Exception, SystemExit, GeneratorExit)
"""What is caught around a user's own code. Its `sys.exit(0)` must not end a run as if it had finished."""
BATCH_ARGUMENTS = {
    "prompts": "prompt",
    "answers": "answer",
    "completions": "completion",
    "messages_list": "messages",
    "metadata_list": "metadata",
}


class FunctionScorer:
    """Scores answers by a Python function. `at_once`: largest number of concurrent calls of an async function."""

    def __init__(self, function: Callable[..., Any], *, name: str = "", at_once: int = 16) -> None:
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._function = function
        self._arguments, self._many = _arguments(function, self.name)
        self._at_once = at_once
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)

    def score(self, items: Sequence[Item]) -> list[Score]:
        if not items:
            return []
        given = self._all(items) if self._many else self._each(items)
        return [_score(value, item, self.name) for value, item in zip(given, items, strict=True)]

    def _all(self, items: Sequence[Item]) -> list[Any]:
        values = {name: [ARGUMENTS[BATCH_ARGUMENTS[name]](*item) for item in items] for name in self._arguments}
        try:
            result = self._function(**values)
            result = _run_coroutine(result) if self._is_async else result
        except USERS_OWN as error:
            raise SteersmanError(
                f"{self._raised(error)} for {len(items)} items (first: {describe_item(items[0])})"
            ) from error
        result = result.tolist() if hasattr(result, "tolist") else result
        is_list = isinstance(result, Sequence) and not isinstance(result, str)
        if not is_list or len(result) != len(items):
            seen = f"{len(result)} values" if is_list else f"a {type(result).__name__}"
            raise DataError(
                f"the reward function {self.name!r} was given {len(items)} answers and returned {seen}; expected a "
                f"list of {len(items)} numbers, in the order of the answers"
            )
        return list(result)

    def _each(self, items: Sequence[Item]) -> list[Any]:
        if self._is_async:
            return _run_coroutine(self._gather(items))
        results: list[Any] = []
        for item in items:
            try:
                results.append(self._call(item))
            except USERS_OWN as error:
                raise SteersmanError(f"{self._raised(error)} for {describe_item(item)}") from error
        return results

    async def _gather(self, items: Sequence[Item]) -> list[Any]:
        semaphore = asyncio.Semaphore(self._at_once)

        async def call(item: Item) -> Any:
            async with semaphore:
                try:
                    return await self._call(item)
                except USERS_OWN as error:
                    raise SteersmanError(f"{self._raised(error)} for {describe_item(item)}") from error

        return list(await asyncio.gather(*(call(item) for item in items)))

    def _call(self, item: Item) -> Any:
        return self._function(**{name: ARGUMENTS[name](*item) for name in self._arguments})

    def _raised(self, error: BaseException) -> str:
        frames = traceback.extract_tb(error.__traceback__)
        # The last frame is where it was raised; this file's own frames come first.
        place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
        return f"the reward function {self.name!r} raised {type(error).__name__}: {error}{place}"


def load_function(place: str) -> FunctionScorer:
    """The scorer of the function named by `file.py:function`."""
    return FunctionScorer(load_named(place, "reward function"), name=place.rpartition(":")[2])


def load_named(place: str, what: str) -> Callable[..., Any]:
    """The function or class named by `file.py:name`. The file may import modules of its own folder."""
    name, _, function_name = place.rpartition(":")
    path = Path(name).expanduser()
    kind = "Class" if what == "environment" else "function"
    article = "an" if what == "environment" else "a"
    if not name.endswith(".py") or not function_name.isidentifier():
        raise UsageError(f"{article} {what} is given as file.py:{kind}; seen {place!r}")
    if not path.is_file():
        raise UsageError(f"there is no file {name!r} (in {Path.cwd()}); {article} {what} is given as file.py:{kind}")
    spec = importlib.util.spec_from_file_location(f"steersman_reward_{path.stem}", path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except USERS_OWN as error:
        raise UsageError(f"{name} could not be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    function = getattr(module, function_name, None)
    if not callable(function):
        functions = [
            key
            for key, value in vars(module).items()
            if (inspect.isclass(value) if kind == "Class" else inspect.isfunction(value))
            and value.__module__ == module.__name__
        ]
        raise UsageError(f"{name} has no {kind.lower()} {function_name!r}; it has {', '.join(functions) or 'none'}")
    return function


def _arguments(function: Callable[..., Any], name: str) -> tuple[tuple[str, ...], bool]:
    """The names of the arguments to pass, and whether the function takes a list of items."""
    parameters = inspect.signature(function).parameters.values()
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    # An unknown argument with a default keeps its default.
    names = tuple(p.name for p in plain if p.name in ARGUMENTS or p.name in BATCH_ARGUMENTS or p.default is p.empty)
    positional = any(p.kind is p.POSITIONAL_ONLY for p in plain)
    many = [argument in BATCH_ARGUMENTS for argument in names]
    unknown = [argument for argument in names if argument not in ARGUMENTS and argument not in BATCH_ARGUMENTS]
    if positional or unknown or not names or any(many) != all(many):
        raise UsageError(
            f"the reward function {name!r} takes {inspect.signature(function)}; expected arguments among "
            f"({', '.join(ARGUMENTS)}) to score one answer, or among ({', '.join(BATCH_ARGUMENTS)}) to score a list"
        )
    return names, all(many)


def _score(value: Any, item: Item, name: str) -> Score:
    if isinstance(value, Score):
        return value
    if not isinstance(value, numbers.Real) and getattr(value, "ndim", None) == 0:
        value = value.item()
    if not isinstance(value, numbers.Real):
        raise DataError(
            f"the reward function {name!r} returned {value!r} (a {type(value).__name__}) for {describe_item(item)}; "
            "expected a number"
        )
    try:
        return Score(float(value))
    except (DataError, OverflowError) as error:
        raise DataError(
            f"the reward function {name!r} returned {_beginning(value)} for {describe_item(item)}; expected a "
            "finite number"
        ) from error


def _beginning(value: Any) -> str:
    """A number as text. Python writes no integers of thousands of digits."""
    return f"an integer of {value.bit_length()} bits" if isinstance(value, int) else str(value)


def _run_coroutine(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine, also if an event loop is already running (in a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.extend((True, asyncio.run(work)))
        except BaseException as error:
            outcome.extend((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    succeeded, result = outcome
    if not succeeded:
        raise result
    return result
