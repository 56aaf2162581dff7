"""Requests a second through the gateway, in process and proxied, beside Express and nginx.

    python benchmarks/gateway.py [--quick] [--json FILE] [--profile]

The whole chain is on: request id, metrics, security headers, compression, rate limit on Valkey,
breaker, bulkhead. 32 connections that stay open, by wrk, each asking again once it is answered. In
process, a function in the event loop answers a small JSON document, with Express as with us;
proxied, another process does, the same one for all. What a Django view costs instead of the
function, with a hop to a thread and back, is a row of its own. Client, servers and Valkey share
the machine.
"""

import statistics
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from benchmarks.common import Case, Report, Skipped, read_options, say
from benchmarks.contender import Contender
from benchmarks.databases import sqlite_folder
from benchmarks.peers.express_peer import express, install
from benchmarks.peers.nginx_peer import nginx
from benchmarks.product import environment, valkey, web_server
from benchmarks.servers import Server
from benchmarks.threads import per_second
from benchmarks.upstream import upstream
from benchmarks.wrk import Load, is_installed, wrk

PROJECT = Path(__file__).absolute().parents[1]
EXPRESS_FOLDER = PROJECT / "var" / "peers" / "express"
CLIENTS = 32
WORKERS = 2
DURATION_S = 4.0
WARM_UP_REQUESTS, WARM_UP_S_MAX = 3000, 6
LOCAL, VIEW, REMOTE = "/api/accounts/stub", "/api/payments/stub", "/api/events/stub"
# So that nobody is refused; and one that is kept exactly, by a call of Redis for each request, with
# as many clients as it takes that nobody is refused there, unless one of them sends everything.
HIGH_LIMIT, HUNDRED = "1000000000/15m", 100
MANY = 10_000

IN_PROCESS = "in process"
BY_DJANGO = "in process, by a view of Django's in a thread"
LOGGED = "in process, with a line in the log for each request"
EXACT = "in process, limit of 100 each, 10,000 clients"
REFUSED = "over the limit, refused"
PROXIED = "proxied"
EXPRESS = {1: "Express, one worker", 2: "Express, cluster of two"}
NGINX = "nginx limit_req"
BEST = "Express, better of both, {}"


@dataclass(kw_only=True)
class Target:
    """An address that is asked, and how it answered, a figure a round.

    Args:
        path: what is asked for.
        senders: how many clients there seem to be.
        is_refused: whether an answer has to be a refusal, instead of none of them.
    """

    server: Server
    path: str
    senders: int = 1
    is_refused: bool = False
    p99_ms: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)

    def ask(self, duration_s: float, *, clients: int) -> Load:
        """Let so many clients ask for so long."""
        return wrk(
            self.server.url, "get.lua", self.path, str(self.senders),
            clients=clients, duration_s=duration_s,
        )  # fmt: skip

    def rate(self, duration_s: float) -> float:
        """Ask for so long; return how many answers a second there were.

        Raises:
            RuntimeError: requests were refused, or not, against what was meant.
        """
        started_cpu_s = self.server.cpu_s()
        load = self.ask(duration_s, clients=CLIENTS)
        # Of those that are to be refused, the first hundred are not.
        wrong = load.requests - load.refused - HUNDRED if self.is_refused else load.refused
        if wrong > 0:
            raise RuntimeError(f"{load.refused} of {load.requests} requests were refused")
        self.cpu_us.append((self.server.cpu_s() - started_cpu_s) / load.requests * 1e6)
        self.p99_ms.append(load.p99_ms)
        return load.per_second


def main() -> None:
    """Run the benchmark."""
    options = read_options("gateway", __doc__)
    if not is_installed() and not options.profile:
        raise Skipped("wrk is not installed; Debian's package has that name")
    report = Report(benchmark="gateway")
    with ExitStack() as stack:
        folder = stack.enter_context(sqlite_folder())
        redis_url = stack.enter_context(valkey())
        upstream_url = stack.enter_context(upstream(folder)).url
        env = _environment(folder, redis_url=redis_url, upstream_url=upstream_url)
        _migrate(env, folder)
        if options.profile:
            _profile(stack, folder, env)
            return
        ours = _product(stack, folder, env)
        theirs = _peers(report, stack, folder, redis_url=redis_url, upstream_url=upstream_url)
        seconds_max = 1 if options.size == "tiny" else WARM_UP_S_MAX
        _warm({**ours, **theirs}, seconds_max=seconds_max)
        duration_s = max(1.0, round(DURATION_S * options.duration_s / 2.0))
        cases = [
            Case(name=name, unit="requests/s", run=partial(target.rate, duration_s), peer=peer)
            for targets, peer in ((ours, False), (theirs, True))
            for name, target in targets.items()
        ]
        report.measure(cases, rounds=options.rounds)
    _compare(report, {**ours, **theirs})
    report.finish(options)


def _environment(folder: Path, *, redis_url: str, upstream_url: str) -> dict[str, str]:
    return {
        **environment(folder=folder / "product", redis_url=redis_url),
        "DJANGO_SETTINGS_MODULE": "benchmarks.gateway_site.settings",
        "RATE_LIMIT": HIGH_LIMIT,
        "WEB_PROCESS_COUNT": str(WORKERS),
        "SERVICE_EVENTS_URL": upstream_url,
        # As no peer writes a line for each request either.
        "LOG_LEVEL": "WARNING",
    }


def _migrate(env: Mapping[str, str], folder: Path) -> None:
    with Contender("benchmarks.product:Migrated", env=env, log=folder / "log"):
        pass


