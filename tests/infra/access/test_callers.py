"""Who may call this installation: made keys, or the dev key of a run that only this machine can reach."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infra.access.callers import access
from infra.access.dev_key import dev_key, key_of_run, own_headers, read, wants_dev_key
from infra.access.keys import key_file
from infra.cli.main import app
from infra.cli.up import run as run_up
from infra.embedded.instance import Instance
from infra.settings import Settings
from infra.telemetry import Telemetry
from schemas.errors import SettingsError


def settings(data: Path, **api: object) -> Settings:
    return Settings.model_validate({"data": data, "api": api, "redis": {"url": "redis://127.0.0.1:1/0"}})


def test_on_loopback_without_keys_the_run_has_a_key_of_its_own_that_ends_with_it(tmp_path: Path) -> None:
    with access(settings(tmp_path), Telemetry()) as judged:
        key = read(tmp_path)
        assert (tmp_path / "dev-key").stat().st_mode & 0o777 == 0o600
        principal = judged.authority.identify(key)
        assert principal is not None
        assert principal.role == "admin"
        assert judged.authority.identify(key + "x") is None
        assert judged.anonymous == {"metrics:read"}
    assert read(tmp_path) == ""
    with access(settings(tmp_path), Telemetry()) as judged:
        assert judged.authority.identify(key) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "desk.example.com"])
def test_elsewhere_without_keys_it_does_not_start(tmp_path: Path, host: str) -> None:
    with pytest.raises(SettingsError, match=r"expected a loopback address .* tickwire keys create"):
        wants_dev_key(settings(tmp_path, host=host))


def test_elsewhere_with_a_key_it_starts_and_tells_strangers_nothing(tmp_path: Path) -> None:
    found = settings(tmp_path, host="0.0.0.0")
    _, credential = key_file(found).create("desk", "analyst", None)
    with access(found, Telemetry()) as judged:
        principal = judged.authority.identify(credential)
        assert principal is not None
        assert principal.role == "analyst"
        assert judged.anonymous == frozenset()
        assert read(tmp_path) == ""


def test_a_restarted_process_of_the_same_run_has_the_same_dev_key_and_a_new_run_another(tmp_path: Path) -> None:
    with dev_key(tmp_path, fresh=True) as first:
        with access(settings(tmp_path), Telemetry()):
            assert read(tmp_path) == first
        assert read(tmp_path) == first
    (tmp_path / "dev-key").write_text("left by a killed run\n")
    with dev_key(tmp_path, fresh=True) as second:
        assert second.startswith("tk_dev_")
        assert second != first


def test_a_key_that_a_killed_run_has_left_is_gone_although_there_are_lasting_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`up` without what it starts."""
    seen: list[str] = []

    class Start:
        def __init__(self, found: Settings, *_: object) -> None:
            self.found = found

        def everything(self, kind: str) -> None:
            seen.append(read(self.found.data))
            raise KeyboardInterrupt

    monkeypatch.setattr("infra.cli.up._Start", Start)
    found = settings(tmp_path)
    (tmp_path / "dev-key").write_text("left by a killed run\n")
    assert run_up(found, "sim", fresh=False) == 0
    key_file(found).create("desk", "analyst", None)
    (tmp_path / "dev-key").write_text("left by a killed run\n")
    assert run_up(found, "sim", fresh=False) == 0
    assert seen[0].startswith("tk_dev_")
    assert seen[1] == ""


def test_the_key_of_a_run_is_good_until_its_end_although_lasting_keys_are_made_meanwhile(tmp_path: Path) -> None:
    found = settings(tmp_path)
    held = Instance(tmp_path)
    with key_of_run(found):
        key = read(tmp_path)
        key_file(found).create("desk", "analyst", None)
        with access(found, Telemetry()) as judged:  # the API, started again
            principal = judged.authority.identify(key)
            assert principal is not None
            assert principal.name == "dev key"
            assert judged.authority.identify("") is None
        assert read(tmp_path) == key
        with access(settings(tmp_path, host="0.0.0.0"), Telemetry()) as judged:
            assert judged.authority.identify(key) is None
    with access(found, Telemetry()) as judged:
        assert judged.authority.identify(key) is None
    (tmp_path / "dev-key").write_text(key)
    held.close()  # killed: nobody holds the directory
    with access(found, Telemetry()) as judged:
        assert judged.authority.identify(key) is None


def test_our_own_commands_show_the_key_that_was_set_else_the_run_s(tmp_path: Path) -> None:
    assert own_headers(settings(tmp_path)) == {}
    with dev_key(tmp_path, fresh=True) as key:
        assert own_headers(settings(tmp_path)) == {"authorization": f"Bearer {key}"}
        assert own_headers(settings(tmp_path, key="tk_mine")) == {"authorization": "Bearer tk_mine"}


def test_the_commands_make_list_and_revoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKWIRE_DATA", str(tmp_path))
    run = CliRunner().invoke
    made = json.loads(run(app, ["keys", "create", "grafana", "--role", "operator", "--days", "1", "--json"]).stdout)
    keys = key_file(settings(tmp_path))
    assert keys.find(made["key"]) is not None
    listed = json.loads(run(app, ["keys", "list", "--json"]).stdout)
    assert [(key["id"], key["role"], key["state"]) for key in listed] == [(made["id"], "operator", "active")]
    assert "key" not in listed[0]
    assert json.loads(run(app, ["keys", "revoke", made["id"], "--json"]).stdout)["state"] == "revoked"
    assert key_file(settings(tmp_path)).find(made["key"]) is None
    shown = run(app, ["keys", "create", "desk"])
    assert shown.stdout.startswith("tk_")
    assert "grafana" in run(app, ["keys", "list"]).stdout
