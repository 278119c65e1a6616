"""What a worker does with one capture, one trial: claim, talk to the camera, record."""

from __future__ import annotations

import logging
import time

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection

from detection import correlation, disk
from detection.fields import WrongKey
from detection.models import Analysis, Camera, Capture, LeaseLost, Trial
from detection.models.clock import now
from detection.models.intake import take_in_capture
from workers import measuring, outcome, trail
from workers.again import TryAgain
from workers.grab import GrabError, Limits, Policy, grab
from workers.lease import worker_name
from workers.working import NO_KEY, working_on

log = logging.getLogger(__name__)

SHORTEST_GRAB_S = 5.0  # also where the next picture is due sooner
NEARLY_FULL = "The disk is nearly full, so the camera was not asked: tell an administrator."
FULL = "The disk is full, so the picture was not kept: tell an administrator."
SAID_EVERY_S = 60.0  # of a full disk, which all cameras meet


def grab_one(pk: int) -> Analysis | None:
    """Grabs what was planned; answers its analysis, which is to be sent. Raises TryAgain for what may pass."""
    capture = Capture.claim(pk, worker_name())
    if capture is None:
        return None
    trail.belongs_to(capture.correlation_id)
    with correlation.of_row(capture.correlation_id):
        return _grab_claimed(capture)


def _grab_claimed(capture: Capture) -> Analysis | None:
    try:
        if disk.is_nearly_full():
            _refused(capture)
            return None
        snapshot = grab(capture.camera.secret_source, limits(capture), policy())
        analysis = take_in_capture(capture, snapshot)
        measuring.grabbed(capture)
        outcome.note(outcome.DONE)
        return analysis
    except LeaseLost as lost:
        log.info("dropped: %s", lost)
    except GrabError as error:
        _failed(capture, error.kind, str(error), permanent=error.permanent)
    except WrongKey:
        _failed(capture, "keys", NO_KEY, permanent=True)
    except (OperationalError, InterfaceError):
        # The row cannot be written. Its lease runs out, and the sweep goes on from there; no fault of the camera.
        log.exception("the database failed while grabbing capture %s", capture.pk)
        connection.close()
    except Exception as error:  # a storage has errors of many kinds; whatever a camera can cause is a GrabError
        log.exception("the picture of capture %s could not be stored", capture.pk)
        if disk.says_full(error):
            _failed(capture, "disk_full", FULL, permanent=False)
        else:
            _failed(capture, "storage", "The picture could not be stored: see the log.", permanent=False)
    return None


def grab_now(camera: Camera) -> tuple[Capture, Analysis | None]:
    """Grabs a picture in this process, once, for a command; answers the capture, and the analysis to send."""
    capture = Capture.ask(camera)
    analysis = None
    try:
        analysis = grab_one(capture.pk)
    except TryAgain:
        capture.refresh_from_db()
        capture.give_up()
    capture.refresh_from_db()
    return capture, analysis


def try_source(pk: int) -> None:
    """Grabs one picture for somebody who waits before the form; nothing of it is stored but its small copy."""
    trial = Trial.claim(pk, worker_name())
    if trial is None:
        return
    with working_on(trial):
        began = time.monotonic()
        try:
            snapshot = grab(trial.secret_source, limits(), policy())
        except GrabError as error:
            trial.fail(error.kind, str(error))
            outcome.note(outcome.FAILED)
            return
        trial.finish(snapshot.preview, snapshot.info.width, snapshot.info.height, time.monotonic() - began)
        outcome.note(outcome.DONE)


def limits(capture: Capture | None = None) -> Limits:
    """The settings' limits; a grab does not run into the next one for long."""
    total_s = settings.GRAB_TOTAL_S
    if capture is not None and capture.until is not None:
        total_s = min(total_s, max(SHORTEST_GRAB_S, (capture.until - now()).total_seconds()))
    return Limits(
        connect_s=min(settings.GRAB_CONNECT_S, total_s),
        first_frame_s=min(settings.GRAB_FIRST_FRAME_S, total_s),
        total_s=total_s,
        max_bytes=settings.GRAB_MAX_BYTES,
        max_pixels=settings.MEDIA_MAX_PIXELS,
    )


def policy() -> Policy:
    """The settings' word on which addresses and files a camera may have."""
    return Policy(
        allow_loopback=settings.CAMERA_ALLOW_LOOPBACK,
        allow_private=settings.CAMERA_ALLOW_PRIVATE,
        files_dir=settings.CAMERA_FILES_DIR,
    )


_said_at = -SAID_EVERY_S


def _refused(capture: Capture) -> None:
    """Ends it for want of room; its next planned time may have it again."""
    global _said_at
    capture.attempt_failed("disk_full", NEARLY_FULL, permanent=True)
    measuring.not_grabbed("disk_full")
    outcome.note(outcome.FAILED)
    is_news = time.monotonic() - _said_at > SAID_EVERY_S
    if is_news:
        _said_at = time.monotonic()
    log.log(logging.ERROR if is_news else logging.DEBUG, "capture %s was refused: %s", capture.pk, NEARLY_FULL)


def _failed(capture: Capture, kind: str, why: str, *, permanent: bool) -> None:
    """Records it. The log has the first failure of a camera; what it goes on with is on its page."""
    is_news = not capture.camera.failures
    delay_s = capture.attempt_failed(kind, why, permanent=permanent)
    measuring.not_grabbed(kind)
    name = f"camera {capture.camera_id} ({capture.camera}), capture {capture.pk}, attempt {capture.attempts}"
    if delay_s is None:
        outcome.note(outcome.FAILED)
        log.log(logging.WARNING if is_news else logging.DEBUG, "%s failed: %s", name, why)
        return
    log.info("%s, again in %.1f s: %s", name, delay_s, why)
    raise TryAgain(delay_s) from None
