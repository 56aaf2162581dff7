"""What is wrong with a batch of movements, told by the place of the item."""

from collections.abc import Sequence

from eventstore.errors import PlatformError

Faults = list[dict[str, str]]


class BatchRefused(PlatformError):
    """One item of an atomic batch may not be done, so nothing of the batch was.

    Args:
        index: of the item, from 0.
        code: for which reason.
        detail: the same, as a sentence.
        errors: what is wrong within the item, with pointers into it.
    """

    code = "batch_refused"

    def __init__(self, index: int, *, code: str, detail: str, errors: Sequence[dict[str, str]]):
        item = {"pointer": item_pointer(index), "code": code, "detail": detail}
        super().__init__(
            f"Nothing was done, because of item {index} (the first is 0): {detail}",
            index=index,
            cause=code,
            errors=[item, *placed(errors, index)],
        )


def item_pointer(index: int) -> str:
    """Return the JSON pointer to an item of a batch."""
    return f"/transactions/{index}"


def placed(errors: Sequence[dict[str, str]], index: int) -> Faults:
    """Return `errors` with pointers into the whole batch, instead of into the item."""
    return [
        {**each, "pointer": item_pointer(index) + each["pointer"]} if "pointer" in each else each
        for each in errors
    ]
