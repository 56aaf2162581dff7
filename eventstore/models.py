"""The tables of the event store. Only this package touches them."""

from django.db import models


class Event(models.Model):
    """An immutable row of the log.

    `row` is the order of insertion, which is not the order of commits: readers must follow
    `position`, which the sequencer gives to committed rows only.
    """

    row = models.BigAutoField(primary_key=True)
    id = models.UUIDField(unique=True, editable=False)
    position = models.BigIntegerField(null=True, unique=True, editable=False)
    stream = models.CharField(max_length=80)
    version = models.PositiveIntegerField()
    type = models.CharField(max_length=60)
    schema_version = models.PositiveSmallIntegerField()
    data = models.TextField()
    actor = models.CharField(max_length=36, null=True)  # noqa: DJ001 - null is hashed as null
    correlation_id = models.CharField(max_length=36, null=True)  # noqa: DJ001
    causation_id = models.CharField(max_length=36, null=True)  # noqa: DJ001
    request_id = models.CharField(max_length=128, null=True)  # noqa: DJ001
    occurred_at = models.DateTimeField()
    hash = models.BinaryField(max_length=32, null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["stream", "version"], name="event_stream_version"),
            models.CheckConstraint(condition=models.Q(version__gte=1), name="event_version_from_1"),
        ]
        indexes = [
            models.Index(fields=["correlation_id", "position"], name="event_correlation"),
            models.Index(fields=["type", "position"], name="event_type"),
            models.Index(fields=["actor", "position"], name="event_actor"),
        ]

    def __str__(self) -> str:
        return f"{self.stream} v{self.version} {self.type}"

    @property
    def hash_hex(self) -> str:
        """The hash as the API shows it; empty until the event has a position."""
        return bytes(self.hash).hex() if self.hash else ""


class Snapshot(models.Model):
    """The state of a stream at a version, so that a replay need not begin at 1."""

    stream = models.CharField(max_length=80)
    version = models.PositiveIntegerField()
    code_version = models.PositiveSmallIntegerField()
    state = models.TextField()
    taken_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "version", "code_version"], name="snapshot_stream_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.stream} at v{self.version}"


class Checkpoint(models.Model):
    """How far a reader of the log has come, and who is reading now.

    The lease is a name, an epoch and an expiry on the database's clock. Every write is fenced
    by the epoch, so that a worker that wakes up after its lease has passed to another is
    refused.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"

    name = models.CharField(max_length=60, primary_key=True)
    position = models.BigIntegerField(default=0)
    state = models.CharField(max_length=10, choices=State.choices, default=State.RUNNING)
    owner = models.CharField(max_length=120, blank=True, default="")
    epoch = models.BigIntegerField(default=0)
    lease_expires_at = models.DateTimeField(null=True)
    last_error = models.TextField(blank=True, default="")
    updated_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "subscription"

    def __str__(self) -> str:
        return self.name


class ParkedEvent(models.Model):
    """An event that one subscription could not handle, and those of its stream behind it."""

    class Resolution(models.TextChoices):
        RETRIED = "retried"
        SKIPPED = "skipped"

    subscription = models.CharField(max_length=60)
    stream = models.CharField(max_length=80)
    position = models.BigIntegerField()
    error = models.TextField()
    parked_at = models.DateTimeField()
    resolution = models.CharField(max_length=10, choices=Resolution.choices, blank=True, default="")
    reason = models.TextField(blank=True, default="")
    resolved_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["subscription", "position"], name="parked_event_once_a_subscription"
            )
        ]
        indexes = [
            models.Index(fields=["subscription", "resolution", "stream"], name="parked_open")
        ]

    def __str__(self) -> str:
        return f"{self.subscription}: {self.stream} at {self.position}"


class IdempotencyRecord(models.Model):
    """The answer that was given to a request with an Idempotency-Key.

    `digest` is SHA-256 (hex) over actor, method, path and key: the scope of the key.
    """

    digest = models.CharField(max_length=64, primary_key=True)
    actor = models.CharField(max_length=36, blank=True, default="")
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=255)
    key = models.CharField(max_length=255, db_index=True)
    fingerprint = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField()
    headers = models.TextField()
    body = models.BinaryField()
    created_at = models.DateTimeField(db_index=True)

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.key}"


class TreeNode(models.Model):
    """The hash of a full subtree of the log's Merkle tree, with 256 to the power `level` leaves.

    `index` counts them from 0. Leaves themselves, of level 0, are read from the events.
    """

    level = models.PositiveSmallIntegerField()
    index = models.BigIntegerField()
    hash = models.BinaryField(max_length=32)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["level", "index"], name="tree_node_once")]

    def __str__(self) -> str:
        return f"{self.level}/{self.index}"


class TreeHead(models.Model):
    """The signed root of the Merkle tree over the first `tree_size` events of the log."""

    tree_size = models.BigIntegerField(primary_key=True)
    root_hash = models.BinaryField(max_length=32)
    signed_at = models.DateTimeField()
    key_id = models.CharField(max_length=8)
    public_key = models.BinaryField(max_length=32)
    note = models.TextField()

    def __str__(self) -> str:
        return f"{self.tree_size} events"


class SubjectKey(models.Model):
    """The key with which what events tell of one person is sealed.

    Forgetting the person empties `key` and keeps the row, so that no new key is ever made.
    """

    subject = models.UUIDField(primary_key=True)
    key = models.BinaryField(max_length=32, null=True)
    created_at = models.DateTimeField()
    forgotten_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(key__isnull=False) | models.Q(forgotten_at__isnull=False),
                name="subject_key_until_forgotten",
            )
        ]

    def __str__(self) -> str:
        return str(self.subject)
