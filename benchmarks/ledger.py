"""Transfers a second, through the command bus and through HTTP, beside other ledgers and raw SQL.

    python benchmarks/ledger.py [--quick] [--json FILE] [--profile]

On MariaDB, every commit on the disk before it counts. Over HTTP: the product's own web server with
everything switched on, Valkey beside it, 32 clients with connections that stay open, one transfer a
request, each with a new Idempotency-Key. Client, servers and databases share the machine.
"""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from benchmarks import load
from benchmarks.common import Case, Options, Paced, Report, Skipped, percentile, read_options
from benchmarks.contender import Contender, ask_all, print_profiles
from benchmarks.databases import Server, mariadb, postgresql, sqlite_folder
from benchmarks.peers.pgledger_peer import PgledgerPeer
from benchmarks.product import environment, valkey, web_server

CLIENTS = 32
ACCOUNTS = 200
# Making one takes it long, and it locks none.
HORDAK_ACCOUNTS = 20
# Of the web server: what was best of 1, 2 and 4 on two cores.
WORKERS = 2
# How much is done in one measurement of the full size.
BATCHES = 5
DRAINED = 2000
HTTP_DURATION_S = 5.0
LATENCY_COUNT = 1000
# How many connections raw SQL and the other ledgers are tried with; their best counts.
CONNECTIONS = (1, 2, 4, 8, 16, 32)
CONNECTIONS_OF_QUICK = (8, 32)
# Of each peer: what a single one can do is bounded by its interpreter lock.
PEER_PROCESSES = 2

HTTP = "HTTP, 32 clients"
HTTP_BATCH = "HTTP, atomic batches of 1,000, 1 client"
BUS_BATCH = "bus, batches of 1,000"
RAW = "raw SQL, {} connections"
RAW_BEST = "raw SQL, best number of connections"
HORDAK = "django-hordak on {}, {} connections"
HORDAK_BEST = "django-hordak, best server and number of connections"


@dataclass(kw_only=True)
class Latencies:
    """What was seen beside the rate, one figure a round."""

    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def add(self, seen: load.Load) -> float:
        """Note what was seen; return the rate."""
        self.p50_ms.append(seen.p50_ms)
        self.p99_ms.append(seen.p99_ms)
        return seen.per_second


def main() -> None:
    """Run the benchmark."""
    options = read_options("ledger", __doc__)
    report = Report(benchmark="ledger")
    with ExitStack() as stack:
        folder = stack.enter_context(sqlite_folder())
        server = stack.enter_context(mariadb())
        report.version(mariadb=server.version)
        env = environment(
            folder=folder / "product",
            database_url=server.mysql_url("bench"),
            redis_url=stack.enter_context(valkey()),
        )
        product = _subjects(stack, folder, env, accounts=ACCOUNTS)
        if options.profile:
            _profile(stack, folder, env, product)
            return
        url = stack.enter_context(web_server(env, folder=folder / "product", workers=WORKERS))
        client = load.Client(url=url, **product.ask("ledger.setting"))
        _drain(report, options, product)
        seen = Latencies()
        cases = _product_cases(options, product, client, seen)
        # In the same tables as the product, and in turns with it.
        another = _subjects(stack, folder, env, accounts=ACCOUNTS // PEER_PROCESSES)
        cases += _raw_cases(options, [product, another])
        cases += _peer_cases(report, options, stack, folder, server)
        report.measure(cases, rounds=options.rounds)
        _latencies(report, options, client, product, seen)
    _compare(report)
    report.finish(options)


def _subjects(
    stack: ExitStack, folder: Path, env: Mapping[str, str], *, accounts: int
) -> Contender:
    contender = Contender(
        "benchmarks.subjects:Subjects", env=env, log=folder / "log", accounts=accounts
    )
    return stack.enter_context(contender)


def _profile(stack: ExitStack, folder: Path, env: Mapping[str, str], product: Contender) -> None:
    """Print where the time goes: below the bus, and in one request."""
    print_profiles(
        {"MariaDB": product},
        ("ledger.transfers", {"threads": 1, "count": 300}),
        ("ledger.batches", {"count": 2}),
    )
    site = stack.enter_context(
        Contender("benchmarks.request_profile:RequestProfile", env=env, log=folder / "log")
    )
    print(site.ask("table", **product.ask("ledger.setting")))


def _drain(report: Report, options: Options, product: Contender) -> None:
    """Measure how fast the sequencer and the lanes follow, from a log that they had caught up."""
    product.ask("ledger.drain")
    product.ask("ledger.batches", count=1, size=max(20, options.count(DRAINED)))
    for name, rate in product.ask("ledger.drain").items():
        report.add(f"drained: {name}", rate, "events/s")


def _product_cases(
    options: Options, product: Contender, client: load.Client, seen: Latencies
) -> list[Case]:
    duration_s = _http_duration_s(options)

    def over_http() -> float:
        return seen.add(load.flat_out(client, clients=CLIENTS, duration_s=duration_s))

    named: list[tuple[str, Callable[[], float]]] = [
        ("bus, 1 caller", _paced([product], "ledger.transfers", 1, options)),
        ("bus, 32 callers", _paced([product], "ledger.transfers", CLIENTS, options)),
        (BUS_BATCH, partial(product.ask, "ledger.batches", count=options.count(BATCHES))),
        (HTTP, over_http),
    ]
    if load.has_batches(client):
        batches = partial(load.batches, client, clients=1, count=options.count(BATCHES))
        named.append((HTTP_BATCH, batches))
    return [Case(name=name, unit="transfers/s", run=run) for name, run in named]


def _raw_cases(options: Options, processes: Sequence[Contender]) -> list[Case]:
    return [
        Case(
            name=RAW.format(connections),
            unit="transfers/s",
            run=_paced(processes, "raw.transfers", connections, options),
            peer=True,
        )
        for connections in _connections(options)
    ]


def _peer_cases(
    report: Report, options: Options, stack: ExitStack, folder: Path, server: Server
) -> list[Case]:
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
        start = partial(_hordak, stack, folder, vendor, where)
        processes = report.peer(f"django-hordak on {label}", start)
        cases += [
            Case(
                name=HORDAK.format(label, connections),
                unit="transfers/s",
                run=_paced(processes, "transfers", connections, options),
                peer=True,
            )
            for connections in (_connections(options) if processes else ())
        ]
    if other is not None:
        pgledger = report.peer("pgledger", lambda: PgledgerPeer(other, accounts=ACCOUNTS))
        duration_s = round(_http_duration_s(options))
        cases += [
            Case(
                name=f"pgledger under pgbench, {connections} connections",
                unit="transfers/s",
                run=partial(pgledger.transfers, connections=connections, duration_s=duration_s),
                peer=True,
            )
            for connections in (_connections(options) if pgledger else ())
        ]
    return cases


def _hordak(stack: ExitStack, folder: Path, vendor: str, server: Server) -> list[Contender]:
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
        for _ in range(PEER_PROCESSES)
    ]


