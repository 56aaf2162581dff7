"""What `ledger.py` runs beside the product: raw SQL and other ledgers."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.common import Case, Options, Paced, Report
from benchmarks.contender import Contender, ask_all
from benchmarks.databases import Server, postgresql
from benchmarks.peers.pgledger_peer import PgledgerPeer

# Making one takes it long, and a transfer locks none.
HORDAK_ACCOUNTS = 20
PGLEDGER_ACCOUNTS = 200
CONNECTIONS = (1, 2, 4, 8, 16, 32)
CONNECTIONS_OF_QUICK = (8, 32)

RAW = "raw SQL, connections: {}"
RAW_BEST = "raw SQL, best number of connections"
HORDAK = "django-hordak on {}, connections: {}"
HORDAK_BEST = "django-hordak, best server and number of connections"


def raw_cases(options: Options, processes: Sequence[Contender]) -> list[Case]:
    """Return the cases of raw SQL, on each number of connections."""
    return [
        Case(
            name=RAW.format(connections),
            unit="transfers/s",
            run=paced(processes, "raw.transfers", connections, options),
            peer=True,
        )
        for connections in connections_of(options)
    ]


def peer_cases(
    report: Report, options: Options, stack: ExitStack, folder: Path, server: Server
) -> list[Case]:
    """Start the other ledgers that can run here; return their cases.

    Args:
        server: of MariaDB, on which the product runs, too.
    """
    other: Server | None = None
    # Of the full size alone: its peers take long to be set up.
    if options.size == "full":
        other = report.peer("PostgreSQL", lambda: stack.enter_context(postgresql()))
    else:
        report.notes.append("PostgreSQL and what runs on it are left to the full size.")
    if other is not None:
        report.version(postgresql=other.version)
    cases = []
    for label, vendor, where in (("MariaDB", "mysql", server), ("PostgreSQL", "postgresql", other)):
        if where is None:
            continue
        start = partial(_hordak, options, stack, folder, vendor, where)
        processes = report.peer(f"django-hordak on {label}", start)
        cases += [
            Case(
                name=HORDAK.format(label, connections),
                unit="transfers/s",
                run=paced(processes, "transfers", connections, options),
                peer=True,
            )
            for connections in (connections_of(options) if processes else ())
        ]
    if other is not None:
        pgledger = report.peer("pgledger", lambda: PgledgerPeer(other, accounts=PGLEDGER_ACCOUNTS))
        duration_s = max(1, round(options.duration_s))
        cases += [
            Case(
                name=f"pgledger under pgbench, connections: {connections}",
                unit="transfers/s",
                run=partial(pgledger.transfers, connections=connections, duration_s=duration_s),
                peer=True,
            )
            for connections in (connections_of(options) if pgledger else ())
        ]
    return cases


def _hordak(
    options: Options, stack: ExitStack, folder: Path, vendor: str, server: Server
) -> list[Contender]:
    return [
        stack.enter_context(
            Contender(
                "benchmarks.peers.hordak_peer:HordakPeer",
                log=folder / "log",
                vendor=vendor,
                port=server.port,
                user=server.user,
                database="peer",
                accounts=HORDAK_ACCOUNTS,
            )
        )
        for _ in range(peer_processes(options))
    ]


def peer_processes(options: Options) -> int:
    """Return how many processes share the work of a peer: its interpreter lock binds one."""
    return 1 if options.size == "tiny" else 2


def connections_of(options: Options) -> Sequence[int]:
    """Return the numbers of connections that a peer is tried with; its best counts."""
    return {"full": CONNECTIONS, "quick": CONNECTIONS_OF_QUICK, "tiny": (2,)}[options.size]


def paced(
    processes: Sequence[Contender], measurement: str, connections: int, options: Options
) -> Paced:
    """Share connections and work among the processes; what counts is what they do together."""
    used = processes[: min(connections, len(processes))]
    threads = connections // len(used)

    def measure(count: int) -> float:
        each = count // len(used)
        return float(sum(ask_all(used, measurement, threads=threads, count=each)))

    return Paced(measure=measure, duration_s=options.duration_s, least=connections)
