"""Each client may ask so often, whoever it says it is."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address
from random import SystemRandom
from threading import Barrier
from uuid import UUID, uuid4

import pytest
from django.conf import settings as django_settings
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings

from platform_site.gateway import limiter
from platform_site.gateway.messages import Request, Response
from platform_site.gateway.steps.admission import Admission
from tests.conftest import free_port
from tests.gateway.chain import Here, clients
from users.identity import ANONYMOUS, Caller

ECHO = "/api/payments/echo"
TOLD = {
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "RateLimit-Policy",
    "RateLimit",
}


@pytest.fixture
def address() -> str:
    """An address of a client that nobody has counted yet."""
    return str(IPv4Address(SystemRandom().randrange(2**31)))


@pytest.fixture
def three(settings: Settings) -> None:
    """Three requests in a quarter of an hour."""
    settings.RATE_LIMIT_TIERS = {"default": (3, 900), "trusted": (5, 900), "unlimited": None}


@pytest.fixture
def on_valkey(settings: Settings, valkey_url: str) -> None:
    """The limiter counts in a real Valkey, however long it takes on a busy machine."""
    settings.REDIS_TIMEOUT_S = 20.0
    settings.REDIS_URL = valkey_url
    limiter.limiter.cache_clear()


def get_as(caller: Caller, *, path: str = ECHO, address: str = "192.0.2.1") -> HttpResponse:
    """Return what the admission answers to a request of `caller`."""

    async def admitted(_: Request) -> Response:
        return Response(status=200)

    request = Request(method="GET", raw_path=path, peer=address, caller=caller)
    answer = asyncio.run(Admission(Here())(request, admitted))
    return HttpResponse(status=answer.status, headers=answer.headers)


def key(tier: str, user: UUID | None = None) -> Caller:
    """Return the caller of a new API key of `tier`."""
    return Caller(user_id=user or uuid4(), tier=tier, key_id=uuid4())  # type: ignore[arg-type]


def test_every_answer_says_how_much_is_left(client: Client) -> None:
    before = time.time()
    answer = client.get(ECHO)
    headers = answer.headers
    assert headers["X-RateLimit-Limit"] == "100"
    assert headers["X-RateLimit-Remaining"] == "99"
    assert before + 898 < int(headers["X-RateLimit-Reset"]) < before + 903
    assert headers["RateLimit-Policy"] == '"default";q=100;w=900'
    assert headers["RateLimit"] == '"default";r=99;t=900'
    assert client.get(ECHO).headers["RateLimit"].startswith('"default";r=98;t=')


@pytest.mark.usefixtures("three")
def test_over_the_limit_the_answer_is_429_and_says_when(client: Client) -> None:
    assert [client.get(ECHO).status_code for _ in range(4)] == [200, 200, 200, 429]
    answer = client.get(ECHO)
    document = answer.json()
    assert (document["code"], document["status"], document["retryable"]) == (
        "rate_limited",
        429,
        True,
    )
    assert 890 <= int(answer.headers["Retry-After"]) <= 900
    assert answer.headers["X-RateLimit-Remaining"] == "0"
    assert answer.headers.keys() >= TOLD


@pytest.mark.parametrize(
    "path",
    ["/api/nope", "/api/payments/nope", "/api/payments/fails/bug", "/api/discovery/services"],
)
def test_answers_of_every_kind_are_counted_and_say_so(client: Client, path: str) -> None:
    assert client.get(path).headers.keys() >= TOLD
    assert client.get(ECHO).headers["X-RateLimit-Remaining"] == "98"


@pytest.mark.parametrize("path", ["/health/live", "/api/docs", "/api/schema", "/admin/", "/nope"])
@pytest.mark.django_db
def test_what_is_not_a_call_to_a_service_is_not_counted(client: Client, path: str) -> None:
    assert not TOLD & set(client.get(path).headers.keys())
    assert client.get(ECHO).headers["X-RateLimit-Remaining"] == "99"


@pytest.mark.parametrize("proxies", [0, 1])
@pytest.mark.usefixtures("three")
def test_a_claimed_address_gives_no_fresh_limit(
    client: Client, settings: Settings, proxies: int
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    # What a proxy of ours appends is the last entry; what stands before it is claimed.
    tail = ", 192.0.2.7" if proxies else ""
    statuses = [
        client.get(ECHO, headers={"X-Forwarded-For": f"198.51.100.{number}{tail}"}).status_code
        for number in range(5)
    ]
    assert statuses == [200, 200, 200, 429, 429]


@pytest.mark.usefixtures("three")
def test_behind_a_proxy_two_addresses_are_two_clients(client: Client, settings: Settings) -> None:
    settings.TRUSTED_PROXY_COUNT = 1
    for number in range(5):
        answer = client.get(ECHO, headers={"X-Forwarded-For": f"10.0.0.1, 198.51.100.{number}"})
        assert answer.headers["X-RateLimit-Remaining"] == "2"


@pytest.mark.usefixtures("three")
def test_a_credential_that_is_refused_gives_no_fresh_limit(client: Client) -> None:
    remaining = [
        client.get(ECHO, headers={"Authorization": f"Bearer guess-{number}"}).headers[
            "X-RateLimit-Remaining"
        ]
        for number in range(3)
    ]
    assert remaining == ["2", "1", "0"]


@pytest.mark.usefixtures("three")
def test_all_keys_and_tokens_of_a_user_count_together() -> None:
    user = uuid4()
    callers = [Caller(user_id=user), key("default", user), key("default", user), Caller(user)]
    statuses = [
        get_as(caller, address=f"192.0.2.{number}").status_code
        for number, caller in enumerate(callers)
    ]
    assert statuses == [200, 200, 200, 429]
    assert get_as(Caller(user_id=uuid4())).status_code == 200


@pytest.mark.usefixtures("three")
def test_a_key_of_a_higher_tier_counts_by_itself() -> None:
    user = uuid4()
    trusted = key("trusted", user)
    assert [get_as(trusted).status_code for _ in range(6)] == [200] * 5 + [429]
    assert get_as(trusted).headers["RateLimit-Policy"] == '"trusted";q=5;w=900'
    assert get_as(key("trusted", user)).status_code == 200
    assert get_as(Caller(user_id=user)).headers["X-RateLimit-Remaining"] == "2"


@pytest.mark.usefixtures("three")
def test_an_unlimited_client_is_not_limited_and_not_told_of_limits() -> None:
    unlimited = key("unlimited")
    for _ in range(10):
        answer = get_as(unlimited)
        assert answer.status_code == 200
        assert not TOLD & set(answer.headers.keys())


def test_every_tier_that_a_key_can_have_has_its_limit() -> None:
    from users.scopes import TIERS

    assert set(django_settings.RATE_LIMIT_TIERS) == set(TIERS)
    assert django_settings.RATE_LIMIT_TIERS["trusted"] == (10_000, 900)


@pytest.mark.usefixtures("on_valkey")
def test_of_32_clients_at_once_exactly_the_limit_is_admitted(
    settings: Settings, address: str
) -> None:
    settings.RATE_LIMIT_TIERS = {"default": (50, 900)}
    together = Barrier(32)

    def ask(client: Client) -> list[int]:
        together.wait(timeout=20)
        return [client.get(ECHO).status_code for _ in range(5)]

    with ThreadPoolExecutor(32) as pool:
        statuses = [
            status for each in pool.map(ask, clients(32, REMOTE_ADDR=address)) for status in each
        ]
    assert statuses.count(200) == 50
    assert statuses.count(429) == 110


@pytest.mark.usefixtures("on_valkey", "three")
def test_two_processes_on_one_valkey_share_the_limit(address: str) -> None:
    statuses = []
    for _ in range(4):
        # A new limiter knows what another process would: nothing but the Valkey.
        limiter.limiter.cache_clear()
        statuses.append(get_as(ANONYMOUS, address=address).status_code)
    assert statuses == [200, 200, 200, 429]


@pytest.mark.usefixtures("three")
def test_without_redis_nothing_fails_and_the_limit_still_bounds(
    client: Client, settings: Settings
) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    limiter.limiter.cache_clear()
    answers = [client.get(ECHO) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 3 + [429] * 5
    assert all(answer.headers.keys() >= TOLD for answer in answers)


@pytest.mark.usefixtures("three")
def test_without_redis_each_of_several_processes_allows_its_share(
    client: Client, settings: Settings
) -> None:
    settings.REDIS_URL = f"redis://127.0.0.1:{free_port()}/0"
    settings.WEB_PROCESS_COUNT = 3
    limiter.limiter.cache_clear()
    assert [client.get(ECHO).status_code for _ in range(3)] == [200, 429, 429]


@pytest.mark.django_db
@pytest.mark.usefixtures("three")
def test_the_whole_chain_counts_a_user_by_the_token(client: Client) -> None:
    from users.models import User
    from users.scopes import token_scopes
    from users.tokens import new_access_token

    user = User.objects.create_user("ada@example.com", "correct horse battery")
    token = new_access_token(
        user_id=user.id, scopes=token_scopes(is_superuser=False), now=timezone.now()
    )
    client.get(ECHO)
    answer = client.get(ECHO, headers={"Authorization": f"Bearer {token}"})
    assert answer.headers["X-RateLimit-Remaining"] == "2"
