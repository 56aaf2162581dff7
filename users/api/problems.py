"""The shape of every error answer: a problem document of RFC 9457.

A pure function, so that the gateway builds its answers with it and so does whoever stores an
answer for later, byte for byte, without knowing the gateway.
"""

from typing import Any

CONTENT_TYPE = "application/problem+json"
# By this extension of `extend_schema` a view names the statuses of refusals of its own, beside
# those that all views share; the OpenAPI document shows them as answers.
PROBLEM_STATUSES = "x-problem-statuses"
# The page that explains each code; relative, so that a stored answer names no host.
_PAGE = "/api/docs/problems"
_ABBREVIATIONS = {"api": "API", "json": "JSON", "url": "URL"}


def problem_type(code: str) -> str:
    """Return the URI reference that names the kind of problem `code`, and leads to its text."""
    return f"{_PAGE}#{code}"


def problem_title(code: str) -> str:
    """Return the short name of the kind of problem `code`: `not_found` reads "Not found"."""
    words = [_ABBREVIATIONS.get(word, word) for word in code.split("_")]
    title = " ".join(words)
    return title[:1].upper() + title[1:]


def problem_document(
    *,
    status: int,
    code: str,
    detail: str,
    instance: str,
    request_id: str,
    retryable: bool,
    title: str | None = None,
    **extra: Any,
) -> dict[str, Any]:
    """Return a problem document, ready for `json.dumps`.

    Args:
        status: the HTTP status, repeated in the document.
        code: the stable name of the problem in snake_case.
        detail: a sentence for the client that says what to do.
        instance: the path that was asked, percent-encoded.
        request_id: the id under which the log knows this request.
        retryable: whether the same request may succeed later, unchanged.
        title: the short name of the kind of problem; by default made from `code`.
        **extra: further members, such as `errors`, `transaction_id` or `index`.
    """
    return {
        "type": problem_type(code),
        "title": title or problem_title(code),
        "status": status,
        "detail": detail,
        "instance": instance,
        "code": code,
        "request_id": request_id,
        "retryable": retryable,
        **extra,
    }
