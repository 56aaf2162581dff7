"""The one table from error code to HTTP status.

Every error that a client may be told about has a stable code. The code that raises it knows
nothing of HTTP; nothing else in the product decides on the status of an error.
"""

from collections.abc import Mapping

# The first code of each status is the general one; the others stand in alphabetical order.
CODES: Mapping[int, tuple[str, ...]] = {
    400: (
        "bad_request",
        "idempotency_key_invalid",
        "idempotency_key_required",
        "incomplete_body",
        "invalid_cursor",
        "malformed_json",
    ),
    401: ("not_authenticated", "invalid_credentials"),
    403: ("forbidden", "missing_scope", "scope_escalation"),
    404: (
        "not_found",
        "account_not_found",
        "api_key_not_found",
        "delivery_not_found",
        "event_not_found",
        "parked_event_not_found",
        "transaction_not_found",
        "tree_head_not_found",
        "unknown_service",
        "user_not_found",
        "webhook_not_found",
    ),
    405: ("method_not_allowed",),
    406: ("not_acceptable",),
    408: ("body_timeout",),
    409: (
        "conflict",
        "account_not_empty",
        "already_captured",
        "already_voided",
        "email_taken",
        "hold_expired",
        "idempotency_in_progress",
        "not_a_hold",
        "not_reversible",
        "not_yet_in_tree",
        "subject_forgotten",
        "too_many_keys",
    ),
    412: ("stale_version",),
    413: ("body_too_large",),
    415: ("unsupported_media_type",),
    422: (
        "validation_failed",
        "account_closed",
        "account_frozen",
        "amount_out_of_range",
        "as_of_in_future",
        "balance_out_of_range",
        "batch_refused",
        "capture_exceeds_hold",
        "currency_mismatch",
        "idempotency_key_reused",
        "insufficient_funds",
        "ledger_mismatch",
        "precondition_failed",
        "refused",
        "reversal_exceeds_original",
        "same_account",
        "store_unconfirmed",
        "unknown_currency",
        "url_not_allowed",
        "weak_password",
    ),
    429: ("rate_limited",),
    # Bugs and faults of ours: the log is told, the client only that it is not to blame.
    500: (
        "internal_error",
        "catalogue_broken",
        "error",
        "lease_lost",
        "log_broken",
        "rebuild_running",
        "unknown_event",
    ),
    # Of the log's conflicts those that were lost again and again: each was tried anew before.
    503: ("service_unavailable", "concurrency_conflict", "overloaded", "store_unavailable"),
    504: ("deadline_exceeded",),
}
STATUS_OF: Mapping[str, int] = {code: status for status, codes in CODES.items() for code in codes}

# What an answer is called of which only the status is known.
CODE_OF: Mapping[int, str] = {status: codes[0] for status, codes in CODES.items()}
