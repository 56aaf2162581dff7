"""Transfers a second, through the command bus and through HTTP, beside other ledgers and raw SQL.

    python benchmarks/ledger.py [--quick] [--json FILE] [--profile]

On MariaDB, every commit on the disk before it counts. Over HTTP: the product's own web server with
everything switched on, Valkey beside it, 32 clients with connections that stay open, one transfer a
request, each with a new Idempotency-Key. Client, servers and databases share the machine.
"""

import statistics
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from benchmarks import load
from benchmarks.common import Case, Options, Report, Skipped, percentile, read_options
from benchmarks.contender import Contender, print_profiles
from benchmarks.databases import mariadb, sqlite_folder
from benchmarks.ledger_peers import (
    HORDAK_BEST,
    RAW_BEST,
    paced,
    peer_cases,
    peer_processes,
    raw_cases,
)
from benchmarks.product import environment, valkey, web_server
from benchmarks.wrk import Load

CLIENTS = 32
ACCOUNTS = 200
# Processes of the web server; as with the connections of others, the best number counts.
WORKERS = (1, 2)
# How much is done in one measurement of the full size.
BATCHES = 5
DRAINED = 2000
HTTP_DURATION_S = 5.0
LATENCY_COUNT = 1000

HTTP = "HTTP, 32 clients, web processes: {}"
HTTP_BEST = "HTTP, 32 clients, best number of web processes"
HTTP_BATCH = "HTTP, atomic batches of 1,000, 1 client"
BUS_BATCH = "bus, batches of 1,000"


@dataclass(kw_only=True)
class Latencies:
    """What was seen beside the rate, one figure a round."""

    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)

    def add(self, seen: Load) -> float:
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
        _drain(report, options, product)
        setting = product.ask("ledger.setting")
        clients = {
            workers: load.Client(
                url=stack.enter_context(
                    web_server(env, folder=folder / "product", workers=workers)
                ).url,
                **setting,
            )
            for workers in (WORKERS if options.size != "tiny" else (1,))
        }
        seen = {workers: Latencies() for workers in clients}
        cases = _product_cases(options, product, clients, seen)
        # In the same tables as the product, and in turns with it.
        others = [
            _subjects(stack, folder, env, accounts=ACCOUNTS // 2)
            for _ in range(peer_processes(options) - 1)
        ]
        cases += raw_cases(options, [product, *others])
        cases += peer_cases(report, options, stack, folder, server)
        report.measure(cases, rounds=options.rounds)
        _latencies(report, options, product, clients, seen)
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
    options: Options,
    product: Contender,
    clients: Mapping[int, load.Client],
    seen: Mapping[int, Latencies],
) -> list[Case]:
    duration_s = _http_duration_s(options)

    def over_http(workers: int) -> float:
        found = load.flat_out(clients[workers], clients=CLIENTS, duration_s=duration_s)
        return seen[workers].add(found)

    named: list[tuple[str, Callable[[], float]]] = [
        ("bus, 1 caller", paced([product], "ledger.transfers", 1, options)),
        ("bus, 32 callers", paced([product], "ledger.transfers", CLIENTS, options)),
        (BUS_BATCH, partial(product.ask, "ledger.batches", count=options.count(BATCHES))),
    ]
    for workers, client in clients.items():
        # Once before anything counts, so that every process has seen a request.
        load.flat_out(client, clients=CLIENTS, duration_s=1.0)
        named.append((HTTP.format(workers), partial(over_http, workers)))
    first = next(iter(clients.values()))
    if load.has_batches(first):
        batches = partial(load.batches, first, clients=1, count=options.count(BATCHES))
        named.append((HTTP_BATCH, batches))
    return [Case(name=name, unit="transfers/s", run=run) for name, run in named]


def _http_duration_s(options: Options) -> float:
    """Return how long load is put on the web server: wrk knows whole seconds only."""
    return max(1.0, round(HTTP_DURATION_S * options.duration_s / 2.0))


def _latencies(
    report: Report,
    options: Options,
    product: Contender,
    clients: Mapping[int, load.Client],
    seen: Mapping[int, Latencies],
) -> None:
    """Add the best rate, and how long a transfer takes at it, at half of it, and alone."""
    rates = {workers: report.value(HTTP.format(workers)) or 1.0 for workers in clients}
    best = max(rates, key=lambda workers: rates[workers])
    report.add(HTTP_BEST, rates[best], "transfers/s")
    report.add("HTTP at full load: p50", statistics.median(seen[best].p50_ms), "ms")
    report.add("HTTP at full load: p99", statistics.median(seen[best].p99_ms), "ms")
    duration_s = 2 * _http_duration_s(options)
    half = load.at_rate(clients[best], clients=CLIENTS, rate=rates[best] / 2, duration_s=duration_s)
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
    report.ratio("http_vs_raw_sql", HTTP_BEST, RAW_BEST)
    report.ratio("http_vs_hordak", HTTP_BEST, HORDAK_BEST)
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
