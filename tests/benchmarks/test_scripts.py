"""Each script runs, tiny, and writes what it promises."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.common import Skipped
from benchmarks.databases import program

PROJECT = Path(__file__).resolve().parents[2]
SERVERS = {
    "resilience": (),
    "append": (),
    "gateway": ("wrk",),
    "ledger": ("mariadbd",),
    "memory": (),
    "rate_limiter": (),
    "timetravel": (),
}
RATIOS = {
    "rate_limiter": {
        "allowed_vs_bare_script",
        "allowed_vs_limits",
        "denied_per_s",
        "leased_per_s",
        "admitted_of_100",
    },
    "append": {
        "command_vs_eventsourcing",
        "bulk_vs_eventsourcing",
        "replay_vs_eventsourcing",
        "hot_vs_uniform",
    },
    "timetravel": {"as_of_vs_full_replay", "rebuild_events_per_s"},
    # Express comes by npm, and from the network.
    "gateway": {"requests_per_s"},
    "memory": {"web_mb", "worker_mb", "beat_mb"},
    "resilience": {"breaker_vs_windowed_peer", "bulkhead_vs_semaphore", "retry_vs_tenacity"},
    "ledger": {"http_vs_raw_sql", "http_vs_hordak", "batch_transfers_per_s"},
}
# Without these, there is nothing to compare with.
OF_A_PEER = {
    "eventsourcing": "eventsourcing",
    "hordak": "hordak",
    "limits": "limits",
    "nopanic": "windowed_peer",
    "tenacity": "tenacity",
}


def is_installed(module: str) -> bool:
    """Return whether a module is there, without importing it."""
    from importlib.util import find_spec

    return find_spec(module) is not None


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_a_script_writes_the_form_that_is_promised(name: str, tmp_path: Path) -> None:
    needed = [*SERVERS[name]]
    for server in needed:
        try:
            program(server)
        except Skipped as reason:
            pytest.skip(str(reason))
    if "mariadbd" in needed and not is_installed("MySQLdb"):
        pytest.skip("mysqlclient is not installed: make services")
    file = tmp_path / "result.json"
    done = subprocess.run(
        [sys.executable, str(PROJECT / "benchmarks" / f"{name}.py"), "--tiny", "--json", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        # Not the test database's: a benchmark makes its own.
        env={key: value for key, value in os.environ.items() if not key.endswith("_URL")},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(file.read_text())
    assert result["benchmark"] == name
    assert {"processor", "cores", "memory", "kernel", "python"} <= result["machine"].keys()
    for row in result["rows"]:
        assert row.keys() == {"name", "value", "unit", "peer"}
        assert row["value"] > 0, row
    absent = [module for module, mark in OF_A_PEER.items() if not is_installed(module)]
    wanted = {ratio for ratio in RATIOS[name] if not any(OF_A_PEER[m] in ratio for m in absent)}
    assert wanted <= result["ratios"].keys()
    for row in result["rows"]:
        assert row["name"] in done.stdout
