"""Registration: `POST /api/users/register`."""

import re

import pytest
from django.test import override_settings

from tests.users.tools import PASSWORD, Api, at_once, faults
from users.models import User

pytestmark = pytest.mark.django_db


def test_a_registered_user_is_shown_without_the_password(api: Api) -> None:
    answer = api.post("register", {"email": "Ada@Example.COM", "password": PASSWORD, "name": "Ada"})
    body = answer.json()
    assert answer.status_code == 201
    assert set(body) == {"id", "email", "name", "created_at"}
    assert (body["email"], body["name"]) == ("ada@example.com", "Ada")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f-]{21}", body["id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", body["created_at"])


def test_the_name_may_be_left_out(api: Api) -> None:
    answer = api.post("register", {"email": "bare@example.com", "password": PASSWORD})
    assert (answer.status_code, answer.json()["name"]) == (201, "")


def test_a_new_user_is_told_of_money_moving_by_e_mail(api: Api) -> None:
    api.post("register", {"email": "told@example.com", "password": PASSWORD})
    assert User.objects.get(email="told@example.com").notification_preferences == {
        "email": True,
        "events": ["AccountDebited", "AccountCredited", "TransactionFailed"],
    }


@pytest.mark.parametrize("again", ["bob@example.com", "BOB@EXAMPLE.COM", " bob@example.com "])
def test_an_address_is_registered_once_whatever_its_case(api: Api, again: str) -> None:
    api.post("register", {"email": "Bob@example.com", "password": PASSWORD})
    answer = api.post("register", {"email": again, "password": PASSWORD})
    assert (answer.status_code, answer.json()["code"]) == (409, "email_taken")
    assert User.objects.filter(email="bob@example.com").count() == 1


def test_one_address_in_unicode_and_in_ascii_is_the_same_address(api: Api) -> None:
    first = api.post("register", {"email": "eva@bücher.example", "password": PASSWORD})
    again = api.post("register", {"email": "eva@xn--bcher-kva.example", "password": PASSWORD})
    other = api.post("register", {"email": "eva@bucher.example", "password": PASSWORD})
    assert [each.status_code for each in (first, again, other)] == [201, 409, 201]


@pytest.mark.django_db(transaction=True)
def test_of_two_who_register_one_address_at_once_one_succeeds(api: Api) -> None:
    body = {"email": "race@example.com", "password": PASSWORD}
    answers = at_once([lambda: api.post("register", body)] * 4)
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short1!", "password_too_short"),
        ("password", "password_too_common"),
        ("8402957613", "password_entirely_numeric"),
        ("weak.person", "password_too_similar"),
        ("Wanda Weakling", "password_too_similar"),
    ],
)
def test_a_weak_password_is_refused_with_the_reason(api: Api, password: str, code: str) -> None:
    answer = api.post(
        "register",
        {"email": "weak.person@example.com", "password": password, "name": "Wanda Weakling"},
    )
    assert ("/password", code) in faults(answer)
    assert answer.json()["code"] == "weak_password"
    assert not User.objects.exists()


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, ("/email", "required")),
        ({"email": "nobody", "password": PASSWORD}, ("/email", "invalid")),
        ({"email": 5, "password": PASSWORD}, ("/email", "invalid")),
        ({"email": None, "password": PASSWORD}, ("/email", "null")),
        ({"email": "a" * 250 + "@b.example", "password": PASSWORD}, ("/email", "max_length")),
        ({"email": "a@" + "ü" * 250, "password": PASSWORD}, ("/email", "invalid")),
        ({"email": "a@b.example", "password": 12345678}, ("/password", "invalid")),
        ({"email": "a@b.example", "password": []}, ("/password", "invalid")),
        ({"email": "a@b.example", "password": "x" * 1025}, ("/password", "max_length")),
        ({"email": "a@b.example", "password": PASSWORD, "name": 7}, ("/name", "invalid")),
        (
            {"email": "a@b.example", "password": PASSWORD, "name": "a\0b"},
            ("/name", "null_characters_not_allowed"),
        ),
        (
            {"email": "a@b.example", "password": PASSWORD, "is_superuser": True},
            ("/is_superuser", "unknown_field"),
        ),
        ([], ("", "not_an_object")),
        ("7", ("", "not_an_object")),
        ("null", ("", "null")),
    ],
)
def test_a_body_of_the_wrong_shape_is_refused(
    api: Api, body: object, fault: tuple[str, str]
) -> None:
    assert fault in faults(api.post("register", body))
    assert not User.objects.exists()


def test_spaces_are_part_of_a_password(api: Api) -> None:
    spaced = "  two spaces around  "
    api.post("register", {"email": "space@example.com", "password": spaced})
    tried = [
        api.post("token", {"email": "space@example.com", "password": each}).status_code
        for each in (spaced, spaced.strip())
    ]
    assert tried == [200, 401]


@override_settings(REGISTRATION_RATE=(2, 3600))
def test_an_address_registers_only_so_many_users_an_hour(api: Api) -> None:
    answers = [
        api.post("register", {"email": f"r{n}@example.com", "password": PASSWORD}) for n in range(3)
    ]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    assert answers[2].json()["code"] == "rate_limited"
    assert 1 <= int(answers[2]["Retry-After"]) <= 3600
    elsewhere = Api(address="192.0.2.77")
    body = {"email": "elsewhere@example.com", "password": PASSWORD}
    assert elsewhere.post("register", body).status_code == 201


def test_bad_credentials_do_not_matter_to_a_public_endpoint(api: Api) -> None:
    answer = api.using("nonsense").post(
        "register", {"email": "public@example.com", "password": PASSWORD}
    )
    assert answer.status_code == 201


def test_a_parameter_that_nobody_reads_is_refused(api: Api) -> None:
    answer = api.post("register?admin=1", {"email": "q@example.com", "password": PASSWORD})
    assert faults(answer) == {("admin", "unknown_parameter")}
