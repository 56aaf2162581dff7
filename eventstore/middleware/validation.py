"""Refuse commands that cannot be right, before anything is locked."""

from collections.abc import Sequence

from eventstore.bus import Execute
from eventstore.errors import PlatformError
from eventstore.messages import Envelope, Outcome
from eventstore.middleware import proceed_without


def validation(proceed: Execute) -> Execute:
    """Ask each command to validate itself."""

    def execute(batch: Sequence[Envelope]) -> list[Outcome]:
        refused: dict[int, Outcome] = {}
        for index, envelope in enumerate(batch):
            try:
                envelope.command.validate()
            except PlatformError as error:
                refused[index] = Outcome(error=error)
        return proceed_without(refused, batch, proceed)

    return execute
