"""Lists a page at a time, on the list of API keys."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.signing import Signer
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from tests.users.tools import NOW, Api, faults, new_user
from users.api.pagination import InvalidCursor, page
from users.identity import Caller
from users.key_handlers import create_api_key
from users.models import User

pytestmark = pytest.mark.django_db


def add_keys(user: User, count: int, *, first: int = 0) -> None:
    by = Caller(user_id=user.id, scopes=frozenset({"profile"}))
    for number in range(first, first + count):
        create_api_key(caller=by, name=f"key {number}", scopes=["profile"], now=NOW)


def names(answer: Any) -> list[str]:
    return [key["name"] for key in answer.json()["data"]]


def test_pages_follow_each_other_newest_first(api: Api) -> None:
    user = new_user()
    add_keys(user, 5)
    client = api.logged_in(user)
    first = client.get("api-keys?limit=2")
    assert names(first) == ["key 4", "key 3"]
    assert first.json()["has_more"] is True
    second = client.get(f"api-keys?limit=2&cursor={first.json()['next_cursor']}")
    assert names(second) == ["key 2", "key 1"]
    last = client.get(f"api-keys?limit=2&cursor={second.json()['next_cursor']}")
    assert names(last) == ["key 0"]
    assert (last.json()["has_more"], last.json()["next_cursor"]) == (False, None)
    assert "Link" not in last


def test_a_page_that_ends_the_list_exactly_says_so(api: Api) -> None:
    user = new_user()
    add_keys(user, 2)
    answer = api.logged_in(user).get("api-keys?limit=2")
    assert (len(names(answer)), answer.json()["has_more"]) == (2, False)


def test_the_link_leads_to_the_next_page(api: Api) -> None:
    user = new_user()
    add_keys(user, 3)
    client = api.logged_in(user)
    link = client.get("api-keys?limit=2")["Link"]
    assert link.startswith("<http://testserver/api/users/api-keys?")
    assert link.endswith('>; rel="next"')
    query = urlsplit(link[1:].partition(">")[0]).query
    assert "limit=2" in query
    assert names(client.get(f"api-keys?{query}")) == ["key 0"]


def test_what_is_added_meanwhile_moves_nothing(api: Api) -> None:
    user = new_user()
    add_keys(user, 4)
    client = api.logged_in(user)
    cursor = client.get("api-keys?limit=2").json()["next_cursor"]
    add_keys(user, 2, first=4)
    assert names(client.get(f"api-keys?cursor={cursor}")) == ["key 1", "key 0"]


def test_the_limit_may_change_from_page_to_page(api: Api) -> None:
    user = new_user()
    add_keys(user, 5)
    client = api.logged_in(user)
    cursor = client.get("api-keys?limit=1").json()["next_cursor"]
    assert len(names(client.get(f"api-keys?limit=3&cursor={cursor}"))) == 3


@pytest.mark.parametrize("limit", ["0", "201", "-1", "1.0", "ten", "", "1e2", "\u0661", "9" * 5000])
def test_a_bad_limit_is_refused(api: Api, limit: str) -> None:
    answer = api.logged_in(new_user()).get(f"api-keys?limit={limit}")
    assert faults(answer) == {("limit", "invalid_limit")}


def test_an_unknown_parameter_is_refused(api: Api) -> None:
    answer = api.logged_in(new_user()).get("api-keys?page=2")
    assert faults(answer) == {("page", "unknown_parameter")}


def test_a_cursor_is_its_user_s_alone(api: Api) -> None:
    user, other = new_user(), new_user()
    add_keys(user, 2)
    add_keys(other, 2)
    cursor = api.logged_in(user).get("api-keys?limit=1").json()["next_cursor"]
    answer = api.logged_in(other).get(f"api-keys?cursor={cursor}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


def test_a_changed_or_invented_cursor_is_refused(api: Api) -> None:
    user = new_user()
    add_keys(user, 2)
    client = api.logged_in(user)
    cursor = client.get("api-keys?limit=1").json()["next_cursor"]
    value, _, signature = cursor.partition(":")
    other_purpose = Signer(salt="another purpose").sign_object(["x", "y"])
    for wrong in ("", "x", value, f"{value}a:{signature}", f":{signature}", other_purpose, "%ff"):
        answer = client.get(f"api-keys?cursor={wrong}")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor"), wrong


def list_page(path: str, *, filters: dict[str, str], user: Caller) -> Any:
    """Return a page of the numbers 0 to 99."""
    request = Request(APIRequestFactory().get(path))
    request.user = user  # type: ignore[assignment]
    numbers = [f"{number:02}" for number in range(100)]
    response = page(
        request,
        filters=filters,
        fetch=lambda after, limit: [n for n in numbers if after is None or n > after][:limit],
        key=str,
        present=lambda number: {"number": number},
    )
    return response.data


def test_a_cursor_belongs_to_its_filters_and_its_list() -> None:
    user = Caller(user_id=new_user().id)
    cursor = list_page("/a?limit=1", filters={"status": "open"}, user=user)["next_cursor"]
    again = list_page(f"/a?cursor={cursor}", filters={"status": "open"}, user=user)
    assert again["data"][0] == {"number": "01"}
    for path, filters in [("/a", {"status": "closed"}), ("/a", {}), ("/b", {"status": "open"})]:
        with pytest.raises(InvalidCursor):
            list_page(f"{path}?cursor={cursor}", filters=filters, user=user)


@given(limits=st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_pages_of_any_size_hold_every_row_once(limits: list[int]) -> None:
    user = Caller(user_id=None)
    found: list[object] = []
    path = "/a?"
    for turn in range(200):
        body = list_page(f"{path}&limit={limits[turn % len(limits)]}", filters={}, user=user)
        found += body["data"]
        if not body["has_more"]:
            break
        path = f"/a?cursor={body['next_cursor']}"
    assert found == [{"number": f"{number:02}"} for number in range(100)]
