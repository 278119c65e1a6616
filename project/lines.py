"""One line of the log: what it says, and of whom; with nothing in it that is secret."""

from __future__ import annotations

import json as json_module
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, ProcessorReturnValue

from detection import correlation, scrub

FIRST = ("timestamp", "level", "event", "correlation_id")
LONGEST = 4000  # of a fact's text
# What the launcher passes on, and others read, is a line of 64 KiB at most.
LONGEST_OF = {"event": 8000, "exception": 32_000}
OF_A_RECORD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
NOT_SHOWN = frozenset({"request", "params", "data", "color_message", "stack"})


class Line(structlog.stdlib.ProcessorFormatter):
    """The same for our lines and for those of libraries."""

    def __init__(self, renderer: Processor) -> None:
        about: list[Processor] = [
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            add_process,
            add_correlation,
            add_facts,
            without_values,
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
        ]
        last = [self.remove_processors_meta, scrubbed, renderer]
        super().__init__(processors=last, foreign_pre_chain=about)

    def format(self, record: logging.LogRecord) -> str:
        try:
            record.getMessage()
        except Exception:  # noqa: BLE001 - whatever an argument's own __str__ raises; logging would print them all
            said = {"msg": f"{record.msg} (with arguments that do not fit)", "args": ()}
            record = logging.makeLogRecord({**record.__dict__, **said})
        return super().format(record)


def add_process(_logger: Any, _method: str, event: EventDict) -> EventDict:
    event["process"], event["pid"] = PROCESS, os.getpid()
    return event


def add_correlation(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if current := correlation.current():
        event["correlation_id"] = current
    return event


def add_facts(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """What was given as ``extra``, as far as it is plain: libraries give whole requests there, and tasks' arguments."""
    for name, value in vars(event["_record"]).items():
        if name in OF_A_RECORD or name in NOT_SHOWN or name.startswith("_") or name in event:
            continue
        if value is None or isinstance(value, str | int | float | bool):
            event[name] = value
        elif isinstance(value, bytes | bytearray | memoryview):
            event[name] = f"<{len(value)} bytes>"
        elif isinstance(value, dict) and all(isinstance(part, str | int | float) for part in value.values()):
            event[name] = {str(key): part for key, part in value.items()}
    return event


def without_values(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Of Django's statements, where they are asked for, the values: sessions, addresses and files are among them."""
    if str(event.get("logger", "")).startswith("django.db.backends"):
        event["event"] = scrub.without_literals(str(event["event"]))
        if "sql" in event:
            event["sql"] = scrub.without_literals(str(event["sql"]))
    return event


def scrubbed(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """The last before the line is made: nothing is added after this. What a person looks for stands first."""
    ordered = {name: event[name] for name in FIRST if name in event} | dict(event)
    return {name: _clean(name, value) for name, value in ordered.items()}


def json() -> Processor:
    return structlog.processors.JSONRenderer(serializer=json_module.dumps, ensure_ascii=False, default=str)


def words(colours: bool) -> Processor:
    """For people: the time, the level, what is said, who says it, and the facts."""
    render = structlog.dev.ConsoleRenderer(
        colors=colours, pad_event_to=0, sort_keys=False, exception_formatter=structlog.dev.plain_traceback
    )

    def shortened(logger: Any, method: str, event: EventDict) -> ProcessorReturnValue:
        event["timestamp"] = str(event["timestamp"])[:23].replace("T", " ") + "Z"
        event.pop("pid", None)
        event.pop("process", None)
        return render(logger, method, event)

    return shortened


def process_of(argv: Sequence[str]) -> str:
    """What a process is called in the log, by its command line: web, beat, a worker's name, or its command."""
    program, _, _ = (argv[0] if argv else "").rpartition("/__main__.py")
    program = (program or (argv[0] if argv else "")).rpartition("/")[2]
    if program == "gunicorn":
        return "web"
    if program == "manage.py" and len(argv) > 1:
        return argv[1]
    if "worker" in argv:
        return argv[argv.index("-n") + 1].partition("@")[0] if "-n" in argv[:-1] else "worker"
    return next((name for name in ("beat", "flower") if name in argv), program or "python")


PROCESS = process_of(sys.argv)


def _clean(name: str, value: Any) -> Any:
    if name in FIRST[:2] and isinstance(value, str):
        return value
    longest = LONGEST_OF.get(name)
    if longest is None and isinstance(value, str):
        value = value[: 4 * LONGEST]  # what is beyond is not even looked at: it may be somebody's megabyte
    cleaned = scrub.member(name, value)
    if not isinstance(cleaned, str):
        return cleaned
    return cleaned[:LONGEST] if longest is None else _without_its_middle(cleaned, longest)


def _without_its_middle(text: str, longest: int) -> str:
    """Of a traceback the end says most."""
    if len(text) <= longest:
        return text
    first = longest // 4
    return f"{text[:first]}\n[…]\n{text[first - longest :]}"
