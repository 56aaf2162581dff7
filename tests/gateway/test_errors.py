"""Every error has one status and one shape."""

import importlib
import json
import pkgutil
from collections.abc import Iterator

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

import eventstore
import platform_site
import transactions
import users
from eventstore.errors import PlatformError
from platform_site.gateway.codes import CODES, STATUS_OF
from resilience.errors import BreakerOpen, BulkheadFull, DeadlineExceeded
from users.api.problems import problem_document

MEMBERS = {"type", "title", "status", "detail", "instance", "code", "request_id", "retryable"}


def subclasses(root: type[PlatformError]) -> Iterator[type[PlatformError]]:
    for each in root.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_error_of_the_product_has_its_status() -> None:
    for package in (platform_site, transactions, users, eventstore):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if module.name != "platform_site.asgi":
                importlib.import_module(module.name)
    missing = {
        f"{each.__module__}.{each.__name__}: {each.code}"
        for each in subclasses(PlatformError)
        if each.code not in STATUS_OF and not each.__module__.startswith("tests.")
    }
    assert not missing


def test_every_error_that_refuses_a_request_for_its_own_good_has_its_status() -> None:
    assert {STATUS_OF[each.code] for each in (BreakerOpen, BulkheadFull)} == {503}
    assert STATUS_OF[DeadlineExceeded.code] == 504


def test_no_code_stands_for_two_statuses() -> None:
    assert len(STATUS_OF) == sum(len(codes) for codes in CODES.values())


@pytest.mark.parametrize("kind", ["fails", "plain-fails"])
@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("bug", 500, "internal_error"),
        ("stale", 412, "stale_version"),
        ("unheard", 500, "internal_error"),
        ("waiting", 409, "idempotency_in_progress"),
        ("input", 422, "validation_failed"),
        ("surrogate", 412, "stale_version"),
        ("bulkhead", 503, "overloaded"),
        ("limited", 429, "rate_limited"),
        ("deadline", 504, "deadline_exceeded"),
        ("sqlite-locked", 503, "service_unavailable"),
        ("mysql-gone", 503, "service_unavailable"),
        ("mysql-killed", 503, "service_unavailable"),
        ("mysql-pool", 503, "overloaded"),
        ("no-table", 500, "internal_error"),
        ("http404", 404, "not_found"),
        ("denied", 403, "forbidden"),
        ("suspicious", 400, "bad_request"),
        ("not-authenticated", 401, "not_authenticated"),
        ("bad-credentials", 401, "invalid_credentials"),
        ("throttled", 429, "rate_limited"),
        ("serializer", 422, "validation_failed"),
    ],
)
def test_an_error_is_answered_as_a_problem_wherever_it_is_raised(
    client: Client, kind: str, name: str, status: int, code: str
) -> None:
    answer = client.get(f"/api/payments/{kind}/{name}?secret=1", headers={"X-Request-Id": "abc"})
    document = json.loads(answer.content)
    assert answer.status_code == document["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert document["code"] == code
    assert document.keys() >= MEMBERS
    assert document["instance"] == f"/api/payments/{kind}/{name}"
    assert document["request_id"] == answer.headers["X-Request-Id"] == "abc"
    assert document["detail"]
    assert "swordfish" not in answer.content.decode()
    assert "Traceback" not in answer.content.decode()


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("name", ["bug", "suspicious", "http404", "denied"])
def test_no_trace_is_shown_while_debugging_either(
    client: Client, settings: Settings, debug: bool, name: str
) -> None:
    settings.DEBUG = debug
    for kind in ("fails", "plain-fails"):
        answer = client.get(f"/api/payments/{kind}/{name}")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert "swordfish" not in answer.content.decode()


def test_further_members_of_an_error_are_told(client: Client) -> None:
    stale = client.get("/api/payments/fails/stale").json()
    assert stale["current_version"] == 7
    refused = client.get("/api/payments/fails/input").json()
    assert refused["errors"] == [{"pointer": "/amount", "code": "required", "detail": "Give one."}]


def test_serializer_errors_point_into_the_body(client: Client) -> None:
    errors = client.get("/api/payments/fails/serializer").json()["errors"]
    assert [(each["pointer"], each["detail"]) for each in errors] == [
        ("/a~1b", "Wrong."),
        ("/list/0/x", "Odd."),
    ]


@pytest.mark.parametrize(
    ("name", "seconds", "retryable"),
    [
        ("waiting", "3", True),
        ("bulkhead", "2", True),
        ("limited", "42", True),
        ("sqlite-locked", "1", True),
        ("mysql-pool", "1", True),
        ("throttled", "7", True),
        ("deadline", None, True),
        ("stale", None, False),
        ("bug", None, False),
    ],
)
def test_an_error_says_whether_and_when_to_try_again(
    client: Client, name: str, seconds: str | None, retryable: bool
) -> None:
    answer = client.get(f"/api/payments/fails/{name}")
    assert answer.headers.get("Retry-After") == seconds
    assert answer.json()["retryable"] is retryable
    assert "retry_after_s" not in answer.json()


def test_401_challenges_and_says_that_a_token_was_refused_only_if_there_was_one(
    client: Client,
) -> None:
    address = "/api/payments/fails/not-authenticated"
    assert client.get(address).headers["WWW-Authenticate"] == 'Bearer realm="evenkeel"'
    told = client.get(address, headers={"Authorization": "Basic abc"}).headers["WWW-Authenticate"]
    assert told == 'Bearer realm="evenkeel", error="invalid_token"'


def test_half_a_surrogate_pair_in_a_detail_does_not_break_the_answer(client: Client) -> None:
    assert client.get("/api/payments/fails/surrogate").json()["detail"] == "half ? pair"


def test_the_admin_keeps_pages_for_people(client: Client) -> None:
    for name, status in (("bug", 500), ("http404", 404), ("suspicious", 400), ("denied", 403)):
        answer = client.get(f"/admin/fails/{name}")
        assert answer.status_code == status
        assert answer.headers["Content-Type"].startswith("text/html")
        assert "swordfish" not in answer.content.decode()


def test_the_pure_document_is_what_the_gateway_answers(client: Client) -> None:
    answer = client.get("/api/payments/fails/stale", headers={"X-Request-Id": "abc"})
    assert answer.json() == problem_document(
        status=412,
        code="stale_version",
        detail="Read it again.",
        instance="/api/payments/fails/stale",
        request_id="abc",
        retryable=False,
        current_version=7,
    )


def test_each_problem_s_type_leads_to_its_text(client: Client) -> None:
    page, _, anchor = client.get("/api/payments/fails/stale").json()["type"].partition("#")
    text = client.get(page)
    assert text.status_code == 200
    assert f'id="{anchor}"' in text.content.decode()
