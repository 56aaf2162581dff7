"""What a deadline says, and how it travels."""

import asyncio
import contextvars
import threading

import pytest

from resilience import (
    Deadline,
    DeadlineExceeded,
    FakeClock,
    bounded_timeout_s,
    current_deadline,
)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_the_time_that_is_left_runs_down_to_zero(clock: FakeClock) -> None:
    deadline = Deadline.after(30, clock=clock)
    assert deadline.remaining_s() == 30
    clock.advance(29.5)
    assert (deadline.remaining_s(), deadline.expired) == (0.5, False)
    clock.advance(0.5)
    assert (deadline.remaining_s(), deadline.expired) == (0, True)
    clock.advance(60)
    assert deadline.remaining_s() == 0


def test_check_raises_only_once_the_time_is_over(clock: FakeClock) -> None:
    deadline = Deadline.after(30, name="The transfer", clock=clock)
    deadline.check()
    clock.advance(30)
    with pytest.raises(DeadlineExceeded, match="The transfer") as raised:
        deadline.check()
    assert raised.value.code == "deadline_exceeded"


def test_there_is_no_current_deadline_outside_a_scope(clock: FakeClock) -> None:
    assert current_deadline() is None
    with Deadline.after(30, clock=clock).scope() as deadline:
        assert current_deadline() is deadline
    assert current_deadline() is None


def test_a_nested_scope_can_only_shorten(clock: FakeClock) -> None:
    outer = Deadline.after(30, clock=clock)
    with outer.scope():
        with Deadline.after(60, clock=clock).scope() as holds:
            assert holds is outer
            assert current_deadline() is outer
        shorter = Deadline.after(5, clock=clock)
        with shorter.scope():
            assert current_deadline() is shorter
        assert current_deadline() is outer


def test_a_scope_ends_with_its_block_also_when_it_raises(clock: FakeClock) -> None:
    with pytest.raises(OSError, match="down"), Deadline.after(30, clock=clock).scope():
        raise OSError("down")
    assert current_deadline() is None


def test_a_time_out_is_bounded_by_the_current_deadline(clock: FakeClock) -> None:
    assert bounded_timeout_s(10) == 10
    with Deadline.after(4, clock=clock).scope():
        assert bounded_timeout_s(10) == 4
        assert bounded_timeout_s(2) == 2
        clock.advance(5)
        assert bounded_timeout_s(10) == 0


def test_coroutines_and_their_threads_have_the_deadline_of_their_parent(clock: FakeClock) -> None:
    async def main() -> None:
        with Deadline.after(30, clock=clock).scope() as deadline:
            child = asyncio.create_task(asyncio.to_thread(current_deadline))
        assert await child is deadline
        assert current_deadline() is None

    asyncio.run(main())


def test_a_thread_started_by_hand_has_it_through_a_copied_context(clock: FakeClock) -> None:
    seen: list[Deadline | None] = []
    with Deadline.after(30, clock=clock).scope() as deadline:
        copied = contextvars.copy_context()
        threads = [
            threading.Thread(target=lambda: seen.append(current_deadline())),
            threading.Thread(target=lambda: seen.append(copied.run(current_deadline))),
        ]
        for thread in threads:
            thread.start()
            thread.join()
    assert seen == [None, deadline]


@pytest.mark.parametrize("seconds", [float("nan"), float("inf")])
def test_a_deadline_is_a_moment(seconds: float) -> None:
    with pytest.raises(ValueError, match="give a number"):
        Deadline.after(seconds)
