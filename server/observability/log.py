"""The log: one line an event on stderr, readable or JSON, with what it belongs to.

Modules log by the standard library; `extra` becomes fields. What a request or a session binds to
its task (`structlog.contextvars`) stands on every line that is logged in it: `request`, `session`,
and `key`, the name of the caller's key. No text, no sound and no key is logged.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Final, Literal

import structlog
from structlog.types import EventDict, Processor

LogForm = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_OURS: Final = ("step_audio", "server", "tokenizer", "vocoder")
_STRUCTLOG_KEYS: Final = ("_record", "_from_structlog")
"""What structlog itself keeps in an event until it is written."""


def configure_log(form: LogForm = "text", level: LogLevel = "info") -> None:
    """Send everything that is logged in this process to stderr.

    Args:
        form: `text` for a terminal or a service manager, `json` for a collector: one object a line.
        level: the least of ours that is logged. Libraries begin at `warning`: below that they tell
            addresses, headers and messages.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _without_library_keys,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if form == "json":
        last += [
            structlog.processors.format_exc_info,
            _ordered,
            structlog.processors.JSONRenderer(),
        ]
    else:
        last += [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # The plain one: others print local variables, which hold what people say.
                exception_formatter=structlog.dev.plain_traceback,
                pad_event_to=0,
                pad_level=False,
            )
        ]
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=[*shared, _cause], processors=[*last])
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel("ERROR" if level == "error" else "WARNING")
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())


def _without_library_keys(_: Any, __: str, event: EventDict) -> EventDict:
    """Drop what libraries hang on every record of the process, such as Ray its own time."""
    foreign = [key for key in event if key.startswith("_") and key not in _STRUCTLOG_KEYS]
    for key in foreign:
        del event[key]
    return event


def _ordered(_: Any, __: str, event: EventDict) -> EventDict:
    """Put what every line has in front and sort the rest: context comes in any order."""
    first = [key for key in ("timestamp", "level", "event") if key in event]
    return {key: event[key] for key in [*first, *sorted(event.keys() - set(first))]}


def _cause(_: Any, __: str, event: EventDict) -> EventDict:
    """Add the chain of causes in one line: what a person reads before the traceback."""
    raised = event.get("exc_info")
    error = (
        sys.exc_info()[1] if raised is True else raised[1] if isinstance(raised, tuple) else raised
    )
    if isinstance(error, BaseException):
        event["cause"] = " <- ".join(chain_of(error))
    return event


def chain_of(error: BaseException) -> list[str]:
    """Return the error and what caused it, outermost first; groups name their members."""
    told: list[str] = []
    at: BaseException | None = error
    while at is not None and len(told) < 10:
        if isinstance(at, BaseExceptionGroup) and len(at.exceptions) == 1:
            at = at.exceptions[0]
            continue
        told.append(f"{type(at).__name__}: {at}"[:300] if str(at) else type(at).__name__)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return told
