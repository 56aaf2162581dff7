"""What a wrapper adds to a call: the time of many guarded calls less that of as many bare ones.

Guarded and bare calls take turns in one process, and the fastest turn of each counts: whatever
else the machine does only ever makes a turn slower.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from itertools import repeat
from time import perf_counter

TURNS = 9
Loop = Callable[[int], None]


def answer() -> int:
    """Stand for the call that is guarded: as little as a call can do."""
    return 1


async def answer_async() -> int:
    """Stand for the coroutine that is guarded."""
    return 1


def calls(function: Callable[[], object]) -> Loop:
    """Return a loop of calls."""

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            function()

    return loop


def calls_of(call: Callable[[Callable[[], int]], object]) -> Loop:
    """Return a loop of calls through something that is given the function each time."""

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            call(answer)

    return loop


def awaits(function: Callable[[], Awaitable[object]]) -> Loop:
    """Return a loop that awaits a coroutine function, on a new event loop."""

    async def loop(count: int) -> None:
        for _ in repeat(None, count):
            await function()

    return lambda count: asyncio.run(loop(count))


def awaits_of(call: Callable[[Callable[[], Awaitable[int]]], Awaitable[object]]) -> Loop:
    """Return a loop that awaits through something that is given the function each time."""

    async def loop(count: int) -> None:
        for _ in repeat(None, count):
            await call(answer_async)

    return lambda count: asyncio.run(loop(count))


def blocks(guard: Callable[[], AbstractContextManager[object]]) -> Loop:
    """Return a loop of `with guard():` around the call."""

    def loop(count: int) -> None:
        for _ in repeat(None, count):
            with guard():
                answer()

    return loop


def async_blocks(guard: Callable[[], AbstractAsyncContextManager[object]]) -> Loop:
    """Return a loop of `async with guard():` around the coroutine."""

    async def loop(count: int) -> None:
        for _ in repeat(None, count):
            async with guard():
                await answer_async()

    return lambda count: asyncio.run(loop(count))


class Overheads:
    """Measures what each of some forms of use adds.

    Args:
        forms: name -> the forms in which it can be used; the cheapest of them counts.
    """

    def __init__(self, forms: Mapping[str, tuple[Loop, ...]]) -> None:
        self._forms = forms

    def measure(self, *, name: str, count: int) -> float:
        """Return the nanoseconds that the cheapest form adds to a call; `count` calls a turn."""
        bare = awaits(answer_async) if name.endswith("async") else calls(answer)
        loops = (bare, *self._forms[name])
        best_s = [float("inf")] * len(loops)
        for _ in range(TURNS):
            for number, loop in enumerate(loops):
                before_s = perf_counter()
                loop(count)
                best_s[number] = min(best_s[number], perf_counter() - before_s)
        # Below the resolution of the clock, nothing is still more than less than nothing.
        return max(0.1, (min(best_s[1:]) - best_s[0]) / count * 1e9)
