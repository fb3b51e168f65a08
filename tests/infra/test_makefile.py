"""What `make up` does again where other extras or another Python are asked for; asked with -n, nothing is done."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
USUAL = "embedded,cpu,train"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A checkout in which `make up PYTHON=python3.11` has been run, with the usual extras."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in ("processors", "models", ".venv"):
        (tmp_path / name).mkdir()
    (tmp_path / ".venv/.chosen").write_text(f"python3.11 {USUAL}\n")
    for age, name in enumerate(
        ("constraints.txt", "pyproject.toml", ".venv/.chosen", ".venv/.ready", ".venv/.kernels")
    ):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1_000_000_000 + age, 1_000_000_000 + age))
    return tmp_path


def would(place: Path, *arguments: str) -> str:
    """What make would do; also where make runs us."""
    ours = ("PYTHON", "EXTRAS", "MAKE", "MFLAGS", "GNUMAKEFLAGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    made = subprocess.run(
        ["make", "--no-print-directory", "-n", "up", *arguments], cwd=place, env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return made.stdout


def test_what_was_made_as_it_is_asked_for_is_not_made_again(place: Path) -> None:
    for asked in ((), ("PYTHON=python3.11",), (f"EXTRAS={USUAL}", "PYTHON=python3.11")):
        assert would(place, *asked) == ".venv/bin/tickwire up\n"


def test_other_extras_are_installed_without_the_onnxruntime_that_was_there(place: Path) -> None:
    done = would(place, "EXTRAS=embedded,gpu,train")
    assert "pip uninstall" in done
    assert "--editable '.[embedded,gpu,train]'" in done
    assert "infra.warm_up" in done
    assert 'echo "python3.11 embedded,gpu,train" > .venv/.chosen' in done


def test_extras_may_have_blanks_and_must_be_some(place: Path) -> None:
    assert would(place, "EXTRAS=embedded, cpu, train") == ".venv/bin/tickwire up\n"
    with pytest.raises(subprocess.CalledProcessError) as refused:
        would(place, "EXTRAS=")
    assert "EXTRAS: expected extras such as embedded,cpu,train" in refused.value.stderr


@pytest.mark.parametrize(("version", "anew"), [("3.12", True), ("3.11", False)])
def test_another_python_makes_the_virtual_environment_anew_and_another_name_of_it_does_not(
    place: Path, version: str, anew: bool
) -> None:
    for at, of in ((place / ".venv/bin/python", "3.11"), (place / "another", version)):
        at.parent.mkdir(exist_ok=True)
        at.write_text(f"#!/bin/sh\necho {of}\n")
        at.chmod(0o755)
    subprocess.run(
        ["make", "--no-print-directory", ".venv/.chosen", f"PYTHON={place}/another"], cwd=place, check=True,
        capture_output=True,
    )  # fmt: skip
    assert (place / ".venv/bin/python").exists() is not anew
    assert (place / ".venv/.chosen").read_text() == f"{place}/another {USUAL}\n"


def test_what_was_chosen_once_stays_until_something_else_is_named(place: Path) -> None:
    (place / ".venv/.chosen").write_text("python3.12 embedded,gpu,train\n")
    os.utime(place / ".venv/.chosen", (1_000_000_000, 1_000_000_000))
    assert would(place) == ".venv/bin/tickwire up\n"
    assert f"--editable '.[{USUAL}]'" in would(place, f"EXTRAS={USUAL}")


def test_a_machine_on_which_nothing_was_made_gets_the_usual(place: Path) -> None:
    for each in (place / ".venv").iterdir():
        each.unlink()
    done = would(place)
    assert "python3.11 -m venv .venv" in done
    assert f"--editable '.[{USUAL}]'" in done
