"""Which address a request is counted for."""

import pytest
from django.test import RequestFactory, override_settings

from users.addresses import client_address


def address(peer: str, forwarded: str | None = None) -> str:
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    return client_address(RequestFactory().get("/", REMOTE_ADDR=peer, headers=headers))


def test_without_proxies_of_ours_the_header_is_never_read() -> None:
    assert address("198.51.100.7", "203.0.113.1") == "198.51.100.7"


@override_settings(TRUSTED_PROXY_COUNT=1)
def test_behind_one_proxy_only_the_last_entry_counts() -> None:
    assert address("10.0.0.1", "203.0.113.9") == "203.0.113.9"
    assert address("10.0.0.1", "1.1.1.1, 2.2.2.2,203.0.113.9") == "203.0.113.9"


@override_settings(TRUSTED_PROXY_COUNT=2)
def test_behind_two_proxies_the_last_but_one_counts() -> None:
    assert address("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2") == "203.0.113.9"
    assert address("10.0.0.1", "203.0.113.9") == "203.0.113.9"


@override_settings(TRUSTED_PROXY_COUNT=1)
@pytest.mark.parametrize("forwarded", [None, "", "unknown", "203.0.113.9, ", "1.2.3.4.5", "::g"])
def test_without_a_usable_entry_the_connection_counts(forwarded: str | None) -> None:
    assert address("10.0.0.1", forwarded) == "10.0.0.1"


@override_settings(TRUSTED_PROXY_COUNT=1)
@pytest.mark.parametrize(
    ("entry", "counted"),
    [
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:db8:1:2:3:4:5:6]:443", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
    ],
)
def test_one_client_has_one_spelling(entry: str, counted: str) -> None:
    assert address("10.0.0.1", entry) == counted


def test_a_local_socket_has_no_address() -> None:
    assert address("") == "unknown"
