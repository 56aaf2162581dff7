"""Refresh tokens: `POST /api/users/token/refresh`."""

from datetime import timedelta

import pytest

from tests.users.tools import NOW, PASSWORD, Api, at_once, new_user
from users import handlers, tokens
from users.errors import InvalidCredentials
from users.handlers import TokenPair
from users.models import RefreshToken, User

pytestmark = pytest.mark.django_db


def log_in(user: User) -> TokenPair:
    return handlers.log_in(email=user.email, password=PASSWORD, address="192.0.2.1", now=NOW)


def refreshes(refresh_token: str, *, after: timedelta = timedelta(0)) -> TokenPair | None:
    """Return the new tokens, or None for a refusal."""
    try:
        return handlers.refresh_tokens(refresh_token=refresh_token, now=NOW + after)
    except InvalidCredentials:
        return None


def test_a_refresh_gives_new_tokens_that_nothing_may_keep(api: Api) -> None:
    user = new_user()
    first = api.post("token", {"email": user.email, "password": PASSWORD}).json()
    answer = api.post("token/refresh", {"refresh_token": first["refresh_token"]})
    assert answer.status_code == 200
    assert answer["Cache-Control"] == "no-store"
    body = answer.json()
    assert set(body) == set(first)
    assert body["refresh_token"] != first["refresh_token"]
    assert body["access_token"] != first["access_token"]
    assert api.using(body["access_token"]).get("me").status_code == 200


def test_a_token_that_comes_again_revokes_its_whole_family(api: Api) -> None:
    user = new_user()
    first = log_in(user)
    elsewhere = log_in(user)
    second = refreshes(first.refresh_token)
    assert second is not None
    again = api.post("token/refresh", {"refresh_token": first.refresh_token})
    assert (again.status_code, again.json()["code"]) == (401, "invalid_credentials")
    assert "WWW-Authenticate" in again
    assert refreshes(second.refresh_token) is None
    assert refreshes(elsewhere.refresh_token) is not None, "another log-in is another family"


@pytest.mark.django_db(transaction=True)
def test_of_simultaneous_refreshes_with_one_token_one_succeeds() -> None:
    token = log_in(new_user()).refresh_token
    results = at_once([lambda: refreshes(token)] * 4)
    winners = [result for result in results if result is not None]
    assert len(winners) == 1
    assert refreshes(winners[0].refresh_token) is None, "the token was copied: nobody keeps it"


@pytest.mark.parametrize("secret", ["", "rt_unknown", "rt_" + "a" * 43, "\u00e9"])
def test_an_unknown_token_is_refused(secret: str) -> None:
    assert refreshes(secret) is None


def test_an_expired_token_is_refused() -> None:
    token = log_in(new_user()).refresh_token
    assert refreshes(token, after=timedelta(days=14)) is None
    assert refreshes(token, after=timedelta(days=14, seconds=-1)) is not None


def test_an_access_token_cannot_be_used_to_refresh() -> None:
    assert refreshes(log_in(new_user()).access_token) is None


def test_an_inactive_user_s_token_is_refused() -> None:
    user = new_user()
    token = log_in(user).refresh_token
    User.objects.filter(id=user.id).update(is_active=False)
    assert refreshes(token) is None


def test_a_changed_password_ends_every_session() -> None:
    user = new_user()
    token = log_in(user).refresh_token
    user.set_password("another good password")
    user.save()
    assert refreshes(token) is None


def test_a_refresh_takes_rights_as_they_are_now() -> None:
    user = new_user(is_superuser=True)
    token = log_in(user).refresh_token
    User.objects.filter(id=user.id).update(is_superuser=False)
    pair = refreshes(token)
    assert pair is not None
    assert "admin" not in tokens.read_access_token(pair.access_token, now=NOW).scopes


def test_only_hashes_of_refresh_tokens_are_stored() -> None:
    first = log_in(new_user())
    second = refreshes(first.refresh_token)
    assert second is not None
    stored = str(list(RefreshToken.objects.values()))
    for pair in (first, second):
        assert pair.refresh_token.removeprefix("rt_") not in stored
        assert pair.access_token not in stored
