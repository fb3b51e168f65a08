"""What commands print of values that they did not make: each as it is, whatever rich would make of it."""

import json
from pathlib import Path
from typing import Any, cast

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from infra.cli.doctor import Finding
from infra.cli.main import app
from infra.cli.model_shop import listed
from infra.cli.plain import finite
from infra.cli.verify import _show
from infra.cli.watch import Screen, _follow
from infra.clickhouse import Result
from infra.models.stock import Line, Stock
from infra.settings import Settings
from streams.verdict import Finding as Wrong
from streams.verdict import Verdict

ODD = ("[video] Apple falls", "a[/b]", "pip install 'tickwire[embedded]'", ":cat: [red]", "back\\")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory without settings of anybody, and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("COLUMNS", "400")


def rows(monkeypatch: pytest.MonkeyPatch, found: Result) -> None:
    """The next statement finds these."""

    class Found:
        def rows(self, *_: object) -> Result:
            return found

    for name, value in (("KAFKA__BOOTSTRAP", "k:1"), ("CLICKHOUSE__URL", "http://c/"), ("REDIS__URL", "redis://r/0")):
        monkeypatch.setenv(f"TICKWIRE_{name}", value)
    monkeypatch.setattr("infra.cli.queries.connect", lambda *_, **__: Found())


def test_sql_prints_values_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    rows(monkeypatch, Result(("[b]headline", "n"), ("String", "Float64"), [(each, 1.0) for each in ODD]))
    done = CliRunner().invoke(app, ["sql", "SELECT"])
    assert done.exit_code == 0, done.exception
    for each in ("[b]headline", *ODD, "5 rows"):
        assert each in done.stdout


def test_sql_as_json_has_no_nan_and_no_infinity(monkeypatch: pytest.MonkeyPatch) -> None:
    values = (float("nan"), [1.0, float("inf")], {"a": (float("-inf"), 2)}, "NaN")
    rows(monkeypatch, Result(("a", "b", "c", "d"), ("Float64",) * 4, [values]))
    done = CliRunner().invoke(app, ["sql", "SELECT", "--json"])

    def refuse(constant: str) -> Any:
        raise AssertionError(constant)

    assert json.loads(done.stdout, parse_constant=refuse) == {
        "a": None, "b": [1.0, None], "c": {"a": [None, 2]}, "d": "NaN"
    }  # fmt: skip


def test_what_is_finite_stays_what_it_is() -> None:
    assert finite({"a": 1, "b": None, "c": True, "d": "x", "e": 1.5}) == {
        "a": 1,
        "b": None,
        "c": True,
        "d": "x",
        "e": 1.5,
    }


def test_settings_prints_values_as_they_are() -> None:
    for each in ODD:
        done = CliRunner().invoke(app, ["settings"], env={"TICKWIRE_KAFKA__USERNAME": each})
        assert done.exit_code == 0, done.exception
        assert each in done.stdout


def test_doctor_tells_the_whole_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.cli.doctor._look", lambda _: [Finding("x", "note", each, each) for each in ODD])
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0, done.exception
    for each in ODD:
        assert done.stdout.count(each) == 2


def test_hooks_and_keys_are_listed_as_they_are() -> None:
    run = CliRunner().invoke
    assert run(app, ["keys", "create", "a[/b]"]).exit_code == 0
    assert "a[/b]" in run(app, ["keys", "list"]).stdout
    for each in ODD:
        assert run(app, ["hooks", "add", "https://example.com/", "--description", each, "--rule", "[x]"]).exit_code == 0
    listed = run(app, ["hooks", "list"])
    assert listed.exit_code == 0, listed.exception
    for each in (*ODD, "[x]"):
        assert each in listed.stdout


def test_findings_of_verify_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict("log")
    for each in ODD:
        verdict.findings.append(Wrong("differs", "trades", 0, 1, "headline", repr(each), each))
        verdict.notes.append(f"note: {each}")
    _show(verdict)
    out = capsys.readouterr().out
    for each in ODD:
        assert each in out
        assert f"note: {each}" in out


def test_models_are_listed_as_they_are(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    line = Line(id="", kind="", trained_on="", metrics={}, version="", aliases=(), where=())
    lines = [replace(line, id=each, kind=each, trained_on=each) for each in ODD] + [
        replace(line, fault=f"fault {ODD[1]}")
    ]
    monkeypatch.setattr("infra.cli.model_shop.opened", lambda _: (None, None))
    monkeypatch.setattr("infra.cli.model_shop.stock", lambda *_: Stock(models=tuple(lines)))
    listed(Settings(), as_json=False)
    out = capsys.readouterr().out
    for each in ODD:
        assert out.count(each) >= 3
    assert f"fault {ODD[1]}" in out


def test_rows_of_the_live_table_are_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(rows={each: {"price": 1.0, "online": 0.75, "onnx": None} for each in ODD})
    _follow(cast(Any, None), cast(Any, None), screen, until=0, as_json=False)
    out = capsys.readouterr().out
    for each in ODD:
        assert each in out
    assert "0.7500" in out
