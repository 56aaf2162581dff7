"""The package as a whole: its configuration, errors, example and independence."""

import doctest
import pickle
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import resilience
from resilience import (
    BreakerConfig,
    BreakerOpen,
    BulkheadConfig,
    BulkheadFull,
    DeadlineExceeded,
    FakeClock,
    LimiterConfig,
    MemoryStore,
    RateLimited,
    ResilienceError,
    RetryConfig,
    StoreUnavailable,
    SystemClock,
    _clock,
)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: BreakerConfig(window_s=0), "window_s=0"),
        (lambda: BreakerConfig(bucket_count=0), "bucket_count=0"),
        (lambda: BreakerConfig(calls_min=0), "calls_min=0"),
        (lambda: BreakerConfig(failure_rate=0), "failure_rate=0"),
        (lambda: BreakerConfig(failure_rate=50), "failure_rate=50"),
        (lambda: BreakerConfig(slow_call_rate=1.01), "slow_call_rate=1.01"),
        (lambda: BreakerConfig(slow_call_s=-1), "slow_call_s=-1"),
        (lambda: BreakerConfig(reset_s=float("nan")), "reset_s=nan"),
        (lambda: BreakerConfig(probe_timeout_s=float("inf")), "probe_timeout_s=inf"),
        (lambda: BulkheadConfig(size=0), "size=0"),
        (lambda: BulkheadConfig(queue_max=-1), "queue_max=-1"),
        (lambda: BulkheadConfig(queue_timeout_s=-0.1), "queue_timeout_s=-0.1"),
        (lambda: BulkheadConfig(retry_after_s=-1), "retry_after_s=-1"),
        (lambda: RetryConfig(retries_max=-1), "retries_max=-1"),
        (lambda: RetryConfig(base_s=-1), "base_s=-1"),
        (lambda: RetryConfig(jitter_s=-1), "jitter_s=-1"),
        (lambda: RetryConfig(cap_s=0), "cap_s=0"),
        (lambda: RetryConfig(budget_refill_per_s=-1), "budget_refill_per_s=-1"),
        (lambda: RetryConfig(budget_ratio=20), "budget_ratio=20"),
        (lambda: RetryConfig(budget_reserve=0), "budget_reserve=0"),
        (lambda: LimiterConfig(share_count=0), "share_count=0"),
        (lambda: LimiterConfig(denials_max=0), "denials_max=0"),
        (lambda: MemoryStore(keys_max=0), "keys_max=0"),
        (lambda: FakeClock().advance(-1), "does not go back"),
    ],
)
def test_a_value_that_will_not_do_is_refused_by_name(make: Callable[[], object], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        make()


def test_the_defaults_are_those_of_the_design() -> None:
    breaker, bulkhead, retry = BreakerConfig(), BulkheadConfig(), RetryConfig()
    assert (breaker.window_s, breaker.failure_rate, breaker.reset_s) == (10, 0.5, 30)
    assert (breaker.calls_min, breaker.slow_call_s, breaker.probe_timeout_s) == (10, 30, 30)
    assert (bulkhead.size, bulkhead.queue_timeout_s) == (15, 30)
    assert (retry.retries_max, retry.base_s, retry.cap_s, retry.jitter_s) == (3, 1, 30, 0.1)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BreakerOpen("ledger", 12.5), "service_unavailable"),
        (BulkheadFull("ledger", 1.0), "overloaded"),
        (RateLimited("ledger", 1.0), "rate_limited"),
        (DeadlineExceeded("ledger"), "deadline_exceeded"),
        (StoreUnavailable("redis"), "limiter_store_unavailable"),
    ],
)
def test_an_error_keeps_code_name_and_advice_between_processes(
    error: ResilienceError, code: str
) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (copy.code, copy.name, copy.retry_after_s) == (code, error.name, error.retry_after_s)
    assert str(copy) == str(error) == error.detail
    assert error.name in error.detail


def test_the_examples_in_the_documentation_work() -> None:
    for module in (resilience, _clock):
        result = doctest.testmod(module)
        assert (result.failed, result.attempted > 0) == (0, True)


def test_every_public_name_is_there_once_and_documented() -> None:
    assert sorted(resilience.__all__) == sorted(set(resilience.__all__))
    for name in resilience.__all__:
        public = getattr(resilience, name)
        assert public.__doc__ or name == "DecisionSource", name


def test_the_package_imports_no_framework_and_no_redis() -> None:
    code = (
        "import sys, resilience;"
        "print(*{name.partition('.')[0] for name in sys.modules}"
        " & {'django', 'celery', 'redis', 'eventstore', 'rest_framework'})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout.strip() == ""


def test_the_fake_clock_moves_only_when_told_to() -> None:
    clock = FakeClock(monotonic_s=5.0, unix_s=100.0)
    clock.sleep(2.5)
    assert (clock.monotonic(), clock.time()) == (7.5, 102.5)
    assert (clock.monotonic(), clock.time()) == (7.5, 102.5)


def test_the_system_clock_goes_on() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    assert clock.monotonic() >= first
    assert clock.time() > 1_700_000_000


def test_by_itself_it_installs_nothing_else_in_the_version_of_the_platform() -> None:
    folder = Path(resilience.__file__).parent
    alone = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    platform = tomllib.loads((folder.parent / "pyproject.toml").read_text())["project"]
    assert alone["dependencies"] == []
    assert (alone["version"], alone["requires-python"].split(",")[0]) == (
        platform["version"],
        platform["requires-python"].split(",")[0],
    )
    assert (folder / "py.typed").exists()
