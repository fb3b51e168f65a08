"""What a statement over HTTP may not do: reach outside the database, to files, programs or other machines.

The first wall is the engine's own grants (`infra.embedded.grants`), which cover table functions and engines. This one
refuses, by name and before the engine sees them, those and the few things that no grant covers (the scalar function
`file`, INTO OUTFILE, statements built from strings). What is here is small on purpose; the kernel is the third wall
(`infra.embedded.sandbox`).
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from infra.embedded.answers import ACCESS_DENIED, SYNTAX_ERROR, EngineError
from infra.embedded.tokens import LexicalError, Token, tokens

OUTSIDE_FAMILIES: Final = (
    "azure", "bigquery", "catboost", "cluster", "cosn", "deltalake", "executable", "gcs", "hdfs", "hudi", "iceberg",
    "jdbc", "materializedpostgresql", "mongodb", "mysql", "odbc", "oss", "paimon",
    "postgresql", "prometheus", "python", "remote", "replicated", "s3", "sqlite", "ytsaurus",
)  # fmt: skip
"""Table functions, table engines and database engines that begin so, whatever follows."""
OUTSIDE: Final = frozenset(
    [
        "arrowflight", "arrowstream", "backup", "datalakecatalog", "disk", "distributed", "embeddedrocksdb", "eval",
        "filecluster", "filelog", "filesystem", "hive", "kafka", "keepermap", "nats", "queryrunner", "rabbitmq", "redis",
        "url", "urlcluster",
    ]
)  # fmt: skip
HARMLESS: Final = frozenset(["icebergbucket", "iceberghash", "icebergtruncate"])
"""Functions of values whose names begin like the others'."""
BEFORE_A_NAME: Final = frozenset([".", "into", "exists"])
"""What stands behind one of these is a table, with its columns in parentheses."""
EXPRESSIONS_IN_TEXT: Final = ("additional_table_filters", "additional_result_filter", "parallel_replicas_custom_key")
"""Settings whose text the engine parses and runs as an expression."""


def refuse_outside(found: Sequence[Token]) -> None:
    """EngineError (497, ACCESS_DENIED) where a statement names something outside the database."""
    for token in found:
        _refuse_escaped_name(token)
        if token.name == "file":  # also without parentheses: arrayMap(file, …), * APPLY file
            raise _refused("file", token)
    previous = ""
    for before, token in pairwise(found):
        if (before.name, token.name) in (("into", "outfile"), ("from", "infile")):
            raise _refused(f"{before.text} {token.text}", before)
        if token.text == "(" and _is_outside(before.name) and previous not in BEFORE_A_NAME:
            raise _refused(f"{before.text}()", before)
        previous = before.text.lower()
    for setting in EXPRESSIONS_IN_TEXT:
        if any(token.name == setting for token in found):
            _refuse_in_text(setting, " ".join(token.text for token in found if token.kind == "string"))
    for index, token in enumerate(found[:-1]):
        if token.name == "engine":
            behind = found[index + 1 : index + 3]
            name = behind[-1] if behind[0].text == "=" else behind[0]
            if _is_outside(name.name):
                raise _refused(f"ENGINE = {name.text}", name)


def refuse_expressions_in_settings(settings: Mapping[str, str]) -> None:
    """The same for settings of a request whose value is itself an expression."""
    for name in EXPRESSIONS_IN_TEXT:
        _refuse_in_text(name, settings.get(name, ""))


def _refuse_in_text(setting: str, text: str) -> None:
    if "\\x" in text:
        raise EngineError(ACCESS_DENIED, f"setting {setting}: an escaped byte (\\x…) is refused over HTTP")
    try:
        refuse_outside(list(tokens(text.replace("'", " ").encode().decode("latin-1"))))
    except LexicalError as error:
        raise EngineError(SYNTAX_ERROR, f"setting {setting}: {error}") from error


def _is_outside(name: str) -> bool:
    return name in OUTSIDE or (name.startswith(OUTSIDE_FAMILIES) and name not in HARMLESS)


def _refuse_escaped_name(token: Token) -> None:
    if token.kind == "quoted" and "\\" in token.text:
        raise EngineError(
            ACCESS_DENIED, f"the quoted name {token.text} holds a backslash; write its characters as they are"
        )


def _refused(what: str, token: Token) -> EngineError:
    return EngineError(
        ACCESS_DENIED,
        f"{what} at position {token.start + 1} reaches outside the database and is refused over HTTP; "
        "insert the data through INSERT … FORMAT, or start the engine with --allow-outside",
    )
