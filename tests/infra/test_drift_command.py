"""What `tickwire watch-drift` watches, and the programs that it hands orders to."""

import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

from infra.cli.drift import CommandActions
from infra.drift import save_reference, watched_model
from infra.settings import Settings
from models.drift_reference import reference_of
from models.manifest import save
from schemas.drift import RetrainOrder
from schemas.errors import ModelError
from tests.models.quiet_market import WINDOW, day
from tests.models.rows import described, logistic

ORDER = RetrainOrder(id="o1", model="m1", ts_event=1, reasons=("because",), evidence=())


def test_a_model_without_a_reference_is_refused_and_one_with_it_is_watched(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    content = logistic()
    manifest = described(content, [[0.0, 0.0, 0.0]], [0.5])
    manifest = msgspec.structs.replace(manifest, name="mlp")
    save(manifest, content, tmp_path / "models")
    with pytest.raises(ModelError, match=r"expected the drift reference of model .* --learn"):
        watched_model(settings)
    reference = reference_of(day(1).dataset(), WINDOW)
    save_reference(settings, manifest.id, reference)
    watched = watched_model(settings)
    assert (watched.id, watched.name, watched.reference) == (manifest.id, "onnx", reference)
    assert np.isnan(watched.promised)


def test_a_training_program_gets_the_order_and_its_last_line_names_the_challenger(tmp_path: Path) -> None:
    program = tmp_path / "train.py"
    program.write_text(
        "import sys, json\norder = json.load(sys.stdin)\nprint('working')\n"
        "print(json.dumps({'challenger': order['id'] + '-' + order['role']}))\n"
    )
    assert CommandActions((sys.executable, str(program)), ()).retrain(ORDER) == "o1-challenger"


@pytest.mark.parametrize("program", ["raise SystemExit(3)", "print('no json')", "print('[1]')", "pass"])
def test_a_training_program_that_fails_or_says_nothing_has_made_nothing(program: str) -> None:
    assert CommandActions((sys.executable, "-c", program), ()).retrain(ORDER) == ""


def test_without_a_program_nobody_is_trained() -> None:
    assert CommandActions((), ()).retrain(ORDER) == ""
