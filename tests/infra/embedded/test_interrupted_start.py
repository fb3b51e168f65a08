"""A start that is interrupted before it has looked at the log takes nobody's word that the log is whole."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra.embedded.acknowledged import Acknowledged
from infra.embedded.log_keeper import CLEAN, LogKeeper
from infra.log_identity import read_logs
from schemas.errors import BackendError

REACHED = {0: 100, 1: 40}


def keeper(data: Path) -> LogKeeper:
    """What a start makes of the directory; the broker itself is left out."""
    return LogKeeper(data, 1, lambda _: None, lambda _: None)


def found(keeper: LogKeeper, ends: Mapping[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker's log ends here."""
    monkeypatch.setattr(keeper, "_ends", lambda: dict(ends))


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A broker that was killed when it had acknowledged up to `REACHED`."""
    keeper(tmp_path)
    known = Acknowledged(tmp_path)
    known.reset(REACHED)
    known.close()
    return tmp_path


def test_an_interrupted_start_leaves_the_judgement_to_the_next_one(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper(killed).stopped()  # Ctrl-C while the broker starts: it stops by itself
    next_one = keeper(killed)
    assert not next_one.clean
    found(next_one, {0: 90, 1: 40}, monkeypatch)
    assert next_one.mended(), "a new log begins"
    assert read_logs(killed / "logs.json")[0].lost == {0: 10}


def test_a_start_that_could_not_look_leaves_it_to_the_next_one_too(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = keeper(killed)

    def silent() -> dict[int, int]:
        raise BackendError("the embedded broker does not say where its log ends")

    monkeypatch.setattr(interrupted, "_ends", silent)
    with pytest.raises(BackendError):
        interrupted.mended()
    interrupted.stopped()
    assert not (killed / CLEAN).exists()


def test_a_run_that_has_judged_and_stops_is_clean(killed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = keeper(killed)
    found(run, REACHED, monkeypatch)
    assert not run.mended()
    run.stopped()
    assert keeper(killed).clean


def test_an_interrupted_start_on_a_clean_log_leaves_it_clean(tmp_path: Path) -> None:
    keeper(tmp_path).stopped()  # a first run: there was nothing to judge
    keeper(tmp_path).stopped()
    assert keeper(tmp_path).clean
