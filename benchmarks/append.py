"""Durable appends to the event store, and reads from it, beside `eventsourcing` and raw SQL.

    python benchmarks/append.py [--quick] [--json FILE] [--profile]

Every commit is on the disk before it counts. The product runs on MariaDB and on SQLite; the
library `eventsourcing` on PostgreSQL and on SQLite, with the same events; raw SQL writes the rows
of the product. So many writers are so many threads of one process.
"""

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from benchmarks.common import Case, Options, Paced, Report, read_options
from benchmarks.contender import Contender, print_profiles
from benchmarks.databases import mariadb, postgresql, sqlite_folder
from benchmarks.product import environment

# How much is done in one measurement of the full size.
BULK_APPENDS = 20
STREAM_LENGTH = 20_000

WRITERS = {1: "1 writer", 8: "8 writers", 32: "32 writers"}
# Of the full size alone: what is between one and many adds little.
WRITERS_OF_FULL = 8
ACCOUNTS = 100
# Ours and the peer's, in the names of rows: on the same kind of database.
BESIDE = (
    ("Evenkeel on MariaDB", "eventsourcing on PostgreSQL"),
    ("Evenkeel on SQLite", "eventsourcing on SQLite"),
)


def main() -> None:
    """Run the benchmark."""
    options = read_options("append", __doc__)
    report = Report(benchmark="append")
    with ExitStack() as stack:
        folder = stack.enter_context(sqlite_folder())
        products = _products(report, stack, folder)
        if options.profile:
            print_profiles(products, ("store.append", {"threads": 1, "count": 500}),
                           ("store.bulk", {"appends": 10}))  # fmt: skip
            return
        cases = []
        for name, product in products.items():
            cases += _product_cases(name, product, options)
        for name, peer in _peers(report, stack, folder).items():
            cases += _store_cases(f"eventsourcing on {name}", peer, "", options, peer=True)
            cases += _transfer_cases(f"eventsourcing on {name}", peer, "", options, peer=True)
        report.measure(cases, rounds=options.rounds)
    _compare(report)
    report.finish(options)


def _products(report: Report, stack: ExitStack, folder: Path) -> dict[str, Contender]:
    """Start the product on each database that can run here."""
    urls = {"SQLite": ""}
    server = report.peer("Evenkeel on MariaDB", lambda: stack.enter_context(mariadb()))
    if server is not None:
        report.version(mariadb=server.version)
        urls["MariaDB"] = server.mysql_url("bench")
    return {
        name: stack.enter_context(
            Contender(
                "benchmarks.subjects:Subjects",
                env=environment(folder=folder / name, database_url=url),
                log=folder / "log",
                accounts=ACCOUNTS,
            )
        )
        for name, url in urls.items()
    }


def _peers(report: Report, stack: ExitStack, folder: Path) -> dict[str, Contender]:
    """Start the library on each database that can run here."""
    found = {}

    def start(name: str, *, file: Path | None = None, port: int = 0) -> None:
        contender = Contender(
            "benchmarks.peers.eventsourcing_peer:EventsourcingPeer",
            log=folder / "log",
            accounts=ACCOUNTS,
            file=file,
            port=port,
        )
        found[name] = stack.enter_context(contender)

    server = report.peer("PostgreSQL", lambda: stack.enter_context(postgresql()))
    if server is not None:
        report.version(postgresql=server.version)
        report.peer("eventsourcing on PostgreSQL", lambda: start("PostgreSQL", port=server.port))
    report.peer("eventsourcing on SQLite", lambda: start("SQLite", file=folder / "peer.sqlite3"))
    return found


def _product_cases(database: str, product: Contender, options: Options) -> list[Case]:
    name, raw = f"Evenkeel on {database}", f"raw SQL on {database}"
    hot = "append to one hot stream, 8 writers"
    return [
        *_store_cases(name, product, "store.", options),
        _paced(hot, name, product, "store.append_hot", threads=8, options=options),
        *_transfer_cases(name, product, "ledger.", options),
        _paced(
            "transfer with one hot account, 32 writers", name, product, "ledger.transfers",
            threads=32, options=options, hot=True,
        ),
        *_append_cases(raw, product, "raw.", options, peer=True),
        *_transfer_cases(raw, product, "raw.", options, peer=True),
    ]  # fmt: skip


