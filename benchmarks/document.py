"""Write the results of the benchmarks into the document, between its markers.

    python benchmarks/document.py [--results FOLDER] [--document FILE]

What stands outside the markers is prose, and is left as it is.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

if not __package__:
    sys.path[0] = str(Path(__file__).absolute().parents[1])

from benchmarks.common import number

PROJECT = Path(__file__).absolute().parents[1]
DOCUMENT = PROJECT / "docs" / "benchmarks.md"
RESULTS = PROJECT / "var" / "bench"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
# What each figure is to reach: at least, or with False at most.
TARGETS: Mapping[str, tuple[float, bool]] = {
    "command_vs_eventsourcing": (2.0, True),
    "bulk_vs_eventsourcing": (3.0, True),
    "replay_vs_eventsourcing": (1.5, True),
    "hot_vs_uniform": (0.9, True),
    "http_vs_raw_sql": (0.7, True),
    "batch_transfers_per_s": (5000.0, True),
    "half_load_p99_ms": (50.0, False),
    "as_of_p99_ms": (10.0, False),
    "rebuild_events_per_s": (20_000.0, True),
    "breaker_vs_windowed_peer": (2.0, True),
    "breaker_ns": (600.0, False),
    "bulkhead_ns": (1_000.0, False),
    "retry_ns": (300.0, False),
    "allowed_vs_bare_script": (0.9, True),
    "denied_per_s": (1_000_000.0, True),
    "leased_per_s": (333_000.0, True),
    "admitted_of_100": (100.0, True),
    "in_process_vs_express": (3.0, True),
    "proxied_vs_express": (2.0, True),
    "requests_per_s": (10_000.0, True),
    "web_mb": (100.0, False),
    "worker_process_mb": (100.0, False),
    "beat_mb": (100.0, False),
}


class NoMarkers(Exception):
    """The document has no place for the results."""


def results_of(reports: list[dict[str, Any]]) -> str:
    """Return the part between the markers, in Markdown."""
    return "\n".join([BEGIN, "", *_lines(reports), END])


def written(document: str, results: str) -> str:
    """Return `document` with `results` in the place of what is between its markers.

    Raises:
        NoMarkers: it has not both of them.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoMarkers(f"the document needs {BEGIN} and {END}")
    return before + results + after


def _lines(reports: list[dict[str, Any]]) -> Iterator[str]:
    yield from _ratios(reports)
    for report in reports:
        yield f"### {report['benchmark']}"
        yield ""
        yield ", ".join(f"{name}: {value}" for name, value in report["machine"].items()) + "."
        yield ""
        yield "| what | result | unit | whose |"
        yield "|---|---:|---|---|"
        for row in report["rows"]:
            whose = "peer" if row["peer"] else "Evenkeel"
            yield f"| {row['name']} | {number(row['value'])} | {row['unit']} | {whose} |"
        yield ""
        for name, reason in report.get("skipped", {}).items():
            yield f"Not measured: {name} ({reason})."
            yield ""
        for note in report.get("notes", ()):
            yield note
            yield ""


def _ratios(reports: list[dict[str, Any]]) -> Iterator[str]:
    yield "| benchmark | figure | result | target | reached |"
    yield "|---|---|---:|---:|---|"
    for report in reports:
        for name, value in report["ratios"].items():
            wanted, verdict = "", ""
            if name in TARGETS:
                target, at_least = TARGETS[name]
                wanted = f"{'at least' if at_least else 'at most'} {number(target)}"
                verdict = "yes" if (value >= target) == at_least else "no"
            line = f"| {report['benchmark']} | `{name}` | {number(value)} | {wanted} | {verdict} |"
            yield line
    yield ""


def main() -> None:
    """Write the document."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the folder of the JSON files"
    )
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    given = parser.parse_args()
    reports = [json.loads(file.read_text()) for file in sorted(given.results.glob("*.json"))]
    given.document.write_text(written(given.document.read_text(), results_of(reports)))


if __name__ == "__main__":
    main()
