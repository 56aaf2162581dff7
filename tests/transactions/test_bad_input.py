"""What bad input gets: a clear problem document, and nothing half done."""

import json
from typing import Any
from uuid import uuid4

import pytest

from tests.transactions.tools import Api, nothing_written, problem_of
from tests.users.tools import faults

pytestmark = pytest.mark.django_db

# What is in each list is one body with the type of a transfer and one with that of a deposit.
TYPES = ("transfer", "deposit")


def body_of(root: Api, kind: str, **changes: Any) -> dict[str, Any]:
    """Return a good body, changed; a member that is changed to `...` is left out."""
    body: dict[str, Any] = {
        "type": kind,
        "destination": str(root.account()),
        "amount": 100,
        "currency": "EUR",
        **({"source": str(root.account(balance=100))} if kind == "transfer" else {}),
        **changes,
    }
    return {name: value for name, value in body.items() if value is not ...}


def send(root: Api, body: Any) -> Any:
    with nothing_written():
        return root.post("transactions", body, key="key")


@pytest.mark.parametrize("kind", TYPES)
def test_a_good_body_is_good(root: Api, kind: str) -> None:
    assert root.post("transactions", body_of(root, kind), key="key").status_code == 201


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "amount",
    ["1.0", "1e3", "1.5", "100.0", "-0.0", "true", "false", '"100"', '""', "null", "[100]", "{}"],
)
def test_an_amount_is_a_whole_number_and_nothing_else(root: Api, kind: str, amount: str) -> None:
    text = json.dumps(body_of(root, kind, amount="AMOUNT")).replace('"AMOUNT"', amount)
    document = problem_of(send(root, text), status=422, code="validation_failed")
    code = "null" if amount == "null" else "invalid"
    assert [(each["pointer"], each["code"]) for each in document["errors"]] == [("/amount", code)]


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize(
    "amount", [0, -1, -(10**15), 10**15 + 1, 2**63 - 1, 2**63, 2**64, 10**400, -(10**400)]
)
def test_an_amount_out_of_range_has_a_code_of_its_own(root: Api, kind: str, amount: int) -> None:
    document = problem_of(
        send(root, body_of(root, kind, amount=amount)), status=422, code="amount_out_of_range"
    )
    assert [each["pointer"] for each in document["errors"]] == ["/amount"]


@pytest.mark.parametrize("amount", ["9" * 5000, "NaN", "Infinity", "-Infinity", "1e999", "0x10"])
def test_an_amount_that_is_no_number_of_json_is_malformed(root: Api, amount: str) -> None:
    text = json.dumps(body_of(root, "deposit", amount="AMOUNT")).replace('"AMOUNT"', amount)
    problem_of(send(root, text), status=400, code="malformed_json")


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("currency", ["", "eur", "EU", "EURO", "XXX", "XAU", " EUR", "€", "DEM"])
def test_an_unknown_currency_has_a_code_of_its_own(root: Api, kind: str, currency: str) -> None:
    answer = send(root, body_of(root, kind, currency=currency))
    document = problem_of(answer, status=422, code="unknown_currency")
    assert [each["pointer"] for each in document["errors"]] == ["/currency"]


def test_the_same_account_twice_has_a_code_of_its_own(root: Api) -> None:
    body = body_of(root, "transfer")
    for account in (body["source"], str(uuid4())):
        answer = send(root, {**body, "source": account, "destination": account})
        problem_of(answer, status=422, code="same_account")


