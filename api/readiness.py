"""Whether everything behind the API works, and with what."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from api.blocking import Blocking
from api.ports import Ports
from api.problems import FieldError
from api.times import NS
from schemas.errors import TickwireError
from schemas.rows import READY_LAG, ScoreStatus

MAX_STATUS_AGE_S: Final = 10


@dataclass
class Report:
    """What was found; ready where there are no reasons against it."""

    scores: Sequence[ScoreStatus] = ()
    reasons: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def lag(self) -> int:
        """Records that wait, over all partitions."""
        return sum(sum(status.lag.values()) for status in self.scores)

    def against(self, where: str, message: str) -> None:
        """One reason why we are not ready."""
        self.reasons.append(FieldError(where=where, message=message))


class Readiness:
    """Asks every port; what does not answer is a reason, not an error."""

    def __init__(self, ports: Ports) -> None:
        self._ports, self._blocking = ports, Blocking()

    async def check(self) -> Report:
        """The report of this moment."""
        return await self._blocking.call(self._check)

    def _check(self) -> Report:
        report = Report()
        try:
            self._ports.history.ping()
        except TickwireError as error:
            report.against("clickhouse", f"ClickHouse: {error}")
        try:
            report.scores = self._ports.status.scores()
        except TickwireError as error:
            report.against("redis", f"Redis: {error}")
        else:
            self._judge(report)
        return report

    def _judge(self, report: Report) -> None:
        if not report.scores:
            report.against("score", "no scoring process says that it is alive; start one, or wait for its first status")
        now = self._ports.now_ns()
        for status in report.scores:
            age_s = (now - status.ts) / NS
            if age_s > MAX_STATUS_AGE_S:
                report.against(f"score.{status.group}", f"{status.group} has said nothing for {age_s:.0f} s")
            if not status.models:
                report.against(f"score.{status.group}.models", f"{status.group} has no model yet")
            report.warnings += [f"the feed of {feed.venue} is down" for feed in status.feeds if feed.state == "down"]
        if report.lag > READY_LAG:
            report.against("lag", f"{report.lag} records wait to be scored; ready at {READY_LAG} or fewer")
