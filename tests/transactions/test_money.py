"""Amounts and currencies."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transactions.domain.money import (
    AMOUNT_MAX,
    DIGITS,
    AmountOutOfRange,
    UnknownCurrency,
    check_amount,
    check_currency,
    display,
)


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1250, "EUR", "12.50"),
        (5, "EUR", "0.05"),
        (0, "EUR", "0.00"),
        (-1, "EUR", "-0.01"),
        (-1250, "EUR", "-12.50"),
        (1250, "JPY", "1250"),
        (-7, "JPY", "-7"),
        (0, "JPY", "0"),
        (1250, "KWD", "1.250"),
        (-9, "BHD", "-0.009"),
        (1250, "CLF", "0.1250"),
        (-123456, "UYW", "-12.3456"),
        (AMOUNT_MAX, "EUR", "10000000000000.00"),
    ],
)
def test_an_amount_is_shown_with_the_digits_of_its_currency(
    amount: int, currency: str, text: str
) -> None:
    assert display(amount, currency) == text


@given(amount=st.integers(-(10**19), 10**19), currency=st.sampled_from(sorted(DIGITS)))
def test_what_is_shown_is_exactly_the_amount(amount: int, currency: str) -> None:
    text = display(amount, currency)
    assert Decimal(text).scaleb(DIGITS[currency]) == amount
    assert len(text.partition(".")[2]) == DIGITS[currency]


def test_the_table_of_currencies_is_that_of_iso_4217() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in DIGITS)
    assert {DIGITS[code] for code in ("EUR", "USD", "GBP", "CHF", "CNY", "XCG", "ZWG")} == {2}
    assert {DIGITS[code] for code in ("JPY", "KRW", "ISK", "XAF", "UYI", "VND")} == {0}
    assert {DIGITS[code] for code in ("KWD", "BHD", "OMR", "TND", "JOD", "IQD", "LYD")} == {3}
    assert {code for code, digits in DIGITS.items() if digits == 4} == {"CLF", "UYW"}
    # For testing, for no currency, metals, withdrawn.
    assert not {"XTS", "XXX", "XAU", "XDR", "HRK", "DEM", "ZWL"} & DIGITS.keys()


def test_no_code_stands_in_two_rows_of_the_table() -> None:
    from transactions.domain import money

    codes = [code for row in money._CODES_BY_DIGITS.values() for code in row.split()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("amount", [1, 2, AMOUNT_MAX - 1, AMOUNT_MAX])
def test_an_amount_in_range_is_accepted(amount: int) -> None:
    check_amount(amount)


@pytest.mark.parametrize("amount", [0, -1, AMOUNT_MAX + 1, -AMOUNT_MAX, 10**4000])
def test_an_amount_out_of_range_is_refused(amount: int) -> None:
    with pytest.raises(AmountOutOfRange) as refused:
        check_amount(amount)
    assert refused.value.extra["errors"][0]["pointer"] == "/amount"


@pytest.mark.parametrize("code", ["", "eur", "EURO", "EU", "XXX", " EUR", "EUR\n", "\u0415UR"])
def test_an_unknown_currency_is_refused(code: str) -> None:
    with pytest.raises(UnknownCurrency):
        check_currency(code)
