"""Input that has crashed other frameworks is refused here as a problem, and nothing fails."""

import json

import pytest

from tests.contract.conftest import World
from tests.gateway.chain import Answer, ask, scope, site

NUL_SURROGATE_OR_NOT_UTF8 = ["%00", "a%00b", "%ED%A0%80", "%FF%FE", "%C0%AF", "%E2%80%AE"]
HUGE = "9" * 5000
HEADERS = [
    "\x00",
    "\x7f",
    "\t",
    " ",
    "\xff\xfe",
    "é",
    "a\x00b",
    "x" * 5000,
    '"',
    '"1',
    'W/"1"',
    "\xd9\xa1",
]

VALUES = [
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\xed\xa0\x80"',
    b'"\xff"',
    b"1" * 5000,
    b"1e999",
    b"NaN",
    b"-0.0",
    b"[" * 100_000,
    b"[" * 60 + b"]" * 60,
    b'{"a":' * 60 + b"1" + b"}" * 60,
    b'{"a": 1, "a": 1}',
    b"null",
    b"true",
    b"[]",
    b"\xef\xbb\xbf1",
]
BODIES = [
    b"\x00",
    b"\xff\xfe{\x00}\x00",
    b"{",
    b"[]",
    b'""',
    b"1",
    b"null",
    b"\xef\xbb\xbf{}",
    b" ",
]


def send(
    world: World,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: dict[str, str] | None = None,
) -> Answer:
    """Hand a request to the site as a server does, whatever it holds, and check the answer.

    Clients would refuse to send some of the header values that a server lets through.
    """
    given = {
        "Host": "testserver",
        "Content-Type": "application/json",
        "Authorization": f"Bearer {world.api.credential}",
        **({"Content-Length": str(len(body))} if body else {}),
        **(headers or {}),
    }
    answer = ask(site(), scope(method, path, headers=list(given.items())), [body])
    assert answer.status < 500, (path, body, headers, answer)
    if answer.status >= 400:
        assert answer["Content-Type"] == "application/problem+json"
        if "Accept-Encoding" not in given:
            assert json.loads(answer.body)["status"] == answer.status
    assert not any("\n" in value or "\r" in value for _, value in answer.headers)
    return answer


@pytest.mark.parametrize(
    "path",
    [
        "/api/{}",
        "/api/accounts/{}",
        "/api/accounts/{}/entries",
        "/api/accounts/{}/freeze",
        "/api/transactions/{}",
        "/api/transactions/{}/events",
        "/api/events/{}",
        "/api/users/api-keys/{}",
        "/{}",
    ],
)
def test_an_address_of_odd_bytes_is_unknown(world: World, path: str) -> None:
    for text in NUL_SURROGATE_OR_NOT_UTF8:
        assert send(world, "GET", path.format(text)).status in {404, 405}, text


@pytest.mark.parametrize(
    "path",
    [
        "/api/accounts?limit={}",
        "/api/accounts?cursor={}",
        "/api/accounts?as_of={}",
        "/api/accounts?as_of=position:{}",
        "/api/events?after={}",
        "/api/events?transaction={}",
        "/api/transactions?account={}",
        "/api/transactions?amount[gte]={}",
        "/api/transactions?created_at[lt]={}",
        "/api/transactions?{}=1",
        "/api/users/me?{}=1",
    ],
)
def test_odd_bytes_in_a_query_are_refused(world: World, path: str) -> None:
    for text in (*NUL_SURROGATE_OR_NOT_UTF8, HUGE, "-" + HUGE, "1e999", "%F0%9F%92%B8"):
        assert send(world, "GET", path.format(text)).status in {400, 422}, text


@pytest.mark.parametrize(
    "path",
    [
        "/api/accounts?ledger={}",
        "/api/accounts?currency={}",
        "/api/events?stream={}",
        "/api/events?actor={}",
        "/api/transactions?reference={}",
        "/api/transactions?metadata[k]={}",
        "/api/transactions?metadata[{}]=v",
    ],
)
def test_odd_bytes_in_a_filter_find_nothing_or_are_refused(world: World, path: str) -> None:
    for text in (*NUL_SURROGATE_OR_NOT_UTF8, HUGE, "%F0%9F%92%B8", "%22", "$", "'"):
        answer = send(world, "GET", path.format(text))
        assert answer.status == 422 or json.loads(answer.body)["data"] == [], text


@pytest.mark.parametrize("member", ["name", "currency", "overdraft_limit", "owner", "metadata"])
def test_odd_values_in_a_body_are_refused(world: World, member: str) -> None:
    currency = b"" if member == "currency" else b'"currency": "EUR", '
    for value in VALUES:
        body = b"{" + currency + b'"' + member.encode() + b'": ' + value + b"}"
        assert send(world, "POST", "/api/accounts", body=body).status in {400, 422}, value[:50]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/accounts"),
        ("POST", "/api/transactions"),
        ("POST", "/api/users/register"),
        ("POST", "/api/users/token"),
        ("POST", "/api/users/token/refresh"),
        ("POST", "/api/users/api-keys"),
        ("PATCH", "/api/users/me"),
    ],
)
def test_a_body_that_is_no_object_is_refused(world: World, method: str, path: str) -> None:
    for body in BODIES:
        answer = send(world, method, path, body=body, headers={"Idempotency-Key": "key"})
        assert answer.status in {400, 422}, body


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Idempotency-Key",
        "If-Match",
        "X-Request-Id",
        "Traceparent",
        "Accept",
        "Accept-Encoding",
        "Transfer-Encoding",
        "X-Forwarded-For",
    ],
)
def test_odd_bytes_in_a_header_break_nothing(world: World, name: str) -> None:
    account = str(world.accounts[0])
    deposit = {"type": "deposit", "destination": account, "amount": 1, "currency": "EUR"}
    body = json.dumps(deposit).encode()
    for value in HEADERS:
        headers = {"Idempotency-Key": "key", name: value}
        moved = send(world, "POST", "/api/transactions", body=body, headers=headers)
        send(world, "POST", f"/api/accounts/{account}/freeze", body=b"{}", headers=headers)
        send(world, "GET", "/api/accounts", headers=headers)
        if name == "Authorization":
            assert moved.status == 401, value
        if name == "Idempotency-Key":
            is_key = len(value) < 256 and all("!" <= character <= "~" for character in value)
            assert moved.status == (201 if is_key else 400), value
        if name == "X-Request-Id":
            assert moved["X-Request-Id"].isascii()
