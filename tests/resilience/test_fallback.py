"""What a fallback answers, and what passes through."""

import asyncio
import concurrent.futures
import doctest
import inspect

import pytest

from resilience import (
    BreakerOpen,
    BulkheadFull,
    DeadlineExceeded,
    Fallback,
    RateLimited,
    _fallback,
)
from tests.resilience.tools import Recorder


def failing_with(error: BaseException) -> int:
    raise error


async def failing_async_with(error: BaseException) -> int:
    raise error


EXPECTED = [
    BreakerOpen("ledger"),
    BulkheadFull("ledger"),
    RateLimited("ledger"),
    DeadlineExceeded("ledger"),
    ConnectionResetError("cut"),
    TimeoutError("late"),
]


def test_an_answer_of_the_call_is_left_as_it_is() -> None:
    recorder = Recorder()
    fallback = Fallback.value(0, listeners=[recorder])
    assert fallback.call(lambda: 1250) == 1250
    assert recorder.replaced == []


@pytest.mark.parametrize("error", EXPECTED)
def test_refusals_and_broken_connections_are_answered(error: Exception) -> None:
    recorder = Recorder()
    fallback = Fallback.value(0, name="balance", listeners=[recorder])
    assert fallback.call(failing_with, error) == 0
    assert asyncio.run(fallback.async_call(failing_async_with, error)) == 0
    assert recorder.replaced == [("balance", error)] * 2


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), SystemExit()])
def test_bugs_and_what_ends_the_program_pass_through(error: BaseException) -> None:
    fallback = Fallback.value(0)
    with pytest.raises(type(error)):
        fallback.call(failing_with, error)


def test_what_is_answered_can_be_said() -> None:
    fallback = Fallback.value(0, on=(LookupError,))
    assert fallback.call(failing_with, KeyError("account")) == 0
    with pytest.raises(ConnectionError):
        fallback.call(failing_with, ConnectionError("down"))


@pytest.mark.parametrize(
    "cancelled", [asyncio.CancelledError(), concurrent.futures.CancelledError()]
)
def test_cancellation_is_never_answered(cancelled: BaseException) -> None:
    recorder = Recorder()
    fallback = Fallback.value(0, on=(Exception,), listeners=[recorder])
    with pytest.raises(type(cancelled)) as raised:
        fallback.call(failing_with, cancelled)
    assert raised.value is cancelled
    with pytest.raises(type(cancelled)):
        asyncio.run(fallback.async_call(failing_async_with, cancelled))
    assert recorder.replaced == []


@pytest.mark.parametrize("kind", [BaseException, asyncio.CancelledError, KeyboardInterrupt])
def test_what_no_answer_may_hide_cannot_be_named(kind: type[Exception]) -> None:
    with pytest.raises(TypeError, match="subclasses of Exception"):
        Fallback.value(0, on=(kind,))


def test_the_function_gets_the_error_and_the_arguments() -> None:
    error = ConnectionError("down")
    seen: list[object] = []

    def cached(*args: object, **kwargs: object) -> int:
        seen.append((args, kwargs))
        return 7

    def read(account: str, *, currency: str) -> int:
        raise error

    async def read_async(account: str, *, currency: str) -> int:
        raise error

    fallback = Fallback(cached)
    assert fallback.call(read, "account-1", currency="EUR") == 7
    answer = fallback.async_call(read_async, "account-1", currency="EUR")
    assert asyncio.run(answer) == 7
    assert seen == [((error, "account-1"), {"currency": "EUR"})] * 2


def test_a_fallback_that_fails_has_the_first_error_as_its_context() -> None:
    error = ConnectionError("down")

    def no_better(_error: Exception, _given: Exception) -> int:
        raise LookupError("not cached")

    with pytest.raises(LookupError) as raised:
        Fallback(no_better).call(failing_with, error)
    assert raised.value.__context__ is error


def test_a_coroutine_may_answer_a_coroutine() -> None:
    async def cached(_error: Exception, _given: Exception) -> int:
        return 7

    answer = Fallback(cached).async_call(failing_async_with, ConnectionError("down"))
    assert asyncio.run(answer) == 7


def test_decorated_functions_stay_what_they_were() -> None:
    fallback = Fallback.value(0)

    @fallback
    def read(account: str) -> int:
        """Read a balance."""
        raise ConnectionError(account)

    @fallback
    async def read_async(account: str) -> int:
        raise ConnectionError(account)

    assert read("account-1") == asyncio.run(read_async("account-1")) == 0
    assert (read.__name__, read.__doc__) == ("read", "Read a balance.")
    assert inspect.iscoroutinefunction(read_async)


def test_the_example_works() -> None:
    result = doctest.testmod(_fallback)
    assert (result.failed, result.attempted > 0) == (0, True)
