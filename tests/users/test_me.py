"""One's own user: `/api/users/me`."""

from typing import Any

import pytest

from tests.users.tools import Api, faults, new_user
from users.models import User

pytestmark = pytest.mark.django_db


def test_one_sees_oneself(api: Api) -> None:
    user = new_user(name="Grace")
    answer = api.logged_in(user).get("me")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {"id", "email", "name", "created_at", "notification_preferences"}
    assert (body["id"], body["email"], body["name"]) == (str(user.id), user.email, "Grace")
    assert body["notification_preferences"]["email"] is True


def test_what_a_change_leaves_out_stays_as_it_is(api: Api) -> None:
    client = api.logged_in(new_user(name="Before"))
    before = client.get("me").json()
    silent = client.patch("me", {"notification_preferences": {"email": False}}).json()
    assert silent == {
        **before,
        "notification_preferences": {**before["notification_preferences"], "email": False},
    }
    renamed = client.patch("me", {"name": "After"}).json()
    assert renamed == {**silent, "name": "After"}
    events = ["AccountCredited", "AccountFrozen", "AccountCredited"]
    chosen = client.patch("me", {"notification_preferences": {"events": events}}).json()
    assert chosen["notification_preferences"] == {
        "email": False,
        "events": ["AccountCredited", "AccountFrozen"],
    }
    assert client.patch("me", {}).json() == chosen == client.get("me").json()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"name": 5}, ("/name", "invalid")),
        ({"name": "x" * 201}, ("/name", "max_length")),
        ({"email": "new@example.com"}, ("/email", "unknown_field")),
        ({"is_superuser": True}, ("/is_superuser", "unknown_field")),
        ({"a/b~c": 1}, ("/a~1b~0c", "unknown_field")),
        ({"notification_preferences": None}, ("/notification_preferences", "null")),
        ({"notification_preferences": []}, ("/notification_preferences", "not_an_object")),
        (
            {"notification_preferences": {"email": "yes"}},
            ("/notification_preferences/email", "invalid"),
        ),
        (
            {"notification_preferences": {"email": 1}},
            ("/notification_preferences/email", "invalid"),
        ),
        (
            {"notification_preferences": {"sms": True}},
            ("/notification_preferences/sms", "unknown_field"),
        ),
        (
            {"notification_preferences": {"events": ["AccountCredited", "<b>"]}},
            ("/notification_preferences/events/1", "invalid"),
        ),
        (
            {"notification_preferences": {"events": ["A"] * 101}},
            ("/notification_preferences/events", "max_length"),
        ),
        ([{"name": "x"}], ("", "not_an_object")),
    ],
)
def test_a_change_of_the_wrong_shape_is_refused_whole(
    api: Api, body: Any, fault: tuple[str, str]
) -> None:
    user = new_user(name="Before")
    if isinstance(body, dict):
        body = {"name": "After", **body}
    assert fault in faults(api.logged_in(user).patch("me", body))
    assert User.objects.get(id=user.id).name == "Before"
