"""Errors that more than one module of users raises; all others live beside their one source."""

from eventstore.errors import PlatformError


class InvalidCredentials(PlatformError):
    """A password, token or key is wrong, expired or revoked; the answer never says which."""

    code = "invalid_credentials"


class RateLimited(PlatformError):
    """Too many attempts; `retry_after_s` in `extra` says when the next one will be heard."""

    code = "rate_limited"
    retryable = True

    def __init__(self, detail: str, *, retry_after_s: int) -> None:
        super().__init__(detail, retry_after_s=max(1, retry_after_s))
