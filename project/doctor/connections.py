"""What Nightjar is connected to: database, broker, storage, and what lies in them."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import DatabaseError, NotSupportedError, connection
from django.utils import timezone
from redis.exceptions import RedisError

from detection import stored
from detection.database import pending_migrations
from detection.keys import check_keys
from detection.models import Model
from detection.models.clock import now
from detection.storage import PART
from detection.vision.types import DetectorError
from detection.vision.weights import sha256
from project import broker
from project.cache import LocalCache
from project.doctor.findings import Check, Finding, error, ok, warning

CLOCK_WARNING_S, CLOCK_ERROR_S = 5.0, 600.0  # messages of beat that are older are dropped
BROKER_WAIT_S = 3.0
PROBING = 3  # connections of the health of a web process
OTHERS = 12  # of main processes, their signs of life, `proxy`, `beat` and `manage.py`, and what is reserved


def database() -> Iterator[Finding]:
    """Whether it answers, is new enough, and is up to date."""
    if _is_not_made():
        yield error("database", f"there is none at {connection.settings_dict['NAME']}: run `make setup`.")
        return
    try:
        connection.ensure_connection()
        pending = pending_migrations()
    except NotSupportedError as problem:
        yield error("database", f"{_first_line(problem)} Use a later one.")
        return
    except DatabaseError as problem:
        yield error("database", f"cannot be reached ({_first_line(problem)}): check DATABASE_URL, and that it runs.")
        return
    if pending:
        yield error("database", f"{pending} migrations are pending: run `make setup`, or `manage.py migrate`.")
        return
    off_s = abs((timezone.now() - now()).total_seconds())
    if off_s > CLOCK_WARNING_S:
        tell = error if off_s > CLOCK_ERROR_S else warning
        yield tell("database", f"its clock and this machine's differ by {off_s:.0f} s: set them by NTP.")
    settings_dict = connection.settings_dict
    where = f"{settings_dict['NAME']}{' on ' + settings_dict['HOST'] if settings_dict['HOST'] else ''}"
    yield ok("database", f"{connection.display_name} answers and is up to date: {where}.")


def room() -> Iterator[Finding]:
    """Whether the database lets all processes in at once: each of their threads keeps a connection."""
    if connection.vendor != "postgresql":
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT setting::int FROM pg_settings WHERE name = 'max_connections'")
            most = int(cursor.fetchone()[0])
    except DatabaseError:  # which is told of the database
        return
    wanted = connections_wanted()
    if wanted > most:
        yield warning(
            "connections",
            f"the processes here may want {wanted} connections to the database, which takes {most}: set its "
            "max_connections to more, or WEB_THREADS or GRAB_CONCURRENCY to less (docs/operating.md, Sizing).",
        )
        return
    yield ok("connections", f"the database takes {most}, and the processes here want {wanted} at most.")


def connections_wanted() -> int:
    """As the Procfile starts the processes, each once, on this machine; see *Sizing* in docs/operating.md."""
    web = settings.WEB_PROCESSES * (settings.WEB_THREADS + PROBING)
    return web + 2 * settings.GRAB_CONCURRENCY + settings.ANALYSE_CONCURRENCY + OTHERS


def queue() -> Iterator[Finding]:
    """Whether messages can be sent."""
    from kombu import Connection

    if settings.BROKER_IS_EMBEDDED:
        broker.server_binary()  # raises StartError with a sentence
        if broker.answers(broker.socket_path(settings.DATA_DIR)):
            yield ok("broker", "the embedded one answers.")
        else:
            yield ok("broker", "the embedded one starts with `make run`.")
        return
    with Connection(settings.BROKER_URL, connect_timeout=BROKER_WAIT_S) as link:
        try:
            link.ensure_connection(max_retries=1, interval_start=0, timeout=BROKER_WAIT_S)
        except Exception as problem:  # noqa: BLE001 (each transport has errors of its own)
            reason = f"{type(problem).__name__}: {_first_line(problem)}"
            yield error("broker", f"cannot be reached ({reason}): check BROKER_URL, and that it runs.")
            return
        yield ok("broker", f"{link.transport_cls} answers at {link.hostname}.")


def shared_cache() -> Iterator[Finding]:
    """Whether web processes count together, and can."""
    if isinstance(shared := caches["default"], LocalCache):
        tell = ok if settings.WEB_PROCESSES == 1 else warning
        yield tell("cache", "each web process counts its requests by itself; for several, set CACHE_URL to a Redis.")
        return
    is_beside = settings.BROKER_IS_EMBEDDED and not os.environ.get("CACHE_URL")
    if is_beside and not broker.answers(broker.socket_path(settings.DATA_DIR)):
        yield ok("cache", "beside the embedded broker, it starts with `make run`.")
        return
    try:
        shared.ask()  # type: ignore[attr-defined]
    except (RedisError, OSError) as problem:
        reason = f"{type(problem).__name__}: {_first_line(problem)}"
        yield warning(
            "cache", f"cannot be reached ({reason}): requests are not counted against their limits. Check CACHE_URL."
        )
        return
    yield ok("cache", "answers.")


def storage() -> Iterator[Finding]:
    """Whether files can be written to it, read again and deleted."""
    where = stored.location(default_storage)
    if where.startswith(str(settings.DATA_DIR)) and not settings.DATA_DIR.exists():  # looking would make it
        return
    content = secrets.token_bytes(16)
    try:
        # A name that looks like a part of an upload: were this process killed, it would be cleared away like one.
        name = default_storage.save(f"incoming/{PART}doctor-{secrets.token_hex(4)}", ContentFile(content))
        with default_storage.open(name) as file:
            same = file.read() == content
        default_storage.delete(name)
    except Exception as problem:  # noqa: BLE001 (each kind of storage has errors of its own)
        reason = f"{type(problem).__name__}: {_first_line(problem)}"
        yield error(
            "storage", f"{where} cannot be used ({reason}): check STORAGE_URL, its permissions, and that it runs."
        )
        return
    if not same:
        yield error("storage", f"{where} does not give back what was written to it.")
        return
    yield ok("storage", f"{where} can be written to and read.")


def encryption() -> Iterator[Finding]:
    """Whether the keys are those of the cameras' addresses."""
    if not settings.CAMERA_KEYS or _is_not_made():  # which is told
        return
    try:
        check_keys()
    except ImproperlyConfigured as problem:
        yield error("keys", str(problem))
        return
    yield ok("keys", "CAMERA_KEYS fit all cameras.")


