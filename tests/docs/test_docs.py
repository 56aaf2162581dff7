"""A new variable, command or event fails here until `docs/` names it."""

import re
from dataclasses import fields
from pathlib import Path

from transactions.domain.events import CODEC

ROOT = Path(__file__).parents[2]
CODE = sorted(
    path
    for package in ("platform_site", "transactions", "users", "eventstore", "resilience")
    for path in (ROOT / package).rglob("*.py")
)
READ = re.compile(
    r'\b(?:text|flag|integer|names|chosen|origins|rate|database|shared_folder)\(\s*"([A-Z][A-Z0-9_]+)"'
)


def variables_read() -> set[str]:
    return {name for path in CODE for name in READ.findall(path.read_text())}


def documented(page: str, pattern: str) -> set[str]:
    return set(re.findall(pattern, (ROOT / "docs" / page).read_text()))


def test_every_variable_that_is_read_is_documented() -> None:
    assert {"DATA_DIR", "SECRET_KEY", "RATE_LIMIT"} <= variables_read()
    assert variables_read() - documented("configuration.md", r"`([A-Z][A-Z0-9_]+)`") == set()


def test_every_variable_that_is_documented_is_read() -> None:
    listed = documented("configuration.md", r"(?m)^\| `([A-Z][A-Z0-9_]+)`")
    assert listed - variables_read() == set()


def test_only_one_module_reads_the_environment() -> None:
    reading = {
        path.relative_to(ROOT).as_posix() for path in CODE if "os.environ" in path.read_text()
    }
    # The others name the settings module before Django can be asked for anything.
    assert reading == {
        "platform_site/env.py",
        "platform_site/asgi.py",
        "platform_site/celery.py",
    }


def test_every_command_is_documented() -> None:
    commands = {
        path.stem for path in CODE if path.parent.name == "commands" and path.stem != "__init__"
    }
    assert commands
    assert commands - documented("commands.md", r"`([a-z_]+)") == set()


def test_every_event_is_documented_with_its_members() -> None:
    page = (ROOT / "docs" / "events.md").read_text()
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| \d+ \| [^|]+\|(.*)\|$", page))
    assert rows.keys() == {name for name, _ in CODEC.events}
    for (name, _), event_class in CODEC.events.items():
        members = re.findall(r"`(\w+)`", rows[name])
        assert members == [field.name for field in fields(event_class)], name  # type: ignore[arg-type]


def test_links_of_the_documentation_lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_every_package_and_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in CODE
        if "migrations" not in path.parts
        and not (path.name == "__init__.py" and {"management", "commands"} & {path.parent.name})
        and not path.read_text().startswith('"""')
    ]
    assert silent == []


def test_no_module_has_grown_past_300_lines() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): lines
        for path in CODE
        if "migrations" not in path.parts and (lines := len(path.read_text().splitlines())) > 300
    }
    assert long == {}
