"""What requests to users hold, and what answers show."""

from typing import Any

from rest_framework import serializers

from users.api.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictSerializer,
    StrictUUIDField,
    TimestampField,
)
from users.models import EMAIL_LENGTH_MAX, KEY_NAME_LENGTH_MAX, NAME_LENGTH_MAX, User
from users.scopes import DEFAULT_TIER, SCOPES, TIERS

PASSWORD_LENGTH_MAX = 1024
EVENT_TYPES_MAX = 100
# More than there are, so that a repeated one is no fault.
SCOPES_MAX = 50


class EmailAddressField(serializers.EmailField):
    """An e-mail address, brought into its stored form before it is checked."""

    def to_internal_value(self, data: Any) -> str:
        """Return the address in its stored form."""
        if not isinstance(data, str):
            self.fail("invalid")
        # An address is short; the work of bringing a long text into its form would be wasted.
        return User.objects.normalize_email(data) if len(data) <= EMAIL_LENGTH_MAX else data


class Registration(StrictSerializer):
    """Who wants to use the platform."""

    email = EmailAddressField(max_length=EMAIL_LENGTH_MAX)
    password = StrictCharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False)
    name = StrictCharField(max_length=NAME_LENGTH_MAX, allow_blank=True, default="")


class RegisteredUser(serializers.Serializer[Any]):
    """A new user."""

    id = serializers.UUIDField()
    email = serializers.EmailField()
    name = serializers.CharField()
    created_at = TimestampField()


class NotificationPreferences(StrictSerializer):
    """What a user is told about by e-mail; members left out stay as they are."""

    email = StrictBooleanField(required=False)
    events = serializers.ListField(
        child=serializers.RegexField(r"^[A-Z][A-Za-z]{0,99}\Z"),
        max_length=EVENT_TYPES_MAX,
        required=False,
        help_text="Types of events, such as AccountCredited.",
    )

    def validate_events(self, value: list[str]) -> list[str]:
        """Keep each type once."""
        return list(dict.fromkeys(value))


class ProfileChange(StrictSerializer):
    """What a user changes about themselves; members left out stay as they are."""

    name = StrictCharField(max_length=NAME_LENGTH_MAX, allow_blank=True, required=False)
    notification_preferences = NotificationPreferences(required=False)


class Profile(RegisteredUser):
    """A user, as only they see themselves."""

    notification_preferences = NotificationPreferences()


class LogIn(StrictSerializer):
    """A log-in. Whatever is no address of anybody's is answered like a wrong password."""

    email = StrictCharField(max_length=EMAIL_LENGTH_MAX)
    password = StrictCharField(max_length=PASSWORD_LENGTH_MAX, trim_whitespace=False)


class Refresh(StrictSerializer):
    """A refresh token, to be used up."""

    refresh_token = StrictCharField(max_length=200)


class Tokens(serializers.Serializer[Any]):
    """An access token for the header `Authorization`, and the means to get the next one."""

    access_token = serializers.CharField()
    token_type = serializers.ChoiceField(choices=["Bearer"])
    expires_in = serializers.IntegerField(help_text="Seconds until the access token expires.")
    refresh_token = serializers.CharField(help_text="Good for one refresh.")


class ApiKeyCreation(StrictSerializer):
    """What a new key is for, and what it may do."""

    name = StrictCharField(max_length=KEY_NAME_LENGTH_MAX)
    scopes = serializers.ListField(
        child=StrictChoiceField(choices=list(SCOPES.items())),
        allow_empty=False,
        min_length=1,
        max_length=SCOPES_MAX,
    )
    tier = StrictChoiceField(choices=list(TIERS), default=DEFAULT_TIER)
    expires_at = TimestampField(required=False, allow_null=True, default=None)
    user = StrictUUIDField(
        required=False, allow_null=True, default=None, help_text="Another user's id, for admin."
    )


class ApiKeySummary(serializers.Serializer[Any]):
    """A key without its secret."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="How the secret begins.")
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=list(SCOPES.items())))
    tier = serializers.ChoiceField(choices=list(TIERS))
    expires_at = TimestampField(allow_null=True)
    created_at = TimestampField()


class NewApiKey(ApiKeySummary):
    """A new key with its secret, which is shown only now."""

    secret = serializers.CharField()


class ApiKeyPage(serializers.Serializer[Any]):
    """One page of keys, newest first."""

    # REST framework takes fields out of the class, so the property of this name stays.
    data = ApiKeySummary(many=True)  # type: ignore[assignment]
    has_more = serializers.BooleanField()
    next_cursor = serializers.CharField(allow_null=True)
