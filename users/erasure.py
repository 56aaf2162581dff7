"""Forget who a user was: the row stays, since accounts and events name its id."""

from collections.abc import Collection
from uuid import UUID

from django.apps import apps
from django.db import transaction

from users import lockout
from users.handlers import UserNotFound
from users.models import ApiKey, RefreshToken, User

# No address of this domain can ever be reached (RFC 2606).
FORGOTTEN_DOMAIN = "forgotten.invalid"


def user_id_of(who: str) -> UUID:
    """Return the id of the user with the e-mail address or the id `who`.

    An id is believed as it is: what belongs to a user whose row is gone can be forgotten too.

    Raises:
        UserNotFound: nobody has this address.
    """
    if "@" not in who:
        try:
            return UUID(who)
        except ValueError:
            raise UserNotFound(
                f"{who} is neither an e-mail address nor the id of a user."
            ) from None
    user = User.objects.filter(email=User.objects.normalize_email(who)).only("id").first()
    if user is None:
        raise UserNotFound(
            f"No user has the address {who}. Who was forgotten before is found by the id alone."
        )
    return user.id


def deactivate(*, user_id: UUID) -> None:
    """Let none of a user's credentials be accepted any more; safe to repeat."""
    with transaction.atomic():
        user = User.objects.select_for_update().filter(id=user_id).first()
        if user is None:
            return
        user.is_active = user.is_staff = user.is_superuser = False
        user.granted_scopes = []
        user.set_unusable_password()
        user.save(
            update_fields=["is_active", "is_staff", "is_superuser", "granted_scopes", "password"]
        )
        keys = ApiKey.objects.filter(user=user)
        empty_admin_log([str(key) for key in keys.values_list("id", flat=True)])
        keys.delete()
        RefreshToken.objects.filter(user=user).delete()


def anonymise(*, user_id: UUID) -> None:
    """Empty what a user's row tells of the person, for good; safe to repeat."""
    with transaction.atomic():
        user = User.objects.select_for_update().filter(id=user_id).first()
        if user is None or user.email.endswith(f"@{FORGOTTEN_DOMAIN}"):
            return
        lockout.forget_account(email=user.email)
        user.email = f"{user.id}@{FORGOTTEN_DOMAIN}"
        user.name = ""
        user.notification_preferences = {"email": False, "events": []}
        user.last_login = None
        user.save(update_fields=["email", "name", "notification_preferences", "last_login"])
        RefreshToken.objects.filter(user=user).delete()
        empty_admin_log([str(user.id)])


def empty_admin_log(objects: Collection[str]) -> None:
    """Empty what the admin's own log says of these objects, by primary key: it names them."""
    if apps.is_installed("django.contrib.admin"):
        log = apps.get_model("admin", "LogEntry")
        log._default_manager.filter(object_id__in=objects).update(
            object_repr="forgotten", change_message=""
        )
