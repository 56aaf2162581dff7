"""Answers are compressed for clients that accept it."""

import gzip

import brotli
import pytest
from django.test import Client

from platform_site.gateway.steps.compression import BYTES_MIN, preferred_encoding

LARGE = "/api/payments/large"


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("", None),
        ("gzip", "gzip"),
        ("br", "br"),
        ("gzip, br", "br"),
        ("GZIP", "gzip"),
        ("gzip;q=1.0, br;q=0.5", "gzip"),
        ("gzip;q=0.5, br;q=1.0", "br"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0, gzip;q=0", None),
        ("*", "br"),
        ("*;q=0", None),
        ("br;q=0, *", "gzip"),
        ("identity", None),
        ("identity;q=1, gzip;q=0.5", None),
        ("identity;q=0.5, gzip;q=1", "gzip"),
        ("deflate, zstd", None),
        ("gzip;q=nonsense", None),
        ("gzip;q=nan", None),
        ("gzip ; q=0.8", "gzip"),
        (";;;,,,", None),
    ],
)
def test_the_encoding_is_the_one_the_client_likes_best(accept: str, encoding: str | None) -> None:
    assert preferred_encoding(accept) == encoding


def test_the_compressed_body_is_the_body(client: Client) -> None:
    plain = client.get(LARGE)
    zipped = client.get(LARGE, headers={"Accept-Encoding": "gzip"})
    brotlied = client.get(LARGE, headers={"Accept-Encoding": "br"})
    assert gzip.decompress(zipped.content) == brotli.decompress(brotlied.content) == plain.content
    assert "Content-Encoding" not in plain.headers
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert brotlied.headers["Content-Encoding"] == "br"
    for answer in (plain, zipped, brotlied):
        assert int(answer.headers["Content-Length"]) == len(answer.content)
        # A cache must know that the answer depends on it, also when it was not compressed.
        assert "Accept-Encoding" in answer.headers["Vary"]
        assert answer.headers["ETag"] == '"7"'


def test_the_same_body_compresses_to_the_same_bytes(client: Client) -> None:
    one, other = (client.get(LARGE, headers={"Accept-Encoding": "gzip"}) for _ in range(2))
    assert one.content == other.content
    assert one.content[4:8] == b"\0\0\0\0"


@pytest.mark.parametrize(
    "address",
    [
        f"{LARGE}?size={BYTES_MIN - 1}",
        f"{LARGE}?cache=private,%20no-store",
        f"{LARGE}?type=image/png",
        "/api/payments/stream",
    ],
)
def test_small_secret_packed_and_streamed_answers_go_as_they_are(
    client: Client, address: str
) -> None:
    answer = client.get(address, headers={"Accept-Encoding": "br, gzip"})
    assert "Content-Encoding" not in answer.headers


def test_an_answer_of_the_least_size_is_compressed(client: Client) -> None:
    answer = client.get(f"{LARGE}?size={BYTES_MIN}", headers={"Accept-Encoding": "br"})
    assert answer.headers["Content-Encoding"] == "br"


def test_problems_are_never_compressed_because_they_may_quote_the_request(client: Client) -> None:
    answer = client.get(
        f"/api/payments/{'x' * 2000}", headers={"Accept-Encoding": "br", "X-Request-Id": "abc"}
    )
    assert len(answer.content) > BYTES_MIN
    assert "Content-Encoding" not in answer.headers
