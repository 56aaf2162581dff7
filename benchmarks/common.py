"""What every benchmark shares: its options, its rounds, its table and its JSON.

    def main() -> None:
        options = read_options("append", __doc__)
        report = Report(benchmark="append")
        report.measure([Case(name="ours", unit="events/s", run=ours), ...], rounds=options.rounds)
        report.ratio("ours_vs_theirs", "ours", "theirs")
        report.finish(options)

Subject and peers take turns: every round measures each of them once, and every other round in
the opposite order, so that a machine that grows slower or faster meanwhile treats all alike.
What is reported is the median of the rounds.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.machine import describe_machine

_STARTED_S = time.monotonic()


class Skipped(Exception):
    """A peer cannot run here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for.

    Args:
        size: "full"; "quick" for the same work, smaller, in under 40 s; "tiny" to see that it runs.
        json: the file to write the results into; None for none.
        profile: print where the processor's time goes, instead of measuring.
    """

    size: str
    json: Path | None
    profile: bool

    @property
    def rounds(self) -> int:
        """How often each case is measured."""
        return {"full": 5, "quick": 2, "tiny": 1}[self.size]

    @property
    def duration_s(self) -> float:
        """How long one measurement takes about, where it can do any amount of work."""
        return {"full": 2.0, "quick": 0.4, "tiny": 0.0}[self.size]

    def count(self, full: int) -> int:
        """Return how much work one measurement does, where it has to be chosen.

        Args:
            full: of the full size.
        """
        return max(1, full // {"full": 1, "quick": 10, "tiny": 100}[self.size])


@dataclass(slots=True, kw_only=True)
class Paced:
    """A measurement that does as much as fits into a time, however fast it is.

    Args:
        measure: does so much and returns its rate, a second.
        duration_s: the time.
        least: how much is done at least, and once before anything counts, to find the pace.
    """

    measure: Callable[[int], float]
    duration_s: float
    least: int
    rate: float = 0.0

    def __call__(self) -> float:
        """Measure once."""
        if not self.rate and self.duration_s:
            self.rate = self.measure(self.least)
        self.rate = self.measure(max(self.least, int(self.rate * self.duration_s)))
        return self.rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One thing that is measured, such as appends a second.

    Args:
        run: measures once and returns the value. What it raises ends the benchmark, unless the
            case is a peer's, which is then skipped.
        peer: whether it is somebody else's work that is measured.
    """

    name: str
    unit: str
    run: Callable[[], float]
    peer: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A result: the median over the rounds."""

    name: str
    value: float
    unit: str
    peer: bool = False


@dataclass(kw_only=True)
class Report:
    """What a benchmark has found out so far.

    Args:
        skipped: what could not be measured, and why.
        notes: lines that a reader of the numbers must know.
    """

    benchmark: str
    machine: dict[str, str] = field(default_factory=describe_machine)
    rows: list[Row] = field(default_factory=list)
    ratios: dict[str, float] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def measure(self, cases: Sequence[Case], *, rounds: int) -> None:
        """Measure every case `rounds` times, in turns, and add a row for each."""
        found: dict[str, list[float]] = {case.name: [] for case in cases}
        for number in range(rounds):
            for case in cases if number % 2 == 0 else reversed(cases):
                if case.name in self.skipped:
                    continue
                say(f"{self.benchmark}: round {number + 1} of {rounds}: {case.name}")
                try:
                    found[case.name].append(case.run())
                except Exception as error:
                    if not case.peer:
                        raise
                    self.skip(case.name, _reason(error))
        for case in cases:
            if case.name not in self.skipped:
                value = statistics.median(found[case.name])
                self.add(case.name, value, case.unit, peer=case.peer)

    def add(self, name: str, value: float, unit: str, *, peer: bool = False) -> None:
        """Add one row."""
        self.rows.append(Row(name=name, value=value, unit=unit, peer=peer))

    def skip(self, name: str, reason: str) -> None:
        """Note that `name` was not measured, and why."""
        self.skipped[name] = reason
        say(f"{self.benchmark}: {name} is skipped: {reason}")

    def peer(self, name: str, prepare: Callable[[], Any]) -> Any:
        """Return what `prepare` returns; None, with the reason noted, when it cannot run here."""
        try:
            return prepare()
        except Exception as error:
            self.skip(name, _reason(error))
            return None

    def version(self, **versions: str) -> None:
        """Add the version of something that took part, such as `mariadb="10.11.6"`."""
        self.machine.update(versions)

    def value(self, name: str) -> float | None:
        """Return the value of a row; None when it was not measured."""
        return next((row.value for row in self.rows if row.name == name), None)

    def ratio(self, name: str, ours: str, theirs: str) -> None:
        """Add the ratio of two rows; none when either is missing."""
        self.least_ratio(name, [(ours, theirs)])

    def least_ratio(self, name: str, pairs: Sequence[tuple[str, str]]) -> None:
        """Add the smallest of the ratios of pairs of rows; none when none could be measured."""
        found = []
        for ours, theirs in pairs:
            above, below = self.value(ours), self.value(theirs)
            if above is not None and below:
                found.append(above / below)
        if found:
            self.ratios[name] = min(found)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "benchmark": self.benchmark,
            "machine": dict(self.machine),
            "rows": [
                {"name": row.name, "value": row.value, "unit": row.unit, "peer": row.peer}
                for row in self.rows
            ],
            "ratios": self.ratios,
            "skipped": self.skipped,
            "notes": self.notes,
        }

    def finish(self, options: Options) -> None:
        """Print the table, and write the JSON when it is asked for."""
        self.machine["size"] = options.size
        print("\n".join(text_table(self)))
        if options.json is not None:
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(self.as_json(), indent=2) + "\n")


def read_options(name: str, description: str | None) -> Options:
    """Return the options of the benchmark `name` from the command line."""
    parser = argparse.ArgumentParser(
        prog=f"benchmarks/{name}.py", description=(description or "").split("\n", maxsplit=1)[0]
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", dest="size", action="store_const", const="quick", default="full",
        help="the same work, smaller: under 40 seconds",
    )  # fmt: skip
    size.add_argument(
        "--tiny", dest="size", action="store_const", const="tiny",
        help="only to see that it works; its numbers mean nothing",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, too")
    parser.add_argument(
        "--profile", action="store_true", help="print where the processor's time goes instead"
    )
    given = parser.parse_args()
    return Options(size=given.size, json=given.json, profile=given.profile)


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value below which `part` (0 to 1) of `values` lie: the nearest rank."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def number(value: float) -> str:
    """Return a value as people read it: three digits that matter, thousands set apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def text_table(report: Report) -> list[str]:
    """Return the report as lines for a terminal."""
    lines = ["", f"{report.benchmark}"]
    lines += [f"  {key}: {value}" for key, value in report.machine.items()]
    width = max((len(row.name) for row in report.rows), default=0)
    lines.append("")
    for row in report.rows:
        mark = "beside" if row.peer else "ours"
        lines.append(f"  {row.name:<{width}}  {number(row.value):>12} {row.unit:<12} {mark}")
    lines += [f"  {name}: skipped: {reason}" for name, reason in report.skipped.items()]
    lines += [f"  {note}" for note in report.notes]
    lines.append("")
    lines += [f"  {name} = {number(value)}" for name, value in report.ratios.items()]
    return lines


def _reason(error: Exception) -> str:
    first = str(error).strip().split("\n", maxsplit=1)[0]
    return first if isinstance(error, Skipped) else f"{type(error).__name__}: {first}"


def say(line: str) -> None:
    """Tell on stderr how far the benchmark has come."""
    print(f"{time.monotonic() - _STARTED_S:5.1f} s  {line}", file=sys.stderr, flush=True)
