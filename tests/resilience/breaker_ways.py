"""The ways to make a call through a circuit breaker, each as a function of breaker and body."""

from collections.abc import Callable, Coroutine
from typing import Any

from resilience import CircuitBreaker

Body = Callable[[], object]
Way = Callable[[CircuitBreaker, Body], object]


def finish(coroutine: Coroutine[Any, Any, object]) -> object:
    """Run a coroutine that never waits for anything."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waited")


def by_call(breaker: CircuitBreaker, body: Body) -> object:
    return breaker.call(lambda make: make(), make=body)


def by_async_call(breaker: CircuitBreaker, body: Body) -> object:
    async def answer(*, make: Body) -> object:
        return make()

    return finish(breaker.async_call(answer, make=body))


def by_decorated_function(breaker: CircuitBreaker, body: Body) -> object:
    @breaker
    def answer(make: Body) -> object:
        return make()

    return answer(make=body)


def by_decorated_coroutine(breaker: CircuitBreaker, body: Body) -> object:
    @breaker
    async def answer(make: Body) -> object:
        return make()

    return finish(answer(make=body))


def by_decorated_method(breaker: CircuitBreaker, body: Body) -> object:
    class Service:
        @breaker
        def answer(self, make: Body) -> object:
            return make()

    return Service().answer(body)


def by_permit(breaker: CircuitBreaker, body: Body) -> object:
    permit = breaker.acquire()
    try:
        result = body()
    except BaseException as error:
        permit.raised(error)
        raise
    permit.returned(result)
    return result


def by_guard(breaker: CircuitBreaker, body: Body) -> object:
    with breaker.guard():
        return body()


def by_async_guard(breaker: CircuitBreaker, body: Body) -> object:
    async def answer() -> object:
        async with breaker.guard():
            return body()

    return finish(answer())


# Those that see what the call returns, and all of them.
JUDGING: list[Way] = [
    by_call,
    by_async_call,
    by_decorated_function,
    by_decorated_coroutine,
    by_decorated_method,
    by_permit,
]
WAYS: list[Way] = [*JUDGING, by_guard, by_async_guard]