def _profile(stack: ExitStack, folder: Path, env: Mapping[str, str]) -> None:
    """Print where the time of one request goes, in process and proxied: by step, by function."""
    subject, log = "benchmarks.request_profile:RequestProfile", folder / "log"
    site = stack.enter_context(Contender(subject, env=env, log=log))
    for name, path in ((BY_DJANGO, VIEW), (PROXIED, REMOTE)):
        print(f"\n== {name}\n\n{site.ask('reads', path=path)}")
    site = stack.enter_context(Contender(subject, env=env, log=log, by_function=True))
    for name, path in ((BY_DJANGO, VIEW), (PROXIED, REMOTE)):
        site.ask("read", path=path)
        print(f"\n== {name}, by function\n\n{site.profile('read', path=path)}")


def _product(stack: ExitStack, folder: Path, env: Mapping[str, str]) -> dict[str, Target]:
    """Start the product's web servers, one for each of the settings that are measured."""

    def serve(name: str, **changes: str) -> Server:
        (folder / name).mkdir()
        server = web_server(
            {**env, **changes},
            folder=folder / name,
            workers=WORKERS,
            application="benchmarks.gateway_site.asgi:application",
        )
        return stack.enter_context(server)

    with ThreadPoolExecutor() as pool:
        starting = (
            pool.submit(serve, "plain"),
            pool.submit(serve, "logged", LOG_LEVEL="INFO"),
            pool.submit(serve, "small", RATE_LIMIT=f"{HUNDRED}/15m", TRUSTED_PROXY_COUNT="1"),
        )
        plain, logged, small = (each.result() for each in starting)
    return {
        IN_PROCESS: Target(server=plain, path=LOCAL),
        BY_DJANGO: Target(server=plain, path=VIEW),
        PROXIED: Target(server=plain, path=REMOTE),
        LOGGED: Target(server=logged, path=LOCAL),
        EXACT: Target(server=small, path=LOCAL, senders=MANY),
        REFUSED: Target(server=small, path=LOCAL, is_refused=True),
    }


def _peers(
    report: Report, stack: ExitStack, folder: Path, *, redis_url: str, upstream_url: str
) -> dict[str, Target]:
    """Start what can run here of the peers."""

    def start_express(workers: int) -> Server:
        install(EXPRESS_FOLDER)
        running = express(
            EXPRESS_FOLDER, log=folder / f"express{workers}.log", workers=workers,
            redis_url=redis_url, upstream_url=upstream_url,
        )  # fmt: skip
        return stack.enter_context(running)

    def start_nginx() -> Server:
        return stack.enter_context(nginx(folder / "nginx", upstream_url=upstream_url))

    starts: dict[str, Callable[[], Server]] = {
        name: partial(start_express, workers) for workers, name in EXPRESS.items()
    }
    targets = {}
    for name, start in {**starts, NGINX: start_nginx}.items():
        server = report.peer(name, start)
        if server is not None:
            targets[f"{name}, in process"] = Target(server=server, path=VIEW)
            targets[f"{name}, proxied"] = Target(server=server, path=REMOTE)
    return targets


def _warm(targets: Mapping[str, Target], *, seconds_max: int) -> None:
    """Ask all of them at once before anything counts: compilers, pools and caches have begun.

    V8 runs code slowly until it has seen a few thousand requests.
    """
    say("warming up")
    waiting = list(targets.values())

    def ask(number: int) -> int:
        answered = 0
        for _ in range(seconds_max):
            if answered < WARM_UP_REQUESTS:
                # Who does not answer when it counts is told of then.
                with suppress(RuntimeError):
                    answered += waiting[number].ask(1.0, clients=4).requests
        return answered

    per_second(len(waiting), ask)


def _compare(report: Report, targets: Mapping[str, Target]) -> None:
    """Add what a request took of time and of the processor, the best of Express, and the ratios."""
    for name, target in targets.items():
        if target.p99_ms and name not in report.skipped:
            is_peer = name.startswith((*EXPRESS.values(), NGINX))
            report.add(f"{name}: p99", statistics.median(target.p99_ms), "ms", peer=is_peer)
            used_us = statistics.median(target.cpu_us)
            report.add(f"{name}: processor time", used_us, "us", peer=is_peer)
    for end in ("in process", "proxied"):
        found = {name: report.value(f"{name}, {end}") for name in EXPRESS.values()}
        rates = {name: rate for name, rate in found.items() if rate is not None}
        if rates:
            report.add(BEST.format(end), max(rates.values()), "requests/s", peer=True)
            fastest = max(rates, key=lambda name: rates[name])
            report.notes.append(f"The better form of Express, {end}: {fastest}.")
    report.ratio("in_process_vs_express", IN_PROCESS, BEST.format("in process"))
    report.ratio("django_vs_express", BY_DJANGO, BEST.format("in process"))
    report.ratio("proxied_vs_express", PROXIED, BEST.format("proxied"))
    for end, ours in (("in process", IN_PROCESS), ("proxied", PROXIED)):
        took_us = [report.value(f"{name}, {end}: processor time") for name in EXPRESS.values()]
        found_us = [each for each in took_us if each is not None]
        if found_us:
            name = f"{end.replace(' ', '_')}_processor_time_vs_express"
            report.ratios[name] = min(found_us) / (report.value(f"{ours}: processor time") or 1.0)
    report.ratio("exact_vs_express", EXACT, BEST.format("in process"))
    report.ratios["requests_per_s"] = report.value(IN_PROCESS) or 0.0


if __name__ == "__main__":
    try:
        main()
    except Skipped as reason:
        sys.exit(f"gateway: nothing to measure: {reason}")
