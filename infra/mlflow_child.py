"""`python -m infra.mlflow_child FOLDER`: answers one question with MLflow. The only file that imports it.

It is a process of its own because MLflow's client waits, retries and downloads without a bound: from outside it can be given
a deadline and a largest file. It moves files and reads none: no artifact is ever unpickled here.
"""

import re
import resource
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from infra.registry_exchange import ANSWER, MODEL, QUESTION, REPORTS, Answer, Question, Wish, folders
from models.registry import ALIASES, Version
from schemas.errors import ModelError

REFUSED: Final = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "INVALID_PARAMETER_VALUE"}
PLAIN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
PAGE: Final = 200


def answer(question: Question, exchange: Path) -> Answer:
    """Do what is asked, and say what came of it."""
    try:
        client = MlflowClient(tracking_uri=question.tracking, registry_uri=question.tracking)
        return WISHES[question.wish](client, question, exchange)
    except ModelError as error:
        return Answer(outcome="refused", why=str(error))
    except MlflowException as error:
        return Answer(outcome="refused" if error.error_code in REFUSED else "unavailable", why=str(error))
    except (OSError, SQLAlchemyError) as error:  # requests' exceptions are OSErrors
        return Answer(outcome="unavailable", why=f"{type(error).__name__}: {error}")


def _log(client: Any, question: Question, exchange: Path) -> Answer:
    """The version comes last: a run that was cut off has none, and nobody is given half a model."""
    known = _versions(client, question, f"tags.model_id = '{question.tags['model_id']}'")
    if known:
        return Answer(version=str(known[0].version))
    run = client.create_run(_experiment(client, question), run_name=question.tags["model_id"], tags=question.tags).info
    for name, value in question.parameters.items():
        client.log_param(run.run_id, name, value)
    for name, number in question.metrics.items():
        client.log_metric(run.run_id, name, number)
    given, _ = folders(exchange)
    for part in (MODEL, REPORTS):
        for file in sorted((given / part).iterdir()):
            client.log_artifact(run.run_id, str(file), part)
    client.set_terminated(run.run_id)
    if not client.search_registered_models(f"name = '{question.model}'"):
        client.create_registered_model(question.model)
    source = f"{run.artifact_uri}/{MODEL}"
    made = client.create_model_version(question.model, source, run_id=run.run_id, tags=question.tags)
    return Answer(version=str(made.version))


def _experiment(client: Any, question: Question) -> str:
    found = client.get_experiment_by_name(question.model)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(question.model, artifact_location=question.artifacts or None))


def _alias(client: Any, question: Question, _: Path) -> Answer:
    found = client.get_model_version(question.model, question.wanted)
    client.set_registered_model_alias(question.model, question.alias, found.version)
    return Answer(version=str(found.version))


def _fetch(client: Any, question: Question, exchange: Path) -> Answer:
    """Both files of the model into the exchange: only such as are listed with plain names and allowed sizes."""
    found = _resolved(client, question)
    _, taken = folders(exchange)
    listed = client.list_artifacts(found.run_id, MODEL)
    for each in listed:
        name = each.path.removeprefix(f"{MODEL}/")
        if each.is_dir or not PLAIN.fullmatch(name):
            raise ModelError(f"the registry lists {each.path!r}, which is no plain file of a model; it was not fetched")
        if (each.file_size or 0) > question.max_bytes:
            raise ModelError(f"{name} has {each.file_size} bytes, {question.max_bytes} are allowed; it was not fetched")
    names = sorted(each.path for each in listed)
    if sorted(Path(name).suffix for name in names) != [".json", ".onnx"]:
        raise ModelError(f"expected a manifest and an .onnx file and nothing beside them, the registry lists {names}")
    for name in names:
        try:
            client.download_artifacts(found.run_id, name, str(taken))
        except MlflowException as error:  # which says only that it failed
            if any(file.stat().st_size > question.max_bytes for file in taken.rglob("*")):
                raise ModelError(
                    f"{name} is larger than the {question.max_bytes} bytes that are allowed; cut off"
                ) from error
            raise
    return Answer(version=str(found.version), tags=dict(found.tags))


def _resolved(client: Any, question: Question) -> Any:
    if question.wanted in ALIASES:
        return client.get_model_version_by_alias(question.model, question.wanted)
    if question.wanted.isdecimal():
        return client.get_model_version(question.model, question.wanted)
    if not PLAIN.fullmatch(question.wanted):
        raise ModelError(f"expected an alias, a version or an id, found {question.wanted!r}")
    found = _versions(client, question, f"tags.model_id = '{question.wanted}'")
    if not found:
        raise ModelError(f"the registry has no model {question.wanted}")
    return found[0]


def _list(client: Any, question: Question, _: Path) -> Answer:
    known = client.search_registered_models(f"name = '{question.model}'")
    names: dict[str, list[str]] = {}
    for alias, version in (known[0].aliases if known else {}).items():
        names.setdefault(str(version), []).append(alias)
    return Answer(
        versions=tuple(
            _told(each, tuple(sorted(names.get(str(each.version), [])))) for each in _versions(client, question)
        )
    )


def _told(found: Any, aliases: tuple[str, ...]) -> Version:
    tags: Mapping[str, str] = found.tags
    return Version(
        version=str(found.version),
        model_id=tags.get("model_id", ""),
        kind=tags.get("kind", ""),
        trained_on=tags.get("trained_on", ""),
        metrics=msgspec.json.decode(tags.get("metrics", "{}"), type=dict[str, float]),
        aliases=aliases,
    )


def _versions(client: Any, question: Question, also: str = "") -> list[Any]:
    """Every version that fits, the newest first."""
    wanted = f"name = '{question.model}'" + (f" AND {also}" if also else "")
    found: list[Any] = []
    token = None
    while True:
        page = client.search_model_versions(wanted, max_results=PAGE, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return sorted(found, key=lambda each: -int(each.version))


WISHES: Final[Mapping[Wish, Callable[[Any, Question, Path], Answer]]] = {
    "log": _log, "alias": _alias, "fetch": _fetch, "versions": _list,
}  # fmt: skip


def main(exchange: Path) -> None:
    """Read the question, write the answer; whatever else is said goes to the log."""
    question = msgspec.json.decode((exchange / QUESTION).read_bytes(), type=Question)
    if question.wish == "fetch":  # a server may send more than it announced
        resource.setrlimit(resource.RLIMIT_FSIZE, (question.max_bytes + 1, question.max_bytes + 1))
    (exchange / ANSWER).write_bytes(msgspec.json.encode(answer(question, exchange)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
