"""Reads of the past and the rebuild of a projection, beside a full replay.

    python benchmarks/timetravel.py [--quick] [--json FILE] [--profile]

A log of 1,000,000 events, with one account that takes part in four of five transfers, is read at
instants all over its history: single accounts, hot and cold, and lists of 50. The peer is what an
event store without snapshots would do: replay of the hot account from its first event. The
entries are rebuilt while transfers go on.
"""

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from benchmarks.common import Case, Options, Report, read_options
from benchmarks.contender import Contender, print_profiles
from benchmarks.databases import mariadb, sqlite_folder
from benchmarks.product import environment

EVENTS = 1_000_000
EVENTS_AN_ACCOUNT = 100
ACCOUNTS_MIN = 60
READS = 400
REPLAYS = 4
READS_OF = {
    "hot": "the hot account",
    "cold": "a cold account",
    "accounts": "50 accounts",
    "transactions": "50 transactions",
    "entries": "50 entries of the hot account",
}
PERCENTILES = {"p50": 0.5, "p99": 0.99}


def main() -> None:
    """Run the benchmark."""
    options = read_options("timetravel", __doc__)
    report = Report(benchmark="timetravel")
    with ExitStack() as stack:
        folder = stack.enter_context(sqlite_folder())
        products = _products(report, stack, folder, options)
        if options.profile:
            reads = [
                ("reads_ms", {"what": what, "by": "position", "count": 50}) for what in READS_OF
            ]
            print_profiles(products, ("rebuild", {}), *reads)
            return
        # Once before all else: the entries are empty until they are rebuilt.
        report.measure([_rebuild(*each) for each in products.items()], rounds=options.rounds)
        cases = [case for each in products.items() for case in _cases(*each, options)]
        report.measure(cases, rounds=options.rounds)
    _compare(report, list(products))
    report.finish(options)


def _products(
    report: Report, stack: ExitStack, folder: Path, options: Options
) -> dict[str, Contender]:
    """Build the same history on each database that can run here."""
    events = options.count(EVENTS)
    urls = {"SQLite": ""}
    server = report.peer("Evenkeel on MariaDB", lambda: stack.enter_context(mariadb()))
    if server is not None:
        report.version(mariadb=server.version)
        urls["MariaDB"] = server.mysql_url("bench")
    return {
        name: stack.enter_context(
            Contender(
                "benchmarks.product_past:ProductPast",
                env=environment(folder=folder / name, database_url=url),
                log=folder / "log",
                events=events,
                accounts=max(ACCOUNTS_MIN, events // EVENTS_AN_ACCOUNT),
            )
        )
        for name, url in urls.items()
    }


def _rebuild(name: str, product: Contender) -> Case:
    run = partial(product.ask, "rebuild")
    return Case(name=f"rebuild with writes going on: {name}", unit="events/s", run=run)


def _cases(name: str, product: Contender, options: Options) -> list[Case]:
    count = max(20, READS if options.size == "full" else READS // 10)
    cases = [
        Case(
            name=f"{title} as of a {by}, {label}: {name}",
            unit="ms",
            run=partial(product.ask, "read_ms", what=what, by=by, count=count, part=part),
        )
        for what, title in READS_OF.items()
        for by in ("time", "position")
        for label, part in PERCENTILES.items()
    ]
    replay = partial(product.ask, "full_replay_ms", count=REPLAYS)
    return [*cases, Case(name=f"full replay: {name}", unit="ms", run=replay, peer=True)]


def _compare(report: Report, names: list[str]) -> None:
    """Add the ratios. Of two databases, the worse one counts."""
    hot = READS_OF["hot"]
    report.least_ratio(
        "as_of_vs_full_replay",
        [
            (f"full replay: {name}", f"{hot} as of a {by}, p50: {name}")
            for name in names
            for by in ("time", "position")
        ],
    )
    rates = [report.value(f"rebuild with writes going on: {name}") for name in names]
    found = [each for each in rates if each is not None]
    if found:
        report.ratios["rebuild_events_per_s"] = min(found)


if __name__ == "__main__":
    main()
