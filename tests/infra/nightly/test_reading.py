"""A night, or a back-test, while the topic's retention moves on: what the topic has no more by then comes from the archive."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest

from infra import backtest
from infra.backtest import _Backtesting
from infra.nightly import reading
from infra.nightly.reading import Reading, Spent
from infra.settings import Kafka, Settings
from processors.columns import LogStretch
from schemas.errors import LogError
from tests.infra.test_moving_retention import Archive, Topic

LOG = SimpleNamespace(log_id="log")
SETTINGS = Settings(kafka=Kafka(bootstrap="127.0.0.1:1", partitions=1))
Stretches = Callable[[int, int], Iterator[LogStretch]]


def of_a_night() -> Stretches:
    work: Any = SimpleNamespace(settings=SETTINGS, plan=LOG, events=None, accept_loss=False)
    return lambda first, end: Reading(work, Spent()).stretches(0, first, end)


def of_a_back_test() -> Stretches:
    """Which had asked once when it began, as the topic had everything."""
    found: Any = _Backtesting.__new__(_Backtesting)
    found.settings, found.log, found.held = SETTINGS, LOG, {0: (0, 100)}
    return lambda first, end: found._stretches(0, first, end)


@pytest.fixture(params=[of_a_night, of_a_back_test])
def stretches(request: pytest.FixtureRequest) -> Stretches:
    made: Stretches = request.param()
    return made


def offsets(stretches: Stretches, archive: Archive, topic: Topic, monkeypatch: pytest.MonkeyPatch) -> Sequence[int]:
    for module in (reading, backtest):
        monkeypatch.setattr(module, "spans", lambda *_: topic.ends(), raising=False)
        monkeypatch.setattr(module, "archive_of", lambda *_: nullcontext(archive))
    monkeypatch.setattr(reading, "all_logs", lambda _: [LOG])
    monkeypatch.setattr(reading, "reader_of", lambda *_: topic)
    return [offset for each in stretches(0, 100) for offset in each.offsets.tolist()]


@pytest.mark.parametrize("lows", [[0], [0, 40], [0, 40, 55, 70], [0, 100]])
def test_it_reads_the_archive_until_the_topic_begins_where_it_is(
    stretches: Stretches, lows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, topic = Archive(holds=100), Topic(list(lows))
    assert offsets(stretches, archive, topic, monkeypatch) == list(range(100))
    assert topic.opened == ([lows[-1]] if lows[-1] < 100 else [])
    assert archive.read_from == list(pairwise(lows))


def test_what_nobody_has_is_refused_and_not_jumped_over(stretches: Stretches, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LogError, match=r"found none of 10 \(offsets 30-39\)"):
        offsets(stretches, Archive(holds=30), Topic([0, 40]), monkeypatch)
