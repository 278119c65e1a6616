"""What Sentry is told, where a DSN is set: what nobody expected, once, and that the timetable is kept.

What is expected to go wrong (a camera that is off, a file that is no clip, a broker that restarts) has its own place on
a row, on a page and in the log, and is no event. Everything that leaves is scrubbed (see detection/scrub.py).
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from detection import correlation, scrub

# By name: most of them live where the settings may not import from.
EXPECTED = frozenset(
    {
        "builtins.ConnectionError",
        "kombu.exceptions.OperationalError",
        "redis.exceptions.ConnectionError",
        "redis.exceptions.TimeoutError",
        "amqp.exceptions.ConnectionError",
        "billiard.exceptions.WorkerLostError",  # told by workers.crash, with what it worked on
        "billiard.exceptions.TimeLimitExceeded",
        "billiard.exceptions.SoftTimeLimitExceeded",
        "detection.vision.types.MediaError",
        "detection.vision.types.DetectorError",
        "detection.models.work.LeaseLost",
        "detection.fields.WrongKey",
        "workers.grab.types.GrabError",
        "workers.notify.NotifyError",
        "workers.again.TryAgain",
        "django.http.response.Http404",
        "django.core.exceptions.PermissionDenied",
        "django.core.exceptions.SuspiciousOperation",
        "django.core.exceptions.RequestAborted",
        "django.http.request.UnreadablePostError",
    }
)
WRAPPER = "celery.beat.SchedulingError"  # says that beat could not send; its cause says whether that is news
DATABASE = frozenset({"django.db.utils.OperationalError", "django.db.utils.InterfaceError"})
DATABASE_EVERY_S = 60.0  # while it is away, every request and every sweep says so
# What these say without a traceback is news all the same: a process that died over its work, work that is given up.
TELL_IN_WORDS = ("workers.crash", "workers.sweep")
NOT_MONITORED = ["sweep", "tidy"]  # Sentry knows whole minutes only; of the sweep see workers/check_in.py
NOT_TIMED = re.compile(r"workers\.tasks\.(sweep|tidy)$|/?(static|health|metrics|flower)\b")
EXIT_WAITS_S = 2  # for what has not gone out yet, where Sentry is away
TAG = "correlation_id"

_database_said_at = -DATABASE_EVERY_S


def start(*, dsn: str, environment: str, release: str, sample_rate: float, traces_sample_rate: float) -> None:
    """Begins to tell Sentry, in this process and those it forks; without a DSN the library is not even loaded."""
    if not dsn:
        return
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.django import DjangoIntegration

    sentry_sdk.init(
        dsn=dsn,
        environment=environment,
        release=release,
        sample_rate=sample_rate,
        traces_sampler=_Sampler(traces_sample_rate) if traces_sample_rate else None,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        trace_propagation_targets=[],  # cameras and webhooks are told nothing of it
        auto_session_tracking=False,
        auto_enabling_integrations=False,  # none but those that were looked at
        integrations=[
            DjangoIntegration(middleware_spans=False),
            CeleryIntegration(monitor_beat_tasks=True, exclude_beat_tasks=[f"^{name}$" for name in NOT_MONITORED]),
        ],
        before_send=before_send,
        before_send_transaction=scrub.before_send_transaction,
        before_breadcrumb=scrub.before_breadcrumb,
        shutdown_timeout=EXIT_WAITS_S,
    )
    correlation.observers.append(_tag_what_follows)


def before_send(event: Any, hint: Mapping[str, Any]) -> Any:
    """The event as it may leave; None where it is no news."""
    record = hint.get("log_record")
    if "exc_info" in hint:
        if not _is_news(hint["exc_info"][1]):
            return None
    elif record is not None:
        if record.name not in TELL_IN_WORDS:
            return None
        event["fingerprint"] = [record.name, record.funcName]  # the line has names and numbers in it
    _tag(event)
    return scrub.before_send(event, hint)


def dsn(given: str) -> str:
    """The DSN itself, empty for none; raises ValueError saying what it must be."""
    if given:
        from sentry_sdk.utils import BadDsn, Dsn

        try:
            Dsn(given)
        except BadDsn as error:
            raise ValueError("the DSN of a Sentry project, such as https://KEY@sentry.example.org/1") from error
    return given


def share(given: str) -> float:
    """A share of all, from 0 to 1; raises ValueError saying so."""
    try:
        number = float(given)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise ValueError("a share from 0 to 1")
    return number


class _Sampler:
    """Times a share of the requests and tasks, but none that come every second and say nothing."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def __call__(self, context: Mapping[str, Any]) -> float:
        path = (context.get("wsgi_environ") or {}).get("PATH_INFO", "")
        name = str((context.get("transaction_context") or {}).get("name", ""))
        if NOT_TIMED.match(path) or NOT_TIMED.match(name):
            return 0.0
        parent = context.get("parent_sampled")
        return self._rate if parent is None else float(parent)


def _is_news(error: BaseException | None) -> bool:
    global _database_said_at
    kinds = _kinds(error)
    if WRAPPER in kinds and error is not None:
        return _is_news(error.__cause__ or error.__context__)
    if kinds & DATABASE:
        due = time.monotonic() - _database_said_at >= DATABASE_EVERY_S
        if due:
            _database_said_at = time.monotonic()
        return due
    return not kinds & EXPECTED


def _kinds(error: BaseException | None) -> set[str]:
    return {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}


def _tag(event: Any) -> None:
    """With the id of what this thread is doing, so that the log's lines are found from the event, and it from them."""
    tags = dict(event.get("tags") or {})
    tags.pop(TAG, None)
    if found := correlation.current():
        tags[TAG] = found
    event["tags"] = tags


def _tag_what_follows(correlation_id: str) -> None:
    """For what is sent only when the request or task is over: its own scope remembers the id."""
    import sentry_sdk

    if correlation_id:
        sentry_sdk.get_isolation_scope().set_tag(TAG, correlation_id)
