"""The headers that pages of other origins may send with a call, and read of its answer."""

SENT = (
    "accept",
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "traceparent",
    "x-request-id",
    "x-request-timeout-ms",
)
# Browsers show a page a few more without being told, such as Content-Type.
READ = (
    "etag",
    "idempotent-replayed",
    "link",
    "location",
    "ratelimit",
    "ratelimit-policy",
    "retry-after",
    "x-ratelimit-limit",
    "x-ratelimit-remaining",
    "x-ratelimit-reset",
    "x-read-lag-seconds",
    "x-request-id",
)
