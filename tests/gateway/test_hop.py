"""What one process of ours believes another one about a client, and nobody else."""

import asyncio
import time
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from platform_site.gateway import services
from platform_site.gateway.hops import AGE_S_MAX, HEADER, header_for, hop_of
from platform_site.gateway.limiter import client_key
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.services import build_service
from platform_site.gateway.steps.hop import hop
from tests.gateway.stub import OK, run, says, stub, way_to

NOW_S = 1_800_000_000.0
PATH = "/api/payments/echo"


def request(**changes: Any) -> Request:
    """Return a request as the first gateway sees it."""
    seen: dict[str, Any] = {
        "method": "GET",
        "raw_path": PATH,
        "query": "a=1",
        "headers": {"host": "testserver", "x-request-id": "abc"},
        "peer": "203.0.113.7",
        "scheme": "https",
    }
    return Request(**{**seen, **changes})


def header(now_s: float = NOW_S, **changes: Any) -> str:
    """Return what the first gateway says about it."""
    seen = request(**changes)
    target = f"{seen.raw_path}?{seen.query}" if seen.query else seen.raw_path
    return header_for(seen, seen.headers, target=target, now_s=now_s)


def test_the_first_gateways_word_about_the_client_is_taken() -> None:
    arrived = request(peer="10.0.0.1", scheme="http")
    seen = hop_of(header(), arrived, now_s=NOW_S + 1)
    assert seen is not None
    assert (seen.peer, seen.scheme) == ("203.0.113.7", "https")


@pytest.mark.parametrize("peer", ["", "::1", "2001:db8::1%eth0"])
def test_an_address_of_any_form_arrives(peer: str) -> None:
    seen = hop_of(header(peer=peer), request(), now_s=NOW_S)
    assert seen is not None
    assert seen.peer == peer


@pytest.mark.parametrize(
    "changes",
    [
        {"method": "POST"},
        {"raw_path": "/api/payments/other"},
        {"query": "a=2"},
        {"query": ""},
        {"headers": {"host": "elsewhere", "x-request-id": "abc"}},
        {"headers": {"host": "testserver", "x-request-id": "abd"}},
        {"headers": {"host": "testserver", "x-request-id": "abc", "x-forwarded-for": "192.0.2.1"}},
    ],
)
def test_the_header_is_good_for_its_own_request_alone(changes: dict[str, Any]) -> None:
    assert hop_of(header(), request(**changes), now_s=NOW_S) is None


@pytest.mark.parametrize("age_s", [-AGE_S_MAX - 1, AGE_S_MAX + 1])
def test_the_header_is_good_for_a_short_time(age_s: float) -> None:
    assert hop_of(header(), request(), now_s=NOW_S + age_s) is None


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "x",
        "1800000000 https 192.0.2.99 " + "0" * 64,
        "1800000000 https 192.0.2.99",
        " ",
        "caf\xe9 \xff",
        header().replace("203.0.113.7", "192.0.2.99"),
        header().replace("https", "http"),
        header().upper(),
        header() + "0",
    ],
)
def test_a_header_that_somebody_made_up_says_nothing(forged: str) -> None:
    assert hop_of(forged, request(), now_s=NOW_S) is None


def test_another_key_signs_for_nobody(settings: Settings) -> None:
    ours = header()
    settings.SECRET_KEY = "another one"
    assert hop_of(ours, request(), now_s=NOW_S) is None


async def _passed(arrived: Request) -> Request:
    async def handle(request: Request) -> Response:
        return Response(status=200)

    await hop(arrived, handle)
    return arrived


def test_the_header_goes_no_further_whoever_sent_it() -> None:
    stranger = request()
    stranger.headers[HEADER] = "1 https 192.0.2.99 abc"
    asyncio.run(_passed(stranger))
    assert HEADER not in stranger.headers
    assert (stranger.peer, stranger.from_gateway) == ("203.0.113.7", False)
    ours = request(peer="10.0.0.1", scheme="http")
    ours.headers[HEADER] = header(time.time())
    asyncio.run(_passed(ours))
    assert HEADER not in ours.headers
    assert (ours.peer, ours.scheme, ours.from_gateway) == ("203.0.113.7", "https", True)


def test_what_a_remote_service_gets_is_believed_by_it(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """From the bytes that were sent; names that are no ASCII among them."""
    settings.TRUSTED_PROXY_COUNT = 1
    sent = request(
        raw_path="/api/users/caf\xc3\xa9",
        headers={"host": "testserver", "x-forwarded-for": "\xe9, 198.51.100.4 \t"},
    )
    sent.request_id = "abc"

    async def test() -> None:
        async with stub(says(OK)) as remote, way_to(remote.url, monkeypatch) as way:
            await way.send(sent)
            received = remote.received[0]
            arrived = Request(
                method="GET",
                raw_path=received.line.split(" ")[1].partition("?")[0],
                query="a=1",
                headers={
                    name: value.strip(" \t").encode().decode("latin-1")
                    for name, value in received.fields
                },
                peer="10.0.0.1",
            )
        await _passed(arrived)
        assert (arrived.peer, arrived.scheme) == ("203.0.113.7", "https")
        assert client_key(arrived) == client_key(sent) == "default:address:198.51.100.4"

    run(test())


@pytest.fixture
def _few(settings: Settings) -> None:
    settings.RATE_LIMIT_TIERS = {"default": (2, 900)}


def _signed(**changes: Any) -> dict[str, str]:
    seen = request(query="", headers={"host": "testserver", "x-request-id": "abc"}, **changes)
    made = header_for(seen, seen.headers, target=PATH, now_s=time.time())
    return {"X-Evenkeel-Gateway": made, "X-Request-Id": "abc"}


@pytest.mark.usefixtures("_few")
def test_a_request_is_counted_once_however_many_gateways_it_passes(client: Client) -> None:
    for _ in range(5):
        answer = client.get(PATH, headers=_signed())
        assert answer.status_code == 200
        assert "X-RateLimit-Limit" not in answer.headers
        assert answer.headers["X-Request-Id"] == "abc"
    assert client.get(PATH).headers["X-RateLimit-Remaining"] == "1"


@pytest.mark.usefixtures("_few")
@pytest.mark.parametrize("forged", ["1 https 192.0.2.99 abc", "", "true"])
def test_a_strangers_header_changes_nothing(client: Client, forged: str) -> None:
    counts = [
        client.get(PATH, HTTP_X_EVENKEEL_GATEWAY=forged).headers["X-RateLimit-Remaining"]
        for _ in range(2)
    ]
    assert counts == ["1", "0"]
    assert client.get(PATH, HTTP_X_EVENKEEL_GATEWAY=forged).status_code == 429


def test_what_a_gateway_passed_on_is_never_passed_on_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = build_service("payments", url="http://127.0.0.1:1")
    monkeypatch.setattr(services, "SERVICES", {**services.SERVICES, "payments": remote})
    answer = client.get(PATH, headers=_signed())
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_service")
    assert "SERVICE_PAYMENTS_URL" in answer.json()["detail"]
    assert remote.breaker.snapshot().calls == 0
