"""A rule over what is on the log, through the fold that live runs: as if it had been added right before the stretch."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import nsmallest

from processors.columns import LogStretch
from processors.rules import Standing
from processors.shard import Shard
from schemas.backtest import MOST_ALERTS, Backtest
from schemas.rows import Alert
from schemas.rules import Rule, plain
from streams.model_runs import ModelRuns
from streams.rule_rows import alerts_of
from streams.verify import cut, span_of


@dataclass
class Trial:
    """A rule and how it does, partition after partition. `go_on`: asked before each stretch, told how many records it has."""

    rule: Rule
    log_id: str
    go_on: Callable[[int], bool] = lambda _: True
    alerts: list[Alert] = field(default_factory=list)
    """The first by time, less than twice `MOST_ALERTS` of them."""
    by_symbol: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)
    records: int = 0
    complete: bool = True

    def fold(
        self, shard: Shard, stretches: Iterable[LogStretch], span: tuple[int, int], models: ModelRuns | None = None
    ) -> None:
        """Judge the offsets `span` of a partition. stretches: its log from the first record on, to the end of the span.

        models: who scored live; None where the rule does not look at scores, and the shard need not know them.
        """
        as_it_is, unheld = Standing(self.rule), Standing(plain(self.rule))
        begin, end = span
        reached = begin
        shard.alerting.fixed = True
        if models is not None:
            shard.scoring.load = models.named
        for stretch in cut(stretches, sorted({begin, *(models.cuts if models else ())})):
            first, behind, records = span_of(stretch)
            if not self.go_on(records):
                self.complete = False
                break
            if first >= begin and not shard.alerting.standing:
                shard.alerting.stand([as_it_is, unheld], shard.symbols)
            if models is not None and shard.scoring.roster.served.onnx != models.at(first).run.onnx_id:
                shard.scoring.onnx = models.at(first).model
            output = shard.advance(stretch)
            for raised, alert in zip(output.alerts, alerts_of(self.log_id, output), strict=True):
                self._take(alert, counted=raised.standing is as_it_is)
            self.records += records
            reached = max(reached, behind)
        else:
            reached = end
        self.ranges[str(shard.partition)] = (begin, min(reached, end))

    def _take(self, alert: Alert, *, counted: bool) -> None:
        if not counted:
            self.counts["plain"] += alert.state == "fired"
            return
        self.counts[alert.state] += 1
        self.by_symbol[alert.symbol] += alert.state == "fired"
        self.alerts.append(alert)
        if len(self.alerts) >= 2 * MOST_ALERTS:
            self.alerts = self._first_alerts()

    def _first_alerts(self) -> list[Alert]:
        return nsmallest(MOST_ALERTS, self.alerts, lambda each: (each.ts_event, each.src_partition, each.src_offset))

    def result(self, seconds: float, notes: Iterable[str]) -> Backtest:
        """What is told of it."""
        by_symbol: Mapping[str, int] = {name: n for name, n in self.by_symbol.most_common() if n}
        return Backtest(
            rule=self.rule, fired=self.counts["fired"], cleared=self.counts["cleared"],
            plain_fired=self.counts["plain"], by_symbol=by_symbol, alerts=self._first_alerts(), log_id=self.log_id,
            ranges=self.ranges, records=self.records, seconds=round(seconds, 3), complete=self.complete,
            notes=tuple(notes),
        )  # fmt: skip
