"""Users and API keys in the admin."""

from typing import Any

import pytest
from django.test import Client

from tests.users.tools import NOW, PASSWORD, Api, new_user
from users.identity import Caller
from users.key_handlers import create_api_key
from users.models import ApiKey, User

pytestmark = pytest.mark.django_db


def admin_client() -> Client:
    """Return a browser in which a superuser is logged in."""
    client = Client()
    client.force_login(new_user(is_staff=True, is_superuser=True))
    return client


def new_key(user: User) -> tuple[ApiKey, str]:
    by = Caller(user_id=user.id, scopes=frozenset({"profile"}))
    return create_api_key(caller=by, name="shop", scopes=["profile"], now=NOW)


def log_in(address: str, email: str, password: str) -> Any:
    return Client().post(
        "/admin/login/", {"username": email, "password": password}, REMOTE_ADDR=address
    )


def test_staff_log_in_with_their_address_in_any_case(address: str) -> None:
    user = new_user(is_staff=True)
    assert log_in(address, user.email.upper(), PASSWORD).status_code == 302
    assert b"Please enter the correct" in log_in(address, user.email, "wrong").content
    assert b"Please enter the correct" in log_in(address, new_user().email, PASSWORD).content


def test_wrong_passwords_in_the_admin_and_in_the_api_lock_together(api: Api) -> None:
    user = new_user(is_staff=True)
    for _ in range(5):
        log_in(api.address, user.email, "wrong")
        api.post("token", {"email": user.email, "password": "wrong password"})
    locked = log_in(api.address, user.email, PASSWORD)
    assert b"Too many wrong passwords" in locked.content
    assert api.post("token", {"email": user.email, "password": PASSWORD}).status_code == 429


def test_users_are_found_by_address_and_by_name() -> None:
    user = new_user(name="Grace Hopper", email="find.me@example.com")
    client = admin_client()
    for text in ("FIND.me", "hopper"):
        page = client.get("/admin/users/user/", {"q": text})
        assert user.email.encode() in page.content
    assert user.email.encode() not in client.get("/admin/users/user/", {"q": "nobody"}).content


def test_a_user_is_created_in_the_stored_form_of_the_address() -> None:
    form = {
        "email": "New@Example.com",
        "name": "New",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    client = admin_client()
    assert client.post("/admin/users/user/add/", form).status_code == 302
    assert User.objects.get(email="new@example.com").check_password(PASSWORD)
    again = client.post("/admin/users/user/add/", form)
    assert b"already exists" in again.content


def test_a_user_s_password_is_changed_with_django_s_form() -> None:
    user = new_user()
    form = {"usable_password": "true", "password1": "a different one", "password2": "x"}
    client = admin_client()
    assert client.post(f"/admin/users/user/{user.id}/password/", form).status_code == 200
    form["password2"] = form["password1"]
    assert client.post(f"/admin/users/user/{user.id}/password/", form).status_code == 302
    user.refresh_from_db()
    assert user.check_password("a different one")


def test_a_user_is_shown_and_made_inactive_but_never_deleted() -> None:
    user = new_user()
    client = admin_client()
    address = f"/admin/users/user/{user.id}/change/"
    assert client.get(address).status_code == 200
    form = {
        "email": user.email,
        "name": "",
        "granted_scopes": "[]",
        "notification_preferences": '{"email": true, "events": []}',
    }
    assert client.post(address, form).status_code == 302
    user.refresh_from_db()
    assert not user.is_active
    assert client.get(f"/admin/users/user/{user.id}/delete/").status_code == 403


def test_a_key_is_shown_without_secret_or_hash() -> None:
    key, secret = new_key(new_user())
    client = admin_client()
    for address in ("/admin/users/apikey/", f"/admin/users/apikey/{key.id}/change/"):
        page = client.get(address)
        assert key.prefix.encode() in page.content
        assert secret.encode() not in page.content
        assert key.secret_hash.encode() not in page.content
    assert client.get("/admin/users/apikey/add/").status_code == 403
    assert client.get(f"/admin/users/apikey/{key.id}/delete/").status_code == 403


def test_selected_keys_are_revoked_at_once(api: Api) -> None:
    user = new_user()
    (key, secret), (_, other_secret) = new_key(user), new_key(user)
    answer = admin_client().post(
        "/admin/users/apikey/", {"action": "revoke", "_selected_action": [str(key.id)]}
    )
    assert answer.status_code == 302
    assert api.using(secret).get("me").status_code == 401
    assert api.using(other_secret).get("me").status_code == 200


def test_only_who_may_change_keys_may_revoke_them() -> None:
    key, _ = new_key(new_user())
    client = Client()
    client.force_login(new_user(is_staff=True))
    client.post("/admin/users/apikey/", {"action": "revoke", "_selected_action": [str(key.id)]})
    key.refresh_from_db()
    assert key.revoked_at is None
