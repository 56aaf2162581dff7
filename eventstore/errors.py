"""The root of every error that a client may be told about."""

from typing import Any, ClassVar


class PlatformError(Exception):
    """An error with a stable code and a sentence that says what to do.

    Subclasses live beside the code that raises them. They know nothing of HTTP: the gateway
    decides the status of each code, in one table.

    Args:
        detail: a sentence for the client, without secrets.
        extra: further members of the answer, such as `transaction_id`.
    """

    code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra = extra


class InvalidInput(PlatformError):
    """A value in the request is not acceptable; `errors` says which and why.

    Args:
        detail: a sentence for the client.
        errors: one entry a fault: `pointer` (JSON pointer into the body) or `parameter`
            (name in the query), `code` and `detail`.
    """

    code = "validation_failed"

    def __init__(self, detail: str, *, errors: list[dict[str, str]]) -> None:
        super().__init__(detail, errors=errors)
