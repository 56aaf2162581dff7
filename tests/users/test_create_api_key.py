"""`manage.py create_api_key`."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.users.tools import NOW, Api, new_user
from users.identity import identify
from users.models import ApiKey, User
from users.scopes import SCOPES

pytestmark = pytest.mark.django_db


def create(*arguments: str) -> tuple[str, str]:
    """Run the command; return what it wrote on stdout and on stderr."""
    out, err = StringIO(), StringIO()
    call_command("create_api_key", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_secret_stands_alone_on_stdout() -> None:
    user = new_user()
    out, err = create("--email", user.email.upper(), "--scopes", "profile, accounts:read")
    secret = out.removesuffix("\n")
    caller = identify(f"Bearer {secret}", now=NOW)
    assert (caller.user_id, caller.tier) == (user.id, "default")
    assert caller.scopes == {"profile", "accounts:read"}
    assert user.email in err
    assert secret not in err


def test_the_operator_may_give_every_scope_and_tier(api: Api) -> None:
    out, _ = create(
        "--email",
        "Ops@example.com",
        "--scopes",
        ",".join(SCOPES),
        "--tier",
        "unlimited",
        "--name",
        "operations",
        "--create-user",
    )
    caller = identify(f"Bearer {out.strip()}", now=NOW)
    assert caller.is_admin
    assert (caller.tier, caller.scopes) == ("unlimited", frozenset(SCOPES))
    user = User.objects.get(email="ops@example.com")
    assert not user.has_usable_password()
    assert not user.is_superuser
    assert ApiKey.objects.get(user=user).name == "operations"
    assert api.using(out.strip()).get("me").json()["email"] == "ops@example.com"


def test_create_user_takes_a_user_who_is_there() -> None:
    user = new_user()
    create("--email", user.email, "--scopes", "profile", "--create-user")
    assert ApiKey.objects.get().user_id == user.id


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--email", "a@example.com", "--scopes", "profile,all"], "Unknown: all. The scopes are"),
        (["--email", "a@example.com", "--scopes", ","], "audit:read"),
        (["--email", "a@example.com", "--scopes", "profile"], "no active user"),
        (["--email", "nobody", "--scopes", "profile", "--create-user"], "not an e-mail address"),
        (["--email", "a@example.com", "--scopes", "profile", "--name", ""], "--name"),
        (["--email", "a@example.com", "--scopes", "profile", "--tier", "gold"], "unlimited"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(arguments: list[str], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        create(*arguments)
    assert not User.objects.exists()
