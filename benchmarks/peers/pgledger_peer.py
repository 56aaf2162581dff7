"""pgledger as a peer: a ledger in SQL functions, under pgbench, on PostgreSQL.

It is in no package index. Whoever has its two files names them, in the order in which they are to
be run, in `PGLEDGER_SQL`, with a colon between: the ULID functions it needs, and `pgledger.sql`.
"""

import os
import re
import subprocess
import tempfile
from pathlib import Path

from benchmarks.common import Skipped
from benchmarks.databases import HOST, Server, program

DATABASE = "peer"
SCRIPT = r"""
\set source random(1, {accounts})
\set destination 1 + (:source - 1 + random(1, {accounts} - 1)) % {accounts}
SELECT pgledger_create_transfer(
    (SELECT id FROM bench_accounts WHERE number = :source),
    (SELECT id FROM bench_accounts WHERE number = :destination), '1');
"""
ACCOUNTS = """
CREATE TABLE bench_accounts AS
    SELECT number, (pgledger_create_account('account ' || number, 'EUR')).id
    FROM generate_series(1, {accounts}) AS number;
CREATE UNIQUE INDEX ON bench_accounts (number);
"""


class PgledgerPeer:
    """Measures transfers by pgbench; loads the functions first.

    Raises:
        Skipped: the files are not there.
    """

    def __init__(self, server: Server, *, accounts: int) -> None:
        files = os.environ.get("PGLEDGER_SQL")
        if not files:
            raise Skipped("it is in no package index; name its files in PGLEDGER_SQL")
        self._server, self._accounts = server, accounts
        client = program("psql")
        where = [f"-h{HOST}", f"-p{server.port}", f"-U{server.user}", f"-d{DATABASE}"]
        for file in files.split(":"):
            _run([client, *where, "-q", "-v", "ON_ERROR_STOP=1", "-f", str(Path(file))])
        _run([client, *where, "-q", "-c", ACCOUNTS.format(accounts=accounts)])
        self._pgbench = [program("pgbench"), *where[:3], "-n", "-Mprepared"]

    def transfers(self, *, connections: int, duration_s: int) -> float:
        """Make transfers, one a commit; transfers a second."""
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(SCRIPT.format(accounts=self._accounts))
            script.flush()
            said = _run(
                [
                    *self._pgbench,
                    f"-c{connections}",
                    "-j2" if connections > 1 else "-j1",
                    f"-T{duration_s}",
                    f"-f{script.name}",
                    DATABASE,
                ]
            )
        found = re.search(r"^tps = ([\d.]+)", said, re.MULTILINE)
        if found is None:
            raise RuntimeError(said)
        return float(found[1])


def _run(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-300:])
    return done.stdout
