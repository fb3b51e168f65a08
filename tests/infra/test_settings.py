import re
from datetime import timedelta
from pathlib import Path

import pytest

from infra.composition import rules
from infra.configured import explain, load
from infra.settings import Fold, Settings
from processors.shard import FoldRules
from schemas.errors import SettingsError


def test_a_misspelt_variable_is_refused_with_the_one_that_was_meant() -> None:
    with pytest.raises(
        SettingsError, match=r"TICKWIRE_KAFAK__BOOTSTRAP sets nothing; did you mean TICKWIRE_KAFKA__BOOTSTRAP\?"
    ):
        load({"TICKWIRE_KAFAK__BOOTSTRAP": "x"}, Path("none"))


def test_the_environment_beats_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    file = tmp_path / "tickwire.toml"
    file.write_text("[fold]\nhorizon = 30\nlearn_every = 64\n")
    settings = load({"TICKWIRE_FOLD__LEARN_EVERY": "128"}, file)
    assert settings.fold.horizon == timedelta(seconds=30)
    assert settings.fold.learn_every == 128
    origins = {line.variable: line.origin for line in explain({"TICKWIRE_FOLD__LEARN_EVERY": "128"}, file)}
    assert origins["TICKWIRE_FOLD__HORIZON"] == str(file)
    assert origins["TICKWIRE_FOLD__LEARN_EVERY"] == "environment"
    assert origins["TICKWIRE_FOLD__CHAMPION"] == "default"


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("0.25", 0.25), ("PT2M", 120)])
def test_a_duration_is_seconds_or_iso_8601(text: str, seconds: float) -> None:
    settings = load({"TICKWIRE_FOLD__HORIZON": text}, Path("none"))
    assert settings.fold.horizon == timedelta(seconds=seconds)


def test_an_impossible_value_names_its_variable() -> None:
    with pytest.raises(SettingsError, match=r"TICKWIRE_KAFKA__PARTITIONS: .*greater than or equal to 1, was '0'"):
        load({"TICKWIRE_KAFKA__PARTITIONS": "0"}, Path("none"))


def test_a_misspelt_name_in_the_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tickwire.toml"
    file.write_text("[fold]\nhorizons = 30\n")
    with pytest.raises(SettingsError, match="did you mean TICKWIRE_FOLD__HORIZON"):
        load({}, file)


def test_secrets_are_masked() -> None:
    lines = {line.variable: line.value for line in explain({"TICKWIRE_REDIS__URL": "redis://:hunter2@h"}, Path("none"))}
    assert lines["TICKWIRE_REDIS__URL"] == "********"


def test_a_table_can_be_given_as_json() -> None:
    settings = load({"TICKWIRE_FOLD__CALENDARS": '{"USA": "XNYS", "LSE": "XLON"}'}, Path("none"))
    assert settings.fold.calendars["LSE"] == "XLON"


@pytest.mark.parametrize("text", ["{abc", "[abc", '{"a": 1}', "[1]"])
def test_only_what_is_a_list_or_a_table_is_read_as_json(text: str) -> None:
    settings = load({"TICKWIRE_KAFKA__PASSWORD": text, "TICKWIRE_KAFKA__USERNAME": text}, Path("none"))
    assert settings.kafka.password.get_secret_value() == settings.kafka.username == text


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("SOURCE__PRODUCTS", "BTC-USD,ETH-USD", 'a JSON list such as ["BTC-USD"]'),
        ("SOURCE__PRODUCTS", '["BTC-USD"', 'a JSON list such as ["BTC-USD"]'),
        ("HOOKS__PORTS", "443", "a JSON list such as [443]"),
        ("FOLD__OTHER_HORIZONS", "1", "a JSON list such as [1.0]"),
        ("API__ORIGINS", "", "a JSON list"),
        ("FOLD__CALENDARS", "[1]", 'a JSON object such as {"USA": "XNYS"}'),
    ],
)
def test_what_is_no_json_list_or_object_names_its_variable_and_what_is_expected(
    variable: str, text: str, expected: str
) -> None:
    told = f"TICKWIRE_{variable}: expected {expected}, was {text!r}"
    with pytest.raises(SettingsError, match=re.escape(told)):
        load({f"TICKWIRE_{variable}": text}, Path("none"))


def test_a_wrong_secret_is_refused_without_being_shown(tmp_path: Path) -> None:
    file = tmp_path / "tickwire.toml"
    file.write_text("[kafka]\npassword = 12345\n[api]\nkeys = 6789\n")
    with pytest.raises(
        SettingsError, match=r"TICKWIRE_KAFKA__PASSWORD: .*, was \*\*\*\*\*\*\*\*; .* was 6789"
    ) as refused:
        load({}, file)
    assert "12345" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["localhost:6379", "http://h:6379", "redis://h:port/0", "redis://h:70000", "redis://u:se/cret@h"]
)
def test_an_address_of_redis_that_its_client_cannot_read_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^TICKWIRE_REDIS__URL: expected redis://") as refused:
        load({"TICKWIRE_REDIS__URL": url}, Path("none"))
    assert url not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "redis://h", "redis://:pa%2Fss@h:6379/0", "rediss://u:p@h:1/?ssl_ca_certs=x", "unix:///run/r"]
)
def test_an_address_of_redis_is_taken_as_it_is(url: str) -> None:
    assert load({"TICKWIRE_REDIS__URL": url}, Path("none")).redis.url.get_secret_value() == url


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_data_directory_is_not_the_working_directory(text: str) -> None:
    with pytest.raises(SettingsError, match="TICKWIRE_DATA: expected a path"):
        load({"TICKWIRE_DATA": text}, Path("none"))


