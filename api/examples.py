"""One example an answer, shown in OpenAPI and checked against its schema in the tests."""

from typing import Any, Final

_SOURCE: Final = {"log_id": "sim-5f2c", "src_partition": 1, "src_offset": 10_482}
_TIMES: Final = {"ts_event": "2026-11-22T14:30:00.000000001Z", "ts_ingest": "2026-11-22T14:30:00.001250000Z"}
SYMBOLS: Final = {"data": ["SIMA", "SIMB"]}
PREDICTION: Final = {
    "symbol": "SIMA", **_TIMES, "price": 101.255, "bid": 101.25, "ask": 101.26, "p_up": 0.5312, "champion": "onnx",
    "online": 0.5127, "onnx": 0.5312, "features_id": "9f3c0b5e", **_SOURCE,
}  # fmt: skip
FEATURES: Final = {
    "symbol": "SIMA", **_TIMES, "features_id": "9f3c0b5e", "features": {"vwap_dev_60s": 0.00041, "rsi_14": None},
    **_SOURCE,
}  # fmt: skip
BARS: Final[dict[str, Any]] = {
    "data": [
        {
            "symbol": "SIMA", "kind": "1m", "start": "2026-11-22T14:30:00.000000000Z",
            "end": "2026-11-22T14:31:00.000000000Z", "open": 101.2, "high": 101.4, "low": 101.1, "close": 101.3,
            "volume": 1200.0, "value": 121_530.0, "n_trades": 84, "rev": 0, "reason": "closed", "late_n": 0,
            "gap_ms": 0, "partial": False, **_SOURCE,
        }
    ],
    "next_cursor": None,
}  # fmt: skip
ALIVE: Final = {"status": "ok"}
READY: Final[dict[str, Any]] = {
    "status": "ready", "lag": 12,
    "scores": [
        {
            "ts": 1_795_357_800_000_000_000, "group": "score-0", "log_id": "sim-5f2c", "partitions": [0, 1],
            "offsets": {"0": 9_120, "1": 10_483}, "lag": {"0": 4, "1": 8}, "provider": "CPUExecutionProvider",
            "models": {"online": "river-1", "onnx": "mlp-77ab"}, "features_id": "9f3c0b5e",
            "events": {"folded": 19_590, "duplicate": 3, "late": 7, "rejected": 1, "control": 2}, "uptime_s": 61.5,
            "feeds": [{"venue": "SIM", "ts_event": 1_795_357_800_000_000_000, "state": "up"}],
        }
    ],
    "feed": {"epoch": "1c0f6d2a9be84f70", "clients": 2, "messages": 19_590, "idle_s": 0.004},
    "warnings": [],
}  # fmt: skip
VERSION: Final = {"name": "tickwire", "version": "0.1.0", "epoch": "1c0f6d2a9be84f70"}
SQL_REQUEST: Final[dict[str, Any]] = {
    "query": "bars", "parameters": {"symbol": "SIMA", "kind": "1m", "start": "2026-11-22T14:30:00Z"}, "limit": 100,
}  # fmt: skip
SQL_RESULT: Final[dict[str, Any]] = {
    "query_id": "tickwire-sql-0b1f6c9e-3c53-4a51-9a0e-2c4d6b6f7a10",
    "columns": [{"name": "model_id", "type": "LowCardinality(String)"}, {"name": "hit_rate", "type": "Float64"}],
    "rows": [["mlp-77ab", 0.5312]], "row_count": 1, "cut": False,
    "statistics": {"elapsed_s": 0.0042, "rows_read": 19_590, "bytes_read": 470_160},
}  # fmt: skip
SQL_QUERIES: Final[dict[str, Any]] = {
    "data": [
        {
            "name": "dead_letters", "description": "Records that could not be used for one reason",
            "parameters": [
                {
                    "name": "reason", "type": "text", "description": "as dead_letters_by_reason lists them",
                    "required": True, "default": None, "example": "undecodable",
                }
            ],
            "example": {"reason": "undecodable"},
        }
    ],
    "free": {"allowed": False, "tables": ["trades", "quotes"], "functions": ["avg", "count"]},
    "max_rows": 10_000,
}  # fmt: skip
PREDICT_REQUEST: Final[dict[str, Any]] = {"symbols": ["SIMA"]}
PREDICTIONS: Final[dict[str, Any]] = {
    "model": "mlp-77ab0c1d2e3f", "horizon_s": 10.0, "features_id": "9f3c0b5e",
    "data": [{"p_up": 0.5312, "missing": 0, "symbol": "SIMA", "ts_event": "2026-11-22T14:30:00.000000001Z"}],
}  # fmt: skip
MODEL_CHANGE_REQUEST: Final = {"action": "promote", "model": "mlp-77ab0c1d2e3f", "why": "better by 3 mnat for a week"}
