"""The way in for every file: probed, stored, and its analysis queued."""

from __future__ import annotations

import hashlib
import re
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import ContentFile, File
from django.db import transaction

from detection.models.analysis import Analysis
from detection.models.capture import Capture
from detection.models.media import Media
from detection.models.model import Model
from detection.models.proxy import Proxy
from detection.sources import Snapshot
from detection.vision.probe import probe_isolated
from detection.vision.types import Limits, MediaInfo

SLOWEST_READ_BYTES_S = 20_000_000


@dataclass(frozen=True, slots=True)
class Intake:
    """What came of a file. ``analysis`` and ``proxy`` are to be sent once the transaction is committed."""

    media: Media
    is_new: bool
    analysis: Analysis | None = None
    proxy: Proxy | None = None


def limits() -> Limits:
    """What a media may be at most, from the settings."""
    return Limits(
        pixels=settings.MEDIA_MAX_PIXELS,
        duration_s=settings.MEDIA_MAX_DURATION_S,
        frames=settings.MEDIA_MAX_FRAMES,
        bytes=settings.MEDIA_MAX_BYTES,
    )


def probe_with_preview(path: Path) -> tuple[MediaInfo, bytes]:
    """What is in a file, and a small JPEG of it, found out in a child process. Raises MediaError."""
    with tempfile.TemporaryDirectory(prefix="nightjar-probe-") as folder:
        preview = Path(folder) / "preview.jpg"
        info = probe_file(path, preview)
        return info, preview.read_bytes()


def probe_file(path: Path, preview: Path | None = None) -> MediaInfo:
    """What is in a file, within the settings' limits, found out in a child process. Raises MediaError."""
    # A probe reads the whole file once, to know how long it really is.
    timeout_s = 60 + path.stat().st_size / SLOWEST_READ_BYTES_S
    return probe_isolated(path, limits(), preview, timeout_s)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex, which is what a media is known by."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def take_in(
    content: File,
    path: Path,
    sha256: str,
    name: str,
    *,
    user: User | None = None,
    model: Model | None = None,
    is_example: bool = False,
) -> Intake:
    """Takes a file in: ``content`` is what lies at ``path``, whose bytes have this hash.

    The same bytes again lead to the media that is there. Raises MediaError, with nothing stored, for what is not an
    image or a clip that can be analysed.
    """
    known = Media.known(sha256)
    if known is not None and known.came_in_again():
        return Intake(known, is_new=False)
    info, preview = probe_with_preview(path)
    media = Media.with_files(content, sha256, info, name=name, preview=preview)
    media.uploaded_by, media.is_example = user, is_example
    with media.files_dropped_on_error(), transaction.atomic():
        stored = media.keep()
        if not stored.is_new:
            return Intake(stored.media, is_new=False)
        analysis = Analysis.request(media, model=model, user=user)
        proxy = None if info.browser_plays else Proxy.objects.create(media=media)
    return Intake(media, is_new=True, analysis=analysis, proxy=proxy)


def _model_for(capture: Capture) -> Model | None:
    """What looks at its picture; nothing where that could only fail: the pages say that motion is all there is."""
    model = Model.objects.filter(is_active=True).first() if capture.camera.is_analysed else None
    return model if model is not None and model.looks_at_pictures else None


def take_in_capture(capture: Capture, snapshot: Snapshot) -> Analysis | None:
    """Stores what was grabbed, ends the capture with it, and queues its analysis, which is to be sent after this.

    The very same bytes again, as of a frozen camera, lead to the media that is there, and are not analysed again.
    Raises LeaseLost, with nothing left behind, where the capture or its camera is gone.
    """
    sha256 = hashlib.sha256(snapshot.content).hexdigest()
    media = Media.known(sha256)
    is_new = media is None
    if media is None:
        camera = re.sub(r"[/\\]", "-", capture.camera.name)  # what stands before a slash would be a folder
        name = f"{camera} {snapshot.taken_at:%Y-%m-%d %H.%M.%S} UTC.{snapshot.info.format}"
        media = Media.with_files(
            ContentFile(snapshot.content), sha256, snapshot.info, name=name, preview=snapshot.preview
        )
        media.camera = capture.camera
        media.captured_at = media.at = snapshot.taken_at
        media.captured_at_source = Media.TimeSource.CAPTURE
    with media.files_dropped_on_error() if is_new else nullcontext(), transaction.atomic():
        if is_new:
            stored = media.keep()
            media, is_new = stored.media, stored.is_new
        capture.grabbed(media, snapshot.fingerprint, snapshot.taken_at)
        model = _model_for(capture) if is_new else None
        return Analysis.request(media, model=model) if model is not None else None
