"""Upload: many files in one form, or one a request from the page's script; the same outcomes either way."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.template.defaultfilters import filesizeformat
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from detection import disk
from detection.metrics.instruments import UPLOAD_BYTES, UPLOADS
from detection.models import Media
from detection.models.forecast import backlog
from detection.models.intake import limits, take_in
from detection.models.speed import Speed
from detection.views import analysis_wording as wording
from detection.views.access import require
from detection.views.errors import wants_json
from detection.views.given import whole_number
from detection.views.limits import limited
from detection.views.sending import send
from detection.views.upload_handler import FAULTS, IncomingFile, kind_of
from detection.vision.types import MediaError

log = logging.getLogger(__name__)

NO_FILE = "No file came in. Choose at least one; if you did, the upload was cut off on the way: try again."
NOT_NUMBERS = "An estimate takes whole numbers: bytes, clips, clip_bytes (of bytes) and images."
STATUS_OF_REFUSAL = {"too_large": 413, "disk_full": 507, "not_kept": 500, "storage_away": 503}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one file: ``accepted``, ``known`` (the same bytes are here) or ``refused``."""

    name: str
    word: str
    message: str
    media: Media | None = None
    kind: str = ""  # of the refusal

    def as_json(self) -> dict[str, Any]:
        answer = {"name": self.name, "outcome": self.word, "message": self.message}
        if self.media:
            answer |= {"url": self.media.get_absolute_url(), "media": str(self.media.pk)}
        return answer


@require_http_methods(["GET", "POST"])
@limited("upload", "POST")
def upload(request: HttpRequest) -> HttpResponse:
    require(request, "detection.add_media")
    if request.method == "GET":
        return render(request, "detection/upload.html", _limits() | _before())
    outcomes = [_take(cast(IncomingFile, file), cast(User, request.user)) for file in request.FILES.getlist("files")]
    for outcome in outcomes:
        _count(outcome)
    status = _status(outcomes)
    if wants_json(request):
        answer: dict[str, Any] = {"files": [outcome.as_json() for outcome in outcomes]}
        return JsonResponse(answer if outcomes else {"error": NO_FILE}, status=status)
    context = {"outcomes": outcomes, "no_file": "" if outcomes else NO_FILE}
    return render(request, "detection/upload.html", _limits() | _before() | context, status=status)


@require_safe
@never_cache
@limited("list")
def upload_estimate(request: HttpRequest) -> HttpResponse:
    """What the page's script says of the files that are chosen, before any of them is sent.

    ``images`` and ``clips`` are how many, ``clip_bytes`` the size of the clips, ``bytes`` of all; only the size of a
    clip is known of it by then. ``fits`` is null where nobody knows; to refuse what does not fit is for the upload.
    """
    require(request, "detection.add_media")
    given = {name: whole_number(request.GET.get(name, "0")) for name in ("bytes", "clips", "clip_bytes", "images")}
    asked = {name: number for name, number in given.items() if number is not None}
    if len(asked) < len(given) or asked["clip_bytes"] > asked["bytes"]:
        return JsonResponse({"error": NOT_NUMBERS}, status=400)
    speed = Speed.measured()
    seconds = speed.of_files(asked["images"], asked["clip_bytes"])
    waiting, room = backlog(speed), disk.room_bytes()
    said = [wording.estimate_words(seconds)] if asked["images"] or asked["clips"] else []
    said += [wording.backlog_words(waiting)] if waiting.count else []
    fits = None if room is None else disk.has_room_for(asked["bytes"])
    warning = "" if fits is not False else wording.no_room_words(filesizeformat(asked["bytes"]), room)
    answer = {"seconds": seconds, "waiting": waiting.count, "waiting_s": waiting.seconds, "fits": fits}
    return JsonResponse(answer | {"said": " ".join(said), "warning": warning})


def _before() -> dict[str, Any]:
    """What the page says before anything is chosen."""
    speed = Speed.measured()
    return {
        "speed": wording.speed_words(speed),
        "waiting": wording.backlog_words(backlog(speed)),
        "room": wording.room_words(disk.room_bytes()),
    }


def _take(file: IncomingFile, user: User) -> Outcome:
    name = file.name or ""
    if file.refusal:
        return Outcome(name, "refused", file.refusal, kind=file.refusal_kind)
    try:
        intake = take_in(file, Path(file.temporary_file_path()), file.sha256, name, user=user)
    except MediaError as error:
        return Outcome(name, "refused", str(error), kind=error.kind)
    except Exception as error:  # the library for buckets is large, and not loaded for the names of its errors
        # A fault of ours with this file; the other files of the form are still to be taken in.
        kind = kind_of(error)
        if not kind:
            raise
        log.exception("%s could not be taken in", file.sha256)
        return Outcome(name, "refused", FAULTS[kind], kind=kind)
    finally:
        file.close()
    if not intake.is_new:
        return Outcome(name, "known", "The same file is already here.", intake.media)
    return Outcome(name, "accepted", send(intake.analysis, intake.proxy) or "Accepted.", intake.media)


def _count(outcome: Outcome) -> None:
    UPLOADS.add(outcome.word, outcome.kind)
    if outcome.word == "accepted" and outcome.media:
        UPLOAD_BYTES.add(by=outcome.media.bytes)


def _status(outcomes: list[Outcome]) -> int:
    """201 where something new came in, 200 where all that is good was here before, else the first refusal's."""
    words = {outcome.word for outcome in outcomes}
    if "accepted" in words:
        return 201
    if "known" in words:
        return 200
    return STATUS_OF_REFUSAL.get(outcomes[0].kind, 422) if outcomes else 422


def _limits() -> dict[str, Any]:
    return {"limits": limits(), "max_files": settings.DATA_UPLOAD_MAX_NUMBER_FILES}