@pytest.mark.parametrize(
    ("kind", "changes", "fault"),
    [
        ("transfer", {"type": ...}, ("/type", "required")),
        ("transfer", {"type": "loan"}, ("/type", "invalid_choice")),
        ("transfer", {"type": "payment"}, ("/type", "invalid_choice")),
        ("transfer", {"type": 5}, ("/type", "invalid_choice")),
        ("transfer", {"type": ["transfer"]}, ("/type", "invalid_choice")),
        ("transfer", {"type": {"transfer": 1}}, ("/type", "invalid_choice")),
        ("transfer", {"type": None}, ("/type", "null")),
        ("transfer", {"amount": ...}, ("/amount", "required")),
        ("transfer", {"currency": ...}, ("/currency", "required")),
        ("transfer", {"currency": 978}, ("/currency", "invalid")),
        ("transfer", {"source": ...}, ("/source", "required")),
        ("transfer", {"source": None}, ("/source", "null")),
        ("transfer", {"source": "mine"}, ("/source", "invalid")),
        ("transfer", {"source": 5}, ("/source", "invalid")),
        ("transfer", {"source": uuid4().hex}, ("/source", "invalid")),
        ("transfer", {"destination": ...}, ("/destination", "required")),
        ("transfer", {"destination": f"urn:uuid:{uuid4()}"}, ("/destination", "invalid")),
        ("transfer", {"destination": []}, ("/destination", "invalid")),
        ("deposit", {"destination": ...}, ("/destination", "required")),
        ("deposit", {"source": str(uuid4())}, ("/source", "unknown_field")),
        ("deposit", {"description": 5}, ("/description", "invalid")),
        ("deposit", {"description": "x" * 501}, ("/description", "max_length")),
        ("deposit", {"description": "\0"}, ("/description", "null_characters_not_allowed")),
        ("deposit", {"description": None}, ("/description", "null")),
        ("deposit", {"reference": "x" * 141}, ("/reference", "max_length")),
        ("deposit", {"reference": ["R"]}, ("/reference", "invalid")),
        ("deposit", {"metadata": []}, ("/metadata", "not_an_object")),
        ("deposit", {"metadata": None}, ("/metadata", "null")),
        ("deposit", {"metadata": {"k": "x" * 65536}}, ("/metadata", "too_large")),
        ("deposit", {"metadata": {"k": "\0"}}, ("/metadata", "invalid")),
        ("deposit", {"metadata": {"k": 2**63}}, ("/metadata", "invalid")),
        ("deposit", {"consistency": "most"}, ("/consistency", "invalid_choice")),
        ("deposit", {"consistency": None}, ("/consistency", "null")),
        ("deposit", {"amout": 5}, ("/amout", "unknown_field")),
        ("deposit", {"status": "completed"}, ("/status", "unknown_field")),
        ("deposit", {"a/b~c": 5}, ("/a~1b~0c", "unknown_field")),
        ("deposit", {"": 5}, ("/", "unknown_field")),
    ],
)
def test_a_value_that_will_not_do_is_named(
    root: Api, kind: str, changes: dict[str, Any], fault: tuple[str, str]
) -> None:
    answer = send(root, body_of(root, kind, **changes))
    problem_of(answer, status=422, code="validation_failed")
    assert faults(answer) == {fault}


def test_all_faults_are_told_at_once(root: Api) -> None:
    answer = send(root, body_of(root, "transfer", amount=1.5, source=..., what=1, reference=5))
    assert faults(answer) == {
        ("/amount", "invalid"),
        ("/source", "required"),
        ("/what", "unknown_field"),
        ("/reference", "invalid"),
    }


@pytest.mark.parametrize("body", ["[]", "[{}]", '"transfer"', "null", "5", "1.5", "true", ""])
@pytest.mark.parametrize("path", ["transactions", "accounts"])
def test_a_body_that_is_not_an_object_is_refused(root: Api, path: str, body: str) -> None:
    with nothing_written():
        answer = root.post(path, body, key="key")
    problem_of(answer, status=422, code="validation_failed")


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "{'a': 1}",
        '{"a": 1,}',
        "x",
        '{"type": "deposit", "type": "transfer"}',
        b"\xff",
        "\ufeff{}",
    ],
)
@pytest.mark.parametrize("path", ["transactions", "accounts"])
def test_a_body_that_is_not_json_is_malformed(root: Api, path: str, body: Any) -> None:
    with nothing_written():
        problem_of(root.post(path, body, key="key"), status=400, code="malformed_json")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"]
)
def test_another_media_type_is_refused(root: Api, content_type: str) -> None:
    body = json.dumps(body_of(root, "deposit"))
    with nothing_written():
        answer = root.post("transactions", body, key="key", content_type=content_type)
    problem_of(answer, status=415, code="unsupported_media_type")


@pytest.mark.parametrize("path", ["accounts", "transactions"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH"])
def test_another_method_is_refused(root: Api, path: str, method: str) -> None:
    answer = root.call(method, path, {})
    problem_of(answer, status=405, code="method_not_allowed")
    assert set(answer["Allow"].split(", ")) == {"GET", "POST", "HEAD", "OPTIONS"}
