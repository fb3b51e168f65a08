from math import inf

from schemas.rows import Latest
from streams.newest import NewestRows
from tests.fakes import DictLatest, NoMeter
from tests.services.processes import until


def row(symbol: str, offset: int, log_id: str = "log", partition: int = 0) -> Latest:
    return Latest(
        symbol=symbol, ts_event=1, ts_ingest=2, log_id=log_id, src_partition=partition, src_offset=offset, price=1.0, bid=None,
        ask=None, p_up=None, champion="online", online=None, onnx=None, features_id="f", features={},
    )  # fmt: skip


def test_a_row_that_is_overtaken_before_it_is_time_to_write_is_never_written() -> None:
    store = DictLatest()
    newest = NewestRows(store, NoMeter(), every_s=inf)
    newest.add([row("A", 1), row("B", 2)])
    newest.add([row("A", 3)])
    newest.tend()
    assert store.kept == {}
    newest.flush()
    assert {symbol: each.src_offset for symbol, each in store.kept.items()} == {"A": 3, "B": 2}


def test_when_it_is_time_rows_are_written_as_they_come() -> None:
    store = DictLatest()
    newest = NewestRows(store, NoMeter(), every_s=0)
    newest.add([row("A", 1)])
    assert store.kept["A"].src_offset == 1
    newest.add([row("A", 2)])
    assert store.kept["A"].src_offset == 2


def test_what_is_written_is_not_written_again() -> None:
    store = DictLatest()
    newest = NewestRows(store, NoMeter(), every_s=0)
    newest.add([row("A", 1)])
    store.kept.clear()
    newest.tend()
    newest.flush()
    assert store.kept == {}


def test_a_store_that_has_forgotten_is_told_everything_again_also_of_symbols_that_no_longer_trade() -> None:
    store = DictLatest()
    newest = NewestRows(store, NoMeter(), every_s=0, look_every_s=0)
    newest.add([row("IDLE", 1), row("A", 2)])
    store.lose()
    newest.add([row("A", 3)])
    assert {symbol: each.src_offset for symbol, each in store.kept.items()} == {"IDLE": 1, "A": 3}


def test_what_a_process_before_had_told_is_told_again_to_a_store_that_forgot_it_later() -> None:
    store = DictLatest()
    store.write([row("MINE", 1), row("OTHER LOG", 1, log_id="old"), row("OTHER PROCESS", 1, partition=7)])
    newest = NewestRows(store, NoMeter(), every_s=0, look_every_s=0)
    newest.remember("log", [0, 1])
    newest.tend()
    store.lose()
    newest.tend()
    assert list(store.kept) == ["MINE"]


def test_while_the_store_is_away_nothing_waits_for_it_and_then_it_has_the_newest() -> None:
    store = DictLatest(away=True)
    newest = NewestRows(store, NoMeter(), every_s=0, try_every_s=0.01)
    newest.add([row("A", 1), row("B", 2)])
    calls = store.calls
    newest.add([row("A", 3)])
    newest.flush()
    assert store.kept == {}
    assert calls >= 1
    store.away = False
    until(
        "rows in the store", lambda: {s: r.src_offset for s, r in store.kept.items()} == {"A": 3, "B": 2}, within_s=30
    )
    store.lose()
    until("rows as they come", lambda: newest.add([row("A", 4)]) or "A" in store.kept, within_s=30)


def test_a_store_that_is_away_at_the_start_is_tried_until_it_is_there() -> None:
    store = DictLatest(away=True)
    newest = NewestRows(store, NoMeter(), every_s=0, try_every_s=0.01)
    newest.remember("log", [0])
    newest.add([row("A", 1)])
    store.away = False
    until("the row in the store", lambda: "A" in store.kept, within_s=30)
