"""The log: what of it is left out, and what a line looks like.

Whoever logs does so with Python's own `logging`; structlog makes the lines, of ours and of the libraries' alike, in
every process: JSON, or words with colours where somebody sits at a terminal.
"""

from __future__ import annotations

import logging
import logging.config
import os
import re
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import structlog

from project import lines

TERMINAL = "NIGHTJAR_TERMINAL"  # set by the launcher, to whose terminal its programs write through a pipe
FORMATS = ("auto", "json", "console")
AGAIN_S = 30.0
OUTAGES = {"ConnectionError", "TimeoutError", "RecoverableConnectionError", "ConnectionForced"}  # of redis and amqp

# Their lines have whole addresses in them, with passwords and tokens.
NEVER = ("urllib3", "apprise", "http.client", "requests_oauthlib")
QUIET: dict[str, str] = {
    # What says at every start, or of every task, only that all is as it should be. workers/trail.py has a line a task.
    "celery.worker.strategy": "WARNING",
    "celery.app.trace": "WARNING",
    "flower": "ERROR",
    "kombu.mixins": "WARNING",
    "tornado.access": "ERROR",
    # The line of the request (detection/views/request_line.py) says as much.
    "django.server": "ERROR",
    # detection/views/doors.py says who was refused, once.
    "axes": "ERROR",
    # What only their makers can use, also where all else says what it does.
    "amqp": "INFO",
    "asyncio": "INFO",
    "boto3": "INFO",
    "botocore": "INFO",
    "celery.bootsteps": "INFO",
    "celery.utils": "INFO",
    "django.db.backends": "INFO",
    "django.template": "INFO",
    "django.utils.autoreload": "INFO",
    "filelock": "INFO",
    "kombu": "INFO",
    "matplotlib": "INFO",
    "nncf": "WARNING",
    "PIL": "INFO",
    "s3transfer": "INFO",
    "smtplib": "INFO",
    "torch": "WARNING",
}


def level(given: str) -> str:
    """A level by its name. Raises ValueError, for the options."""
    if given.strip().upper() not in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"):
        raise ValueError("DEBUG, INFO, WARNING, ERROR or CRITICAL")
    return given.strip().upper()


def levels(given: str) -> dict[str, str]:
    """Levels by the names of loggers: ``django.db=DEBUG,workers=INFO``. Raises ValueError."""
    found: dict[str, str] = {}
    for entry in filter(None, map(str.strip, given.split(","))):
        name, _, of_it = (part.strip() for part in entry.partition("="))
        try:
            found[name] = level(of_it)
        except ValueError:
            raise ValueError("pairs like workers=DEBUG,celery=WARNING") from None
        if not name or any(name == never or name.startswith(f"{never}.") for never in NEVER):
            raise ValueError(f"pairs of a logger and its level, and not of {', '.join(NEVER)}: these log passwords")
    return found


def form(given: str) -> str:
    """A format by its name. Raises ValueError."""
    if given.strip().lower() not in FORMATS:
        raise ValueError("auto, json or console")
    return given.strip().lower()


def file(given: str) -> Path | None:
    """A file that may be written, or none. Raises ValueError."""
    if not given:
        return None
    path = Path(given).absolute()
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise ValueError("a file that this user may write, in a folder that is there")
    return path


def settings(
    *,
    level: str = "INFO",
    levels: dict[str, str] | None = None,
    form: str = "auto",
    file: Path | None = None,
    max_bytes: int = 50_000_000,
    backups: int = 5,
) -> dict[str, Any]:
    """Django's LOGGING: everything goes to one handler, to standard error, or to a file that is rotated."""
    handler: dict[str, Any] = {
        "class": "logging.StreamHandler",
        "formatter": "line",
        "filters": ["without_routine", "request_line", "task_line", "outages"],
    }
    if file is not None:
        # Any number of processes write to it, and one of them, whichever, puts it aside when it is full.
        handler |= {
            "class": "concurrent_log_handler.ConcurrentRotatingFileHandler",
            "filename": str(file),
            "maxBytes": max_bytes,
            "backupCount": backups,
            "encoding": "utf-8",
            "use_gzip": False,
        }
    own = {name: {"level": of_it} for name, of_it in (QUIET | (levels or {})).items()}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {
            "without_routine": {"()": "project.logs.WithoutRoutine"},
            "request_line": {"()": "project.logs.SaidByTheRequest"},
            "task_line": {"()": "project.logs.SaidByTheTask"},
            "outages": {"()": "project.logs.OutagesInOneLine"},
        },
        "formatters": {"line": {"()": "project.logs.formatter", "form": form, "to_file": file is not None}},
        "handlers": {"line": handler},
        "root": {"handlers": ["line"], "level": level},
        # Django has handlers of its own for these, and gunicorn for its own.
        "loggers": own
        | {
            "django": {"handlers": [], "propagate": True, "level": own.get("django", {}).get("level", "NOTSET")},
            "django.server": own["django.server"] | {"handlers": [], "propagate": True},
            **{name: {"level": "CRITICAL"} for name in NEVER},
        },
    }


