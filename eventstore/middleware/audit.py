"""Log every command: who asked for what, and what became of it. Never its contents.

What was executed stands in the log of events already, with actor and request, so that line is for
debugging; what was refused or failed has left no event, or needs a look.
"""

import logging
from collections.abc import Sequence

from eventstore.bus import Execute
from eventstore.messages import Envelope, Outcome

logger = logging.getLogger("eventstore.audit")


def audit(proceed: Execute) -> Execute:
    """Write one line a command once its fate is known.

    Of a batch that fails unexpectedly nothing is written: the bus executes each command alone.
    """

    def execute(batch: Sequence[Envelope]) -> list[Outcome]:
        try:
            outcomes = proceed(batch)
        except Exception as error:
            if len(batch) == 1:
                _log(batch[0], type(error).__name__)
            raise
        tells_all = logger.isEnabledFor(logging.DEBUG)
        for envelope, outcome in zip(batch, outcomes, strict=True):
            if outcome.error is not None:
                _log(envelope, outcome.error.code)
            elif tells_all:
                _log(envelope, "replayed" if outcome.replayed else "executed", logging.DEBUG)
        return outcomes

    return execute


def _log(envelope: Envelope, fate: str, level: int = logging.INFO) -> None:
    logger.log(
        level,
        "%s %s",
        type(envelope.command).__name__,
        fate,
        extra={
            "actor": str(envelope.context.actor) if envelope.context.actor else None,
            "request_id": envelope.context.request_id,
        },
    )
