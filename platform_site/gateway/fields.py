"""The header fields of requests and answers that pass through to another process and back.

Source: RFC 9110, section 7.6.1, and RFC 9112, sections 6 and 7: what concerns one connection
stays on it, and each connection has a framing of its own.
"""

import re
from collections.abc import Iterable, Mapping

from platform_site.gateway.hops import HEADER
from platform_site.gateway.messages import joined

# Proxy-Authenticate and Proxy-Authorization begin like the others that are for proxies.
_PROXY = "proxy-"
_OF_ONE_CONNECTION = frozenset(
    {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"}
)
# The new connection gets its own framing, and what has been read needs no leave to be sent.
_OF_THIS_REQUEST = frozenset({"content-length", "expect", HEADER})
# `Connection` may name a field that one connection understands, not one that says who is calling
# and for what: a client could take away what a proxy of ours has added.
_END_TO_END = frozenset(
    {
        "authorization",
        "content-type",
        "cookie",
        "host",
        "idempotency-key",
        "if-match",
        "if-none-match",
        "traceparent",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-request-id",
    }
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class BadField(ValueError):
    """An answer has a field that no answer may have."""


def request_fields(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of a request that the next process gets as well."""
    dropped = _named(headers.get("connection", "")) - _END_TO_END
    return {
        name: _as_text(value)
        for name, value in headers.items()
        if not (_is_of_one_connection(name) or name in _OF_THIS_REQUEST or name in dropped)
    }


def answer_fields(raw: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], list[str]]:
    """Return the fields of an answer that the client gets as well, and its cookies.

    `Content-Length` stays: it tells what the answer to HEAD or a stream is like.

    Raises:
        BadField: a value that could be read as the end of its line, or of the head.
    """
    pairs = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw]
    dropped = _named(",".join(value for name, value in pairs if name == "connection"))
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for name, value in pairs:
        if not value.isprintable() and _CONTROL.search(value):
            raise BadField(f"The field {name} holds a control character.")
        if _is_of_one_connection(name) or name in dropped:
            continue
        if name == "set-cookie":
            cookies.append(value)
        else:
            headers[name] = joined(headers, name, value)
    return headers, cookies


def _is_of_one_connection(name: str) -> bool:
    return name in _OF_ONE_CONNECTION or name.startswith(_PROXY)


def _named(connection: str) -> frozenset[str]:
    if not connection:
        return frozenset()
    return frozenset(name.strip().lower() for name in connection.split(","))


def _as_text(value: str) -> str:
    """Return a value, kept as one character a byte, as the text that is sent as those bytes.

    The client of HTTP sends UTF-8; what is none could not be sent as it came.
    """
    value = value.strip(" \t")
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "replace")
