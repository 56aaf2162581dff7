"""The fallback: another answer in the place of a call that failed."""

import concurrent.futures
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

from resilience._decorate import decorate
from resilience._listener import Listener, tell
from resilience.errors import ResilienceError

P = ParamSpec("P")
R = TypeVar("R")

_DEFAULTS: tuple[type[Exception], ...] = (ResilienceError, ConnectionError, TimeoutError)


class Fallback:
    """Answers in the place of a call that failed: with a value, or what a function returns.

    Only for failures that are expected; what a bug raises passes through, as long as `on` does
    not name it, and cancellation always does. The function gets the error, and the arguments of
    the call; what it raises itself has the error as its `__context__`. It is called outside
    whatever the call was guarded by.

    >>> balances = {"account-1": 1250}
    >>> def read_balance(account: str) -> int:
    ...     raise ConnectionError("no route to the ledger")
    >>> cached = Fallback(lambda error, account: balances[account])
    >>> cached.call(read_balance, "account-1")
    1250

    Args:
        function: called with the error and the arguments of the call. For calls that are awaited
            it may be a coroutine function.
        on: the exceptions to answer; by default the refusals of this package, and connections
            that broke or timed out.
        name: appears in metrics.
        listeners: told of each answer given in a call's place.

    Raises:
        TypeError: `on` names something that is not an `Exception`, such as `BaseException`.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        on: Sequence[type[Exception]] = _DEFAULTS,
        name: str = "fallback",
        listeners: Sequence[Listener] = (),
    ) -> None:
        for kind in on:
            if not issubclass(kind, Exception):
                raise TypeError(f"on={kind!r} will not do: give subclasses of Exception.")
        self.name = name
        self.on = tuple(on)
        self._function = function
        self._listeners = tuple(listeners)

    @classmethod
    def value(
        cls,
        value: object,
        *,
        on: Sequence[type[Exception]] = _DEFAULTS,
        name: str = "fallback",
        listeners: Sequence[Listener] = (),
    ) -> "Fallback":
        """Return a fallback that answers with `value`: the same object each time."""
        return cls(lambda *_, **__: value, on=on, name=name, listeners=listeners)

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function`; when it fails, return the fallback's answer."""
        try:
            return function(*args, **kwargs)
        except self.on as error:
            self._check_and_tell(error)
            return cast("R", self._function(error, *args, **kwargs))

    async def async_call(
        self, function: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Await `function(...)`; when it fails, return the answer, awaited where it can be."""
        try:
            return await function(*args, **kwargs)
        except self.on as error:
            self._check_and_tell(error)
            answer = self._function(error, *args, **kwargs)
            return cast("R", await answer if inspect.isawaitable(answer) else answer)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate a function or a coroutine function, so that its failures are answered."""
        return decorate(function, self.call, self.async_call)

    def _check_and_tell(self, error: Exception) -> None:
        # The one cancellation that is an `Exception`: of a future of a pool of threads.
        if isinstance(error, concurrent.futures.CancelledError):
            raise error
        tell(self._listeners, lambda each: each.on_replaced(self.name, error))
