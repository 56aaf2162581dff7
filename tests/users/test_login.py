"""Logging in: `POST /api/users/token`, and the lock-out."""

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import ANY

import pytest
from django.test import override_settings

from tests.users.tools import NOW, PASSWORD, Api, at_once, faults, new_user
from users import handlers
from users.errors import InvalidCredentials, RateLimited
from users.hashers import Argon2idHasher
from users.models import FailedLogin, RefreshToken, User

pytestmark = pytest.mark.django_db


class CountingHasher(Argon2idHasher):
    """The product's hasher, which counts how often it computes a hash."""

    hashed = 0

    def encode(self, password: str, salt: Any) -> str:
        type(self).hashed += 1
        return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        type(self).hashed += 1
        return super().verify(password, encoded)


def log_in(user: User, *, password: str = PASSWORD, address: str, now: datetime = NOW) -> str:
    """Return how a log-in ends: ok, wrong or locked."""
    try:
        handlers.log_in(email=user.email, password=password, address=address, now=now)
    except InvalidCredentials:
        return "wrong"
    except RateLimited:
        return "locked"
    return "ok"


def test_a_log_in_gives_tokens_that_nothing_may_keep(api: Api) -> None:
    user = new_user()
    answer = api.post("token", {"email": user.email.upper(), "password": PASSWORD})
    assert answer.status_code == 200
    assert answer.json() == {
        "access_token": ANY,
        "token_type": "Bearer",
        "expires_in": 900,
        "refresh_token": ANY,
    }
    assert answer["Cache-Control"] == "no-store"
    assert api.using(answer.json()["access_token"]).get("me").json()["id"] == str(user.id)


