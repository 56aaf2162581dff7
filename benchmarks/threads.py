"""Run one kind of work in many threads at once, and time it."""

import threading
import time
from collections.abc import Callable


def per_second(
    threads: int, work: Callable[[int], int], *, close: Callable[[], None] = lambda: None
) -> float:
    """Run `work` in so many threads at once; return what all of them did, a second.

    Args:
        work: takes the number of its thread and returns how much it did.
        close: called in each thread at its end, to close its connections.

    Raises:
        Exception: the first that a thread raised.
    """
    if threads == 1:
        # In the thread that calls, which a profile sees.
        started_s = time.perf_counter()
        alone = work(0)
        return alone / (time.perf_counter() - started_s)
    done, errors = [0] * threads, []
    start = threading.Barrier(threads + 1)

    def run(number: int) -> None:
        start.wait()
        try:
            done[number] = work(number)
        except Exception as error:
            errors.append(error)
        finally:
            close()

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for each in running:
        each.start()
    start.wait()
    started_s = time.perf_counter()
    for each in running:
        each.join()
    elapsed_s = time.perf_counter() - started_s
    if errors:
        raise errors[0]
    return sum(done) / elapsed_s
