from math import inf

from schemas.rows import Latest
from streams.newest import NewestRows
from tests.fakes import DictLatest, NoMeter


def row(symbol: str, offset: int) -> Latest:
    return Latest(
        symbol=symbol, ts_event=1, ts_ingest=2, log_id="log", src_partition=0, src_offset=offset, price=1.0, bid=None,
        ask=None, p_up=None, champion="online", online=None, onnx=None, features_id="f", features={},
    )  # fmt: skip


def test_a_row_that_is_overtaken_before_it_is_time_to_write_is_never_written() -> None:
    store = DictLatest()
    newest = NewestRows(store, NoMeter(), every_s=inf)
    newest.add([row("A", 1), row("B", 2)])
    newest.add([row("A", 3)])
    newest.tend()
    assert store.rows == {}
    newest.flush()
    assert {symbol: each.src_offset for symbol, each in store.rows.items()} == {"A": 3, "B": 2}


def test_when_it_is_time_rows_are_written_as_they_come() -> None:
    store = DictLatest()
    newest = NewestRows(store, NoMeter(), every_s=0)
    newest.add([row("A", 1)])
    assert store.rows["A"].src_offset == 1
    newest.add([row("A", 2)])
    assert store.rows["A"].src_offset == 2


def test_what_is_written_is_not_written_again() -> None:
    store = DictLatest()
    newest = NewestRows(store, NoMeter(), every_s=0)
    newest.add([row("A", 1)])
    store.rows.clear()
    newest.tend()
    newest.flush()
    assert store.rows == {}
