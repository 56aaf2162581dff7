"""Checks of configuration values: each refusal names the value and says what would do."""

import math


def at_least(minimum: int, **values: int) -> None:
    """Raise `ValueError` unless each value is a whole number of at least `minimum`."""
    for name, value in values.items():
        if not isinstance(value, int) or value < minimum:
            raise ValueError(f"{name}={value!r} will not do: give a whole number >= {minimum}.")


def seconds(**values: float) -> None:
    """Raise `ValueError` unless each value is a finite number of seconds above 0."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name}={value!r} will not do: give seconds above 0, such as 1.5.")


def seconds_or_zero(**values: float) -> None:
    """Raise `ValueError` unless each value is a finite number of seconds, 0 or more."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"{name}={value!r} will not do: give seconds, 0 or more.")


def rate(**values: float) -> None:
    """Raise `ValueError` unless each value is a fraction above 0 and at most 1."""
    for name, value in values.items():
        if not 0 < value <= 1:
            raise ValueError(
                f"{name}={value!r} will not do: give a fraction above 0 and up to 1, such as 0.5."
            )
