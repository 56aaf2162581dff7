"""The decorator form of a pattern that has `call` and `async_call`."""

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")


def refuse_generator(function: Callable[..., Any]) -> None:
    """Raise `TypeError` for a generator function, whose call only makes the generator: the
    pattern would guard nothing."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(
            f"{function!r} is a generator: use the pattern in the code that runs through it."
        )


def decorate(
    function: Callable[P, R], call: Callable[..., Any], async_call: Callable[..., Any]
) -> Callable[P, R]:
    """Return `function` wrapped so that each call of it goes through the pattern.

    Raises:
        TypeError: for a generator function; see `refuse_generator`.
    """
    refuse_generator(function)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def async_wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            return await async_call(function, *args, **kwargs)

        return cast("Callable[P, R]", async_wrapper)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return cast("R", call(function, *args, **kwargs))

    return wrapper
