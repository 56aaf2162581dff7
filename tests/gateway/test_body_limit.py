"""Bodies are bounded, read at once, and read before a service is troubled."""

from io import BytesIO
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from platform_site.gateway import services

ECHO = "/api/payments/echo"
LIMIT = settings.REQUEST_BODY_BYTES_MAX


class Body(BytesIO):
    """What a server hands to WSGI, counting what is taken from it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


class BrokenBody(Body):
    """The body of a client that goes away."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError("connection reset")


class DrippingBody(Body):
    """The body of a slow client: some bytes a time, while somebody looks at the bulkhead."""

    most_active = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.most_active = max(
            self.most_active, services.SERVICES["payments"].bulkhead.snapshot().active
        )
        return super().read(3)


def post(client: Client, body: Body, *, length: int | None, **extra: Any) -> Any:
    """Send `body`, announcing `length` bytes; None: chunked."""
    environ: dict[str, Any] = {"wsgi.input": body, "CONTENT_TYPE": "application/json"}
    if length is None:
        environ["HTTP_TRANSFER_ENCODING"] = "chunked"
    else:
        environ["CONTENT_LENGTH"] = str(length)
    return client.generic("POST", ECHO, b"", **{**environ, **extra})


def json_of(size: int) -> bytes:
    """Return a JSON body of exactly `size` bytes."""
    return b'"' + b"a" * (size - 2) + b'"'


def test_a_body_announced_as_too_large_is_not_even_read(client: Client) -> None:
    body = Body(json_of(LIMIT + 1))
    answer = post(client, body, length=LIMIT + 1)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert body.taken == 0
    assert "X-RateLimit-Limit" in answer.headers
    assert answer["Connection"] == "close"


def test_a_chunked_body_without_end_is_read_only_up_to_the_limit(client: Client) -> None:
    body = Body(b"a" * (LIMIT * 4))
    answer = post(client, body, length=None)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
    assert body.taken == LIMIT + 1


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_of_exactly_the_limit_passes(client: Client, chunked: bool) -> None:
    answer = post(client, Body(json_of(LIMIT)), length=None if chunked else LIMIT)
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == LIMIT - 2


def test_a_chunked_body_reaches_the_view_whole(client: Client) -> None:
    assert post(client, Body(b'{"a": [1]}'), length=None).json() == {"data": {"a": [1]}}


def test_an_empty_chunked_body_is_an_empty_body(client: Client) -> None:
    assert post(client, Body(b""), length=None).json() == {"data": {}}


def test_a_body_shorter_than_announced_is_refused_rather_than_parsed(client: Client) -> None:
    answer = post(client, Body(b'{"a": 1}'), length=100)
    assert (answer.status_code, answer.json()["code"]) == (400, "incomplete_body")


def test_a_client_that_goes_away_is_no_bug(client: Client) -> None:
    answer = post(client, BrokenBody(b""), length=100)
    assert (answer.status_code, answer.json()["code"]) == (400, "incomplete_body")


def test_a_slow_body_holds_no_slot_of_its_service(client: Client) -> None:
    body = DrippingBody(b'{"a": 1}')
    assert post(client, body, length=None).json() == {"data": {"a": 1}}
    assert body.most_active == 0


def test_a_body_that_is_too_large_is_refused_outside_of_the_api_too(client: Client) -> None:
    answer = client.post("/health", data=json_of(LIMIT + 1), content_type="application/json")
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "malformed_json"),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b"{}", "application/json; charset=latin-1", 415, "unsupported_media_type"),
        (b"{}", "", 415, "unsupported_media_type"),
    ],
)
def test_what_is_not_json_is_refused(
    client: Client, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = client.generic("POST", ECHO, body, content_type=content_type)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", ""])
def test_no_body_is_an_empty_object_whatever_type_it_claims(
    client: Client, content_type: str
) -> None:
    assert client.generic("POST", ECHO, b"", content_type=content_type).json() == {"data": {}}


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", '"utf8"'])
def test_json_that_says_it_is_utf_8_is_read(client: Client, charset: str) -> None:
    kind = f"application/json; charset={charset}"
    assert client.generic("POST", ECHO, b"[1]", content_type=kind).json() == {"data": [1]}
