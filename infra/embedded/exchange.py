"""One statement answered: text and data in, a reply out; no HTTP in it."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Final

from infra.embedded.answers import QUERY_IS_TOO_LARGE, EngineError
from infra.embedded.bodies import PIECE
from infra.embedded.chdb_engine import Answer, Engine, Options, Progress
from infra.embedded.guard import refuse_expressions_in_settings, refuse_outside
from infra.embedded.http_query import HttpQuery
from infra.embedded.revisions import CUSTOM_SERIALIZATION, newer_blocks
from infra.embedded.statements import Statement, around_data, parse_insert, parse_query

LARGEST_STATEMENT: Final = 16 << 20
"""Bytes of a statement's text; the data of an INSERT is not part of it."""
LARGEST_RESULT: Final = 1 << 30
"""Bytes of a result that must be held whole (a format with a frame, as JSON and Parquet), unpacked."""
HELD_IN_MEMORY: Final = 16 << 20
PIECEWISE: Final = frozenset(
    [
        "native", "tabseparated", "tabseparatedraw", "tsv", "tsvraw", "csv", "rowbinary", "jsoneachrow", "jsonlines",
        "ndjson", "jsoncompacteachrow", "jsonstringseachrow", "values", "lineasstring", "rawblob", "null",
    ]
)  # fmt: skip
"""Formats whose blocks, one after the other, are the format again."""


@dataclass(frozen=True)
class Reply:
    """`format` is None where there are no rows to give; `length` where it is known before the last piece."""

    format: str | None
    progress: Progress
    pieces: Iterator[bytes]
    length: int | None


@contextmanager
def answered(engine: Engine, query: HttpQuery, body: Iterator[bytes]) -> Iterator[Reply]:
    """Run what `query` and `body` say together; the reply's pieces are to be taken before the block is left.

    Raises EngineError, also while pieces are taken.
    """
    statement, data = read_statement(query.text, body)
    if not engine.allow_outside:
        refuse_outside(statement.tokens)
        refuse_expressions_in_settings(query.options.settings)
    output_format = statement.format or query.default_format
    newer = output_format.lower() == "native" and query.revision >= CUSTOM_SERIALIZATION
    piecewise = statement.streamable and output_format.lower() in PIECEWISE
    options = query.options if piecewise or statement.kind == "insert" else _limited(query.options)
    with engine.session(options) as session:
        if statement.kind == "insert":
            begins, ends = around_data(statement)
            progress = session.insert(begins, statement.format or "Values", data, ends)
            yield Reply(None, progress, iter(()), 0)
        elif piecewise:
            with closing(session.stream(statement.text, output_format)) as blocks:
                answers = map(_newer, blocks) if newer else blocks
                yield _streamed(answers, output_format, engine.scratch if query.whole else None)
        else:
            answer = session.query(statement.text, output_format)
            answer = _newer(answer) if newer else answer
            has_rows = statement.kind == "rows" or bool(answer.body)
            yield Reply(output_format if has_rows else None, answer.progress, iter((answer.body,)), len(answer.body))


def read_statement(text: str, body: Iterator[bytes]) -> tuple[Statement, Iterator[bytes]]:
    """The statement and the data behind it (none for one that is not an INSERT).

    As on a server, the statement is what the URL says, a line break, and the body.
    """
    head = text.encode() + b"\n" if text else b""
    if text and (found := parse_insert(head)) is not None:
        statement, begins = found
        return statement, chain((head[begins:],), body)
    for piece in body:
        head += piece
        if len(head) >= PIECE // 4:
            break
    if (found := parse_insert(head)) is not None:
        statement, begins = found
        return statement, chain((head[begins:],), body)
    return parse_query(_whole(head, body)), iter(())


def _whole(head: bytes, body: Iterator[bytes]) -> bytes:
    parts = [head]
    size = len(head)
    for piece in body:
        parts.append(piece)
        size += len(piece)
        if size > LARGEST_STATEMENT:
            raise EngineError(
                QUERY_IS_TOO_LARGE,
                f"a statement has up to {LARGEST_STATEMENT} bytes, this one has more: put its values into a table first",
            )
    return b"".join(parts)


def _newer(answer: Answer) -> Answer:
    return replace(answer, body=newer_blocks(answer.body))


def _limited(options: Options) -> Options:
    """With a limit of the result, where the client has said none."""
    if "max_result_bytes" in options.settings:
        return options
    return replace(
        options, settings={"result_overflow_mode": "throw", **options.settings, "max_result_bytes": str(LARGEST_RESULT)}
    )


def _streamed(answers: Iterator[Answer], output_format: str, scratch: Path | None) -> Reply:
    """A reply that begins when the first block is there, or, with `scratch`, when the last one is."""
    first = next(answers)
    if first.progress.result_rows == 0:
        return Reply(output_format, first.progress, iter((first.body,)), len(first.body))
    if scratch is None:
        pieces = chain((first.body,), (answer.body for answer in answers))
        return Reply(output_format, first.progress, pieces, None)
    held = tempfile.SpooledTemporaryFile(HELD_IN_MEMORY, dir=str(scratch))  # noqa: SIM115 (closed with its last reference)
    progress = Progress()
    for answer in chain((first,), answers):
        held.write(answer.body)
        progress = replace(
            answer.progress,
            result_rows=progress.result_rows + answer.progress.result_rows,
            result_bytes=progress.result_bytes + answer.progress.result_bytes,
        )
    length = held.tell()
    held.seek(0)
    return Reply(output_format, progress, iter(lambda: held.read(PIECE), b""), length)
