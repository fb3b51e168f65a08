"""The Kubernetes CronJob: one at a time, bounded, without privileges, and with names that exist."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.configured import load
from infra.nightly.timetable import daily
from infra.settings import Settings

PATH = Path(__file__).parents[3] / "infra" / "kubernetes" / "nightly-cronjob.yaml"


@pytest.fixture(scope="module")
def job() -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load(PATH.read_text())
    return found


@pytest.fixture(scope="module")
def pod(job: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return found


@pytest.fixture(scope="module")
def container(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    (found,) = pod["containers"]
    assert isinstance(found, Mapping)
    return found


def test_one_run_at_a_time_starts_daily_in_utc_and_ends(job: Mapping[str, Any]) -> None:
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "CronJob")
    minute, hour, *days = job["spec"]["schedule"].split()
    daily(f"{hour}:{minute}")  # refuses what is no time of day
    assert days == ["*", "*", "*"]
    assert job["spec"]["timeZone"] == "Etc/UTC"
    assert job["spec"]["concurrencyPolicy"] == "Forbid"
    spec = job["spec"]["jobTemplate"]["spec"]
    assert 0 < spec["activeDeadlineSeconds"] < 86_400
    assert 100 < job["spec"]["startingDeadlineSeconds"] <= 86_400


def test_a_failed_check_is_not_tried_again(job: Mapping[str, Any], pod: Mapping[str, Any]) -> None:
    (rule,) = job["spec"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["operator"], rule["onExitCodes"]["values"]) == ("FailJob", "In", [1])
    assert rule["onExitCodes"]["containerName"] == pod["containers"][0]["name"]
    assert pod["restartPolicy"] == "Never"  # which Kubernetes demands of a podFailurePolicy


def test_it_runs_without_privileges_and_writes_to_its_volumes_only(
    pod: Mapping[str, Any], container: Mapping[str, Any]
) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    own = container["securityContext"]
    assert own["readOnlyRootFilesystem"] is True
    assert own["allowPrivilegeEscalation"] is own["privileged"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts.keys() == {volume["name"] for volume in pod["volumes"]}
    env = {each["name"]: each["value"] for each in container["env"]}
    for name in ("TICKWIRE_DATA", "NUMBA_CACHE_DIR", "HOME"):
        assert env[name].startswith(tuple(mounts.values())), name


def test_what_has_been_run_outlives_the_pod(pod: Mapping[str, Any], container: Mapping[str, Any]) -> None:
    (kept,) = (volume["name"] for volume in pod["volumes"] if "persistentVolumeClaim" in volume)
    (data,) = (each["value"] for each in container["env"] if each["name"] == "TICKWIRE_DATA")
    assert {"name": kept, "mountPath": data} in container["volumeMounts"]


def test_it_asks_for_resources_within_its_limits(container: Mapping[str, Any]) -> None:
    asked, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert asked.keys() == limits.keys() == {"cpu", "memory", "ephemeral-storage"}
    assert int(asked["cpu"]) <= int(limits["cpu"])
    for name in ("memory", "ephemeral-storage"):
        assert asked[name].endswith("Gi")
        assert int(asked[name].removesuffix("Gi")) <= int(limits[name].removesuffix("Gi"))


def test_settings_come_from_the_environment_and_every_name_is_one(
    pod: Mapping[str, Any], container: Mapping[str, Any]
) -> None:
    assert (container["command"], container["args"][0]) == (["tickwire"], "nightly-run")
    assert [next(iter(source)) for source in container["envFrom"]] == ["configMapRef", "secretRef"]
    ours = {each["name"]: each["value"] for each in container["env"] if each["name"].startswith("TICKWIRE_")}
    assert isinstance(load(ours), Settings)  # refuses a name that sets nothing
    assert pod["enableServiceLinks"] is False, "else a Service named tickwire sets variables that are refused"
    assert not any("PASSWORD" in name or "URL" in name for name in ours)
