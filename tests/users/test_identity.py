"""From the header `Authorization` to a caller: access tokens, and what makes them invalid."""

import base64
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
from django.conf import settings

from tests.users.tools import NOW, PASSWORD, Api, new_user
from users import handlers, tokens
from users.identity import ANONYMOUS, Caller, InvalidCredentials, identify
from users.models import User
from users.scopes import ALL_SCOPES, SCOPES, USER_SCOPES

pytestmark = pytest.mark.django_db


def access_token(user: User) -> str:
    pair = handlers.log_in(email=user.email, password=PASSWORD, address="192.0.2.1", now=NOW)
    return pair.access_token


def claims_of(token: str) -> dict[str, Any]:
    return jwt.decode(token, options={"verify_signature": False})


def is_refused(authorization: str) -> bool:
    try:
        identify(authorization, now=NOW)
    except InvalidCredentials:
        return True
    return False


def test_no_header_is_nobody() -> None:
    caller = identify("", now=NOW)
    assert caller == ANONYMOUS
    assert not caller.is_authenticated
    assert not caller.has("profile")


def test_a_user_s_token_holds_the_first_five_scopes() -> None:
    user = new_user()
    caller = identify(f"Bearer {access_token(user)}", now=NOW)
    assert caller == Caller(user_id=user.id, scopes=frozenset(list(SCOPES)[:5]), tier="default")
    assert caller.is_authenticated
    assert not caller.is_admin


def test_a_superuser_s_token_holds_all() -> None:
    caller = identify(f"bearer {access_token(new_user(is_superuser=True))}", now=NOW)
    assert caller.scopes == ALL_SCOPES
    assert caller.is_admin


def test_admin_implies_every_scope() -> None:
    caller = Caller(user_id=uuid4(), scopes=frozenset({"admin"}))
    assert all(caller.has(scope) for scope in SCOPES)


def test_a_token_says_whose_it_is_and_for_how_long() -> None:
    user = new_user()
    claims = claims_of(access_token(user))
    assert set(claims) == {"iss", "aud", "sub", "scope", "iat", "exp", "jti"}
    assert claims["sub"] == str(user.id)
    assert claims["exp"] - claims["iat"] == 900


def test_a_token_ends_when_its_time_is_over() -> None:
    header = f"Bearer {access_token(new_user())}"
    issued_at = NOW.replace(microsecond=0)
    assert identify(header, now=issued_at + timedelta(seconds=899))
    with pytest.raises(InvalidCredentials):
        identify(header, now=issued_at + timedelta(seconds=900))


def test_a_token_from_the_future_is_refused() -> None:
    header = f"Bearer {access_token(new_user())}"
    assert identify(header, now=NOW - timedelta(seconds=30)), "clocks differ a little"
    with pytest.raises(InvalidCredentials):
        identify(header, now=NOW - timedelta(minutes=5))


def test_a_changed_token_is_refused() -> None:
    header, payload, signature = access_token(new_user()).split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["scope"] += " admin"
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert is_refused(f"Bearer {header}.{changed}.{signature}")
    assert is_refused(f"Bearer {header}.{payload}.{signature[::-1]}")
    assert is_refused(f"Bearer {header}.{payload}.")


def test_a_token_without_a_signature_is_refused() -> None:
    claims = claims_of(access_token(new_user()))
    assert is_refused(f"Bearer {jwt.encode(claims, '', algorithm='none')}")


def test_a_token_signed_with_the_secret_key_itself_is_refused() -> None:
    claims = claims_of(access_token(new_user()))
    assert is_refused(f"Bearer {jwt.encode(claims, settings.SECRET_KEY, algorithm='HS256')}")


def test_a_token_signed_with_another_algorithm_is_refused() -> None:
    claims = claims_of(access_token(new_user()))
    forged = jwt.encode(claims, tokens._signing_key() * 2, algorithm="HS512")
    assert is_refused(f"Bearer {forged}")


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "scope", "iat", "exp", "jti"])
def test_a_token_without_one_of_its_claims_is_refused(claim: str) -> None:
    claims = claims_of(access_token(new_user()))
    del claims[claim]
    assert is_refused(f"Bearer {jwt.encode(claims, tokens._signing_key(), algorithm='HS256')}")


@pytest.mark.parametrize("claim", ["iss", "aud"])
def test_a_token_for_something_else_is_refused(claim: str) -> None:
    claims = claims_of(access_token(new_user())) | {claim: "another"}
    assert is_refused(f"Bearer {jwt.encode(claims, tokens._signing_key(), algorithm='HS256')}")


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNzd29yZA==",
        "Token abc",
        "Bearer a.b.c",
        "Bearer \u00e9\u00ff",
        "Bearer ek_",
        "Bearer ek_short_secret",
        "Bearer " + "[" * 3000,
        "Bearer " + "a" * 100_000,
        "Bearer " + ".".join(["e30"] * 3),
    ],
)
def test_what_is_no_credential_is_refused(authorization: str) -> None:
    assert is_refused(authorization)


def test_an_inactive_or_deleted_user_s_token_is_refused_at_once() -> None:
    user = new_user()
    header = f"Bearer {access_token(user)}"
    User.objects.filter(id=user.id).update(is_active=False)
    assert is_refused(header)
    user.delete()
    assert is_refused(header)


def test_a_user_who_is_superuser_no_more_loses_admin_at_once() -> None:
    user = new_user(is_superuser=True)
    header = f"Bearer {access_token(user)}"
    User.objects.filter(id=user.id).update(is_superuser=False)
    assert identify(header, now=NOW).scopes == USER_SCOPES


def test_no_credentials_are_401_with_a_challenge(api: Api) -> None:
    answer = api.get("me")
    assert (answer.status_code, answer.json()["code"]) == (401, "not_authenticated")
    assert answer["WWW-Authenticate"] == 'Bearer realm="evenkeel"'


def test_bad_credentials_are_401_with_a_challenge(api: Api) -> None:
    answer = api.using("ek_nothing_nothing").get("me")
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert answer["WWW-Authenticate"].startswith('Bearer realm="evenkeel"')


def test_a_wrong_method_is_405_whoever_asks(api: Api) -> None:
    for client in (api, api.logged_in(new_user())):
        answer = client.call("PUT", "me", {})
        assert answer.status_code == 405
        assert set(answer["Allow"].split(", ")) >= {"GET", "PATCH"}
        assert client.call("DISPATCH", "me").status_code == 405


def test_a_missing_scope_is_403_and_names_it(api: Api) -> None:
    admin = api.logged_in(new_user(is_superuser=True))
    secret = admin.post("api-keys", {"name": "k", "scopes": ["accounts:read"]}).json()["secret"]
    for answer in (api.using(secret).get("me"), api.using(secret).get("api-keys")):
        assert (answer.status_code, answer.json()["code"]) == (403, "missing_scope")
        assert "profile" in answer.json()["detail"]
