"""API keys: `/api/users/api-keys`, and what a key may do."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.db import IntegrityError
from django.utils import timezone

from tests.users.tools import NOW, Api, at_once, faults, new_user
from users import key_handlers
from users.identity import Caller, InvalidCredentials, identify
from users.key_handlers import TooManyKeys
from users.models import ApiKey, User
from users.scopes import USER_SCOPES

pytestmark = pytest.mark.django_db


def caller(user: User, *scopes: str) -> Caller:
    return Caller(user_id=user.id, scopes=frozenset(scopes) or USER_SCOPES)


def new_key(user: User, *scopes: str, **options: Any) -> tuple[ApiKey, str]:
    """Create a key as `user` may with a token of their own."""
    given = {"name": "key", "scopes": scopes or ("profile",), "now": NOW, **options}
    by = caller(user, *(("admin",) if user.is_superuser else ()))
    return key_handlers.create_api_key(caller=by, **given)


def test_a_new_key_is_shown_once_and_nothing_may_keep_it(api: Api) -> None:
    client = api.logged_in(new_user())
    answer = client.post("api-keys", {"name": "shop", "scopes": ["profile", "accounts:read"]})
    body = answer.json()
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    assert set(body) == {
        "id",
        "name",
        "prefix",
        "scopes",
        "tier",
        "expires_at",
        "created_at",
        "secret",
    }
    assert body["secret"].startswith(f"{body['prefix']}_")
    assert body["prefix"].startswith("ek_")
    assert body["scopes"] == ["accounts:read", "profile"]
    assert (body["tier"], body["expires_at"]) == ("default", None)
    listed = client.get("api-keys").json()
    del body["secret"]
    assert listed == {"data": [body], "has_more": False, "next_cursor": None}


def test_a_key_identifies_its_user_its_scopes_and_its_tier() -> None:
    admin = new_user(is_superuser=True)
    key, secret = new_key(admin, "profile", "audit:read", tier="trusted")
    assert identify(f"Bearer {secret}", now=NOW) == Caller(
        user_id=admin.id,
        scopes=frozenset({"profile", "audit:read"}),
        tier="trusted",
        key_id=key.id,
    )


def test_no_table_holds_a_secret() -> None:
    _, secret = new_key(new_user())
    random_part = secret.rpartition("_")[2]
    for model in apps.get_models():
        assert random_part not in str(list(model._default_manager.values())), model


def test_a_revoked_key_is_refused_at_once(api: Api) -> None:
    client = api.logged_in(new_user())
    created = client.post("api-keys", {"name": "k", "scopes": ["profile"]}).json()
    keyed = api.using(created["secret"])
    assert keyed.get("me").status_code == 200
    answer = client.delete(f"api-keys/{created['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert keyed.get("me").status_code == 401
    assert client.get("api-keys").json()["data"] == []
    assert client.delete(f"api-keys/{created['id']}").status_code == 404


def test_a_key_may_revoke_itself(api: Api) -> None:
    key, secret = new_key(new_user())
    assert api.using(secret).delete(f"api-keys/{key.id}").status_code == 204
    assert api.using(secret).get("me").status_code == 401


def test_an_expired_key_is_refused() -> None:
    _, secret = new_key(new_user(), expires_at=NOW + timedelta(hours=1))
    assert identify(f"Bearer {secret}", now=NOW + timedelta(minutes=59))
    with pytest.raises(InvalidCredentials):
        identify(f"Bearer {secret}", now=NOW + timedelta(hours=1))


def test_an_inactive_user_s_key_is_refused() -> None:
    user = new_user()
    _, secret = new_key(user)
    User.objects.filter(id=user.id).update(is_active=False)
    with pytest.raises(InvalidCredentials):
        identify(f"Bearer {secret}", now=NOW)


def test_a_secret_with_one_letter_changed_is_refused() -> None:
    _, secret = new_key(new_user())
    other = "a" if secret[-1] != "a" else "b"
    for wrong in (secret[:-1] + other, secret.upper(), secret + "a", secret[:-1]):
        with pytest.raises(InvalidCredentials):
            identify(f"Bearer {wrong}", now=NOW)


def test_a_key_does_only_what_its_user_may_do_now() -> None:
    admin = new_user(is_superuser=True)
    _, secret = new_key(admin, "profile", "admin", "audit:read")
    assert identify(f"Bearer {secret}", now=NOW).is_admin
    User.objects.filter(id=admin.id).update(is_superuser=False)
    assert identify(f"Bearer {secret}", now=NOW).scopes == {"profile"}


@pytest.mark.parametrize("scope", ["admin", "audit:read"])
def test_a_user_cannot_give_a_key_a_scope_they_lack(api: Api, scope: str) -> None:
    answer = api.logged_in(new_user()).post("api-keys", {"name": "k", "scopes": [scope]})
    assert (answer.status_code, answer.json()["code"]) == (403, "scope_escalation")
    assert not ApiKey.objects.exists()


def test_a_key_gives_other_keys_only_scopes_it_has_itself(api: Api) -> None:
    _, secret = new_key(new_user(), "profile", "accounts:read")
    keyed = api.using(secret)
    refused = keyed.post("api-keys", {"name": "k", "scopes": ["profile", "transactions:write"]})
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_escalation")
    assert keyed.post("api-keys", {"name": "k", "scopes": ["accounts:read"]}).status_code == 201


@pytest.mark.parametrize("tier", ["trusted", "unlimited"])
def test_higher_tiers_are_for_admin_to_give(api: Api, tier: str) -> None:
    body = {"name": "k", "scopes": ["profile"], "tier": tier}
    refused = api.logged_in(new_user()).post("api-keys", body)
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    given = api.logged_in(new_user(is_superuser=True)).post("api-keys", body)
    assert (given.status_code, given.json()["tier"]) == (201, tier)


def test_another_user_s_key_is_for_admin_to_create(api: Api) -> None:
    user, other = new_user(), new_user()
    body = {"name": "k", "scopes": ["profile"], "user": str(other.id)}
    refused = api.logged_in(user).post("api-keys", body)
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    given = api.logged_in(new_user(is_superuser=True)).post("api-keys", body)
    assert api.using(given.json()["secret"]).get("me").json()["id"] == str(other.id)
    own = api.logged_in(user).post("api-keys", {**body, "user": str(user.id)})
    assert own.status_code == 201


def test_a_scope_that_admin_gives_to_another_user_s_key_works_for_keys_alone(api: Api) -> None:
    user = new_user()
    body = {"name": "audit", "scopes": ["audit:read"], "user": str(user.id)}
    given = api.logged_in(new_user(is_superuser=True)).post("api-keys", body).json()
    assert identify(f"Bearer {given['secret']}", now=timezone.now()).scopes == {"audit:read"}
    token = api.logged_in(user).credential
    assert identify(f"Bearer {token}", now=timezone.now()).scopes == USER_SCOPES
    User.objects.filter(id=user.id).update(granted_scopes=[])
    assert identify(f"Bearer {given['secret']}", now=timezone.now()).scopes == frozenset()


def test_a_key_for_nobody_is_not_found(api: Api) -> None:
    admin = api.logged_in(new_user(is_superuser=True))
    for user_id in (uuid4(), new_user(is_active=False).id):
        body = {"name": "k", "scopes": ["profile"], "user": str(user_id)}
        answer = admin.post("api-keys", body)
        assert (answer.status_code, answer.json()["code"]) == (404, "user_not_found")


def test_another_user_s_key_is_not_found(api: Api) -> None:
    key, secret = new_key(new_user())
    stranger = api.logged_in(new_user())
    for key_id in (key.id, uuid4()):
        answer = stranger.delete(f"api-keys/{key_id}")
        assert (answer.status_code, answer.json()["code"]) == (404, "api_key_not_found")
    assert stranger.delete("api-keys/not-an-id").status_code == 404
    assert stranger.get("api-keys").json()["data"] == []
    assert identify(f"Bearer {secret}", now=NOW)


def test_admin_may_revoke_any_key(api: Api) -> None:
    key, _ = new_key(new_user())
    admin = api.logged_in(new_user(is_superuser=True))
    assert admin.delete(f"api-keys/{key.id}").status_code == 204


def test_a_user_has_at_most_twenty_live_keys(api: Api) -> None:
    user = new_user()
    keys = [new_key(user, expires_at=NOW + timedelta(hours=1))[0]]
    keys += [new_key(user)[0] for _ in range(19)]
    with pytest.raises(TooManyKeys):
        new_key(user)
    assert new_key(user, now=NOW + timedelta(hours=2)), "an expired key is not live"
    key_handlers.revoke_api_key(caller=caller(user), key_id=keys[1].id, now=NOW)
    assert new_key(user, now=NOW + timedelta(hours=2)), "a revoked key is not live"
    answer = api.logged_in(user).post("api-keys", {"name": "k", "scopes": ["profile"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_keys")


@pytest.mark.django_db(transaction=True)
def test_simultaneous_calls_do_not_pass_the_limit_of_keys() -> None:
    user = new_user()
    for _ in range(18):
        new_key(user)

    def create() -> bool:
        try:
            new_key(user)
        except TooManyKeys:
            return False
        return True

    assert sorted(at_once([create] * 6)) == [False] * 4 + [True] * 2
    assert ApiKey.objects.filter(user=user).count() == 20


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"name": None}, ("/name", "null")),
        ({"name": ""}, ("/name", "blank")),
        ({"name": "x" * 101}, ("/name", "max_length")),
        ({"scopes": []}, ("/scopes", "empty")),
        ({"scopes": "profile"}, ("/scopes", "not_a_list")),
        ({"scopes": ["profile", "everything"]}, ("/scopes/1", "invalid_choice")),
        ({"scopes": [{}]}, ("/scopes/0", "invalid_choice")),
        ({"tier": "gold"}, ("/tier", "invalid_choice")),
        ({"tier": None}, ("/tier", "null")),
        ({"user": 7}, ("/user", "invalid")),
        ({"user": "me"}, ("/user", "invalid")),
        ({"expires_at": "2020-01-01T00:00:00Z"}, ("/expires_at", "not_in_future")),
        ({"expires_at": "2999-01-01T00:00:00"}, ("/expires_at", "invalid")),
        ({"expires_at": "9999-12-31T23:59:59-01:00"}, ("/expires_at", "invalid")),
        ({"expires_at": 4102444800}, ("/expires_at", "invalid")),
        ({"secret": "ek_mine"}, ("/secret", "unknown_field")),
    ],
)
def test_a_key_of_the_wrong_shape_is_refused(
    api: Api, changes: dict[str, object], fault: tuple[str, str]
) -> None:
    body = {"name": "k", "scopes": ["profile"], **changes}
    assert fault in faults(api.logged_in(new_user()).post("api-keys", body))
    assert not ApiKey.objects.exists()


def test_a_key_shows_when_it_expires(api: Api) -> None:
    body = {"name": "k", "scopes": ["profile"], "expires_at": "2099-01-02T05:04:05.5+02:00"}
    answer = api.logged_in(new_user()).post("api-keys", body)
    assert answer.json()["expires_at"] == "2099-01-02T03:04:05.500000Z"


def test_the_database_knows_the_tiers() -> None:
    key, _ = new_key(new_user())
    with pytest.raises(IntegrityError):
        ApiKey.objects.filter(id=key.id).update(tier="gold")
