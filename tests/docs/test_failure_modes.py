"""Every failure mode names a test, and every test that is named exists."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(
    r"(?m)^\| (\w+) \| ([^|]+) \| (.+) \|$", (ROOT / "docs" / "failure-modes.md").read_text()
)
MODES = {number: proof for number, _, proof in ROWS if number.isdigit()}


def test_every_test_that_a_failure_mode_names_exists() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"(?m)^(?:async )?def (test_\w+)", path.read_text())
    }
    named = {name for _, _, proof in ROWS for name in re.findall(r"`(test_\w+)`", proof)}
    assert len(named) > 50
    assert named - there == set()


def test_every_failure_mode_is_there_once_and_in_order() -> None:
    numbers = [int(number) for number, _, _ in ROWS if number.isdigit()]
    assert numbers == [*range(1, 16), *range(22, 26), *range(40, 69)]


def test_every_failure_mode_is_proved_or_says_to_what_it_belongs() -> None:
    silent = [
        number for number, proof in MODES.items() if not re.search(r"`test_|later: \w", proof)
    ]
    assert silent == []
