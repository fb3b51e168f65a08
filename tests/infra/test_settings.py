from datetime import timedelta
from pathlib import Path

import pytest

from infra.composition import rules
from infra.configured import explain, load
from infra.settings import Fold
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


def test_the_fold_has_the_same_defaults_as_its_settings() -> None:
    assert rules(Fold()) == FoldRules()
