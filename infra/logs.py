"""One format for every log line, ours and the libraries', on stderr."""

import logging
import re
import sys
from collections.abc import Collection
from typing import Any, Final, TextIO

import structlog

QUIET: Final = {"uvicorn.access": logging.WARNING, "faust": logging.WARNING, "mode": logging.WARNING}
"""Loggers that speak for every request or record; their warnings still pass."""

CREDENTIALS: Final = r"tk_[0-9a-z]+_[A-Za-z0-9_-]{20,}|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*"
"""API keys and JWTs, whoever's they are."""
SHORTEST: Final = 4
"""Characters of a secret that is masked; a shorter one is no secret, and would mask every other word."""


def configure_logging(
    level: str = "INFO", *, json: bool = False, stream: TextIO | None = None, secrets: Collection[str] = ()
) -> None:  # fmt: skip
    """Route structlog and the standard library's loggers through one handler.

    `level`: a name that `logging` knows. `json`: one object a line for machines, else readable columns (coloured on a
    terminal). `secrets`: texts that are masked wherever they stand; what looks like a key or a token of ours is, too.
    Calling it again replaces what was configured before.
    Raises: `ValueError` for an unknown level.
    """
    out = stream or sys.stderr
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before, processors=[*_rendering(out, json=json), _masking(secrets)]
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    _take_over_libraries(root.level)
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _rendering(out: TextIO, *, json: bool) -> list[structlog.typing.Processor]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if json:
        return [strip, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    return [strip, structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=_plain_traceback)]


def _masking(secrets: Collection[str]) -> structlog.typing.Processor:
    """The last step: over the whole line, its traceback included."""
    hidden = [re.escape(secret) for secret in sorted(secrets, key=len, reverse=True) if len(secret) >= SHORTEST]
    pattern = re.compile("|".join([*hidden, CREDENTIALS]))

    def mask(logger: Any, name: str, line: Any) -> Any:  # noqa: ARG001
        return pattern.sub("***", line)

    return mask


def _plain_traceback(out: TextIO, exc_info: Any) -> None:
    """Rich tracebacks print local variables, and those may hold secrets."""
    structlog.dev.plain_traceback(out, exc_info)


def _take_over_libraries(level: int) -> None:
    """Handlers that a library put on its own loggers would print a second time in a second format."""
    for name in list(logging.root.manager.loggerDict):
        logger = logging.getLogger(name)
        logger.handlers[:] = []
        logger.propagate = True
    for name, quiet in QUIET.items():
        logging.getLogger(name).setLevel(max(level, quiet))
    logging.captureWarnings(True)
