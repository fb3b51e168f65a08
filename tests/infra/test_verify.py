"""Bounds of a verification as users write them, and models that are found again."""

from pathlib import Path

import pytest

from infra.models.shelf import model_of
from infra.settings import Settings
from infra.verify import parse_bound
from models import manifest as manifests
from schemas.errors import SettingsError
from tests.models.rows import described, logistic


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("0:1200", {0: 1200}),
        ("0:1200,3:7", {0: 1200, 3: 7}),
        ("2026-01-31T09:30:00", 1_769_851_800_000_000_000),
        ("2026-01-31T09:30:00.000001", 1_769_851_800_000_001_000),
        ("2026-01-31T10:30:00+01:00", 1_769_851_800_000_000_000),
    ],
)
def test_a_bound_is_offsets_by_partition_or_a_time(text: str, expected: object) -> None:
    assert parse_bound(text, "--from") == expected


@pytest.mark.parametrize("text", ["yesterday", "0:", ":5", "0:1,2", "1:2:3", "-1:4"])
def test_a_bound_that_is_neither_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(SettingsError, match="--to: expected PARTITION:OFFSET"):
        parse_bound(text, "--to")


def test_a_model_that_is_gone_altered_or_of_other_features_is_none(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    manifest = described(logistic(), [[1.0, 2.0, 3.0]], [0.25])
    manifests.save(manifest, logistic(), tmp_path / "models")
    assert model_of(settings, "mlp-0123456789ab") is None
    assert model_of(settings, "../../etc/passwd") is None
    assert model_of(settings, manifest.id) is None, "it takes three features, the fold makes others"
