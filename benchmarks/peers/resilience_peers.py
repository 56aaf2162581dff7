"""Libraries of the same patterns, each set up as its manual says, as near to ours as it can be."""

from benchmarks.overhead import (
    Overheads,
    answer,
    answer_async,
    awaits,
    awaits_of,
    calls,
    calls_of,
)
from benchmarks.patterns import SLOTS, SLOW_S, WINDOW_S


class Pybreaker(Overheads):
    """Counts failures in a row; a lock is held around the call. Its coroutines need tornado."""

    def __init__(self) -> None:
        import pybreaker

        breaker = pybreaker.CircuitBreaker()
        super().__init__({"breaker": (calls_of(breaker.call), calls(breaker(answer)))})


class Circuitbreaker(Overheads):
    """Counts failures in a row, without a lock."""

    def __init__(self) -> None:
        from circuitbreaker import CircuitBreaker

        breaker = CircuitBreaker()
        super().__init__(
            {
                "breaker": (calls_of(breaker.call), calls(breaker(answer))),
                "breaker, async": (awaits_of(breaker.call_async), awaits(breaker(answer_async))),
            }
        )


class Nopanic(Overheads):
    """A window of time with slow calls; a bulkhead for threads or coroutines; a retry."""

    def __init__(self) -> None:
        import nopanic

        breaker = nopanic.circuit_breaker(window=WINDOW_S, slow_call_duration=SLOW_S)
        bulkhead = nopanic.bulkhead(SLOTS)
        retry = nopanic.retry(attempts=4)
        super().__init__(
            {
                "breaker": (calls_of(breaker.call), calls(breaker(answer))),
                "breaker, async": (awaits_of(breaker.acall), awaits(breaker(answer_async))),
                "bulkhead, call": (calls_of(bulkhead.call), calls(bulkhead(answer))),
                "retry": (calls_of(retry.call), calls(retry(answer))),
                "retry, async": (awaits_of(retry.acall), awaits(retry(answer_async))),
            }
        )


class Interlock(Overheads):
    """A window of time with slow calls."""

    def __init__(self) -> None:
        from interlock import CircuitBreaker, Config, WindowType

        config = Config(
            window_type=WindowType.TIME_BASED,
            window_size=int(WINDOW_S),
            slow_call_duration_threshold=SLOW_S,
        )
        breaker = CircuitBreaker(name="bench", config=config)
        super().__init__(
            {
                "breaker": (calls_of(breaker.call_sync), calls(breaker(answer))),
                "breaker, async": (awaits_of(breaker.call_async), awaits(breaker(answer_async))),
            }
        )


class Tenacity(Overheads):
    """A retry, without a budget."""

    def __init__(self) -> None:
        import tenacity

        wait = tenacity.wait_exponential(max=30) + tenacity.wait_random(0, 0.1)
        settings = {"stop": tenacity.stop_after_attempt(4), "wait": wait}
        retry = tenacity.Retrying(**settings)
        retry_async = tenacity.AsyncRetrying(**settings)
        super().__init__(
            {
                "retry": (calls_of(retry), calls(tenacity.retry(**settings)(answer))),
                "retry, async": (
                    awaits_of(retry_async),
                    awaits(tenacity.retry(**settings)(answer_async)),
                ),
            }
        )


class Stamina(Overheads):
    """A retry around tenacity, without a budget."""

    def __init__(self) -> None:
        import stamina

        retry = stamina.retry(on=ConnectionError, attempts=4, timeout=None)
        super().__init__(
            {"retry": (calls(retry(answer)),), "retry, async": (awaits(retry(answer_async)),)}
        )