def _writers(options: Options) -> dict[int, str]:
    is_full = options.size == "full"
    return {each: WRITERS[each] for each in WRITERS if is_full or each != WRITERS_OF_FULL}


def _append_cases(
    name: str, contender: Contender, prefix: str, options: Options, *, peer: bool = False
) -> list[Case]:
    cases = [
        _paced(
            f"append, {label}",
            name,
            contender,
            f"{prefix}append",
            threads=writers,
            options=options,
            peer=peer,
        )
        for writers, label in _writers(options).items()
    ]
    appends = options.count(BULK_APPENDS)
    bulk = _case("bulk of 1,000", name, contender, f"{prefix}bulk", peer=peer, appends=appends)
    return [*cases, bulk]


def _store_cases(
    name: str, contender: Contender, prefix: str, options: Options, *, peer: bool = False
) -> list[Case]:
    length = options.count(STREAM_LENGTH)
    stream = contender.ask(f"{prefix}fill", count=length)
    # The log can be read once its events have their positions, which the product gives later.
    if prefix:
        contender.ask(f"{prefix}sequence")
    return [
        *_append_cases(name, contender, prefix, options, peer=peer),
        _case("read a stream", name, contender, f"{prefix}read", peer=peer, stream=stream),
        _case("replay", name, contender, f"{prefix}replay", peer=peer, stream=stream),
        _case("read the log", name, contender, f"{prefix}read_log", peer=peer, count=length),
    ]


def _transfer_cases(
    name: str, contender: Contender, prefix: str, options: Options, *, peer: bool = False
) -> list[Case]:
    return [
        _paced(
            f"transfer, {label}",
            name,
            contender,
            f"{prefix}transfers",
            threads=writers,
            options=options,
            peer=peer,
        )
        for writers, label in _writers(options).items()
    ]


def _paced(
    what: str,
    name: str,
    contender: Contender,
    measurement: str,
    *,
    threads: int,
    options: Options,
    peer: bool = False,
    **arguments: object,
) -> Case:
    def measure(count: int) -> float:
        return float(contender.ask(measurement, threads=threads, count=count, **arguments))

    run = Paced(measure=measure, duration_s=options.duration_s, least=threads)
    unit = "transfers/s" if "transfers" in measurement else "events/s"
    return Case(name=f"{what}: {name}", unit=unit, run=run, peer=peer)


def _case(
    what: str,
    name: str,
    contender: Contender,
    measurement: str,
    *,
    peer: bool = False,
    **arguments: object,
) -> Case:
    run = partial(contender.ask, measurement, **arguments)
    return Case(name=f"{what}: {name}", unit="events/s", run=run, peer=peer)


def _compare(report: Report) -> None:
    """Add the ratios. Where there are two databases, the worse one counts."""

    def beside(name: str, what: str) -> None:
        pairs = [(f"{what}: {ours}", f"{what}: {theirs}") for ours, theirs in BESIDE]
        report.least_ratio(name, pairs)

    beside("command_vs_eventsourcing", "transfer, 32 writers")
    beside("command_alone_vs_eventsourcing", "transfer, 1 writer")
    beside("append_alone_vs_eventsourcing", "append, 1 writer")
    beside("append_32_vs_eventsourcing", "append, 32 writers")
    beside("bulk_vs_eventsourcing", "bulk of 1,000")
    beside("replay_vs_eventsourcing", "replay")
    beside("read_vs_eventsourcing", "read a stream")
    hot, uniform = "transfer with one hot account, 32 writers", "transfer, 32 writers"
    report.least_ratio(
        "hot_vs_uniform", [(f"{hot}: {ours}", f"{uniform}: {ours}") for ours, _ in BESIDE]
    )


if __name__ == "__main__":
    main()