def _connections(options: Options) -> Sequence[int]:
    return {"full": CONNECTIONS, "quick": CONNECTIONS_OF_QUICK, "tiny": (2,)}[options.size]


def _paced(
    processes: Sequence[Contender], measurement: str, connections: int, options: Options
) -> Paced:
    """Share connections and work among the processes; what counts is what they do together."""
    used = processes[: min(connections, len(processes))]
    threads = connections // len(used)

    def measure(count: int) -> float:
        each = count // len(used)
        return float(sum(ask_all(used, measurement, threads=threads, count=each)))

    return Paced(measure=measure, duration_s=options.duration_s, least=connections)


def _http_duration_s(options: Options) -> float:
    """Return how long load is put on the web server: wrk knows whole seconds only."""
    return max(1.0, round(HTTP_DURATION_S * options.duration_s / 2.0))


def _latencies(
    report: Report, options: Options, client: load.Client, product: Contender, seen: Latencies
) -> None:
    """Add how long a transfer takes: at full load, at half of it, and alone."""
    report.add(f"{HTTP}: p50", statistics.median(seen.p50_ms), "ms")
    report.add(f"{HTTP}: p99", statistics.median(seen.p99_ms), "ms")
    rate = report.value(HTTP) or 1.0
    duration_s = _http_duration_s(options)
    half = load.at_rate(client, clients=CLIENTS, rate=rate / 2, duration_s=duration_s)
    report.add("HTTP at half load: p50", half.p50_ms, "ms")
    report.add("HTTP at half load: p99", half.p99_ms, "ms")
    alone = product.ask("ledger.latencies_ms", count=max(10, options.count(LATENCY_COUNT)))
    report.add("bus, 1 caller: p50", percentile(alone, 0.5), "ms")
    report.add("bus, 1 caller: p99", percentile(alone, 0.99), "ms")


def _compare(report: Report) -> None:
    """Add the best of each peer, and the ratios."""
    for best, start in ((RAW_BEST, "raw SQL, "), (HORDAK_BEST, "django-hordak on ")):
        rates = [row.value for row in report.rows if row.name.startswith(start)]
        if rates:
            report.add(best, max(rates), "transfers/s", peer=True)
    report.ratio("http_vs_raw_sql", HTTP, RAW_BEST)
    report.ratio("http_vs_hordak", HTTP, HORDAK_BEST)
    batches = report.value(HTTP_BATCH) or report.value(BUS_BATCH)
    if batches is not None:
        report.ratios["batch_transfers_per_s"] = batches
    p99_ms = report.value("HTTP at half load: p99")
    if p99_ms is not None:
        report.ratios["half_load_p99_ms"] = p99_ms


if __name__ == "__main__":
    try:
        main()
    except Skipped as reason:
        sys.exit(f"ledger: nothing to measure: {reason}")
