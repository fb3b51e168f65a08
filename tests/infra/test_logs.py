"""One format for every log line, whoever wrote it."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from infra.logs import configure_logging


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    """Every line as the object that it is."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_the_libraries_lines_have_one_format() -> None:
    stream = io.StringIO()
    configure_logging("INFO", json=True, stream=stream)
    structlog.get_logger("tickwire").info("started", port=8000)
    logging.getLogger("uvicorn.error").warning("slow %s", "client")
    ours, theirs = lines(stream)
    assert (ours["event"], ours["port"], ours["level"], ours["logger"]) == ("started", 8000, "info", "tickwire")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("slow client", "warning", "uvicorn.error")
    assert ours.keys() - {"port"} == theirs.keys()
    assert ours["timestamp"].endswith("Z")


def test_a_level_below_the_asked_one_is_not_written() -> None:
    stream = io.StringIO()
    configure_logging("warning", json=True, stream=stream)
    logging.getLogger("anything").info("not this")
    structlog.get_logger("tickwire").info("nor this")
    logging.getLogger("anything").error("this")
    assert [line["event"] for line in lines(stream)] == ["this"]


def test_a_handler_that_a_library_had_put_up_is_taken_down() -> None:
    own = io.StringIO()
    logging.getLogger("some.library").addHandler(logging.StreamHandler(own))
    stream = io.StringIO()
    configure_logging("INFO", json=True, stream=stream)
    logging.getLogger("some.library").warning("once")
    assert own.getvalue() == ""
    assert len(lines(stream)) == 1


def test_a_traceback_is_in_the_line_without_local_variables() -> None:
    for as_json in (True, False):
        stream = io.StringIO()
        configure_logging("INFO", json=as_json, stream=stream)
        try:
            password = "hunter" + "2"
            int("x" + password[:0])
        except ValueError:
            logging.getLogger("tickwire").exception("failed")
        assert "ValueError" in stream.getvalue()
        assert "hunter2" not in stream.getvalue()


def test_configuring_twice_writes_each_line_once() -> None:
    stream = io.StringIO()
    configure_logging("INFO", json=True, stream=stream)
    configure_logging("INFO", json=True, stream=stream)
    logging.getLogger("tickwire").info("once")
    assert len(lines(stream)) == 1


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("loud")