def test_the_home_folder_may_be_written_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load({"TICKWIRE_DATA": "~/ticks"}, Path("none")).data == Path("/home/somebody/ticks")


@pytest.mark.parametrize("below", ["", "sub", "sub/sub"])
def test_a_file_where_the_data_directory_should_be_is_refused(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        SettingsError, match=r"^TICKWIRE_DATA: expected a folder, found a file at .*/file; name another"
    ):
        load({"TICKWIRE_DATA": str(tmp_path / "file" / below)}, Path("none"))
    assert load({"TICKWIRE_DATA": str(tmp_path / "new" / below)}, Path("none")).data == tmp_path / "new" / below


def test_a_file_that_was_named_must_be_one_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b'data = "caf\xe9"\n')
    for name in ("none.toml", "", ".", "latin.toml", "latin.toml/x"):
        with pytest.raises(SettingsError, match=r"TICKWIRE_CONFIG: .*expected a file|latin\.toml: expected TOML"):
            load({"TICKWIRE_CONFIG": str(tmp_path / name) if name else ""})
    (tmp_path / "mine.toml").write_text("[fold]\nlearn_every = 64\n")
    assert load({"TICKWIRE_CONFIG": str(tmp_path / "mine.toml")}).fold.learn_every == 64


def test_a_directory_of_the_usual_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({}) == Settings()
    (tmp_path / "tickwire.toml").mkdir()
    with pytest.raises(
        SettingsError, match=r"^tickwire\.toml: expected a file that can be read, found: Is a directory"
    ):
        load({})


POSITIVE = (
    "START_WITHIN", "KAFKA__RETENTION", "CLICKHOUSE__TIMEOUT", "REDIS__TTL", "FOLD__HORIZON", "FOLD__LABEL_EVERY",
    "FOLD__EPOCH", "FOLD__LEASE", "AUDIT__EVERY", "AUDIT__RECENT", "AUDIT__HORIZON", "MODELS__TRITON_TIMEOUT",
    "DRIFT__WINDOW", "DRIFT__TRAIN_ON", "REGISTRY__TIMEOUT", "SQL__TIMEOUT", "HOOKS__TIMEOUT",
)  # fmt: skip
NOT_NEGATIVE = (
    "FOLD__LATENESS", "FOLD__FUTURE", "MODELS__HISTORY", "NIGHTLY__SETTLE", "API__TOKENS__LEEWAY", "HOOKS__DISABLE_AFTER"
)  # fmt: skip


@pytest.mark.parametrize(
    ("variable", "text"), [*((name, "0") for name in POSITIVE), *((name, "-5") for name in (*POSITIVE, *NOT_NEGATIVE))]
)
def test_an_impossible_duration_is_refused(variable: str, text: str) -> None:
    with pytest.raises(SettingsError, match=rf"TICKWIRE_{variable}: Input should be greater than"):
        load({f"TICKWIRE_{variable}": text}, Path("none"))


def test_a_seed_below_zero_is_refused() -> None:
    assert load({"TICKWIRE_SOURCE__SIM_SEED": "0"}, Path("none")).source.sim_seed == 0
    with pytest.raises(SettingsError, match=r"TICKWIRE_SOURCE__SIM_SEED: Input should be greater than or equal to 0"):
        load({"TICKWIRE_SOURCE__SIM_SEED": "-1"}, Path("none"))


@pytest.mark.parametrize("variable", NOT_NEGATIVE)
def test_a_duration_that_may_be_nothing_may_be_0(variable: str) -> None:
    load({f"TICKWIRE_{variable}": "0"}, Path("none"))


def test_each_duration_is_judged_as_one_or_the_other() -> None:
    durations = {line.variable for line in explain({}, Path("none")) if re.fullmatch(r"[\d.e+]+s", line.value)}
    assert durations == {f"TICKWIRE_{name}" for name in (*POSITIVE, *NOT_NEGATIVE)} - {"TICKWIRE_KAFKA__RETENTION"}


def test_durations_of_a_list_are_judged_one_by_one() -> None:
    assert load({"TICKWIRE_HOOKS__RETRIES": "[0, 1]"}, Path("none")).hooks.retries[0] == timedelta(0)
    with pytest.raises(SettingsError, match=r"TICKWIRE_HOOKS__RETRIES__1: Input should be greater than"):
        load({"TICKWIRE_HOOKS__RETRIES": "[0, -1]"}, Path("none"))
    with pytest.raises(SettingsError, match=r"TICKWIRE_FOLD__OTHER_HORIZONS__0: Input should be greater than"):
        load({"TICKWIRE_FOLD__OTHER_HORIZONS": "[0]"}, Path("none"))


def test_the_fold_has_the_same_defaults_as_its_settings() -> None:
    assert rules(Fold()) == FoldRules()
