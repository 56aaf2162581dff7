"""What the views of the ledger share on the way back: bytes as stored, and how old a read is."""

from django.http import HttpResponse
from rest_framework.response import Response as DRFResponse

from eventstore import queries as log
from eventstore.clock import utc_now
from eventstore.messages import Outcome, Response

LAG_HEADER = "X-Read-Lag-Seconds"
REPLAYED_HEADER = "Idempotent-Replayed"


def answer(response: Response, *, replayed: bool = False) -> HttpResponse:
    """Return `response` as Django's, byte for byte."""
    answered = HttpResponse(response.body, status=response.status, headers=dict(response.headers))
    if replayed:
        answered[REPLAYED_HEADER] = "true"
    return answered


def answer_outcome(outcome: Outcome, *, otherwise: Response | None = None) -> HttpResponse:
    """Return what was stored for `outcome`, or `otherwise` where it carried no key."""
    response = outcome.response or otherwise
    if response is None:
        raise ValueError("an outcome without a key needs an answer")
    return answer(response, replayed=outcome.replayed)


def with_lag(response: DRFResponse, lag_s: float) -> DRFResponse:
    """Say in a header how old a read may be, when it is more than a second."""
    if lag_s > 1:
        response[LAG_HEADER] = f"{lag_s:.1f}"
    return response


def lane_lag_s(lane: str) -> float:
    """Return how far, in seconds, the read model of `lane` is behind what was committed."""
    now = utc_now()
    return max(log.lag_s(log.checkpoints().get(lane, 0), now=now), log_lag_s())


def log_lag_s() -> float:
    """Return the age, in seconds, of the oldest event that has no position yet."""
    return log.log_status().oldest_unsequenced_s
