"""The one place where a password is checked, for the API's log-in and for the admin's."""

from datetime import datetime

from django.contrib.auth.hashers import make_password

from users import lockout
from users.errors import InvalidCredentials
from users.models import User


def user_with_password(*, email: str, password: str, address: str, now: datetime) -> User:
    """Return the active user with this e-mail address and password.

    An unknown address costs as much work as a wrong password, and gets the same answer, as
    does an inactive user. Only when the password has been checked does anybody learn that the
    account is not locked, so simultaneous guesses gain nothing.

    Args:
        email: in any case.
        password: as typed.
        address: where the request comes from, for the lock-out.
        now: the present instant, aware.

    Raises:
        InvalidCredentials: there is no such user, or the password is wrong.
        RateLimited: too many wrong passwords for this account from this address.
    """
    email = User.objects.normalize_email(email)
    lockout.check_not_locked(email=email, address=address, now=now)
    user = User.objects.filter(email=email).first()
    if user is None:
        make_password(password)
    elif user.check_password(password) and user.is_active:
        lockout.check_not_locked(email=email, address=address, now=now)
        lockout.forget_wrong_passwords(email=email, address=address)
        return user
    lockout.record_wrong_password(email=email, address=address, now=now)
    raise InvalidCredentials("The e-mail address or the password is wrong.")
