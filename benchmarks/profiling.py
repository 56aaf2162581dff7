"""Show where the processor's time goes, by cProfile, function by function."""

import cProfile
import io
import pstats
from collections.abc import Callable
from typing import Any

LINES = 45


def profiled(work: Callable[[], Any]) -> str:
    """Run `work` and return a table of the functions that took the most time, by themselves.

    Times of threads that `work` starts are not seen: measure with one.
    """
    profile = cProfile.Profile()
    profile.enable()
    try:
        work()
    finally:
        profile.disable()
    lines = io.StringIO()
    statistics = pstats.Stats(profile, stream=lines).strip_dirs()
    statistics.sort_stats("cumulative").print_stats(LINES)
    statistics.sort_stats("tottime").print_stats(LINES)
    return lines.getvalue()
