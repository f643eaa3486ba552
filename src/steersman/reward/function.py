"""A Python function as scorer: `file.py:function`, or a callable; for one item or for a list of them, sync or async.

The function is called with the arguments that it names. For one item at a time: prompt, answer (or completion), messages,
metadata. For all at once, the same in the plural: prompts, answers (or completions), messages_list, metadata_list. It gives a
number or a `Score`, or a list of them. What it raises and what it gets wrong is an error that names the item.
"""

import asyncio
import importlib.util
import inspect
import numbers
import sys
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

from steersman.errors import DataError, SteersmanError, UsageError
from steersman.records import Prompt
from steersman.reward.scorer import Item, Score, told

# name of an argument -> what it is given for an item
ONE: Mapping[str, Callable[[Prompt, str], Any]] = {
    "prompt": lambda prompt, answer: prompt.shown,
    "answer": lambda prompt, answer: answer,
    "completion": lambda prompt, answer: answer,
    "messages": lambda prompt, answer: [{"role": m.role, "content": m.content} for m in prompt.messages],
    "metadata": lambda prompt, answer: dict(prompt.metadata),
}
MANY = {
    "prompts": "prompt",
    "answers": "answer",
    "completions": "completion",
    "messages_list": "messages",
    "metadata_list": "metadata",
}


class FunctionScorer:
    """`at_once` is how many calls of an async function may wait at the same time."""

    def __init__(self, function: Callable[..., Any], *, name: str = "", at_once: int = 16) -> None:
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._function = function
        self._arguments, self._many = _arguments(function, self.name)
        self._at_once = at_once
        self._waits = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)

    def score(self, items: Sequence[Item]) -> list[Score]:
        if not items:
            return []
        given = self._all(items) if self._many else self._each(items)
        return [_score(value, item, self.name) for value, item in zip(given, items, strict=True)]

    def _all(self, items: Sequence[Item]) -> list[Any]:
        values = {name: [ONE[MANY[name]](*item) for item in items] for name in self._arguments}
        try:
            found = self._function(**values)
            found = _wait_for(found) if self._waits else found
        except Exception as error:
            raise SteersmanError(f"{self._fell(error)} for {len(items)} items (first: {told(items[0])})") from error
        found = found.tolist() if hasattr(found, "tolist") else found
        listed = isinstance(found, Sequence) and not isinstance(found, str)
        if not listed or len(found) != len(items):
            seen = f"{len(found)} values" if listed else f"a {type(found).__name__}"
            raise DataError(
                f"the reward function {self.name!r} was given {len(items)} answers and returned {seen}; expected a list "
                f"of {len(items)} numbers, in the order of the answers"
            )
        return list(found)

    def _each(self, items: Sequence[Item]) -> list[Any]:
        if self._waits:
            return _wait_for(self._gather(items))
        found: list[Any] = []
        for item in items:
            try:
                found.append(self._call(item))
            except Exception as error:
                raise SteersmanError(f"{self._fell(error)} for {told(item)}") from error
        return found

    async def _gather(self, items: Sequence[Item]) -> list[Any]:
        room = asyncio.Semaphore(self._at_once)

        async def one(item: Item) -> Any:
            async with room:
                try:
                    return await self._call(item)
                except Exception as error:
                    raise SteersmanError(f"{self._fell(error)} for {told(item)}") from error

        return list(await asyncio.gather(*(one(item) for item in items)))

    def _call(self, item: Item) -> Any:
        return self._function(**{name: ONE[name](*item) for name in self._arguments})

    def _fell(self, error: Exception) -> str:
        return f"the reward function {self.name!r} raised {type(error).__name__}: {error}"


def load_function(place: str) -> FunctionScorer:
    """The function that `file.py:function` names. Its file may import its neighbours."""
    name, _, wanted = place.rpartition(":")
    path = Path(name).expanduser()
    if not name.endswith(".py") or not wanted.isidentifier():
        raise UsageError(f"a reward function is given as file.py:function; seen {place!r}")
    if not path.is_file():
        raise UsageError(f"there is no file {name!r} (in {Path.cwd()}); a reward function is given as file.py:function")
    spec = importlib.util.spec_from_file_location(f"steersman_reward_{path.stem}", path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(f"{name} could not be imported: {type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(path.resolve().parent))
    found = getattr(module, wanted, None)
    if not callable(found):
        there = [
            key
            for key, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        ]
        raise UsageError(f"{name} has no function {wanted!r}; it has {', '.join(there) or 'none'}")
    return FunctionScorer(found, name=wanted)


def _arguments(function: Callable[..., Any], name: str) -> tuple[tuple[str, ...], bool]:
    """The arguments to give, and whether the function takes all items at once."""
    parameters = inspect.signature(function).parameters.values()
    plain = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    # An argument that we do not know but that has a default is the function's own business.
    names = tuple(p.name for p in plain if p.name in ONE or p.name in MANY or p.default is p.empty)
    positional = any(p.kind is p.POSITIONAL_ONLY for p in plain)
    many = [argument in MANY for argument in names]
    unknown = [argument for argument in names if argument not in ONE and argument not in MANY]
    if positional or unknown or not names or any(many) != all(many):
        raise UsageError(
            f"the reward function {name!r} takes {inspect.signature(function)}; expected arguments among "
            f"({', '.join(ONE)}) to score one answer, or among ({', '.join(MANY)}) to score a list"
        )
    return names, all(many)


def _score(value: Any, item: Item, name: str) -> Score:
    if isinstance(value, Score):
        return value
    if not isinstance(value, numbers.Real) and getattr(value, "ndim", None) == 0:
        value = value.item()
    if not isinstance(value, numbers.Real):
        raise DataError(
            f"the reward function {name!r} returned {value!r} (a {type(value).__name__}) for {told(item)}; expected a number"
        )
    try:
        return Score(float(value))
    except DataError as error:
        raise DataError(
            f"the reward function {name!r} returned {value} for {told(item)}; expected a finite number"
        ) from error


def _wait_for(work: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine, also where a loop is already running (a notebook)."""
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
    worked, found = outcome
    if not worked:
        raise found
    return found
