"""Bars are issued again from their trades: late ones among them, corrected ones at their new price, cancelled ones left out.

What a bar says again is a function of the log up to the record that asked for it: trades, corrections and earlier revisions
are those made at or before that record's offset, wherever they are found, here or in the database. So any split of the log,
any restart and any replay make the same rows.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from processors.bar_kernel import FOR_CORRECTION
from processors.bars import BY_TIME, REASONS, BarKind, ClosedBars
from processors.batch import Integers
from processors.revision import ISSUED, Lines, fixed, numbers_of, stamps_of, without_copies
from processors.shard import ShardOutput
from streams.ports import Meter, TradeHistory
from streams.recent import Recent

MOST_KEPT: Final = 65_536
"""Trades of a partition that are kept after they are stored, so that few revisions ask the database."""
STAGE: Final = "tickwire_score_stage_seconds"


@dataclass(frozen=True, slots=True, order=True)
class _Bar:
    """Which bar, and at which event it is asked for."""

    event: int
    row: int
    kind: int
    start: int
    end: int
    corrects: bool
    """Only where the bar was issued before: else it is still open."""
    partial: bool
    gap_ms: int


@dataclass(slots=True)
class _Known:
    """All that the bars of one output need."""

    trades: Lines
    """By symbol and time."""
    row: Integers
    ts: Integers
    fixes: Lines
    numbered: Lines
    issued: dict[tuple[int, int, int], list[Any]]
    """(row, kind, start) to its revisions, in log order."""


@dataclass(slots=True)
class Reviser:
    """Adds the revisions that an output asks for to its bars.

    stored: partition to the offset up to which everything is surely in `history`, -1 where nothing is.
    """

    kinds: Sequence[BarKind]
    history: TradeHistory
    stored: Callable[[int], int]
    meter: Meter
    most_kept: int = MOST_KEPT
    _recent: dict[int, Recent] = field(default_factory=dict)

    def __call__(self, output: ShardOutput) -> ShardOutput:
        """The output with its revisions; outputs of a partition come in log order."""
        offsets = output.stretch.offsets
        if not len(offsets):
            return output
        recent = self._recent.get(output.partition)
        if recent is None:
            by = np.array([kind.by for kind in self.kinds])
            recent = self._recent[output.partition] = Recent(by, _first_offset(output))
        recent.take(output)
        if len(output.requests):
            revised = _Revising(self, output, recent).bars()
            if len(revised):
                recent.note(revised, offsets)
                for reason in revised.reason.tolist():
                    self.meter.count("tickwire_score_revisions_total", reason=REASONS[reason])
                output = replace(output, bars=_merged(output.bars, revised))
        recent.trim(self.most_kept, self.stored(output.partition))
        return output


def _first_offset(output: ShardOutput) -> int:
    """Of the stretch, with what was rejected of it."""
    return min([int(output.stretch.offsets[0]), *(letter.offset for letter in output.stretch.rejected)])


def _merged(closed: ClosedBars, revised: ClosedBars) -> ClosedBars:
    """By event; what the fold closed comes before what was issued again."""
    order = np.argsort(np.concatenate([closed.event, revised.event]), kind="stable")
    return ClosedBars(
        *(np.concatenate([getattr(closed, name), getattr(revised, name)])[order] for name in ClosedBars.__slots__)
    )


@dataclass(slots=True)
class _Revising:
    """The revisions of one output."""

    of: Reviser
    output: ShardOutput
    recent: Recent

    def bars(self) -> ClosedBars:
        """In the order of the events that asked for them."""
        wanted = sorted({*self._asked(), *self._corrected()})
        made: list[tuple[_Bar, Any, Lines, Integers, int]] = []
        if wanted:
            known = self._gather(wanted)
            for bar in wanted:
                self._issue(bar, known, made)
        return _closed_bars(made)

    def _asked(self) -> Iterable[_Bar]:
        """Bars that were asked for by name."""
        r = self.output.requests
        for i in np.flatnonzero(r.why != FOR_CORRECTION).tolist():
            stamps = (int(r.start[i]), int(r.end[i]))
            yield _Bar(
                int(r.event[i]), int(r.row[i]), int(r.kind[i]), *stamps, False, bool(r.partial[i]), int(r.gap_ms[i])
            )

    def _corrected(self) -> Iterable[_Bar]:
        """Time bars that hold the trades that corrections refer to."""
        requests, offsets = self.output.requests, self.output.stretch.offsets
        events = requests.event[requests.why == FOR_CORRECTION]
        if not len(events):
            return
        fixes = self.recent.fixes.kept
        fixes = fixes[np.isin(fixes["offset"], offsets[events])]
        numbered = self._numbered(fixes)
        for event, fix in zip(events.tolist(), fixes, strict=True):
            same = numbered[(numbered["row"] == fix["row"]) & (numbered["seq"] == fix["refers"])]
            same = same["ts"][(same["ts"] <= fix["ts"]) & (same["offset"] <= fix["offset"])]
            if len(same):
                for number, kind in enumerate(self.of.kinds):
                    if kind.by == BY_TIME:
                        width = round(kind.size)
                        start = int(same.max()) // width * width
                        yield _Bar(event, int(fix["row"]), number, start, start + width, True, False, 0)

    def _gather(self, wanted: Sequence[_Bar]) -> _Known:
        concerned = np.zeros(len(self.output.names), np.bool_)
        concerned[[bar.row for bar in wanted]] = True
        low, high = min(bar.start for bar in wanted), max(bar.end for bar in wanted)
        trades, fixes = self.recent.trades.kept, self.recent.fixes.kept
        trades = trades[concerned[trades["row"]]]
        trades = trades[(trades["ts"] >= low) & (trades["ts"] < high)]
        fixes = fixes[concerned[fixes["row"]] & (fixes["ts"] >= low)]
        issued = self._issued(wanted)
        older = [bar for bar in wanted if bar.start <= self.recent.horizon(np.array([bar.row]))[0]]
        if older:
            more_trades, more_fixes = self._older(older, issued)
            trades, fixes = np.concatenate([more_trades, trades]), np.concatenate([more_fixes, fixes])
        trades = trades[np.lexsort((trades["ts"], trades["row"]))]
        fixes = fixes[np.isin(fixes["refers"], trades["seq"])]
        fixes = fixes[np.argsort(fixes["offset"], kind="stable")]
        row, ts = np.ascontiguousarray(trades["row"]), np.ascontiguousarray(trades["ts"])
        return _Known(trades, row, ts, fixes, self._numbered(fixes), issued)

    def _issued(self, wanted: Sequence[_Bar]) -> dict[tuple[int, int, int], list[Any]]:
        issued: dict[tuple[int, int, int], list[Any]] = {(bar.row, bar.kind, bar.start): [] for bar in wanted}
        lines = self.recent.issued.kept
        lines = lines[np.isin(lines["start"], [bar.start for bar in wanted])]
        for line in lines:
            key = (int(line["row"]), int(line["kind"]), int(line["start"]))
            if key in issued:
                issued[key].append(line)
        return issued

    def _older(self, bars: Sequence[_Bar], issued: dict[tuple[int, int, int], list[Any]]) -> tuple[Lines, Lines]:
        """What of these bars is no longer here, or never was."""
        partition, below, names = self.output.partition, self.recent.floor, self.output.names
        rows = sorted({bar.row for bar in bars})
        at, symbols = {row: i for i, row in enumerate(rows)}, [names[row] for row in rows]
        keys = sorted({(bar.row, bar.kind, bar.start) for bar in bars})
        named = [(at[row], self.of.kinds[kind].name, start) for row, kind, start in keys]
        spans = [(at[row], start, end) for row, start, end in _joined_spans(bars)]
        trades, fixes, newest = self.of.history.spans(partition, below, symbols, spans)
        for row, stamp in zip(rows, newest, strict=True):
            self.recent.learn(row, stamp)
        for line in self.of.history.issued(partition, below, symbols, named):
            issued[keys[int(line["kind"])]].insert(0, line)
        for lines in (trades, fixes):
            lines["row"] = np.array(rows, np.int32)[lines["row"]]
        return trades, fixes

    def _numbered(self, fixes: Lines) -> Lines:
        """Trades, of any time, that have a number that a fix refers to."""
        trades = self.recent.trades.kept
        trades = trades[np.isin(trades["seq"], fixes["refers"])]
        elsewhere = sorted({(int(fix["row"]), int(fix["refers"])) for fix in fixes if not self._is_here(fix, trades)})
        if not elsewhere or self.recent.floor == 0:
            return trades
        rows = sorted({row for row, _ in elsewhere})
        at, symbols = {row: i for i, row in enumerate(rows)}, [self.output.names[row] for row in rows]
        found = self.of.history.numbered(
            self.output.partition, self.recent.floor, symbols, [(at[row], seq) for row, seq in elsewhere]
        )
        found["row"] = np.array(rows, np.int32)[found["row"]]
        return np.concatenate([found, trades])

    def _is_here(self, fix: Any, trades: Lines) -> bool:
        """Whether the trade that the fix means is among these, whatever else the database may have."""
        same = trades["ts"][
            (trades["row"] == fix["row"]) & (trades["seq"] == fix["refers"]) & (trades["ts"] <= fix["ts"])
        ]
        return bool(len(same)) and int(same.max()) > int(self.recent.horizon(np.array([fix["row"]]))[0])

    def _issue(self, bar: _Bar, known: _Known, made: list[tuple[_Bar, Any, Lines, Integers, int]]) -> None:
        """Make the bar as of its event, unless it would say what its newest revision says."""
        offset = int(self.output.stretch.offsets[bar.event])
        revisions = known.issued[bar.row, bar.kind, bar.start]
        before = [line for line in revisions if line["offset"] <= offset]
        if bar.corrects and not before:
            return
        trades, reason = self._trades(bar, known, offset)
        line = np.zeros((), ISSUED)
        line["row"], line["kind"], line["start"], line["offset"] = bar.row, bar.kind, bar.start, offset
        line["n_trades"], line["partial"], line["gap_ms"] = len(trades), bar.partial, bar.gap_ms
        if before:
            for name in ("partial", "gap_ms"):
                line[name] = before[-1][name]
            line["rev"] = before[-1]["rev"] + 1
        if len(trades):
            line["numbers"] = numbers_of(trades)
            stamps = stamps_of(trades, bar.start, bar.end)
        elif before:  # all taken back: prices of the last revision, so that none is NaN, and no trade
            line["numbers"][:4] = before[-1]["numbers"][:4]
            stamps = np.array([bar.start, bar.end, 0, -1, -1, -1, -1, 0], np.int64)
        if _says_the_same(line, before[-1]) if before else not len(trades):
            return
        revisions.insert(len(before), line)
        made.append((bar, line, trades, stamps, reason))

    def _trades(self, bar: _Bar, known: _Known, offset: int) -> tuple[Lines, int]:
        """Of the bar, in order of arrival, as the venue has them; and why it is issued."""
        first, last = np.searchsorted(known.row, [bar.row, bar.row + 1])
        low, high = first + np.searchsorted(known.ts[first:last], [bar.start, bar.end])
        trades = known.trades[low:high]
        trades = without_copies(trades[trades["offset"] <= offset])
        fixes = known.fixes[(known.fixes["row"] == bar.row) & (known.fixes["offset"] <= offset)]
        fixes = fixes[np.isin(fixes["refers"], trades["seq"])]
        numbered = known.numbered[(known.numbered["row"] == bar.row) & (known.numbered["offset"] <= offset)]
        return fixed(trades, fixes, numbered)


def _says_the_same(line: Any, before: Any) -> bool:
    return bool(line["n_trades"] == before["n_trades"]) and line["numbers"].tobytes() == before["numbers"].tobytes()


def _joined_spans(bars: Sequence[_Bar]) -> list[tuple[int, int, int]]:
    """(row, start, end) of all bars, overlapping ones as one."""
    joined: list[tuple[int, int, int]] = []
    for row, start, end in sorted({(bar.row, bar.start, bar.end) for bar in bars}):
        if joined and joined[-1][0] == row and start <= joined[-1][2]:
            joined[-1] = (row, joined[-1][1], max(end, joined[-1][2]))
        else:
            joined.append((row, start, end))
    return joined


def _closed_bars(made: Sequence[tuple[_Bar, Any, Lines, Integers, int]]) -> ClosedBars:
    lines = np.array([line for _, line, *_ in made], ISSUED)
    stamps = np.array([each[3] for each in made], np.int64).reshape(-1, 8)
    return ClosedBars(
        event=np.array([bar.event for bar, *_ in made], np.int64), row=lines["row"].astype(np.int64),
        kind=lines["kind"].astype(np.int64), numbers=lines["numbers"].reshape(-1, 6), stamps=stamps,
        partial=lines["partial"], gap_ms=lines["gap_ms"], rev=lines["rev"],
        reason=np.array([each[4] for each in made], np.int64),
    )  # fmt: skip
