"""What the patterns add to a call that goes well, beside other libraries of such patterns.

    python benchmarks/resilience.py [--quick] [--json FILE] [--profile]

One caller, nothing contended: what every call pays on every day on which nothing goes wrong. Each
library runs in a process of its own, in the cheapest of its forms, and what a bare call takes is
subtracted.
"""

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from benchmarks.common import Case, Options, Report, read_options
from benchmarks.contender import Contender, print_profiles

# Calls in each turn of a measurement of the full size.
COUNT = 100_000
UNIT = "ns/call"
OURS = (
    "breaker",
    "breaker, async",
    "bulkhead",
    "bulkhead, async",
    "bulkhead, call",
    "retry",
    "retry, async",
    "policy",
    "policy, async",
)
PEERS = "benchmarks.peers.resilience_peers"
SEMAPHORES = {"bulkhead": "threading.Semaphore", "bulkhead, async": "asyncio.Semaphore"}
# Library -> its class, and what it can do.
LIBRARIES = {
    "pybreaker": (f"{PEERS}:Pybreaker", ("breaker",)),
    "circuitbreaker": (f"{PEERS}:Circuitbreaker", ("breaker", "breaker, async")),
    "nopanic": (
        f"{PEERS}:Nopanic",
        ("breaker", "breaker, async", "bulkhead, call", "retry", "retry, async"),
    ),
    "interlock-cb": (f"{PEERS}:Interlock", ("breaker", "breaker, async")),
    "tenacity": (f"{PEERS}:Tenacity", ("retry", "retry, async")),
    "stamina": (f"{PEERS}:Stamina", ("retry", "retry, async")),
}
WINDOWED = ("nopanic", "interlock-cb")


def main() -> None:
    """Run the benchmark."""
    options = read_options("resilience", __doc__)
    report = Report(benchmark="resilience")
    with ExitStack() as stack:
        ours = stack.enter_context(Contender("benchmarks.patterns:Patterns"))
        if options.profile:
            count = options.count(COUNT)
            asked = [("measure", {"name": name, "count": count}) for name in OURS]
            print_profiles({"resilience": ours}, *asked)
            return
        cases = [_case(options, ours, name, name) for name in OURS]
        semaphores = stack.enter_context(Contender("benchmarks.patterns:Semaphores"))
        for name, title in SEMAPHORES.items():
            cases.append(_case(options, semaphores, name, _of(name, title), peer=True))
        for library, (subject, names) in LIBRARIES.items():
            peer = report.peer(library, partial(Contender, subject))
            if peer is not None:
                stack.enter_context(peer)
                cases += [
                    _case(options, peer, name, _of(name, library), peer=True) for name in names
                ]
        report.measure(cases, rounds=options.rounds)
    _compare(report)
    report.finish(options)


def _of(name: str, library: str) -> str:
    return f"{name}: {library}"


def _case(options: Options, subject: Any, name: str, title: str, *, peer: bool = False) -> Case:
    run = partial(subject.ask, "measure", name=name, count=options.count(COUNT))
    return Case(name=title, unit=UNIT, run=run, peer=peer)


def _compare(report: Report) -> None:
    """Add the ratios: a peer's time by ours, so that more is better."""
    windowed = [
        (_of(name, library), name) for name in ("breaker", "breaker, async") for library in WINDOWED
    ]
    # The least of them: beside the fastest peer, of threads or of coroutines.
    report.least_ratio("breaker_vs_windowed_peer", windowed)
    report.ratio("bulkhead_vs_semaphore", _of("bulkhead", "threading.Semaphore"), "bulkhead")
    report.ratio("retry_vs_tenacity", _of("retry", "tenacity"), "retry")
    for figure, name in (
        ("breaker_ns", "breaker"),
        ("bulkhead_ns", "bulkhead"),
        ("retry_ns", "retry"),
    ):
        report.ratios[figure] = report.value(name) or 0.0


if __name__ == "__main__":
    main()
