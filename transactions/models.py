"""Read models: the heads, which every decision starts from, the entries, the notifications.

A head is written in the transaction of the events that it sums up, and can be rebuilt from them.
Invariants that SQL can express stand here as constraints.
"""

from django.db import models
from django.db.models import F, Q

from transactions.domain.money import AMOUNT_MAX, BALANCE_MAX

# The states of a transaction, told apart by whether it has come to its end.
_OPEN_ENDED = ("pending", "processing", "held")
_ENDED = ("completed", "failed", "compensated", "voided", "expired", "reversed")
# Money was reserved and none of it was taken.
_RESERVED = ("held", "voided", "expired")
# Money has moved.
_MOVED = ("completed", "reversed")


class Account(models.Model):
    """The head of an account. `owner` is null for the account that stands for the outside world."""

    class Status(models.TextChoices):
        OPEN = "open"
        FROZEN = "frozen"
        CLOSED = "closed"

    id = models.UUIDField(primary_key=True)
    owner = models.UUIDField(null=True)
    ledger = models.CharField(max_length=60)
    currency = models.CharField(max_length=3)
    name = models.CharField(max_length=140, blank=True)
    status = models.CharField(max_length=10, choices=Status.choices)
    overdraft_limit = models.BigIntegerField()
    posted = models.BigIntegerField()
    held = models.BigIntegerField()
    metadata = models.JSONField(default=dict)
    version = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["owner", "-id"], name="account_owner")]
        constraints = [
            models.CheckConstraint(
                condition=Q(owner__isnull=True) | Q(posted__gte=F("held") - F("overdraft_limit")),
                name="account_within_limit",
            ),
            models.CheckConstraint(condition=Q(held__gte=0), name="account_held_not_negative"),
            models.CheckConstraint(
                condition=Q(overdraft_limit__gte=0), name="account_overdraft_not_negative"
            ),
            models.CheckConstraint(
                condition=~Q(status="closed") | Q(posted=0, held=0), name="account_closed_is_empty"
            ),
            models.CheckConstraint(
                condition=Q(status__in=("open", "frozen", "closed")), name="account_status_known"
            ),
            models.CheckConstraint(condition=Q(version__gte=1), name="account_version_from_1"),
            models.CheckConstraint(
                condition=Q(posted__gte=-BALANCE_MAX, posted__lte=BALANCE_MAX),
                name="account_posted_in_range",
            ),
            models.CheckConstraint(
                condition=Q(held__lte=BALANCE_MAX), name="account_held_in_range"
            ),
            models.CheckConstraint(
                condition=Q(overdraft_limit__lte=AMOUNT_MAX), name="account_overdraft_in_range"
            ),
            # The outside world has no limit, reserves nothing, and cannot be frozen or closed.
            models.CheckConstraint(
                condition=Q(owner__isnull=False) | Q(status="open", held=0, overdraft_limit=0),
                name="account_external_is_plain",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name or self.id} ({self.currency})"


class Transaction(models.Model):
    """The head of a transaction.

    `source_owner` and `destination_owner` are those who may read it. A transaction that failed
    is not shown to the owner of its destination, whom it never reached.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        PROCESSING = "processing"
        HELD = "held"
        COMPLETED = "completed"
        FAILED = "failed"
        COMPENSATED = "compensated"
        VOIDED = "voided"
        EXPIRED = "expired"
        REVERSED = "reversed"

    id = models.UUIDField(primary_key=True)
    type = models.CharField(max_length=20)
    status = models.CharField(max_length=20, choices=Status.choices)
    source = models.UUIDField(null=True)
    destination = models.UUIDField(null=True)
    source_owner = models.UUIDField(null=True)
    destination_owner = models.UUIDField(null=True)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    description = models.CharField(max_length=500, blank=True)
    reference = models.CharField(max_length=140, blank=True)
    metadata = models.JSONField(default=dict)
    failure_code = models.CharField(max_length=60, blank=True)
    failure_detail = models.CharField(max_length=500, blank=True)
    expires_at = models.DateTimeField(null=True)
    captured_amount = models.BigIntegerField(default=0)
    reverses = models.UUIDField(null=True)
    reversed_amount = models.BigIntegerField(default=0)
    version = models.PositiveIntegerField()
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    completed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["source_owner", "-id"], name="transaction_source_owner"),
            models.Index(fields=["destination_owner", "-id"], name="transaction_dest_owner"),
            models.Index(fields=["source", "-id"], name="transaction_source"),
            models.Index(fields=["destination", "-id"], name="transaction_destination"),
            models.Index(fields=["reference", "-id"], name="transaction_reference"),
            # For holds whose time is over: nearly all others have no such time.
            models.Index(fields=["status", "expires_at"], name="transaction_expiry"),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=1), name="transaction_amount_positive"),
            models.CheckConstraint(
                condition=Q(source__isnull=True)
                | Q(destination__isnull=True)
                | ~Q(source=F("destination")),
                name="transaction_two_accounts",
            ),
            models.CheckConstraint(
                condition=Q(captured_amount=0)
                | Q(
                    captured_amount__gte=0,
                    captured_amount__lte=F("amount"),
                    expires_at__isnull=False,
                ),
                name="transaction_capture_within_hold",
            ),
            models.CheckConstraint(
                condition=Q(reversed_amount__gte=0)
                & (
                    Q(reversed_amount__lte=F("amount"), expires_at__isnull=True)
                    | Q(reversed_amount__lte=F("captured_amount"), expires_at__isnull=False)
                ),
                name="transaction_reversal_within_original",
            ),
            models.CheckConstraint(
                condition=Q(type="reversal", reverses__isnull=False)
                | (~Q(type="reversal") & Q(reverses__isnull=True)),
                name="transaction_reversal_of_something",
            ),
            models.CheckConstraint(
                condition=Q(reverses__isnull=True) | ~Q(reverses=F("id")),
                name="transaction_reverses_another",
            ),
            models.CheckConstraint(
                condition=Q(amount__lte=AMOUNT_MAX), name="transaction_amount_in_range"
            ),
            models.CheckConstraint(condition=Q(version__gte=1), name="transaction_version_from_1"),
            models.CheckConstraint(
                condition=Q(status__in=_OPEN_ENDED + _ENDED), name="transaction_status_known"
            ),
            # A type that is not named here is refused: a new one needs a new constraint.
            models.CheckConstraint(
                condition=Q(type="deposit", source__isnull=True, destination__isnull=False)
                | Q(type="transfer", source__isnull=False, destination__isnull=False)
                | Q(type="withdrawal", source__isnull=False, destination__isnull=True)
                | Q(type="reversal", source__isnull=False)
                | Q(type="reversal", destination__isnull=False),
                name="transaction_parties_fit_type",
            ),
            models.CheckConstraint(
                condition=~Q(status="failed") | ~Q(failure_code=""),
                name="transaction_failed_says_why",
            ),
            models.CheckConstraint(
                condition=Q(failure_code="") | Q(status__in=("failed", "compensated")),
                name="transaction_only_failed_says_why",
            ),
            models.CheckConstraint(
                condition=Q(status__in=_OPEN_ENDED, completed_at__isnull=True)
                | (~Q(status__in=_OPEN_ENDED) & Q(completed_at__isnull=False)),
                name="transaction_end_has_its_time",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=_RESERVED)
                | Q(expires_at__isnull=False, source__isnull=False, captured_amount=0),
                name="transaction_reserved_not_taken",
            ),
            models.CheckConstraint(
                condition=~Q(status__in=_MOVED)
                | Q(expires_at__isnull=True)
                | Q(captured_amount__gte=1),
                name="transaction_moved_hold_is_captured",
            ),
            models.CheckConstraint(
                condition=~Q(status="reversed")
                | Q(expires_at__isnull=True, reversed_amount=F("amount"))
                | Q(expires_at__isnull=False, reversed_amount=F("captured_amount")),
                name="transaction_reversed_in_whole",
            ),
            models.CheckConstraint(
                condition=Q(reversed_amount=0) | Q(status__in=_MOVED),
                name="transaction_reversed_after_moved",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.id}"


class Entry(models.Model):
    """A movement on one account, projected from the log. Its id is that of its event."""

    class Direction(models.TextChoices):
        DEBIT = "debit"
        CREDIT = "credit"

    id = models.UUIDField(primary_key=True)
    account = models.UUIDField()
    transaction = models.UUIDField()
    direction = models.CharField(max_length=6, choices=Direction.choices)
    amount = models.BigIntegerField()
    currency = models.CharField(max_length=3)
    running_balance = models.BigIntegerField()
    position = models.BigIntegerField(unique=True)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "entries"
        indexes = [models.Index(fields=["account", "-position"], name="entry_account")]
        constraints = [
            models.CheckConstraint(condition=Q(amount__gte=1), name="entry_amount_positive"),
            models.CheckConstraint(
                condition=Q(direction__in=("debit", "credit")), name="entry_direction_known"
            ),
            models.CheckConstraint(condition=Q(position__gte=1), name="entry_position_from_1"),
        ]

    def __str__(self) -> str:
        return f"{self.direction} {self.amount} {self.currency}"


class Notification(models.Model):
    """An e-mail that one event calls for, projected from the log: at most one for each event.

    `sending` is written before the e-mail is handed over and `sent` after it. A row that is
    found in `sending` belonged to a sender that died, and whether its e-mail went out is not
    known: see `transactions.mailer`.
    """

    class State(models.TextChoices):
        PENDING = "pending"
        SENDING = "sending"
        SENT = "sent"
        IN_DOUBT = "in_doubt"
        FAILED = "failed"

    event = models.UUIDField(primary_key=True)
    user = models.UUIDField()
    type = models.CharField(max_length=60)
    subject = models.CharField(max_length=200)
    body = models.TextField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.PENDING)
    attempts = models.PositiveSmallIntegerField(default=0)
    due_at = models.DateTimeField()
    created_at = models.DateTimeField()
    last_error = models.CharField(max_length=500, blank=True)

    class Meta:
        indexes = [models.Index(fields=["state", "due_at"], name="notification_due")]
        constraints = [
            models.CheckConstraint(
                condition=Q(state__in=("pending", "sending", "sent", "in_doubt", "failed")),
                name="notification_state_known",
            )
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event}"
