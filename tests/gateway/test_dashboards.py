"""Dashboard, alerts and their page name metrics that there are, by labels that they have."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from platform_site.gateway import metrics, states
from platform_site.gateway.metrics import MetricsListener
from platform_site.gateway.threads import Threads
from resilience import Decision

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
PAGE = (ROOT / "docs" / "observability.md").read_text()
DASHBOARD = json.loads((GRAFANA / "dashboard.json").read_text())
RULES = [
    rule
    for group in yaml.safe_load((GRAFANA / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
# Prometheus adds these to all that it scrapes.
OF_THE_TARGET = {"job", "instance"}

_NAME = re.compile(r"\bevenkeel_\w+")
_SELECTION = re.compile(r"\b(evenkeel_\w+)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)\s*(=~|!=|!~|=)\s*"([^"]*)"')
_GROUPING = re.compile(r"\b(?:by|without) \(([^)]*)\)")


@dataclass(frozen=True)
class Query:
    """An expression, and where it stands."""

    where: str
    text: str


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    for panel in panels():
        for target in panel["targets"]:
            yield Query(f"panel {panel['title']!r}", target["expr"])
    for rule in RULES:
        yield Query(rule.get("alert") or rule["record"], rule["expr"])


@pytest.fixture
def exposed(client: Client, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, set[str]]]:
    """The values of each label of each metric, once all kinds of things have happened."""
    monkeypatch.setattr(states, "_threads", {})
    states.watch({"work": Threads(1, name="work")})
    for status in (200, 300, 400, 500):
        for service in ("payments", "gateway"):
            metrics.observe_request(service=service, method="GET", status=status, duration_s=0.1)
    for source in ("store", "lease", "denial_cache", "fallback"):
        for is_allowed in (True, False):
            decision = Decision(is_allowed, 1, 0, 1.0, 0.0, 1.0, source)
            metrics.count_decision("default", decision)
    MetricsListener().on_retry("payments", 0, 0.1, ValueError())
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(client.get("/metrics").content.decode()):
        for sample in family.samples:
            labels = found[sample.name]
            for label, value in sample.labels.items():
                labels[label].add(value)
    return found


@pytest.mark.django_db
def test_every_metric_that_a_query_names_is_exposed(
    exposed: dict[str, dict[str, set[str]]],
) -> None:
    unknown = {
        (query.where, name)
        for query in queries()
        for name in _NAME.findall(query.text)
        if name not in exposed
    }
    assert unknown == set()


@pytest.mark.django_db
def test_every_label_that_a_query_names_is_there_with_that_value(
    exposed: dict[str, dict[str, set[str]]],
) -> None:
    for query in queries():
        for name, matchers in _SELECTION.findall(query.text):
            for label, operator, value in _MATCHER.findall(matchers):
                if label in OF_THE_TARGET:
                    continue
                assert label in exposed[name], (query.where, name, label)
                values = value.split("|") if "~" in operator else [value]
                assert set(values) <= exposed[name][label], (query.where, name, label)


@pytest.mark.django_db
def test_queries_add_up_over_labels_that_there_are(
    exposed: dict[str, dict[str, set[str]]],
) -> None:
    for query in queries():
        labels = {label for name in _NAME.findall(query.text) for label in exposed[name]}
        for grouping in _GROUPING.findall(query.text):
            named = {label.strip() for label in grouping.split(",")}
            assert named <= labels | OF_THE_TARGET, (query.where, named)


@pytest.mark.django_db
def test_every_metric_is_on_the_dashboard(exposed: dict[str, dict[str, set[str]]]) -> None:
    shown = {
        name
        for panel in panels()
        for target in panel["targets"]
        for name in _NAME.findall(target["expr"])
    }
    assert exposed.keys() - shown == set()


@pytest.mark.django_db
def test_every_metric_is_documented_with_its_labels(
    exposed: dict[str, dict[str, set[str]]],
) -> None:
    rows = dict(re.findall(r"(?m)^\| `(evenkeel_\w+)` \| ([^|]*) \|", PAGE.replace("| |", "|  |")))
    documented = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows.items()}
    there = {
        re.sub(r"_(bucket|count|sum)$", "", name): set(labels) - {"le"}
        for name, labels in exposed.items()
    }
    assert documented == there


def test_legends_name_what_the_queries_group_by() -> None:
    for panel in panels():
        for target in panel["targets"]:
            grouped = {
                label.strip()
                for grouping in _GROUPING.findall(target["expr"])
                for label in grouping.split(",")
            }
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped


def test_panels_have_places_of_their_own() -> None:
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_the_dashboard_asks_the_data_source_that_is_chosen() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "instance"}
    for panel in panels():
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"


def test_every_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    headings = {heading.lower() for heading in re.findall(r"(?m)^### (Evenkeel\w+)$", PAGE)}
    assert headings == {alert["alert"].lower() for alert in ALERTS}
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        page, _, anchor = alert["annotations"]["runbook"].partition("#")
        assert (page, anchor) == ("docs/observability.md", alert["alert"].lower())


def test_a_breaker_that_is_open_for_more_than_a_minute_pages() -> None:
    (alert,) = (each for each in ALERTS if each["alert"] == "EvenkeelBreakerOpen")
    assert (alert["for"], alert["labels"]["severity"]) == ("1m", "page")


def test_the_error_budget_is_watched_over_four_pairs_of_windows() -> None:
    """Source: Google, The Site Reliability Workbook, chapter 5, table 5-8; 99.95 %."""
    watched = []
    for alert in ALERTS:
        if alert["alert"] == "EvenkeelErrorBudgetBurn":
            parts = re.findall(r"error_ratio:rate(\w+) > ([\d.]+) \* 0\.0005", alert["expr"])
            (long, burn), (short, same_burn) = parts
            assert burn == same_burn
            watched.append((burn, long, short, alert["labels"]["severity"]))
    assert watched == [
        ("14.4", "1h", "5m", "page"),
        ("6", "6h", "30m", "page"),
        ("3", "1d", "2h", "ticket"),
        ("1", "3d", "6h", "ticket"),
    ]


def test_every_recorded_series_that_an_alert_names_is_recorded() -> None:
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    named = {name for rule in RULES for name in re.findall(r"evenkeel:[\w:]+", rule["expr"])}
    assert named == recorded


def test_every_file_for_grafana_and_prometheus_can_be_read() -> None:
    files = [path for path in GRAFANA.rglob("*") if path.suffix in {".yml", ".json"}]
    assert len(files) >= 6
    for path in files:
        assert yaml.safe_load(path.read_text())


@pytest.mark.skipif(not shutil.which("promtool"), reason="Prometheus' promtool is not installed")
def test_the_alerts_fire_when_they_should() -> None:
    done = subprocess.run(
        ["promtool", "test", "rules", str(GRAFANA / "alerts_test.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
