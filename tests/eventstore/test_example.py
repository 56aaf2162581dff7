"""The example runs as its README says, with the event store and nothing else of this product."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 60
CHECK_ALONE = """
import sys, story
others = {"transactions", "users", "platform_site", "rest_framework", "celery", "redis"}
assert not others & set(sys.modules), others & set(sys.modules)
try:
    import transactions
except ImportError:
    print("alone")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The example in a folder of its own, with the two packages that it needs beside it."""
    shutil.copytree(ROOT / "examples" / "library", tmp_path / "project")
    for package in ("eventstore", "resilience"):
        shutil.copytree(ROOT / package, tmp_path / "project" / package)
    return tmp_path / "project"


def run(project: Path, *arguments: str) -> str:
    """Run Python in the project; return what it says."""
    kept = ("PATH", "HOME", "LANG")
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=project,
        env={name: os.environ[name] for name in kept if name in os.environ},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_tells_its_story_with_the_event_store_alone(project: Path) -> None:
    run(project, "manage.py", "migrate", "--verbosity", "0")
    story = run(project, "story.py")
    assert "a second writer is refused: book-" in story
    assert "two readers want it at once: lent, refused" in story
    assert "v4 BookLent(reader='Ada', until='2026-03-01')" in story
    assert "get_latest_snapshot: version 4, {'loans': 2, 'reader': 'Ada'" in story
    assert "replay_events: 4 events up to position 4" in story
    assert "the lane shelf has followed 4 events" in story
    assert "Ada is forgotten: BookLent(reader='', until='2026-03-01')" in story
    assert "the shelf agrees with the log: True" in story
    assert "the chain of hashes is whole: True" in story
    # Again, on the log that is there.
    assert "replay_events: 9 events up to position 9" in run(project, "story.py")
    assert "shelf" in run(project, "manage.py", "subscriptions")


def test_nothing_else_of_the_product_is_there_when_the_example_runs(project: Path) -> None:
    assert run(project, "-c", CHECK_ALONE) == "alone\n"


def test_the_example_needs_no_migration_of_its_own(project: Path) -> None:
    run(project, "manage.py", "makemigrations", "--check", "--dry-run")


def test_the_commands_of_the_readme_are_those_that_are_run_here() -> None:
    readme = (ROOT / "examples" / "library" / "README.md").read_text()
    commands = re.findall(r"(?m)^PYTHONPATH=\S+ \S+python (.+)$", readme)
    assert commands == ["manage.py migrate", "story.py"]
