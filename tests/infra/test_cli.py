"""The command line as users see it: what is refused, with which exit code, and how commands end."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from confluent_kafka import KafkaError, KafkaException
from typer.testing import CliRunner

import infra.kafka_log
from infra.cli import inputs
from infra.cli.main import app, main
from infra.cli.plain import plain
from infra.cli.processes import partitions_of
from infra.cli.up import _Start
from infra.embedded.supervisor import Supervisor
from infra.settings import Settings
from schemas.backtest import Backtest
from schemas.errors import InputError, LogError, RuleError, SettingsError, TargetRefused
from schemas.events import Event
from schemas.rules import Rule
from streams.play import BATCH
from streams.span_text import bound
from tests.streams.recordings.files import gzipped
from tests.streams.writers import ListWriter

HERE = {
    "kafka": {"bootstrap": "127.0.0.1:1"}, "clickhouse": {"url": "http://127.0.0.1:1/"}, "redis": {"url": "redis://127.0.0.1:1/0"}
}  # fmt: skip


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without settings of anybody."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path / "data"))
    return tmp_path


@pytest.fixture
def handlers() -> Iterator[None]:
    """The handlers of signals as they were."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """The program with its real end: exit code, stdout, stderr."""

    def ran(*arguments: str, **environment: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["tickwire", *arguments])
        with pytest.raises(SystemExit) as end:
            main()
        out, error = capsys.readouterr()
        return int(end.value.code or 0), out, error

    return ran


Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (["verify"], {"TICKWIRE_FOO": "1"}),
        (["verify", "--from", "garbage"], {}),
        (["nightly"], {"TICKWIRE_FOO": "1"}),
        (["nightly", "--from", "garbage"], {}),
        (["nightly", "--limits", "nosuch.json"], {}),
        (["nightly-run"], {"TICKWIRE_NIGHTLY__SETTEL": "5"}),
        (["nightly-run", "--date", "garbage"], {}),
        (["collect", "--source", "none"], {}),
        (["settings"], {"TICKWIRE_KAFKA__PASSWORD": "x", "TICKWIRE_CONFIG": "nosuch.toml"}),
    ],
)
def test_what_could_not_even_begin_ends_with_2_and_one_line(
    run: Run, arguments: list[str], environment: dict[str, str]
) -> None:
    """1 would say that something differs, or that checks have failed."""
    code, out, error = run(*arguments, **environment)
    assert code == 2
    assert out == ""
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("nightly", "infra.nightly.data_checks"),
        ("nightly-run", "infra.cli.schedule"),
        ("nightly-due", "infra.cli.schedule"),
    ],
)
def test_a_night_without_a_library_that_it_needs_ends_with_2_and_names_it(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, module: str
) -> None:
    monkeypatch.delitem(sys.modules, f"infra.cli.{command.split('-', maxsplit=1)[0]}", raising=False)
    monkeypatch.delitem(sys.modules, "infra.nightly.run", raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    code, out, error = run(command)
    assert (code, out) == (2, "")
    assert error.startswith(f"error: a library cannot be used: import of {module} halted")
    assert "extra `train`" in error


def test_a_night_that_fails_unexpectedly_ends_with_2_and_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 would say that the checks refuse the matrix, and that is final."""

    def fails(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("infra.cli.nightly.attached", lambda settings: settings)
    monkeypatch.setattr("infra.cli.nightly.nightly", fails)
    code, out, error = run("nightly")
    assert (code, out) == (2, "")
    assert "ZeroDivisionError: a defect" in error
    assert "Traceback" in error


@pytest.mark.parametrize(("failure", "expected"), [(RuleError, 65), (InputError, 65), (LogError, 1), (None, 75)])
def test_a_back_test_says_by_its_exit_code_what_became_of_it(
    run: Run, place: Path, monkeypatch: pytest.MonkeyPatch, failure: type[Exception] | None, expected: int
) -> None:
    """2 is left to options and settings."""

    def tried(*_: object) -> Backtest:
        if failure is not None:
            raise failure("so it is")
        return Backtest(
            rule=msgspec.json.decode(rule, type=Rule), fired=0, cleared=0, plain_fired=0, by_symbol={}, alerts=[],
            log_id="", ranges={}, records=0, seconds=0, complete=False,
        )  # fmt: skip

    rule = b'{"id": "a", "conditions": [{"field": "mid", "op": ">", "threshold": 1}]}'
    (place / "rule.json").write_bytes(rule)
    monkeypatch.setattr("infra.cli.rule_commands.attached", lambda settings: settings)
    monkeypatch.setattr("infra.cli.rule_commands.run_backtest", tried)
    code, out, error = run("rules", "backtest", "rule.json", "--json")
    assert code == expected
    assert (error == "error: so it is\n", bool(out)) == (failure is not None, failure is None)
    assert run("rules", "backtest", "rule.json", "--from", "garbage")[0] == 2


def test_a_simulated_exchange_needs_no_option(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(inputs, "simulate", lambda _, **told: asked.append(told))
    assert run("sim")[0] == 0
    assert run("sim", "--rate", "0.01")[0] == 2
    assert run("sim", "--rate", "25")[0] == 0
    assert [told["rate"] for told in asked] == [None, 25.0]


def test_an_option_out_of_its_range_ends_with_2(run: Run) -> None:
    code, out, error = run("keys", "create", "x", "--days", "1e12")
    assert code == 2
    assert out == ""
    assert "36500" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    "arguments",
    [
        ["rules", "add", "nosuch.json"],
        ["rules", "backtest", "nosuch.json"],
        ["rules", "add", "."],
        ["hooks", "listen", "--secret-file", "nosuch"],
        ["hooks", "listen", "--secret-file", "latin"],
        ["models", "register", "nosuch.onnx"],
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_the_reason(run: Run, place: Path, arguments: list[str]) -> None:
    (place / "latin").write_bytes(b"caf\xe9")
    code, _, error = run(*arguments)
    assert code == 1
    assert error.startswith(f"error: {arguments[-1]}: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize("target", ["http://127.0.0.1:8484/", "http://localhost:8484/", "https://[::1]:9/"])
def test_a_target_on_this_machine_is_refused_with_the_setting_that_allows_it(target: str) -> None:
    done = CliRunner().invoke(app, ["hooks", "add", target])
    assert isinstance(done.exception, TargetRefused)
    assert "TICKWIRE_HOOKS__LOOPBACK=true allows it" in str(done.exception)
    assert "TICKWIRE_HOOKS__HTTP" not in str(done.exception)
    env = {"TICKWIRE_HOOKS__LOOPBACK": "true"}
    assert CliRunner().invoke(app, ["hooks", "add", target], env=env).exit_code == 0


def test_a_target_elsewhere_is_refused_as_before() -> None:
    done = CliRunner().invoke(app, ["hooks", "add", "http://example.com/"])
    assert "TICKWIRE_HOOKS__HTTP allows it" in str(done.exception)
    assert "expected a URL" in str(CliRunner().invoke(app, ["hooks", "add", "http://[::1"]).exception)


def test_up_tells_and_asks_an_ipv6_address_in_brackets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def get(url: str, **_: object) -> httpx2.Response:
        asked.append(url)
        return httpx2.Response(200, json={})

    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("infra.cli.up.httpx2.get", get)
    with Supervisor(tmp_path / "data") as supervisor:
        start = _Start(Settings.model_validate(HERE | {"api": {"host": "::1"}}), supervisor, plain())
        assert start._answers("/healthz")()
        start._tell("sim: as asked for", 1.0)
    assert asked == [f"http://[::1]:8000{path}" for path in ("/healthz", "/readyz", "/v1/symbols")]
    out = capsys.readouterr().out
    assert "ws://[::1]:8000/v1/stream" in out
    assert "http://[::1]:8000/v1/predictions/SYMBOL" in out
    assert "Next, in another terminal" in out


@pytest.mark.parametrize(("host", "address"), [("::1", "[::1]:8000"), ("127.0.0.1", "127.0.0.1:8000"), ("h", "h:8000")])
def test_only_an_ipv6_address_has_brackets(host: str, address: str) -> None:
    assert Settings.model_validate({"api": {"host": host}}).api.address == address


@pytest.mark.parametrize(("answers", "expected"), [(True, "coinbase"), (False, "sim")])
def test_collect_resolves_auto_as_up_does(
    monkeypatch: pytest.MonkeyPatch, handlers: None, answers: bool, expected: str
) -> None:
    started: list[str] = []
    monkeypatch.setattr("streams.collectors.backfill.reachable", lambda *_: answers)
    monkeypatch.setattr(inputs, "configure_logging", lambda *_, **__: None)
    monkeypatch.setattr(inputs, "create_topics", lambda _: started.append("topics"))
    monkeypatch.setattr(inputs, "run_sim", lambda *_: started.append("sim"))
    monkeypatch.setattr(inputs, "run_coinbase", lambda *_: started.append("coinbase"))
    inputs.collect(Settings.model_validate(HERE), "auto", 0)
    assert started == ["topics", expected]


class Interrupted(ListWriter):
    """A log that is written to when somebody stops us."""

    def __init__(self, _: object, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, events: Sequence[Event]) -> None:
        super().write(events)
        if len(self.batches) == 2:
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_play_ends_between_batches_with_its_counts(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], handlers: None, number: int
) -> None:
    ticks = gzipped(
        place / "lean_usa_tick_spy_20131007_trade.csv.gz",
        *(f"34200000,1674100,{row},Q,1,0" for row in range(1, 5 * BATCH)),
    )
    writer = Interrupted(None, number)
    monkeypatch.setattr(inputs, "create_topics", lambda _: None)
    monkeypatch.setattr(inputs, "KafkaWriter", lambda _: writer)
    inputs.play(Settings.model_validate(HERE), [ticks], speed="max", symbols="", loop=False, mapping="", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["events"]["trade"] == 2 * BATCH == len(writer.events)
    assert told["stopped"] is True
    assert writer.flushes == 1


def test_a_second_ctrl_c_ends_at_once_and_a_second_sigterm_does_not(handlers: None) -> None:
    stop = inputs.stopping()
    for _ in range(3):
        signal.raise_signal(signal.SIGTERM)
    assert stop()
    stop = inputs.stopping()
    signal.raise_signal(signal.SIGINT)
    assert stop()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_topics_of_a_broker_that_does_not_answer_end_with_one_line(
    monkeypatch: pytest.MonkeyPatch, run: Callable[..., tuple[int, str, str]]
) -> None:
    def silent(*_: object) -> None:
        raise KafkaException(KafkaError(KafkaError._TRANSPORT))

    monkeypatch.setattr(infra.kafka_log, "end_offsets", silent)
    code, _, error = run(
        "topics", TICKWIRE_KAFKA__BOOTSTRAP="h:1", TICKWIRE_CLICKHOUSE__URL="http://h", TICKWIRE_REDIS__URL="redis://h"
    )
    assert code == 1
    assert error.startswith("error: Kafka at h:1 does not say what market.events.v1 holds: ")


@pytest.mark.parametrize(
    "words",
    [
        ("hooks", "deliveries", "99999999999999999999"), ("hooks", "deliveries", "--limit", "99999999999999999999"),
        ("hooks", "replay", "99999999999999999999"), ("hooks", "rotate", "ep", "--overlap-hours", "1e12"),
        ("hooks", "listen", "--port", "99999"),
    ],
)  # fmt: skip
def test_a_number_that_is_too_large_is_refused_with_the_largest(run: Run, words: tuple[str, ...]) -> None:
    code, _, error = run(*words, COLUMNS="200")
    assert code == 2
    assert "should be less than or equal to" in error


def test_a_port_that_is_taken_is_told_in_one_line(place: Path, run: Run) -> None:
    (place / "secret").write_text("whsec_" + "A" * 44)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, _, error = run("hooks", "listen", "--port", port, "--secret-file", str(place / "secret"))
    assert code == 1
    assert error == f"error: --port: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("wrong", ["nan", "-1"])
@pytest.mark.parametrize("words", [("sim", "--seconds"), ("watch", "--seconds"), ("sim", "--rate")])
def test_a_number_that_makes_no_sense_is_refused(run: Run, words: tuple[str, ...], wrong: str) -> None:
    code, _, error = run(*words, wrong, COLUMNS="200")
    assert code == 2
    assert "should be greater than or equal to" in error


def test_digits_that_are_no_number_are_refused(run: Run) -> None:
    code, _, error = run("audit", "verify", "--head", f"²:{'a' * 64}")
    assert code == 1
    assert error.startswith("error: --head: expected what an earlier")
    for text in ("²", "0-²", "²-3"):
        with pytest.raises(SettingsError, match="--partitions: expected numbers"):
            partitions_of(text)
    with pytest.raises(SettingsError, match="--partitions: expected the smaller number first"):
        partitions_of("0,3-1")
    with pytest.raises(InputError, match="--from: expected an offset"):
        bound("²", "--from")


def test_doctor_looks_at_the_disk_where_a_data_directory_would_be_made(place: Path, run: Run) -> None:
    _, out, error = run("doctor", "--json", TICKWIRE_DATA=str(place / "no" / "such" / "place"))
    assert error == ""
    (disk,) = (each for each in json.loads(out) if each["what"] == "disk")
    assert disk["found"].endswith(f"GiB free at {place}")
