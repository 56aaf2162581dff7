"""The tables of users. Integrity is in the constraints; changes are made by `users.handlers`."""

from contextlib import suppress
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone
from uuid_utils.compat import uuid7

from users.scopes import DEFAULT_TIER, TIERS

EMAIL_LENGTH_MAX = 254
NAME_LENGTH_MAX = 200
KEY_NAME_LENGTH_MAX = 100


def default_notification_preferences() -> dict[str, Any]:
    """Return what a new user is told about, and how."""
    return {"email": True, "events": ["AccountDebited", "AccountCredited", "TransactionFailed"]}


class UserManager(BaseUserManager["User"]):
    """Creates users, and finds them by e-mail address whatever its case."""

    @classmethod
    def normalize_email(cls, email: str | None) -> str:
        """Return the one form in which an address is stored: lower case, its domain in ASCII.

        An address that only differs in case reaches the same person. With an ASCII domain
        (IDNA) the whole is ASCII, so a database that ignores accents cannot confuse two.
        """
        local, at, domain = (email or "").strip().lower().rpartition("@")
        # What is not a domain stays as it is: the field's validator refuses it with a reason.
        with suppress(UnicodeError):
            domain = domain.encode("idna").decode("ascii")
        return f"{local}{at}{domain}"

    def get_by_natural_key(self, username: str | None) -> "User":
        """Return the user with this e-mail address, for Django's own log-in code."""
        return self.get(email=self.normalize_email(username))

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user; without a password, one who cannot log in with one."""
        user = self.model(email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user who may do everything."""
        return self.create_user(
            email, password, **{"is_staff": True, "is_superuser": True, **fields}
        )


class User(AbstractBaseUser, PermissionsMixin):
    """Somebody with a password, known by an e-mail address."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField("e-mail address", max_length=EMAIL_LENGTH_MAX, unique=True)
    name = models.CharField(max_length=NAME_LENGTH_MAX, blank=True)
    is_active = models.BooleanField(
        "active", default=True, help_text="Whether this user's credentials are accepted at all."
    )
    is_staff = models.BooleanField(
        "staff", default=False, help_text="Whether this user may log in to the admin."
    )
    granted_scopes = models.JSONField(
        default=list,
        blank=True,
        help_text="Scopes beyond everybody's that this user's API keys may carry.",
    )
    notification_preferences = models.JSONField(default=default_notification_preferences)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(email=Lower("email")), name="users_user_email_is_lower_case"
            )
        ]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        """Bring the address into its stored form before a form looks for duplicates."""
        self.email = type(self).objects.normalize_email(self.email)


class ApiKey(models.Model):
    """A key that a program sends instead of a token. Only the hash of its secret is kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="api_keys", db_index=False
    )
    name = models.CharField(max_length=KEY_NAME_LENGTH_MAX)
    # The first part of the secret, by which a key is found and recognised.
    prefix = models.CharField(max_length=16, unique=True)
    secret_hash = models.CharField(max_length=64)
    scopes = models.JSONField(default=list)
    tier = models.CharField(
        max_length=16, choices=[(tier, tier) for tier in TIERS], default=DEFAULT_TIER
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = "API key"
        verbose_name_plural = "API keys"
        indexes = [models.Index(fields=["user", "id"], name="users_apikey_user_id")]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(tier__in=TIERS), name="users_apikey_tier_is_known"
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix})"


class RefreshToken(models.Model):
    """One link of a chain of refresh tokens, each used once; see `users.tokens`.

    All tokens that descend from one log-in share `family`. Only the hash of a token is kept.
    """

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="refresh_tokens", db_index=False
    )
    family = models.UUIDField(db_index=True)
    token_hash = models.CharField(max_length=64, unique=True)
    # A digest of the user's password as it was: changing the password ends every session.
    session_hash = models.CharField(max_length=64)
    issued_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["user", "expires_at"], name="users_refreshtoken_user_expiry")
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(expires_at__gt=models.F("issued_at")),
                name="users_refreshtoken_expires_after_issue",
            )
        ]

    def __str__(self) -> str:
        return str(self.id)


class FailedLogin(models.Model):
    """A wrong password, remembered for the lock-out; see `users.lockout`.

    `account` is a keyed digest of the address that was tried, which need not be a user's: people
    type passwords into the wrong field.
    """

    account = models.CharField(max_length=64)
    address = models.CharField(max_length=64)
    failed_at = models.DateTimeField(db_index=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["account", "address", "failed_at"], name="users_failedlogin_who_when"
            )
        ]

    def __str__(self) -> str:
        return f"{self.address} at {self.failed_at}"