def test_wrong_unknown_and_inactive_get_the_same_answer(api: Api) -> None:
    active, inactive = new_user(), new_user(is_active=False)
    without_password = User.objects.create_user("without@example.com")
    answers = [
        api.post("token", {"email": email, "password": password})
        for email, password in [
            (active.email, "wrong password"),
            ("nobody@example.com", PASSWORD),
            ("not an address", PASSWORD),
            (inactive.email, PASSWORD),
            (without_password.email, PASSWORD),
        ]
    ]
    assert {answer.status_code for answer in answers} == {401}
    documents = [{**answer.json(), "request_id": ""} for answer in answers]
    assert documents == [documents[0]] * len(documents)
    assert answers[0].json()["code"] == "invalid_credentials"
    assert answers[0]["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("who", ["active", "unknown", "inactive", "without password"])
def test_every_refusal_costs_one_hash(api: Api, who: str) -> None:

    emails = {
        "active": new_user().email,
        "unknown": "unknown@example.com",
        "inactive": new_user(is_active=False).email,
        "without password": User.objects.create_user("without@example.com").email,
    }
    CountingHasher.hashed = 0
    with override_settings(PASSWORD_HASHERS=[f"{__name__}.CountingHasher"]):
        api.post("token", {"email": emails[who], "password": "wrong password"})
    assert CountingHasher.hashed == 1


def test_passwords_are_stored_as_argon2id() -> None:
    assert new_user().password.startswith("argon2$argon2id$")


def test_a_log_in_of_the_wrong_shape_is_refused(api: Api) -> None:
    answer = api.post("token", {"email": 1, "password": True, "scope": "admin"})
    assert faults(answer) == {
        ("/email", "invalid"),
        ("/password", "invalid"),
        ("/scope", "unknown_field"),
    }


@override_settings(TOKEN_RATE=(3, 60))
def test_an_address_logs_in_only_so_often_a_minute(api: Api) -> None:
    user = new_user()
    body = {"email": user.email, "password": PASSWORD}
    answers = [api.post("token", body) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[3].json()["code"] == "rate_limited"
    assert 1 <= int(answers[3]["Retry-After"]) <= 60
    refresh = api.post("token/refresh", {"refresh_token": answers[0].json()["refresh_token"]})
    assert refresh.status_code == 200, "refreshing is not counted"


@override_settings(
    TOKEN_RATE=(1, 60),
    CACHES={
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
            "OPTIONS": {"SOCKET_CONNECT_TIMEOUT": 0.2, "IGNORE_EXCEPTIONS": True},
        }
    },
)
def test_without_the_cache_one_can_still_log_in(api: Api) -> None:
    user = new_user()
    body = {"email": user.email, "password": PASSWORD}
    assert [api.post("token", body).status_code for _ in range(3)] == [200, 200, 200]


def test_ten_wrong_passwords_lock_the_account_for_this_address_alone(api: Api) -> None:
    user, other = new_user(), new_user()
    wrong = {"email": user.email, "password": "wrong password"}
    assert [api.post("token", wrong).status_code for _ in range(10)] == [401] * 10
    locked = api.post("token", {"email": user.email, "password": PASSWORD})
    assert (locked.status_code, locked.json()["code"]) == (429, "rate_limited")
    assert 880 <= int(locked["Retry-After"]) <= 900
    assert api.logged_in(other)
    assert Api(address="192.0.2.5").logged_in(user)


def test_an_unknown_account_locks_like_a_known_one(api: Api) -> None:
    wrong = {"email": "unknown@example.com", "password": "wrong password"}
    answers = [api.post("token", wrong).status_code for _ in range(11)]
    assert answers == [401] * 10 + [429]


def test_the_lock_ends_fifteen_minutes_after_the_tenth_wrong_password(address: str) -> None:
    user = new_user()
    tenth = NOW + timedelta(minutes=14)
    for n in range(10):
        at = tenth if n == 9 else NOW + timedelta(minutes=n)
        assert log_in(user, password="wrong", address=address, now=at) == "wrong"
    almost = tenth + timedelta(minutes=14, seconds=59)
    assert log_in(user, address=address, now=tenth + timedelta(seconds=1)) == "locked"
    assert log_in(user, address=address, now=almost) == "locked"
    assert log_in(user, address=address, now=tenth + timedelta(minutes=15)) == "ok"


def test_after_the_lock_one_has_ten_tries_again(address: str) -> None:
    user = new_user()
    for _ in range(10):
        log_in(user, password="wrong", address=address)
    later = NOW + timedelta(minutes=15)
    results = [log_in(user, password="wrong", address=address, now=later) for _ in range(11)]
    assert results == ["wrong"] * 10 + ["locked"]


def test_the_right_password_starts_the_count_anew(address: str) -> None:
    user = new_user()
    for _ in range(9):
        log_in(user, password="wrong", address=address)
    assert log_in(user, address=address) == "ok"
    results = [log_in(user, password="wrong", address=address) for _ in range(10)]
    assert results == ["wrong"] * 10


@pytest.mark.django_db(transaction=True)
def test_simultaneous_guesses_are_told_ten_times_that_they_are_wrong(address: str) -> None:
    user = new_user()
    results = at_once([lambda: log_in(user, password="wrong", address=address)] * 16)
    assert set(results) == {"wrong", "locked"}
    assert results.count("wrong") <= 10
    assert log_in(user, address=address) == "locked"


def test_wrong_passwords_are_forgotten_when_they_cannot_matter_any_more(address: str) -> None:
    user, other = new_user(), new_user()
    for _ in range(5):
        log_in(user, password="wrong", address=address)
    log_in(other, password="wrong", address=address, now=NOW + timedelta(minutes=31))
    assert FailedLogin.objects.count() == 1


def test_what_was_typed_as_an_address_is_not_stored(address: str) -> None:
    with pytest.raises(InvalidCredentials):
        handlers.log_in(email="my secret password", password="", address=address, now=NOW)
    assert "secret" not in str(FailedLogin.objects.values().get())


def test_a_log_in_removes_the_user_s_expired_refresh_tokens(address: str) -> None:
    user, other = new_user(), new_user()
    log_in(user, address=address)
    log_in(other, address=address)
    log_in(user, address=address, now=NOW + timedelta(days=15))
    assert RefreshToken.objects.filter(user=user).count() == 1
    assert RefreshToken.objects.filter(user=other).count() == 1
