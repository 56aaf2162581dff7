"""The lock-out: after ten wrong passwords for one account from one address, a pause.

# Note [Rows instead of a counter]

Every wrong password is one inserted row. Nobody ever waits for another's row lock, so there is
no deadlock to retry, and the bound is exact under concurrency: an attempt counts only after its
own row is committed, so of any number of simultaneous wrong passwords at most
`WRONG_PASSWORDS_MAX` are told that they were wrong, and the rest learn nothing. Rows live in
the database, so the lock holds in every process and survives a restart or a lost cache. A row
that can no longer matter is deleted by later failures, each of which takes away more rows than
it adds.
"""

import math
from datetime import datetime, timedelta

from django.utils.crypto import salted_hmac

from users.errors import RateLimited
from users.models import FailedLogin

WRONG_PASSWORDS_MAX = 10
LOCK_DURATION = timedelta(minutes=15)
# The wrong passwords that lock came within this time, and no earlier one can still count.
WINDOW = timedelta(minutes=15)
PURGE_BATCH_MAX = 100


def check_not_locked(*, email: str, address: str, now: datetime) -> None:
    """Raise `RateLimited` while logging in to `email` from `address` is locked.

    Locked means: the last ten wrong passwords came within `WINDOW` of each other, and the last
    of them less than `LOCK_DURATION` ago. While locked nothing is recorded, so the lock ends.

    Args:
        email: in its stored form; it need not be anybody's.
        address: from `users.addresses.client_address`.
        now: the present instant, aware.
    """
    failures = list(
        FailedLogin.objects.filter(
            account=_account(email), address=address, failed_at__gt=now - WINDOW - LOCK_DURATION
        )
        .order_by("-failed_at")
        .values_list("failed_at", flat=True)[:WRONG_PASSWORDS_MAX]
    )
    if len(failures) < WRONG_PASSWORDS_MAX or failures[0] - failures[-1] >= WINDOW:
        return
    remaining = failures[0] + LOCK_DURATION - now
    if remaining > timedelta(0):
        raise RateLimited(
            "Too many wrong passwords for this account. Wait 15 minutes, then try again.",
            retry_after_s=math.ceil(remaining.total_seconds()),
        )


def record_wrong_password(*, email: str, address: str, now: datetime) -> None:
    """Remember a wrong password, for the arguments of `check_not_locked`.

    Raises:
        RateLimited: simultaneous attempts have reached the lock before this one, so the caller
            must not tell the client that the password was wrong.
    """
    account = _account(email)
    stale = FailedLogin.objects.filter(failed_at__lte=now - WINDOW - LOCK_DURATION)
    # Two statements, because MySQL cannot delete from the table that a subquery reads.
    stale_ids = list(stale.order_by("id").values_list("id", flat=True)[:PURGE_BATCH_MAX])
    if stale_ids:
        FailedLogin.objects.filter(id__in=stale_ids).delete()
    FailedLogin.objects.create(account=account, address=address, failed_at=now)
    recent = FailedLogin.objects.filter(
        account=account, address=address, failed_at__gt=now - WINDOW
    ).count()
    if recent > WRONG_PASSWORDS_MAX:
        raise RateLimited(
            "Too many wrong passwords for this account. Wait 15 minutes, then try again.",
            retry_after_s=int(LOCK_DURATION.total_seconds()),
        )


def forget_wrong_passwords(*, email: str, address: str) -> None:
    """Start counting anew, because the right password came."""
    FailedLogin.objects.filter(account=_account(email), address=address).delete()


def forget_account(*, email: str) -> None:
    """Forget from where wrong passwords for an account came, because its person is forgotten."""
    FailedLogin.objects.filter(account=_account(email)).delete()


def _account(email: str) -> str:
    return salted_hmac("users.lockout", email, algorithm="sha256").hexdigest()
