"""Refusals: the ledger's considered no to a movement of money.

A refusal is recorded as a failed transaction, unlike an invalid request, of which nothing
remains.
"""

from eventstore.errors import PlatformError


class Refusal(PlatformError):
    """The money may not move; subclasses say why."""

    code = "refused"
