"""API keys in a file: shown once, known by their hash, ended for every process at once."""

import multiprocessing
import os
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from infra.access import keys as module
from infra.access.keys import Key, KeyFile
from schemas.errors import AccessError

NOW_NS = 1_795_357_800_000_000_000


class Clock:
    """A clock that is set."""

    def __init__(self) -> None:
        self.now = NOW_NS

    def __call__(self) -> int:
        return self.now


def keys_at(path: Path, clock: Clock | None = None) -> KeyFile:
    return KeyFile(path / "access" / "keys.json", clock or Clock())


def test_a_key_is_found_by_the_whole_of_it_and_only_by_that(tmp_path: Path) -> None:
    keys = keys_at(tmp_path)
    key, credential = keys.create("grafana", "viewer", timedelta(days=1))
    assert credential.startswith(f"tk_{key.id}_")
    assert keys.find(credential) == key
    wrong = ("", "tk_", f"tk_{key.id}", f"tk_{key.id}_", credential[:-1], credential + "x", credential.upper(),
             credential.replace(key.id, "0000000000"), f"tk_{key.id}_{key.sha256}", "tk_\udcff_x")  # fmt: skip
    assert [keys.find(each) for each in wrong] == [None] * len(wrong)


def test_what_is_kept_holds_no_secret_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    keys = keys_at(tmp_path)
    _, credential = keys.create("grafana", "viewer", None)
    written = keys.path.read_text()
    assert credential.rpartition("_")[2] not in written
    assert credential not in written
    assert sha256(credential.encode()).hexdigest() in written
    assert keys.path.stat().st_mode & 0o777 == 0o600
    assert keys.path.parent.stat().st_mode & 0o777 == 0o700


def test_secrets_have_256_bits_and_are_never_the_same(tmp_path: Path) -> None:
    keys = keys_at(tmp_path)
    secrets = {keys.create("x", "viewer", None)[1].split("_", 2)[2] for _ in range(20)}
    assert len(secrets) == 20
    assert all(len(secret) == 43 for secret in secrets)  # 32 bytes in base64


def test_a_key_ends_at_its_time(tmp_path: Path) -> None:
    clock = Clock()
    keys = keys_at(tmp_path, clock)
    key, credential = keys.create("brief", "viewer", timedelta(seconds=10))
    clock.now += 9_999_999_999
    assert keys.find(credential) == key
    clock.now += 1
    assert keys.find(credential) is None
    assert not keys.any_active()


def _revoke(path: Path, id_: str) -> None:
    keys_at(path).revoke(id_)


def test_a_revocation_by_another_process_is_seen_within_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: seconds[0]))
    keys = keys_at(tmp_path)
    key, credential = keys.create("gone", "viewer", None)
    kept, other = keys.create("kept", "admin", None)
    assert keys.find(credential) == key
    child = multiprocessing.get_context("spawn").Process(target=_revoke, args=(tmp_path, key.id))
    child.start()
    child.join(30)
    seconds[0] += 1.0
    assert keys.find(credential) is None
    assert keys.find(other) == kept


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    children = [context.Process(target=_create_many, args=(tmp_path,)) for _ in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    assert len(keys_at(tmp_path).all()) == 40


def _create_many(path: Path) -> None:
    keys = keys_at(path)
    for number in range(20):
        keys.create(f"{os.getpid()} {number}", "viewer", None)


@pytest.mark.parametrize("damage", ["{", "null", '{"version":2,"keys":[]}', '{"version":1,"keys":[],"more":1}'])
def test_a_broken_file_lets_nobody_in_and_is_said(tmp_path: Path, damage: str) -> None:
    keys = keys_at(tmp_path)
    _, credential = keys.create("x", "viewer", None)
    keys.path.write_text(damage)
    assert keys_at(tmp_path).find(credential) is None
    with pytest.raises(AccessError, match=r"keys\.json: expected"):
        keys_at(tmp_path).any_active()


def test_a_file_that_others_may_write_is_not_believed(tmp_path: Path) -> None:
    keys = keys_at(tmp_path)
    _, credential = keys.create("x", "viewer", None)
    keys.path.chmod(0o666)
    assert keys_at(tmp_path).find(credential) is None
    with pytest.raises(AccessError, match="only its owner may write"):
        keys_at(tmp_path).all()


def looking(keys: KeyFile, credential: str, times: int = 1) -> list[bool]:
    """Whether the key is good, each time that the file is looked at."""
    found = []
    for _ in range(times):
        keys._looked = -module.LOOK_S
        found.append(keys.find(credential) is not None)
    return found


def test_a_file_that_only_its_owner_may_write_again_is_believed_again(tmp_path: Path) -> None:
    keys = keys_at(tmp_path)
    _, credential = keys.create("x", "viewer", None)
    with capture_logs() as logs:
        for mode, good in ((0o600, True), (0o660, False), (0o600, True), (0o660, False)):
            keys.path.chmod(mode)
            assert looking(keys, credential, 3) == [good] * 3
    assert len(logs) == 2


def test_a_file_that_could_not_be_read_for_a_while_is_read_again_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = keys_at(tmp_path)
    _, credential = keys.create("x", "viewer", None)

    def fails(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patched, capture_logs() as logs:
        patched.setattr(Path, "read_bytes", fails)
        assert looking(keys, credential, 3) == [False] * 3
    assert [log["reason"] for log in logs] == ["[Errno 5] Input/output error"]
    assert looking(keys, credential) == [True]


def test_a_file_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    keys = keys_at(tmp_path)
    _, credential = keys.create("x", "viewer", None)
    keys.path.unlink()
    assert keys_at(tmp_path).find(credential) is None


@pytest.mark.parametrize(("name", "role"), [("x", "root"), ("", "viewer"), ("a\nb", "viewer"), ("x" * 65, "viewer")])
def test_impossible_keys_are_refused(tmp_path: Path, name: str, role: str) -> None:
    with pytest.raises(AccessError, match="expected"):
        keys_at(tmp_path).create(name, role, None)


def test_what_is_unknown_is_compared_like_what_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One comparison of two hashes of the same length, whatever was shown: time tells nothing about ids."""
    keys = keys_at(tmp_path)
    key, _ = keys.create("x", "viewer", None)
    compared: list[tuple[str, str]] = []

    def compare(left: str, right: str) -> bool:
        compared.append((left, right))
        return left == right

    monkeypatch.setattr("infra.access.keys.hmac.compare_digest", compare)
    for shown in (f"tk_{key.id}_wrong", "tk_0000000000_wrong", "tk_"):
        assert keys.find(shown) is None
    assert [(len(left), len(right)) for left, right in compared] == [(64, 64)] * 3


def test_a_key_says_its_state() -> None:
    key = Key(id="a", name="n", role="viewer", sha256="", created=0, expires=10)
    assert [key.state(9), key.state(10)] == ["active", "expired"]
