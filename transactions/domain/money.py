"""Money: integers of minor units in a currency of ISO 4217. Floats never come near it."""

from eventstore.errors import InvalidInput

AMOUNT_MAX = 10**15
# What a balance may grow to, in either direction: inside a signed 64-bit column, with room for
# the sums that a constraint of the database makes.
BALANCE_MAX = 4 * 10**18

# ISO 4217, list one, without the codes for testing and for no currency: minor units to codes.
_CODES_BY_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP"
        " BYN BZD CAD CDF CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD"
        " FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD"
        " KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD"
        " NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP"
        " SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED"
        " VES WST XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
DIGITS = {code: digits for digits, codes in _CODES_BY_DIGITS.items() for code in codes.split()}


class AmountOutOfRange(InvalidInput):
    """An amount is not between 1 and 10^15 minor units."""

    code = "amount_out_of_range"


class UnknownCurrency(InvalidInput):
    """A currency is not a code of ISO 4217."""

    code = "unknown_currency"


def check_amount(amount: int, *, pointer: str = "/amount") -> None:
    """Raise `AmountOutOfRange` unless `amount` is from 1 to 10^15 minor units."""
    if not 1 <= amount <= AMOUNT_MAX:
        detail = f"An amount is a whole number of minor units from 1 to {AMOUNT_MAX}."
        raise AmountOutOfRange(
            detail, errors=[{"pointer": pointer, "code": AmountOutOfRange.code, "detail": detail}]
        )


def check_currency(currency: str, *, pointer: str = "/currency") -> None:
    """Raise `UnknownCurrency` unless `currency` is a code of ISO 4217 such as `EUR`."""
    if currency not in DIGITS:
        detail = "A currency is a code of ISO 4217 in capital letters, such as EUR."
        raise UnknownCurrency(
            detail, errors=[{"pointer": pointer, "code": UnknownCurrency.code, "detail": detail}]
        )


def display(amount: int, currency: str) -> str:
    """Return `amount` minor units as people write it: 1250 EUR is `12.50`, 1250 JPY is `1250`."""
    digits = DIGITS[currency]
    sign = "-" if amount < 0 else ""
    whole, minor = divmod(abs(amount), 10**digits)
    return f"{sign}{whole}.{minor:0{digits}}" if digits else f"{sign}{whole}"
