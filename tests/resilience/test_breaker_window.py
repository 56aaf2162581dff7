"""The breaker's window of time against a list of everything that was counted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience._window import Window

STEPS_S = [0.0, 0.25, 0.5, 1.0, 1.5, 2.75, 4.0, 30.0]
STEP = st.tuples(st.sampled_from(STEPS_S), st.booleans(), st.booleans(), st.booleans())


@given(
    bucket_count=st.integers(1, 7),
    bucket_s=st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0]),
    begins_s=st.sampled_from([0.0, 0.75, 1000.25]),
    steps=st.lists(STEP, max_size=40),
)
def test_it_counts_what_is_in_the_last_buckets(
    bucket_count: int,
    bucket_s: float,
    begins_s: float,
    steps: list[tuple[float, bool, bool, bool]],
) -> None:
    now_s = begins_s
    window = Window(bucket_s * bucket_count, bucket_count, now_s)
    counted: list[tuple[int, bool, bool]] = []
    for after_s, failed, slow, without_lock in steps:
        now_s += after_s
        if without_lock and not (failed or slow) and now_s < window.ends_s:
            window.tally()
        else:
            window.add(now_s, failed=failed, slow=slow)
        now = int(now_s / bucket_s)
        assert window.ends_s == (now + 1) * bucket_s
        counted.append((now, failed, slow))
        inside = [call for call in counted if call[0] > now - bucket_count]
        failures = sum(failed for _, failed, _ in inside)
        slows = sum(slow for _, _, slow in inside)
        assert (window.calls, window.failures, window.slow) == (len(inside), failures, slows)
        assert window.rates() == (len(inside), failures / len(inside), slows / len(inside))
        # Nobody has looked at the rates yet, so a plain call may matter as long as one was bad.
        assert window.watched == any(failed or slow for _, failed, slow in inside)


def test_without_calls_the_rates_are_zero() -> None:
    assert Window(10.0, 10, 1000.0).rates() == (0, 0.0, 0.0)


@pytest.mark.parametrize("plain", [True, False])
def test_a_call_timed_before_another_moved_the_window_on_counts_with_it(plain: bool) -> None:
    window = Window(10.0, 10, 1000.0)
    window.advance(1003.5)
    window.add(999.0, failed=not plain, slow=False)
    assert window.ends_s == 1004.0
    window.advance(1012.5)
    assert window.calls == 1
    window.advance(1013.0)
    assert window.calls == window.failures == 0


def test_who_counts_on_a_tally_that_has_left_the_window_counts_nothing() -> None:
    window = Window(10.0, 10, 1000.0)
    late = window.tally
    window.advance(1010.0)
    late()
    window.tally()
    assert window.calls == 1