def model() -> Iterator[Finding]:
    """Whether the active model's files are there, and unchanged."""
    if _is_not_made():
        return
    try:
        active = Model.objects.filter(is_active=True).first()
    except DatabaseError:  # which is told of the database
        return
    if active is None:
        yield error(
            "model", "none is active, so nothing can be analysed: `manage.py models add NAME_OR_FILE --activate`."
        )
        return
    if active.is_motion:
        yield warning(
            "model",
            "only motion is detected, without saying what moves: `manage.py models add yolo26n --activate` where the "
            "network allows, or a file in place of the name.",
        )
        return
    try:
        path = active.local_weights()
    except FileNotFoundError:
        yield error("model", f"the files of {active} are not in the storage: restore them, or activate another model.")
        return
    if path is None:
        yield error("model", f"{active} names no files: activate another model.")
        return
    files = [path / name.rpartition("/")[2] for name in active.files] if path.is_dir() else [path]
    try:
        found = sha256(files)
    except (OSError, DetectorError) as problem:
        yield error("model", f"the files of {active} cannot be read ({_first_line(problem)}).")
        return
    if found != active.sha256:
        yield error("model", f"the files of {active} are not those that were added (SHA-256): restore them.")
        return
    yield ok("model", f"{active} ({active.runtime}), its files are there and unchanged.")


def people() -> Iterator[Finding]:
    """Whether somebody can administer it."""
    if _is_not_made():
        return
    try:
        if not get_user_model().objects.filter(is_superuser=True, is_active=True).exists():
            yield warning("accounts", "Nobody is administrator: `manage.py createsuperuser`.")
    except DatabaseError:  # which is told of the database
        return


def _is_not_made() -> bool:
    """Whether looking at it would make it: SQLite's file."""
    name = str(connection.settings_dict["NAME"])
    return connection.vendor == "sqlite" and "memory" not in name and not Path(name).exists()


def _first_line(problem: BaseException) -> str:
    return str(problem).strip().partition("\n")[0]


CHECKS = [
    Check("database", database, connects=True, option="DATABASE_URL"),
    Check("connections", room, connects=True, option="DATABASE_URL"),
    Check("broker", queue, connects=True, option="BROKER_URL"),
    Check("storage", storage, connects=True, option="STORAGE_URL"),
    Check("cache", shared_cache, connects=True, option="CACHE_URL"),
    Check("keys", encryption, connects=True, option="DATABASE_URL"),
    Check("model", model, connects=True, option="DATABASE_URL"),
    Check("accounts", people, connects=True, option="DATABASE_URL"),
]
