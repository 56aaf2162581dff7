"""The circuit breaker: stops calling what keeps failing, and tries it again with one call."""

import functools
import inspect
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar, cast

from resilience._breaker_states import BreakerStates
from resilience._decorate import refuse_generator
from resilience._permit import Guard, run, run_async

P = ParamSpec("P")
R = TypeVar("R")


class CircuitBreaker(BreakerStates):
    """A circuit breaker over a window of time, for threads and coroutines alike.

    No lock is held while the guarded call runs, and no I/O is done. Put a time-out inside the
    guarded call, not around it: a cancelled call says nothing about the service.

    Args:
        name: what it guards; appears in errors and metrics.
        config: when it opens and how it closes.
        clock: where the time comes from.
        listeners: told of transitions and refusals.
    """

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` if the breaker lets it through, and count how it went.

        Raises:
            BreakerOpen: it was not called.
        """
        window = self._window
        if window is None:
            return run(self.acquire(), function, *args, **kwargs)
        started_s = self._now()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self._raised(window, started_s, error)
            raise
        now_s = self._now()
        if now_s < window.ends_s and now_s - started_s <= self._plain_s:
            window.tally()
            if window.watched:
                self._settle(window, now_s)
        else:
            self._returned(window, started_s, result)
        return result

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)` if the breaker lets it through, and count how it went.

        Raises:
            BreakerOpen: it was not called.
        """
        window = self._window
        if window is None:
            return await run_async(self.acquire(), function, *args, **kwargs)
        started_s = self._now()
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            self._raised(window, started_s, error)
            raise
        now_s = self._now()
        if now_s < window.ends_s and now_s - started_s <= self._plain_s:
            window.tally()
            if window.watched:
                self._settle(window, now_s)
        else:
            self._returned(window, started_s, result)
        return result

    def guard(self) -> Guard:
        """Return a context manager, for `with` and `async with`, that guards its block.

        It gives the `Permit`, on which the block may report more than its exceptions say.
        """
        return Guard(self)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or a coroutine function, so that all its calls are guarded."""
        refuse_generator(function)
        if inspect.iscoroutinefunction(function):
            return cast("Callable[P, R]", self._decorate_async(function))
        return self._decorate(function)

    # A decorated function does what `call` does, written out: to go through `call` would cost
    # half as much again, since arguments would be packed and unpacked twice.

    def _decorate(self, function: Callable[P, R]) -> Callable[P, R]:
        now = self._now
        plain_s = self._plain_s

        @functools.wraps(function)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            window = self._window
            if window is None:
                return run(self.acquire(), function, *args, **kwargs)
            started_s = now()
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                self._raised(window, started_s, error)
                raise
            now_s = now()
            if now_s < window.ends_s and now_s - started_s <= plain_s:
                window.tally()
                if window.watched:
                    self._settle(window, now_s)
            else:
                self._returned(window, started_s, result)
            return result

        return guarded

    def _decorate_async(self, function: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
        now = self._now
        plain_s = self._plain_s

        @functools.wraps(function)
        async def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            window = self._window
            if window is None:
                return await run_async(self.acquire(), function, *args, **kwargs)
            started_s = now()
            try:
                result = await function(*args, **kwargs)
            except BaseException as error:
                self._raised(window, started_s, error)
                raise
            now_s = now()
            if now_s < window.ends_s and now_s - started_s <= plain_s:
                window.tally()
                if window.watched:
                    self._settle(window, now_s)
            else:
                self._returned(window, started_s, result)
            return result

        return guarded
