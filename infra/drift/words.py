"""What the drift watch says, for people who read logs."""

import structlog

from models.retraining import reason_of
from schemas.drift import Declined, DriftEvent, Fall, RetrainOrder, Verdict


def tell(event: DriftEvent) -> None:
    """One line, with the evidence."""
    structlog.get_logger().info(_headline(event), **_evidence(event))


def _headline(event: DriftEvent) -> str:
    if isinstance(event, RetrainOrder):
        return "training ordered"
    if isinstance(event, Declined):
        return "no training"
    if isinstance(event, Verdict):
        return f"challenger: {event.kind}"
    return "scoreboard has fallen" if isinstance(event, Fall) else "drift"


def _evidence(event: DriftEvent) -> dict[str, object]:
    if isinstance(event, RetrainOrder | Declined):
        return {"model": event.model, "reasons": event.reasons, "why": getattr(event, "why", "")}
    if isinstance(event, Verdict):
        return {"challenger": event.challenger, "gain": event.gain, "low": event.low, "high": event.high}
    return {"model": event.model, "reason": reason_of(event)}