def configure(config: dict[str, Any]) -> None:
    """Django's LOGGING_CONFIG: what Python itself would print goes through the log, too, and so is scrubbed."""
    logging.config.dictConfig(config)
    logging.captureWarnings(True)
    warnings.filterwarnings("ignore", message=r"\s*In Celery 5\.1 we introduced")  # at every loss of the broker
    sys.excepthook = _uncaught
    threading.excepthook = lambda found: _uncaught(
        found.exc_type, found.exc_value or found.exc_type(), found.exc_traceback
    )


def formatter(form: str = "auto", to_file: bool = False) -> logging.Formatter:
    """What makes lines. A file gets JSON unless it is to be words; colours are for eyes only."""
    colours = not to_file and is_at_terminal() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return lines.Line(lines.words(colours) if is_in_words(form, to_file) else lines.json())


def is_in_words(form: str, to_file: bool = False) -> bool:
    return form == "console" or (form == "auto" and not to_file and is_at_terminal())


def is_at_terminal() -> bool:
    """Whether somebody reads what this process prints to standard error as it comes."""
    told = os.environ.get(TERMINAL)
    return told == "1" if told else sys.stderr.isatty()


def _uncaught(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    where = threading.current_thread().name
    logging.getLogger("uncaught").critical("nobody caught this in %s", where, exc_info=(kind, error, traceback))


# What the log leaves out


class WithoutRoutine(logging.Filter):
    """Drops the lines that say that what is done every moment was sent, received and done; their troubles stay."""

    ROUTINE = ("workers.tasks.sweep", "workers.tasks.tidy", "workers.tasks.grab")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO or not record.name.startswith("celery."):
            return True
        message = record.getMessage()
        return not any(task in message for task in self.ROUTINE)


class SaidByTheRequest(logging.Filter):
    """Django's own line about a request that was refused becomes the reason in that request's line.

    Of what went wrong its traceback stays; that a request ended with 5xx is in its line already.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        line = getattr(getattr(record, "request", None), "line", None)
        if line is None or not record.name.startswith(("django.request", "django.security")):
            return True
        if getattr(record, "status_code", 400) >= 500:
            return bool(record.exc_info)
        line.because(record.getMessage())
        return False


class SaidByTheTask(logging.Filter):
    """Of a task whose process has died workers/trail.py and workers/crash.py say what it was and why.

    Celery says so as well, with a traceback of where its main process noticed.
    """

    ENDS = ("WorkerLostError", "TimeLimitExceeded")

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        ended = type(getattr(error, "exc", error)).__name__ in self.ENDS  # billiard wraps what it hands over
        return not (ended and record.name == "celery.worker.request")


class OutagesInOneLine(logging.Filter):
    """While the broker is away, Celery and its libraries say so each second, with a traceback: one line has the cause.

    The same from the same logger is said again only after a while. What became of a task is of that task alone, with
    its reference, and is said of each; but not of those that come every moment.
    """

    LIBRARIES = ("celery", "kombu", "amqp", "redis", "flower", "tornado", "asyncio")
    TASKS = "celery.app.trace"
    EVERY_MOMENT = ("workers.tasks.sweep", "workers.tasks.tidy")
    LISTED = re.compile(r"\s*\[['\"] +File .*\Z", re.DOTALL)  # beat prints the stack as a list

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in self.LIBRARIES:
            return True
        error = record.exc_info[1] if record.exc_info else None
        # What a task of ours raised may be any OSError: only of what is surely away nothing more is to be said.
        is_of_task = record.name == self.TASKS
        if error is None or not is_outage(error, surely=is_of_task):
            return True
        said = self.LISTED.sub("", record.getMessage()).strip()
        cause = first_cause(error)
        record.msg, record.args = said if cause.partition(": ")[2] in said else f"{said} ({cause})", ()
        record.exc_info = record.exc_text = None
        is_alone = is_of_task and not any(task in said for task in self.EVERY_MOMENT)
        return self._is_news(f"{said if is_alone else record.name} {cause}")

    def _is_news(self, what: str) -> bool:
        moment = time.monotonic()
        if moment - self._said.get(what, -AGAIN_S) < AGAIN_S:
            return False
        self._said = {other: when for other, when in self._said.items() if moment - when < AGAIN_S} | {what: moment}
        return True


def is_outage(error: BaseException, *, surely: bool = False) -> bool:
    """Whether it says that a broker or a database is not there, in the words of any of their libraries."""
    from kombu.exceptions import OperationalError as BrokerAway

    from detection.database import is_away

    if surely:
        return isinstance(error, BrokerAway) or is_away(error)
    return any(
        isinstance(each, OSError | BrokerAway)
        or is_away(each)
        or bool(OUTAGES & {kind.__name__ for kind in type(each).__mro__})
        for each in _chain(error)
    )


def first_cause(error: BaseException) -> str:
    """What began it: libraries raise their own errors over others'."""
    cause = _chain(error)[-1]
    return f"{type(cause).__name__}: {cause}"


def _chain(error: BaseException) -> list[BaseException]:
    chain = [error]
    while len(chain) < 20:
        last = chain[-1]
        cause = last.__cause__ or (None if last.__suppress_context__ else last.__context__)
        if cause is None:
            break
        chain.append(cause)
    return chain


structlog.configure(
    processors=[structlog.stdlib.filter_by_level, structlog.stdlib.render_to_log_kwargs],
    wrapper_class=structlog.stdlib.BoundLogger,
    logger_factory=structlog.stdlib.LoggerFactory(),
)
