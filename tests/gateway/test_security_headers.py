"""Browsers are told what Helmet tells them, and more where this site can."""

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

ECHO = "/api/payments/echo"
# What Helmet 8 sets, https://helmetjs.github.io. Where the value differs, ours is stricter or says
# why in platform_site/gateway/steps/security_headers.py.
OF_HELMET = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Origin-Agent-Cluster": "?1",
    "Referrer-Policy": "same-origin",  # Helmet: no-referrer
    "X-Content-Type-Options": "nosniff",
    "X-DNS-Prefetch-Control": "off",
    "X-Download-Options": "noopen",
    "X-Frame-Options": "DENY",  # Helmet: SAMEORIGIN
    "X-Permitted-Cross-Domain-Policies": "none",
    "X-XSS-Protection": "0",
}
# Helmet allows styles inline and fonts from anywhere.
POLICY = {
    "default-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
    "img-src": "'self' data:",
    "object-src": "'none'",
}


def directives(policy: str) -> dict[str, str]:
    """Return a Content-Security-Policy by directive."""
    parts = (each.strip().partition(" ") for each in policy.split(";"))
    return {name: value for name, _, value in parts}


@pytest.mark.parametrize(
    "path",
    [
        "/nope",
        "/health/live",
        "/metrics",
        "/api/docs",
        "/admin/login/",
        "/static/platform_site/docs.js",
        "/api/nope",
        ECHO,
        "/api/payments/fails/bug",
        "/api/payments/stream",
    ],
)
@pytest.mark.django_db
def test_every_answer_says_all_that_helmet_says(client: Client, path: str) -> None:
    answer = client.get(path)
    assert {name: answer.headers.get(name) for name in OF_HELMET} == OF_HELMET
    assert directives(answer.headers["Content-Security-Policy"]) == POLICY
    assert "X-Powered-By" not in answer.headers


def test_a_refused_host_and_a_client_over_its_limit_are_told_as_well(
    client: Client, settings: Settings
) -> None:
    settings.RATE_LIMIT_TIERS = {"default": (1, 900)}
    client.get(ECHO)
    for answer, status in (
        (client.get(ECHO), 429),
        (client.get(ECHO, headers={"Host": "evil.example"}), 400),
    ):
        assert answer.status_code == status
        assert {name: answer.headers.get(name) for name in OF_HELMET} == OF_HELMET


@pytest.mark.parametrize(
    ("proxies", "secure", "claimed", "is_told"),
    [
        (0, False, "", False),
        (0, True, "", True),
        # A claim, unless a proxy of ours makes it.
        (0, False, "https", False),
        (1, False, "https", True),
        (1, False, "http", False),
        (1, False, "", False),
    ],
)
def test_browsers_are_told_to_stay_with_tls_over_tls_alone(
    client: Client, settings: Settings, proxies: int, secure: bool, claimed: str, is_told: bool
) -> None:
    settings.TRUSTED_PROXY_COUNT = proxies
    headers = {"X-Forwarded-Proto": claimed} if claimed else {}
    answer = client.get(ECHO, secure=secure, headers=headers)
    told = answer.headers.get("Strict-Transport-Security")
    assert told == ("max-age=31536000; includeSubDomains" if is_told else None)
